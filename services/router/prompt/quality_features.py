"""What the quality predictor reads of a prompt: its n-grams, and counts of what it is made of.

One prompt becomes one sparse row of `COLUMNS` columns: a share for the hashed n-grams (`ngrams.hashed`, low bits) and
a share for its structure (length, digits, punctuation, LaTeX, code, options), each of length one, so that a long prompt
weighs as much as a short one. A count is read on a logarithmic scale between two neighbouring bins: a linear model over
them is a smooth curve of the count. Training and routing call the same function.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.router.prompt.ngrams import Ids, capped

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

_MEMBERS = np.zeros((256, len(_CLASSES)), np.float32)
for _column, _class in enumerate(_CLASSES):
    _MEMBERS[list(_class), _column] = 1.0
_FIRST = (np.arange(_CURVES) * (_BINS + 1)).astype(np.int64)
_LOW = np.uint32(BUCKETS - 1)
_RATIO_COLUMNS = np.array(_RATIOS)
_UNIT = np.float32(1.0 / np.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt as one sparse row."""

    ids: Ids
    """The n-grams, before they share columns."""
    word: float
    """The value of each n-gram's column."""
    curves: npt.NDArray[np.int64]
    """Columns of the structure that are not zero, counted from its first one."""
    structure: Floats
    """Their values."""

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """Columns that are not zero, each once except for n-grams that share a bucket."""
        return np.concatenate((self.ids & _LOW, self.curves + BUCKETS))

    @property
    def weights(self) -> Floats:
        """Their values."""
        return np.concatenate((np.full(len(self.ids), self.word, np.float32), self.structure))


def row(text: str, ids: Ids) -> Row:
    """The row of a prompt. `ids`: its n-grams, `ngrams.hashed(text)`, which the caller has already."""
    read = capped(text)
    content = read.encode("utf-8", "surrogatepass")
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    return row_of(ids, counts, (len(text), len(content)), [read.count(phrase) for phrase in PHRASES])


def row_of(ids: Ids, bytes_counted: npt.NDArray[np.intp], lengths: tuple[int, int], phrases: list[int]) -> Row:
    """The same of what was counted: bytes of each value in UTF-8; characters, and bytes in all; `PHRASES`."""
    positions = _positions(bytes_counted, lengths, phrases)
    lower = np.minimum(positions.astype(np.int64), _BINS - 1)
    part = positions - lower
    first = _FIRST + lower
    structure = np.concatenate((1.0 - part, part))
    structure *= _UNIT / np.sqrt(np.dot(structure, structure))
    return Row(ids, float(_UNIT / np.sqrt(max(len(ids), 1))), np.concatenate((first, first + 1)), structure)


def _positions(bytes_counted: npt.NDArray[np.intp], lengths: tuple[int, int], phrases: list[int]) -> Floats:
    """Where each curve is read, 0 to the number of bins."""
    characters, size = lengths
    counts = bytes_counted.astype(np.float32) @ _MEMBERS
    positions = np.empty(_CURVES, np.float32)
    positions[: len(_CLASSES)] = counts
    positions[len(_CLASSES)] = characters
    positions[_COUNTS:_SCALES] = counts[_RATIO_COLUMNS] / (size + 1.0)
    positions[_SCALES:] = phrases
    np.log2(positions[:_COUNTS] + 1.0, out=positions[:_COUNTS])
    positions[_COUNTS:_SCALES] = np.sqrt(positions[_COUNTS:_SCALES]) * _BINS
    if any(phrases):
        np.log2(positions[_SCALES:] + 1.0, out=positions[_SCALES:])
    return np.minimum(positions, np.float32(_BINS))
