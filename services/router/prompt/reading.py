"""A prompt as all that wants to know something of it reads it: once, its n-grams, words, bytes and characters."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import numpy.typing as npt

from services.router.prompt import vocabulary
from services.router.prompt.ngrams import Places, Sought, hashed_seeking

_SPACED = bytes(code if chr(code).isalnum() and code < 128 else ord(" ") for code in range(256)).lower()
"""Every byte of ASCII in lower case, what is neither letter nor digit as a space."""
_WORD = re.compile(r"[^\W_]+")


class Reading(msgspec.Struct, frozen=True):
    """A prompt as its features read it."""

    text: str
    """Capped."""
    lowered: str
    words: list[str]
    """In lower case, numbers too, in order."""
    distinct: frozenset[str]
    ids: Places
    """Its n-grams, `ngrams.hashed(text)`."""
    found: list[bool]
    """What was sought: False = it is not in `lowered`, nor in `text`."""
    content: bytes
    """`text` in UTF-8."""
    counts: npt.NDArray[np.intp]
    """(256) How often each byte is in `content`."""
    subjects: list[float]
    """What its words say for each of `lexicon.SUBJECTS`, in `vocabulary.WHOLE`ths."""
    languages: list[float]
    """The same for each of `vocabulary.SPOKEN`."""
    points: vocabulary.Points | None
    """Code points of `lowered`; None = all are ASCII."""
    marks: list[str]
    """Characters beyond ASCII that say something, each once."""


def reading(part: str, sought: Sought) -> Reading:
    """Reads a text that is capped already."""
    lowered, content = part.lower(), part.encode("utf-8", "surrogatepass")
    points, marks = None, list[str]()
    if lowered.isascii():
        words = content.translate(_SPACED).decode("ascii").split()
    else:
        words = _WORD.findall(lowered)
        points = np.frombuffer(lowered.encode("utf-32-le", "surrogatepass"), np.uint32)
        marks = vocabulary.marks(points)
    distinct = frozenset(words)
    ids, found = hashed_seeking(part, sought)
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    subjects, languages = vocabulary.sums(distinct)
    for place in vocabulary.letters(marks):
        languages[place] += vocabulary.LETTER_SHARE
    return Reading(part, lowered, words, distinct, ids, found, content, counts, subjects, languages, points, marks)
