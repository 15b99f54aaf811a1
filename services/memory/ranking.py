"""How well memories fit a query: BM25 over words and cosine over meaning, mixed by how far each stands out.

A turn is judged by itself and together with the turn before it in its thread: an answer often names nothing of what the
question named. Scores are mixed, not ranks: what one side finds outstanding stays outstanding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

K1 = 1.2
"""BM25: how soon more of the same word adds nothing."""
B = 0.75
"""BM25: how much a long text is discounted."""
WINDOW_WEIGHT = 0.5
"""What the words of a turn with the one before it count beside its own."""
DENSE_WEIGHT = 0.6
"""What meaning counts; words count the rest."""


def bm25(frequencies: Sequence[Floats], lengths: Floats) -> Floats:
    """BM25 of each text. `frequencies`: for each word of the query, how often it stands in each text."""
    scores = np.zeros(len(lengths), np.float32)
    count = len(lengths)
    if not count:
        return scores
    mean = float(lengths.mean()) or 1.0
    discount = (K1 * (1 - B) + (K1 * B / mean) * lengths).astype(np.float32)
    for frequency in frequencies:
        holding = int(np.count_nonzero(frequency))
        if holding:
            rarity = np.log(1 + (count - holding + 0.5) / (holding + 0.5))
            scores += np.float32(rarity * (K1 + 1)) * frequency / (frequency + discount)
    return scores


def standing_out(scores: Floats, known: NDArray[np.bool_] | None = None) -> Floats:
    """Each score as its distance from the mean in standard deviations; where nothing is known, the mean."""
    among = scores if known is None else scores[known]
    if not len(among):
        return np.zeros_like(scores)
    spread = float(among.std())
    if spread < 1e-9:
        return np.zeros_like(scores)
    found = ((scores - np.float32(among.mean())) / np.float32(spread)).astype(np.float32)
    if known is not None:
        found[~known] = 0
    return found


def mixed(words: Floats, cosines: Floats | None, embedded: NDArray[np.bool_] | None = None) -> Floats:
    """The score that memories are ranked by; words alone without cosines."""
    if cosines is None:
        return standing_out(words)
    meaning = standing_out(cosines, embedded)
    return np.float32(DENSE_WEIGHT) * meaning + np.float32(1 - DENSE_WEIGHT) * standing_out(words)


def best(scores: Floats, k: int) -> NDArray[np.int64]:
    """Where the k best are, best first; equal ones in the order in which they stand, the newest first."""
    if k < 1 or not len(scores):
        return np.zeros(0, np.int64)
    if len(scores) > k:
        kth = scores[np.argpartition(-scores, k - 1)[k - 1]]
        among = np.flatnonzero(scores >= kth)
    else:
        among = np.arange(len(scores))
    order = np.lexsort((-among, -scores[among]))[:k]
    return among[order].astype(np.int64)
