"""How well memories fit a query: BM25 over words and cosine over meaning, mixed by how far each stands out.

A turn is judged by itself and together with its neighbours in its thread: an answer often names nothing of what the
question named. Scores are mixed, not ranks: what one side finds outstanding stays outstanding. Then a little of how
well the neighbours and the best of the same thread fit is added: what is asked about was mostly talked about, not just
named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

K1 = 1.2
"""BM25: how soon more of the same word adds nothing."""
B = 0.75
"""BM25: how much a long text is discounted."""
WINDOW_WEIGHT = 1.0
"""What the words of a turn with the one before it count beside its own."""
DENSE_WEIGHT = 0.6
"""What meaning counts; words count the rest."""

NEIGHBOUR_WEIGHT = 0.15
"""What the better of the turns before and behind adds."""
THREAD_WEIGHT = 0.15
"""What the mean of the thread's best adds."""
THREAD_BEST = 3
"""How many of a thread stand for it."""
CANDIDATES = 2048
"""Of more, only the best by themselves are judged by their surroundings."""
NONE = -1
"""Where there is no neighbour."""


class WordScores:
    """BM25 of each text, a word of the query after the other; only texts that hold the word are touched."""

    def __init__(self, lengths: Floats) -> None:
        mean = (float(lengths.mean()) if len(lengths) else 0.0) or 1.0
        self._discount = (K1 * (1 - B) + (K1 * B / mean) * lengths).astype(np.float32)
        self.scores = np.zeros(len(lengths), np.float32)

    def add(self, holding: NDArray[np.integer[Any]], often: Floats) -> None:
        """A word: which texts hold it, each once, and how often each does."""
        if len(holding):
            self.scores[holding] += self._weight(len(holding)) * often / (often + self._discount[holding])

    def add_all(self, often: Floats) -> None:
        """A word that many hold: how often each text does."""
        self.scores += self._weight(int(np.count_nonzero(often))) * often / (often + self._discount)

    def _weight(self, holding: int) -> np.float32:
        rarity = np.log(1 + (len(self.scores) - holding + 0.5) / (holding + 0.5))
        return np.float32(rarity * (K1 + 1))


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
    among = np.flatnonzero(scores >= _kth(scores, k)) if len(scores) > k else np.arange(len(scores))
    order = np.lexsort((-among, -scores[among]))[:k]
    return among[order].astype(np.int64)


def _kth(scores: Floats, k: int) -> np.float32:
    """The k-th best of more than k."""
    found: np.float32 = np.partition(scores, len(scores) - k)[len(scores) - k]
    return found


def candidates(scores: Floats) -> NDArray[np.int64]:
    """Where the best CANDIDATES are, in the order in which they stand; of equal ones at the end, the newest."""
    if len(scores) <= CANDIDATES:
        return np.arange(len(scores), dtype=np.int64)
    least = _kth(scores, CANDIDATES)
    found = np.flatnonzero(scores >= least)
    if len(found) == CANDIDATES:
        return found
    equal = found[scores[found] == least]
    left_out = np.zeros(len(scores), np.bool_)
    left_out[equal[: len(found) - CANDIDATES]] = True
    return found[~left_out[found]]


def surrounded(
    scores: Floats, before: NDArray[np.int32], behind: NDArray[np.int32], threads: NDArray[np.int32]
) -> tuple[NDArray[np.int64], Floats]:
    """Which are candidates, and their scores with what the surroundings add.

    `before` and `behind` say where the neighbours stand, `threads` which thread each is of (NONE = of none).
    """
    among = candidates(scores)
    own = scores[among]
    neighbours = np.zeros(len(among), np.float32)
    for side in (before[among], behind[among]):
        there = side != NONE
        neighbours[there] = np.maximum(neighbours[there], scores[side[there]])
    company = _thread_means(own, threads[among])
    return among, own + np.float32(NEIGHBOUR_WEIGHT) * neighbours + np.float32(THREAD_WEIGHT) * company


def _thread_means(scores: Floats, threads: NDArray[np.int32]) -> Floats:
    """For each, the mean of the best of its thread; of what belongs to none, itself."""
    means = scores.astype(np.float32)
    order = np.lexsort((-scores, threads))
    sorted_threads = threads[order]
    firsts = np.flatnonzero(np.diff(sorted_threads, prepend=sorted_threads[:1] - 1))
    sizes = np.diff(np.append(firsts, len(order)))
    rank = np.arange(len(order)) - np.repeat(firsts, sizes)
    best_only = np.where(rank < THREAD_BEST, scores[order], np.float32(0))
    sums = np.add.reduceat(best_only, firsts) if len(firsts) else best_only
    mean = (sums / np.minimum(sizes, THREAD_BEST)).astype(np.float32)
    spread = np.repeat(mean, sizes)
    means[order] = np.where(sorted_threads == NONE, means[order], spread)
    return means
