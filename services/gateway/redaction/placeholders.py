"""Placeholders in place of private values, and the values in place of their placeholders."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from mesh.secret_shapes import Tries
from services.gateway.redaction.finder import MOST_TRIED, candidates, settled, too_many
from services.gateway.redaction.kinds import KINDS, LABELS, REGIONS, Match

LIKE = re.compile(r"\[(" + "|".join(LABELS.values()) + r")_([0-9]{1,6})\]")
"""What a placeholder looks like."""
_LIKE_BYTES = re.compile(LIKE.pattern.encode())
LONGEST = max(map(len, LABELS.values())) + 9
"""No placeholder is longer."""
_HELD = re.compile(r"\[(?:[A-Z][A-Z_]{0,20}(?:_[0-9]{0,6})?)?\Z")
"""The end of a text that may go on to be a placeholder."""


class Redactor:
    """One request's placeholders: equal values get the same one, and none is like what the request already holds."""

    def __init__(self, kinds: Collection[str] = KINDS, regions: Sequence[str] = REGIONS) -> None:
        self.kinds, self.regions = frozenset(kinds), tuple(regions)
        self.counts: dict[str, int] = {}
        """How many values of each kind were found."""
        self._placeholders: dict[tuple[str, bytes], bytes] = {}
        self._values: dict[str, str] = {}
        self._taken: set[bytes] = set()
        self._last: dict[str, int] = {}

    @property
    def values(self) -> Mapping[str, str]:
        """Every placeholder with the value it stands for."""
        return self._values

    def avoid(self, data: bytes) -> None:
        """Gives out no placeholder that stands in `data`. Raises TOO_LARGE for very many."""
        if b"[" in data:
            like = itertools.islice(_LIKE_BYTES.finditer(data), MOST_TRIED + 1)
            taken = [match.group() for match in like]
            if len(taken) > MOST_TRIED:
                raise too_many()
            self._taken.update(taken)

    def found(self, data: bytes) -> list[Match]:
        """The private values in UTF-8, in bytes. Raises TOO_LARGE, having counted what was found until then."""
        tries = Tries(MOST_TRIED)
        found = settled(candidates(data, self.kinds, self.regions, tries))
        if tries.spent:
            self.count(found)
            raise too_many()
        return found

    def count(self, found: Sequence[Match]) -> None:
        """Counts what was found."""
        for one in found:
            self.counts[one.kind] = self.counts.get(one.kind, 0) + 1

    def placeholder(self, kind: str, value: bytes) -> bytes:
        """What stands for a value in this request."""
        key = (kind, value)
        given = self._placeholders.get(key)
        if given is None:
            number = self._last.get(kind, 0) + 1
            given = _written(kind, number)
            while given in self._taken:
                number += 1
                given = _written(kind, number)
            self._last[kind] = number
            self._placeholders[key] = given
            self._values[given.decode()] = value.decode("utf-8", "surrogatepass")
        return given

    def replaced(self, data: bytes, found: Sequence[Match]) -> bytes:
        """`data` with placeholders."""
        parts, at = [], 0
        for one in found:
            parts += [data[at : one.start], self.placeholder(one.kind, data[one.start : one.end])]
            at = one.end
        return b"".join([*parts, data[at:]])

    def text(self, text: str) -> str:
        """A text with placeholders; counts what it held."""
        data = text.encode("utf-8", "surrogatepass").replace(b"\x00", b"\x01")
        found = self.found(data)
        if not found:
            return text
        self.avoid(data)
        self.count(found)
        return self.replaced(text.encode("utf-8", "surrogatepass"), found).decode("utf-8", "surrogatepass")


def _written(kind: str, number: int) -> bytes:
    return b"[%s_%d]" % (LABELS[kind].encode(), number)


class Restorer:
    """Puts values back in place of the placeholders that this request gave out; others stay as they are."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._escaped = {name: msgspec.json.encode(value).decode()[1:-1] for name, value in values.items()}
        self.restored = False

    def text(self, text: str, *, in_json: bool = False) -> str:
        """The text with values; `in_json`: it is JSON itself, so that they are written as within its strings."""
        if "[" not in text:
            return text
        values = self._escaped if in_json else self._values

        def value(match: re.Match[str]) -> str:
            known = values.get(match.group())
            if known is None:
                return match.group()
            self.restored = True
            return known

        return LIKE.sub(value, text)


def held_from(text: str) -> int:
    """Where the end begins that may go on to be a placeholder; the length when there is none."""
    at = text.rfind("[", max(0, len(text) - LONGEST))
    if at < 0 or "]" in text[at:]:
        return len(text)
    return at if _HELD.match(text, at) else len(text)
