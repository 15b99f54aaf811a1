"""Hashed n-grams: a text as the bucket ids of its words, pairs of words and short runs of characters.

The one feature extractor of every small model in this service: `hashed` is called when the weights are trained and
when a prompt is routed, so what was learned is what is read. It depends on nothing that differs between machines, runs
or releases: the arithmetic is modulo 2**32, the classes of characters are the ranges written below, and Python's own
randomised `hash()` is never used. Changing anything here makes every weight in `weights/` wrong: `tests/unit/router/
test_ngrams.py` holds golden ids so that it cannot happen unseen.

A model that wants fewer buckets keeps the low bits: `hashed(text) & (2**14 - 1)`.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]
Places = npt.NDArray[np.intp]
"""Ids, or places, as numpy takes them without converting them."""

BUCKETS = 1 << 18
"""Bucket ids are below this number, a power of two."""
HEAD_CHARACTERS = 2000
"""How much of the beginning of a text is read."""
TAIL_CHARACTERS = 1000
"""How much of the end of a text is read, when it is longer than head and tail together."""

MOST_IDS = 8 * 2 * (HEAD_CHARACTERS + TAIL_CHARACTERS)
"""No text has more ids."""

_LONGEST = 2 * (HEAD_CHARACTERS + TAIL_CHARACTERS) + 8  # Lower case is at most twice as long as what it was made from.
_SEPARATOR, _LETTER, _ALONE = 0, 1, 2
_SALTS = (0x0, 0x3C6EF372, 0x78DDE6E4, 0x1B873593, 0x5F356495)
_FACTORS = tuple(np.uint32(f) for f in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1))
_COLUMN = np.array(_FACTORS, np.uint32)[:, None]
_PAIR = np.uint32(0xB5297A4D)
_SPREAD = np.uint32(0x2C1B3C6D)
_SALT_4, _SALT_5, _SALT_WORD = (np.uint32(salt) for salt in _SALTS[1:4])
_SALT_PAIR = np.uint32((_SALTS[4] - _SALTS[3] * (int(_PAIR) + 1)) & 0xFFFFFFFF)
"""Words carry theirs already when they are paired."""
_ZERO, _DIGITS = np.uint32(ord("0")), np.uint32(10)
_SHIFT_DOWN, _SHIFT_TOP = np.uint32(15), np.uint32(32 - 18)


def _kinds() -> npt.NDArray[np.uint8]:
    """What each code point up to U+FFFF is: a separator, a letter of a word, or a word by itself."""
    kinds = np.full(0x10000, _LETTER, np.uint8)
    kinds[:0x80] = _SEPARATOR
    for first, last in (("0", "9"), ("A", "Z"), ("a", "z"), ("_", "_")):
        kinds[ord(first) : ord(last) + 1] = _LETTER
    for start, end in ((0x80, 0xBF), (0x2000, 0x206F), (0x3000, 0x303F), (0xFE10, 0xFE6F), (0xFF00, 0xFF0F)):
        kinds[start : end + 1] = _SEPARATOR
    kinds[[0xAA, 0xB5, 0xBA]] = _LETTER
    kinds[[0xD7, 0xF7, 0xFF1A, 0xFF1B, 0xFF1F]] = _SEPARATOR
    # Scripts written without spaces: every character is a word. Symbols and (by the clipped lookup) everything beyond
    # U+FFFF, emoji above all, likewise.
    for start, end in ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2070, 0x2E7F), (0x2E80, 0x2FFF)):
        kinds[start : end + 1] = _ALONE
    for start, end in ((0x3040, 0x312F), (0x3190, 0xA4CF), (0xF900, 0xFAFF), (0xFFFF, 0xFFFF)):
        kinds[start : end + 1] = _ALONE
    return kinds


def _powers(base: int) -> npt.NDArray[np.uint32]:
    """base**0, base**1 … modulo 2**32."""
    powers, value = [], 1
    for _ in range(_LONGEST):
        powers.append(value)
        value = value * base & 0xFFFFFFFF
    return np.array(powers, np.uint32)


_KINDS = _kinds()
_FOLDED = bytes(ord("0") if chr(code).isdigit() else ord(chr(code).lower()) for code in range(128)) + bytes(128)
"""Every byte of ASCII as it is hashed: in lower case, digits as zeros."""
_LETTERS = bytes(code if _KINDS[code] == _LETTER else 0 for code in range(128)) + bytes(128)
"""The letters of words; separators are 0."""
_POWERS = _powers(0x01000193)
_SCALED_INVERSES = (_powers(pow(0x01000193, -1, 1 << 32)) * _FACTORS[0])[1:]
"""Of the place behind each, times the first factor."""
_ORDER = np.arange(MOST_IDS, dtype=np.uint16)
_scratch = threading.local()


def capped(text: str) -> str:
    """The part of a text that is read: all of it, or its first and last characters."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return f"{text[:HEAD_CHARACTERS]}\n{text[-TAIL_CHARACTERS:]}"


def hashed(text: str) -> Ids:
    """The bucket ids (below `BUCKETS`, each once, in no meaningful order) of a text's n-grams.

    Words and pairs of neighbouring words, and every 3, 4 and 5 characters in a row; in lower case, every digit a zero
    (which number it is says little, how long it is much), one space before and after. Lone surrogates and unassigned
    code points are characters as any other.
    """
    return _each_once(_mixed(text)).astype(np.uint32)


class Sought:
    """Pieces of lower-case text that `hashed_seeking` looks for while it hashes."""

    def __init__(self, pieces: Sequence[str]) -> None:
        """`pieces`: of three characters and more."""
        longest = len(_SALTS)
        ends = [(gram(piece[:longest]), gram(piece[-longest:])) for piece in pieces]
        self.ends = np.array(ends, np.intp).reshape(-1, 2).T.copy()
        """(2, pieces) The buckets that each begins and ends with."""


def hashed_seeking(text: str, sought: Sought) -> tuple[Places, list[bool]]:
    """The ids of a text, and for each piece whether it may be in the text in lower case: what is False is not there,
    what is True nearly always is."""
    mixed = _mixed(text)
    ids = _each_once(mixed)
    if not len(mixed):
        return ids, [False] * sought.ends.shape[1]
    # A bucket's place is that of an n-gram of this text or one left over from another; the n-gram there says which.
    first, last = mixed.take(_scratch.seen.take(sought.ends), mode="clip") == sought.ends
    first &= last
    found: list[bool] = first.tolist()
    return ids, found


def gram(run: str) -> int:
    """The bucket of 3, 4 or 5 characters in a row, in lower case."""
    if not 3 <= len(run) <= len(_SALTS):
        raise ValueError(f"a run has 3 to {len(_SALTS)} characters, not {len(run)}")
    mixed = _SALTS[len(run) - 3]
    for character, factor in zip(run, _FACTORS, strict=False):
        mixed += (ord("0") if "0" <= character <= "9" else ord(character)) * int(factor)
    mixed &= 0xFFFFFFFF
    mixed ^= mixed >> int(_SHIFT_DOWN)
    return (mixed * int(_SPREAD) & 0xFFFFFFFF) >> int(_SHIFT_TOP)


def _mixed(text: str) -> Places:
    """The ids with repetition."""
    read = capped(text)
    points, letters, begins = _ascii(read) if read.isascii() else _characters(read)
    # The text ends with a space, where no word begins: it stands for the end of the last one.
    begins[-1] = True
    before = begins.nonzero()[0]
    # Room: 3-, 4- and 5-grams of n characters, w words, w - 1 pairs.
    n, w = len(points), len(before) - 1
    threes, fours, fives = n - 2, max(n - 3, 0), max(n - 4, 0)
    a, b, c, d = threes, threes + fours, threes + fours + fives, threes + fours + fives + w
    mixed = np.empty(d + max(w - 1, 0), np.uint32)
    # Each character times each factor, a row for each; read with rows longer by one, what is added up stands below
    # one another.
    products = np.empty(5 * (n + 1), np.uint32)
    np.multiply(_COLUMN, points, out=products[: 5 * n].reshape(5, n))
    first, second, third, fourth, fifth = products.reshape(5, n + 1)
    runs = np.add(first[:threes], second[:threes], out=mixed[:a])
    runs += third[:threes]
    longer = np.add(runs[:fours], fourth[:fours], out=mixed[a:b])
    longest = np.add(longer[:fives], fifth[:fives], out=mixed[b:c])
    longer += _SALT_4
    longest += _SALT_5
    if w:
        words = np.add(_words(letters, before), _SALT_WORD, out=mixed[c:d])
        pairs = np.multiply(words[:-1], _PAIR, out=mixed[d:])
        pairs += words[1:]
        pairs += _SALT_PAIR
    mixed ^= mixed >> _SHIFT_DOWN
    mixed *= _SPREAD
    mixed >>= _SHIFT_TOP
    return mixed.astype(np.intp)


def _characters(read: str) -> tuple[Ids, Ids, npt.NDArray[Any]]:
    """The code points of a text as they are hashed, one space before and after; the same without separators (0); and
    for all but the first whether a word begins with it."""
    folded = f" {read.lower()} ".encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(folded, "<u4").astype(np.uint32)
    points[points - _ZERO < _DIGITS] = _ZERO
    kinds = _KINDS.take(points, mode="clip")
    return points, points * (kinds != _SEPARATOR), kinds[1:] & (~kinds[:-1] | _ALONE)


def _ascii(read: str) -> tuple[Ids, Ids, npt.NDArray[Any]]:
    """The same of a text in ASCII, where tables of bytes do it in a third of the time."""
    folded = f" {read} ".encode("ascii").translate(_FOLDED)
    letters = np.frombuffer(folded.translate(_LETTERS), np.uint8)
    inside = letters != 0
    return np.frombuffer(folded, np.uint8).astype(np.uint32), letters.astype(np.uint32), inside[1:] > inside[:-1]


def _words(letters: Ids, before: Places) -> Ids:
    """One 32-bit hash per word, in the order of the text. `before`: the places before the words, and before the end."""
    # Each character times a power of its place; summed per word (as sums up to its end less those up to its beginning)
    # and divided by the power of the word's place, so that a word hashes the same wherever it stands.
    sums = np.add.accumulate(letters * _POWERS[: len(letters)], dtype=np.uint32).take(before)
    words: Ids = sums[1:] - sums[:-1]
    words *= _SCALED_INVERSES.take(before[:-1])
    return words


def _each_once(ids: Places) -> Places:
    """`ids` without repetition: each keeps its last place."""
    seen = getattr(_scratch, "seen", None)
    if seen is None:
        seen = _scratch.seen = np.empty(BUCKETS, np.uint16)
    order = _ORDER[: len(ids)]
    seen[ids] = order
    return ids.compress(seen.take(ids) == order)
