"""What the quality predictor reads of a prompt: its n-grams, and counts of what it is made of.

One prompt becomes one sparse row of `COLUMNS` columns: a share for the hashed n-grams (`ngrams.hashed`, low bits) and
a share for its structure (length, digits, punctuation, LaTeX, code, options), each of length one, so that a long prompt
weighs as much as a short one. A count is read on a logarithmic scale between two neighbouring bins: a linear model over
them is a smooth curve of the count. Training and routing call the same function.
"""

import math
from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from services.router.prompt.ngrams import Ids, Places, capped

Floats = npt.NDArray[np.float32]

BUCKETS = 1 << 14
"""N-grams share this many columns."""
_BINS = 14

_CLASSES: tuple[bytes, ...] = (
    b"0123456789",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"\n",
    b" ",
    b",",
    b".",
    b"?",
    b"'",
    b'"',
    b"\\",
    b"$",
    b"_",
    b"()",
    b"[]",
    b"{}",
    b"=<>",
    b"+*/^",
    b"-",
    b":;",
    b"%",
    bytes(range(128, 256)),
    b"aeiou",
)
_RATIOS = (0, 1, 2, 3, 4, 5, 12, 16, 20, 21)
PHRASES = (
    "how many",
    "how much",
    "which of",
    "what is",
    " not ",
    " each ",
    "def ",
    "assert",
    "function",
    "\\boxed",
    "\\frac",
    "'label'",
    "\n1. ",
    "A. ",
    "A) ",
    "____",
    " true",
    " if ",
    "than ",
    "times",
    "Q: ",
    "```",
)
"""What is counted as it is written."""
_COUNTS = len(_CLASSES) + 1
_SCALES = _COUNTS + len(_RATIOS)
_CURVES = _SCALES + len(PHRASES)
STRUCTURE = _CURVES * (_BINS + 1)
"""Structure has this many columns, after those of the n-grams."""
COLUMNS = BUCKETS + STRUCTURE
"""Width of a row."""

# The curves stand in another order while they are read, the shares first: each kind of scale is one piece then.
_SHARES = len(_RATIOS)
_LENGTH = _SHARES + len(_CLASSES)
_SAID = _LENGTH + 1
_ORDER = (*range(_COUNTS, _SCALES), *range(_COUNTS), *range(_SCALES, _CURVES))
_MEMBERS = np.zeros((256, _CURVES), np.float32)
"""Which bytes each curve counts."""
for _column, _class in enumerate(_CLASSES):
    _MEMBERS[list(_class), _SHARES + _column] = 1.0
_MEMBERS[:, :_SHARES] = _MEMBERS[:, [_SHARES + _column for _column in _RATIOS]]
_FIRST = np.array([(_BINS + 1) * _curve + _next for _next in (0, 1) for _curve in _ORDER], np.intp).reshape(2, _CURVES)
_UNIT = 1.0 / math.sqrt(2.0)
_ONE = np.float32(1.0)
_END = np.nextafter(np.float32(_BINS), np.float32(0))


class Row(msgspec.Struct, frozen=True):
    """A prompt as one sparse row."""

    ids: Ids | Places
    """The n-grams, before they share columns."""
    word: float
    """The value of each n-gram's column."""
    curves: Places
    """Columns of the structure that are not zero, counted from its first one."""
    structure: Floats
    """Their values."""

    @property
    def columns(self) -> Places:
        """Columns that are not zero, each once except for n-grams that share a bucket."""
        return np.concatenate((self.ids.astype(np.intp) & (BUCKETS - 1), self.curves + BUCKETS))

    @property
    def weights(self) -> Floats:
        """Their values."""
        return np.concatenate((np.full(len(self.ids), self.word, np.float32), self.structure))


def row(text: str, ids: Ids) -> Row:
    """The row of a prompt. `ids`: its n-grams, `ngrams.hashed(text)`, which the caller has already."""
    read = capped(text)
    content = read.encode("utf-8", "surrogatepass")
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    phrases = [(number, found) for number, phrase in enumerate(PHRASES) if (found := read.count(phrase))]
    return row_of(ids, counts, (len(text), len(content)), phrases)


def row_of(
    ids: Ids | Places, bytes_counted: npt.NDArray[np.intp], lengths: tuple[int, int], phrases: Iterable[tuple[int, int]]
) -> Row:
    """The same of what was counted: bytes of each value in UTF-8; characters, and bytes in all; of those of `PHRASES`
    that are there their number and how often."""
    characters, size = lengths
    # Where each curve is read, 0 to the number of bins.
    positions: Floats = bytes_counted.astype(np.float32) @ _MEMBERS
    shares, counts = positions[:_SHARES], positions[_SHARES:]
    shares *= np.float32(_BINS * _BINS / (size + 1.0))
    np.sqrt(shares, out=shares)
    positions[_LENGTH] = characters
    for number, found in phrases:
        positions[_SAID + number] = found
    counts += _ONE
    np.log2(counts, out=counts)
    np.minimum(positions, _END, out=positions)
    parts = np.empty((2, _CURVES), np.float32)
    np.modf(positions, parts[1], positions)
    np.subtract(_ONE, parts[1], out=parts[0])
    structure = parts.reshape(-1)
    structure *= np.float32(_UNIT / math.sqrt(np.dot(structure, structure)))
    return Row(ids, _UNIT / math.sqrt(max(len(ids), 1)), (_FIRST + positions.astype(np.intp)).reshape(-1), structure)
