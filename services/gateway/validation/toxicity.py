"""How likely a text is to hurt somebody: a logistic head on the sentence embedding and on counts of hard words.

A long text is read in windows, and its worst window counts. Made by `python -m bench.validation.train`; what the
weights were learned from is in weights/README.md.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.gateway.validation.sentences import sentences, windows
from services.gateway.validation.toxic_words import GROUPS, counts

FLAG, BLOCK = 0.5, 0.8
"""From here on an answer is flagged, and blocked where a policy blocks."""
WINDOW_CHARACTERS = 300
"""Longer ones hide a harmful sentence among harmless ones."""
WINDOWS_MAX = 12
SENTENCES_MAX = 4
"""The most sentences that are read once more by themselves."""
SENTENCE_CHARACTERS = 120
"""A shorter text is one window and nothing else."""
READ_WINDOWS_MAX = 32
"""How many are looked through for hard words, so that the worst are among those that are embedded."""
DIMENSIONS = 384
SCALES = np.array((3.0, 3.0, 1.0, 0.3, 0.3))
"""How freely training may weigh each count of `toxic_words`: slurs and obscenities most."""
CAUTION = 2.0
"""What is taken off the log-odds that training found. Most answers are harmless, half of the training texts are not."""
FILE = pathlib.Path(__file__).with_name("weights") / "toxicity.npz"


@dataclass(frozen=True)
class Head:
    """The numbers that training found."""

    weights: NDArray[np.float64]
    """One for each of the embedding's dimensions, then one for each count."""
    bias: float

    def scores(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """How likely each row is harmful."""
        found: NDArray[np.float64] = 1.0 / (
            1.0 + np.exp(-np.clip(features @ self.weights + self.bias - CAUTION, -40, 40))
        )
        return found


def features_of(embeddings: Sequence[Sequence[float]] | NDArray[Any], texts: Sequence[str]) -> NDArray[np.float64]:
    """One row for each window."""
    words = np.array([counts(text) for text in texts], np.float64).reshape(len(texts), len(GROUPS))
    return np.hstack([np.asarray(embeddings, np.float64).reshape(len(texts), DIMENSIONS), words * SCALES])


def load_head(path: pathlib.Path = FILE) -> Head:
    """The shipped numbers."""
    with np.load(path, allow_pickle=False) as kept:
        weights, bias = kept["weights"].astype(np.float64), float(kept["bias"])
    if weights.shape != (DIMENSIONS + len(GROUPS),):
        raise ValueError(f"{path.name} has {weights.shape} weights, not {DIMENSIONS + len(GROUPS)}: train it again")
    return Head(weights, bias)


def windows_of(text: str) -> list[tuple[int, int]]:
    """What is read of a text: all of it, and sentences with hard words by themselves too, lest the rest hides them.

    Of a long text the windows with hard words come first, of a very long one samples are taken.
    """
    step = len(text) // READ_WINDOWS_MAX
    if step > WINDOW_CHARACTERS:
        found = [(at * step, at * step + WINDOW_CHARACTERS) for at in range(READ_WINDOWS_MAX)]
        found = [(start, end) for start, end in found if text[start:end].strip()]
    else:
        found = windows(text, WINDOW_CHARACTERS, READ_WINDOWS_MAX)
    if len(found) == 1 and len(text) <= SENTENCE_CHARACTERS:
        return found
    hard = [_hardness(text[start:end]) for start, end in found]
    # Among equals every second one, so that the whole length is seen.
    order = sorted(range(len(found)), key=lambda index: (-hard[index], index % 2, index))
    single = [place for index in order if hard[index] for place in _hard_sentences(text, *found[index])]
    chosen = [found[index] for index in order[:WINDOWS_MAX]] + single[:SENTENCES_MAX]
    return sorted(set(chosen))


def _hard_sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    found = [(start + first, start + last) for first, last in sentences(text[start:end], SENTENCES_MAX * 2)]
    return [place for place in found if _hardness(text[slice(*place)])] if len(found) > 1 else []


def _hardness(text: str) -> float:
    return sum(counts(text)[:3])
