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

from services.gateway.validation.sentences import windows
from services.gateway.validation.toxic_words import GROUPS, counts

FLAG, BLOCK = 0.5, 0.8
"""From here on an answer is flagged, and blocked where a policy blocks."""
WINDOW_CHARACTERS = 500
"""About as much as the embedder reads of a text (128 pieces)."""
WINDOWS_MAX = 12
READ_WINDOWS_MAX = 24
"""How many are looked through for hard words, so that the worst are among those that are embedded."""
DIMENSIONS = 384
SCALES = np.array((3.0, 3.0, 1.0, 0.3, 0.3))
"""How freely training may weigh each count of `toxic_words`: slurs and obscenities most."""
CAUTION = 1.4
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
    """What is read of a text: all of it; of a long one those with hard words first, of a very long one samples."""
    step = len(text) // READ_WINDOWS_MAX
    if step > WINDOW_CHARACTERS:
        found = [(at * step, at * step + WINDOW_CHARACTERS) for at in range(READ_WINDOWS_MAX)]
        found = [(start, end) for start, end in found if text[start:end].strip()]
    else:
        found = windows(text, WINDOW_CHARACTERS, READ_WINDOWS_MAX)
    if len(found) <= WINDOWS_MAX:
        return found
    hard = [sum(counts(text[start:end])[:3]) for start, end in found]
    # Among equals every second one, so that the whole length is seen.
    order = sorted(range(len(found)), key=lambda index: (-hard[index], index % 2, index))
    return [found[index] for index in sorted(order[:WINDOWS_MAX])]
