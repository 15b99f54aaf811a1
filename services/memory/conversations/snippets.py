"""Where a text holds what was looked for: places of words, and pieces of the text around them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.memory.conversations.terms import UNSPACED, terms_of

SNIPPET_CHARS = 240
"""About how long a piece is."""
MAX_SNIPPETS = 3
MAX_READ_CHARS = 65_536
"""How much of a text is looked through; a message that says it only later is shown by its beginning."""
_MAX_PLACES = 100
_LEAD_CHARS = 60
_SLACK_CHARS = 20
_RUN = re.compile(rf"[{UNSPACED}]+|[^\s{UNSPACED}]+")
_FIRST_UNSPACED = re.compile(rf"[{UNSPACED}]")
_PART = re.compile(r"[^\W_]+(?:[.,'’ʼ\u0300-\u036f\u0900-\u0e00][^\W_]+)*")
_LETTERS = re.compile(r"\w(?:.*\w)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a text with the places of what was found in it, end left out."""

    text: str
    found: tuple[tuple[int, int], ...]
    offset: int


def places_of(text: str, wanted: frozenset[str]) -> list[tuple[int, int]]:
    """Where words with one of the wanted terms stand, in order, end left out; the first hundred or so."""
    places: list[tuple[int, int]] = []
    for run in _RUN.finditer(text, 0, MAX_READ_CHARS):
        piece, start = run.group(), run.start()
        if wanted.isdisjoint(terms_of(piece)):
            continue
        found = _pairs(piece, wanted) if _FIRST_UNSPACED.match(piece) else _parts(piece, wanted)
        places += [(start + first, start + end) for first, end in found]
        if len(places) >= _MAX_PLACES:
            break
    return places


def _parts(piece: str, wanted: frozenset[str]) -> list[tuple[int, int]]:
    """The words of what stands between two spaces; all of it when only the whole is what was wanted."""
    found = [part.span() for part in _PART.finditer(piece) if not wanted.isdisjoint(terms_of(part.group()))]
    whole = _LETTERS.search(piece)
    return found or [whole.span() if whole else (0, len(piece))]


def _pairs(piece: str, wanted: frozenset[str]) -> list[tuple[int, int]]:
    """Neighbouring pairs that were wanted, joined where they overlap."""
    found: list[tuple[int, int]] = []
    for at in range(max(1, len(piece) - 1)):
        if wanted.isdisjoint(terms_of(piece[at : at + 2])):
            continue
        end = min(at + 2, len(piece))
        if found and found[-1][1] > at:
            found[-1] = (found[-1][0], end)
        else:
            found.append((at, end))
    return found or [(0, len(piece))]


def snippets_of(text: str, wanted: frozenset[str]) -> list[Snippet]:
    """Up to three pieces that show most of what was found, in the order of the text; else its beginning."""
    places = places_of(text, wanted) if wanted else []
    if not places:
        return [_piece(text, 0, SNIPPET_CHARS, ())]
    windows: list[list[tuple[int, int]]] = []
    for place in places:
        if windows and place[1] - windows[-1][0][0] <= SNIPPET_CHARS - _LEAD_CHARS:
            windows[-1].append(place)
        else:
            windows.append([place])
    best = sorted(windows, key=lambda window: (-_kinds(text, window), window[0]))[:MAX_SNIPPETS]
    return [_around(text, window) for window in sorted(best)]


def _kinds(text: str, window: Sequence[tuple[int, int]]) -> int:
    """How many different words a window shows."""
    return len({text[start:end].casefold() for start, end in window})


def _around(text: str, window: Sequence[tuple[int, int]]) -> Snippet:
    first = window[0][0]
    start = max(0, first - _LEAD_CHARS)
    if start > 0:
        # Begin with a whole word, when one begins soon.
        space = text.find(" ", start, min(first, start + _SLACK_CHARS))
        start = space + 1 if space >= 0 else start
    return _piece(text, start, max(start + SNIPPET_CHARS, window[-1][1]), window)


def _piece(text: str, start: int, end: int, places: Sequence[tuple[int, int]]) -> Snippet:
    if end < len(text):
        last = max((place[1] for place in places), default=start)
        space = text.rfind(" ", max(last, end - _SLACK_CHARS), end)
        end = space if space > start else end
    # A word may be longer than a piece: what is found never reaches behind it.
    end = min(end, start + 2 * SNIPPET_CHARS)
    found = tuple((at - start, min(to, end) - start) for at, to in places if at < end)
    return Snippet(text[start:end], found, start)
