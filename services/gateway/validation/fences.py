"""Code fences of Markdown, found by their lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t]{0,12}(?:[-*+>][ \t]{1,4})?(`{3,64}|~{3,64})([^\n]{0,200})", re.MULTILINE)
"""In lists fences are indented, at times behind the list's own sign."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    language: str
    """The first word behind the fence, in lower case; empty = none."""
    start: int
    """Where the code begins in the text."""
    end: int
    """Where it ends, without the closing fence."""
    is_closed: bool


def blocks(text: str, most: int) -> list[Block]:
    """The first `most` fenced blocks."""
    found: list[Block] = []
    mark, language, begin = "", "", 0
    if "```" not in text and "~~~" not in text:
        return found
    for fence in _FENCE.finditer(text):
        signs, behind = fence.groups()
        after = text.find("\n", fence.end()) + 1 or len(text)
        if not mark:
            # `` ```code``` `` in one line is no block.
            if "`" in behind:
                continue
            words = behind.split()
            mark, language, begin = signs, _bare(words[0]) if words else "", after
        elif signs[0] == mark[0] and len(signs) >= len(mark) and not behind.strip():
            found.append(Block(language, begin, max(begin, fence.start()), True))
            mark = ""
            if len(found) >= most:
                return found
    if mark:
        found.append(Block(language, begin, len(text), False))
    return found


def outside(text: str, found: list[Block]) -> str:
    """The text with blanks in place of its blocks: every place stays where it was."""
    pieces, last = [], 0
    for block in found:
        pieces += [text[last : block.start], " " * (block.end - block.start)]
        last = block.end
    return "".join([*pieces, text[last:]])


def _bare(word: str) -> str:
    return word.strip("{}.").split(":", 1)[0].split("{", 1)[0].split(",", 1)[0].lower()
