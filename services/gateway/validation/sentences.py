"""Sentences and windows of a text, by their places. One pass, whatever the text."""

from __future__ import annotations

import re

_END = re.compile(r"[.!?。！？…][\"'”’)\]]{0,3}(?=\s|$)|\n|[。！？]")
_ABBREVIATIONS = "mr mrs ms dr prof st vs etc e.g i.e inc ltd co jr sr no fig al u.s u.k a.m p.m approx"
_NO_END = frozenset(_ABBREVIATIONS.split())
LONGEST = 600
"""A sentence is cut here when it does not end before."""


def sentences(text: str, most: int) -> list[tuple[int, int]]:
    """Where the first `most` sentences begin and end, without the blanks around them."""
    found: list[tuple[int, int]] = []
    begin = 0
    for match in _END.finditer(text):
        end = match.end()
        if match.group()[0] == "." and _abbreviates(text, match.start()):
            continue
        if not _add(text, begin, end, found, most):
            return found
        begin = end
    _add(text, begin, len(text), found, most)
    return found


def _abbreviates(text: str, dot: int) -> bool:
    word = text[max(0, dot - 8) : dot].rsplit(None, 1)[-1:] or [""]
    return word[0].lower().lstrip("(\"'") in _NO_END or (len(word[0]) == 1 and word[0].isupper())


def _add(text: str, begin: int, end: int, found: list[tuple[int, int]], most: int) -> bool:
    for start in range(begin, end, LONGEST):
        stop = min(end, start + LONGEST)
        piece = text[start:stop]
        bare = piece.strip()
        if bare:
            if len(found) >= most:
                return False
            lead = len(piece) - len(piece.lstrip())
            found.append((start + lead, start + lead + len(bare)))
    return True


def windows(text: str, size: int, most: int) -> list[tuple[int, int]]:
    """Neighbouring sentences together, up to `size` characters each: the whole text in at most `most` pieces."""
    if len(text) <= size:
        return [(0, len(text))] if text.strip() else []
    found: list[tuple[int, int]] = []
    for start, end in sentences(text, most * 8):
        if found and end - found[-1][0] <= size:
            found[-1] = (found[-1][0], end)
        elif len(found) < most:
            found.append((start, end))
        else:
            break
    return found
