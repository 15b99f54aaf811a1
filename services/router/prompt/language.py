"""The language of a prompt, by its script, by its most frequent words and by letters only one language has.

No dictionary and no model: what cannot be told is `und`. Our own lists.
"""

from __future__ import annotations

import numpy as np

from services.router.prompt.reading import Reading
from services.router.prompt.vocabulary import SPOKEN, WHOLE, Points

UNDETERMINED = "und"
_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("cyrillic", ((0x0400, 0x052F),)),
    ("han", ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))),
    ("kana", ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))),
    ("ko", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))),
    ("arabic", ((0x0600, 0x06FF), (0x0750, 0x077F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))),
    ("hi", ((0x0900, 0x097F),)),
    ("el", ((0x0370, 0x03FF),)),
    ("he", ((0x0590, 0x05FF),)),
    ("th", ((0x0E00, 0x0E7F),)),
)
_UKRAINIAN, _RUSSIAN, _PERSIAN = "іїєґ", "ыэёъ", "پچژگی"
_LEAST = 0.45
_CLEAR_BY = 0.2
_HALF_OF_LATIN = 0.4
"""A script of its own decides when it has at least so many signs for each Latin letter: code and names are Latin."""
_LATIN = len(_SCRIPTS) + 1
_END = 0x32400
_SCRIPT_OF = np.zeros(_END, np.uint8)
"""Of each code point 1 + its place in `_SCRIPTS`, `_LATIN`, or 0; all beyond are read as the last one."""
for _place, (_, _ranges) in enumerate((*_SCRIPTS, ("latin", ((0x61, 0x7A), (0xC0, 0x24F)))), 1):
    for _first, _last in _ranges:
        _SCRIPT_OF[_first : _last + 1] = _place


def language(read: Reading) -> str:
    """The code of a text's language, or `und`."""
    if read.points is not None:
        by_script = _by_script(read.lowered, read.points)
        if by_script:
            return by_script
    return _by_words(read.languages)


def _by_script(lowered: str, points: Points) -> str | None:
    """The language that the script tells, unless the text is mostly Latin."""
    found: list[int]
    _, *found, latin = np.bincount(_SCRIPT_OF.take(points, mode="clip"), minlength=_LATIN + 1).tolist()
    most = max(found)
    if not most:
        return None
    counts = {name: count for (name, _), count in zip(_SCRIPTS, found, strict=True)}
    name = _SCRIPTS[found.index(most)][0]
    # A sign of Chinese or Japanese is a syllable or a word, a letter is not.
    dense = 3 if name in ("han", "kana", "ko") else 1
    if dense * (most + counts["kana"]) < _HALF_OF_LATIN * latin:
        return None
    if name in ("han", "kana"):
        return "ja" if counts["kana"] * 8 > counts["han"] else "zh"
    if name == "cyrillic":
        ukrainian, russian = _count(lowered, _UKRAINIAN), _count(lowered, _RUSSIAN)
        return "uk" if ukrainian > russian else "ru"
    if name == "arabic":
        return "fa" if _count(lowered, _PERSIAN) else "ar"
    return name


def _by_words(said: list[float]) -> str:
    """The language whose frequent words and letters are most, when it is clear."""
    second, best = sorted(said)[-2:]
    if best < _LEAST * WHOLE or (second and best < second + _CLEAR_BY * WHOLE):
        return UNDETERMINED
    return SPOKEN[said.index(best)]


def _count(text: str, letters: str) -> int:
    return sum(map(text.count, letters))
