"""Records that are gone on purpose: how an entry of the log declares them, and whether what is missing was declared.

A declaration is an administrative change of the same organisation whose `after_json` names entries by their numbers in
that organisation: {"entries": "3-7,19", …}. It speaks only of entries before its own.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

PREFIX = "audit."
"""Actions of audit itself; their records are never taken away."""
ERASE, PRUNE, HOLD, UNHOLD = "audit.erase", "audit.prune", "audit.hold", "audit.unhold"
DECLARING = frozenset({ERASE, PRUNE})
Span = tuple[int, int]
"""Numbers from, up to and with."""


class Missing(NamedTuple):
    """An entry without its record and salt that nothing declares."""

    idx: int
    org_id: str
    org_seq: int


def spans_of(numbers: Iterable[int]) -> list[Span]:
    """Rising numbers as spans."""
    found: list[Span] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def write_spans(spans: Iterable[Span]) -> str:
    """Spans as a declaration names them: "3-7,19"."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def read_spans(text: str) -> list[Span]:
    """The spans of "3-7,19". Raises ValueError for what is not written the one way: rising, apart, without signs."""
    found: list[Span] = []
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{part!r} names no entries")
        span = (int(first), int(last or first))
        if span[0] < (found[-1][1] + 2 if found else 1) or span[1] < span[0]:
            raise ValueError(f"{part!r} does not rise")
        found.append(span)
    if write_spans(found) != text:
        raise ValueError(f"{text[:50]!r} is not written the one way")
    return found


def declared_by(after_json: str, org_seq: int) -> list[Span]:
    """What the declaration with that number declares. Raises ValueError."""
    told = json.loads(after_json)
    if not isinstance(told, dict) or not isinstance(told.get("entries"), str):
        raise ValueError("it names no entries")
    spans = read_spans(told["entries"])
    if spans and spans[-1][1] >= org_seq:
        raise ValueError("it names entries that are not before it")
    return spans


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in any order, as the fewest that hold the same."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


class Redactions:
    """What a log declares gone, and what it lacks; entries come in the log's order."""

    def __init__(self) -> None:
        self._declared: dict[str, list[Span]] = {}
        self._missing: dict[str, tuple[array[int], array[int]]] = {}

    def declare(self, org_id: str, spans: Sequence[Span]) -> None:
        """A declaration."""
        self._declared.setdefault(org_id, []).extend(spans)

    def miss(self, org_id: str, org_seqs: Iterable[int], idxs: Iterable[int]) -> None:
        """Entries that lack both record and salt."""
        numbers, places = self._missing.setdefault(org_id, (array("q"), array("q")))
        numbers.extend(org_seqs)
        places.extend(idxs)

    @property
    def missed(self) -> int:
        """How many entries lack their record."""
        return sum(len(numbers) for numbers, _ in self._missing.values())

    def undeclared(self) -> Iterator[Missing]:
        """What is missing and not declared."""
        for org_id, (numbers, places) in self._missing.items():
            spans = iter(joined(self._declared.get(org_id, ())))
            span = next(spans, None)
            for number, idx in sorted(zip(numbers, places, strict=True)):
                while span is not None and span[1] < number:
                    span = next(spans, None)
                if span is None or number < span[0]:
                    yield Missing(idx, org_id, number)

    def declared(self) -> int:
        """How many entries are declared gone."""
        spans = [span for of_org in self._declared.values() for span in joined(of_org)]
        return sum(last - first + 1 for first, last in spans)
