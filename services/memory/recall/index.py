"""One organisation's memories, searched exactly.

What is found is read from the database. Whose a memory is, which agent's and which thread's, are columns; they are
masks before anything is scored, so that nobody's memories move anybody else's scores.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.memory.recall import ranking
from services.memory.recall.changes import Changes
from services.memory.recall.columns import NOBODY, MemoryColumns
from services.memory.recall.memory import FACT

EXPECTED_ROWS = 262_144
"""Room is made for so many at once at most."""
SHARE_OF_ALL = 4
"""When one of so many is concerned, it is quicker to look at all."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and among which."""

    terms: Sequence[int]
    vector: NDArray[np.float32] | None
    k: int
    user_id: str | None
    """None = of every user."""
    agents: frozenset[str] | None = None
    """None = of every agent."""
    thread_id: str | None = None
    not_thread_id: str | None = None
    kinds: frozenset[int] | None = None
    occurred_from_s: float | None = None
    occurred_before_s: float | None = None
    valid_at_s: float | None = None
    """None = facts that hold no longer, too."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    metadata_terms: Sequence[int] = ()
    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """A memory and its scores."""

    memory_id: str
    score: float
    bm25: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search gave."""

    found: list[Found]
    not_embedded: int
    """How many of those searched have no vector yet."""


@dataclass(frozen=True, slots=True)
class _Among:
    """The rows that a question is asked of, and where in `rows` their neighbours are."""

    rows: NDArray[np.int64]
    places: NDArray[np.int32]
    """Where in `rows` each row of the index is, and NONE."""
    before: NDArray[np.int32]
    behind: NDArray[np.int32]
    """One of those that follow; …"""
    siblings: NDArray[np.int32]
    """… and here are the others, of turns that several follow."""
    embedded: NDArray[np.bool_]


class RecallIndex:
    """What one organisation remembers. `apply` and `search` are not for two threads at once."""

    def __init__(self, dimensions: int, embedder_id: str, generation: str = "") -> None:
        self.dimensions, self.embedder_id, self.generation = dimensions, embedder_id, generation
        self.filled = False
        """Whether everything has come at least once."""
        self._rows = MemoryColumns(dimensions)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def seq(self) -> int:
        """How far it has come."""
        return self._rows.seq

    @property
    def worn(self) -> bool:
        """Whether so many rows are gone that it should be made anew."""
        return self._rows.worn

    @property
    def size_bytes(self) -> int:
        """What it takes, roughly."""
        return self._rows.size_bytes

    def apply(self, changes: Changes) -> None:
        """Takes over what changed."""
        self._rows.apply(changes)

    def expect(self, rows: int) -> None:
        """So many changes are to come at most."""
        self._rows.reserve(min(rows, EXPECTED_ROWS))

    def reached(self, seq: int) -> None:
        """All that changed so far has come: not every number that was given out was used."""
        self._rows.seq = max(self._rows.seq, seq)

    def settle(self) -> None:
        """Makes the next question quick, after much has come."""
        self._rows.settle()

    def search(self, query: Query) -> Findings:
        """The best k, best first."""
        rows = np.flatnonzero(self._mask(query))
        if not len(rows):
            return Findings([], 0)
        among = self._among(rows)
        words = self._words(among, query.terms)
        cosines = None
        if query.vector is not None and among.embedded.any():
            cosines = self._cosines(among, words, query.vector)
        threads = self._rows.column("thread")[rows]
        threads[threads == self._rows.codes["thread"].get("", NOBODY)] = ranking.NONE
        chosen, scores = ranking.surrounded(
            ranking.mixed(words, cosines, among.embedded), among.before, among.behind, threads
        )
        rows, words = rows[chosen], words[chosen]
        cosines = None if cosines is None else cosines[chosen]
        if cosines is None:
            # Without meaning, what shares no word with the query is no answer to it.
            matching = np.flatnonzero(words > 0)
            rows, words, scores = rows[matching], words[matching], scores[matching]
        found = [
            Found(
                self._id(rows[at]), float(scores[at]), float(words[at]), 0.0 if cosines is None else float(cosines[at])
            )
            for at in ranking.best(scores, query.k)
        ]
        return Findings(found, len(among.rows) - int(np.count_nonzero(among.embedded)))

    def nearest(self, query: Query) -> list[tuple[str, float]]:
        """The k memories nearest by meaning, with their cosines; of the text itself, without the turn before it."""
        rows = np.flatnonzero(self._mask(query) & self._rows.column("embedded"))
        if query.vector is None or not len(rows):
            return []
        cosines = self._alone(rows, query.vector)
        return [(self._id(rows[at]), float(cosines[at])) for at in ranking.best(cosines, query.k)]

    def _id(self, row: int) -> str:
        return str(uuid.UUID(bytes=self._rows.ids[row]))

    def _mask(self, query: Query) -> NDArray[np.bool_]:
        column, codes = self._rows.column, self._rows.codes
        mask: NDArray[np.bool_] = column("alive").copy()
        if query.user_id is not None:
            mask &= column("user") == codes["user"].get(query.user_id, NOBODY)
        if query.agents is not None:
            mask &= _any_of(column("agent"), [codes["agent"].get(one, NOBODY) for one in query.agents])
        if query.thread_id is not None:
            mask &= column("thread") == codes["thread"].get(query.thread_id, NOBODY)
        if query.not_thread_id is not None:
            mask &= column("thread") != codes["thread"].get(query.not_thread_id, NOBODY)
        if query.kinds is not None:
            mask &= _any_of(column("kind"), query.kinds)
        if query.occurred_from_s is not None:
            mask &= column("occurred") >= np.float64(query.occurred_from_s)
        if query.occurred_before_s is not None:
            mask &= column("occurred") < np.float64(query.occurred_before_s)
        if query.valid_at_s is not None:
            self._hold(mask, query.valid_at_s)
        if query.metadata_terms:
            mask &= self._rows.with_metadata(query.metadata_terms)
        if query.only is not None:
            listed = np.zeros(len(mask), np.bool_)
            listed[self._rows.rows_of(_bytes_of(query.only))] = True
            mask &= listed
        if query.without:
            mask[self._rows.rows_of(_bytes_of(query.without))] = False
        return mask

    def _hold(self, mask: NDArray[np.bool_], valid_at_s: float) -> None:
        """Takes facts out that do not hold at a moment."""
        facts, moment = np.flatnonzero(self._rows.column("kind") == FACT), np.float64(valid_at_s)
        holds = (self._rows.held["valid_from"][facts] <= moment) & (self._rows.held["valid_to"][facts] > moment)
        mask[facts[~holds]] = False

    def _among(self, rows: NDArray[np.int64]) -> _Among:
        places = np.full(len(self._rows.ids) + 1, ranking.NONE, np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        # The last place stands for no turn, which the index -1 points to.
        before = places[self._rows.column("previous")[rows]]
        behind = np.full(len(rows), ranking.NONE, np.int32)
        followed = np.flatnonzero(before != ranking.NONE).astype(np.int32)
        behind[before[followed]] = followed
        siblings = followed[behind[before[followed]] != followed]
        return _Among(rows, places, before, behind, siblings, self._rows.column("embedded")[rows])

    def _words(self, among: _Among, terms: Sequence[int]) -> ranking.Floats:
        """BM25 of each by itself, and of it with the turn before it."""
        lengths = np.append(self._rows.column("length")[among.rows], np.float32(0))
        own = ranking.WordScores(lengths[:-1])
        together = ranking.WordScores(lengths[:-1] + lengths[among.before])
        # The last one stands for no turn.
        counts = np.zeros(len(among.rows) + 1, np.float32)
        for term in dict.fromkeys(terms):
            holding, often = self._rows.words.of(term)
            at = among.places[holding]
            if len(at) and at.min() == ranking.NONE:
                allowed = at != ranking.NONE
                at, often = at[allowed], often[allowed]
            if not len(at):
                continue
            counts[at] = often
            if SHARE_OF_ALL * len(at) > len(among.rows):
                own.add_all(counts[:-1])
                together.add_all(counts[:-1] + counts[among.before])
            else:
                own.add(at, often)
                windows = _windows(among, at, counts)
                together.add(windows, counts[windows] + counts[among.before[windows]])
            counts[at] = 0
        return own.scores + np.float32(ranking.WINDOW_WEIGHT) * together.scores

    def _cosines(self, among: _Among, words: ranking.Floats, vector: NDArray[np.float32]) -> ranking.Floats:
        """The nearest of each by itself, with the turn before it, and with the turn behind it.

        Of very many, the last two are asked only of the best by themselves and of their neighbours.
        """
        rows, before, behind = among.rows, among.before, among.behind
        alone = self._alone(rows, vector)
        windowed: NDArray[np.bool_] = self._rows.column("windowed")[rows]
        if not windowed.any():
            return alone
        together = np.full(len(rows) + 1, NOBODY, np.float32)
        if len(rows) > 2 * ranking.CANDIDATES:
            chosen = ranking.candidates(ranking.mixed(words, alone, among.embedded))
            wanted = np.zeros(len(rows) + 1, np.bool_)
            for there in (chosen, before[chosen], behind[chosen]):
                wanted[there] = True
            at = np.flatnonzero(wanted[:-1] & windowed)
        else:
            at = np.flatnonzero(windowed)
        together[at] = self._rows.windows[rows[at]] @ vector
        nearest: ranking.Floats = np.maximum(alone, np.maximum(together[:-1], together[behind]))
        # One without a vector of its own is not known by its neighbour's.
        return np.where(among.embedded, nearest, np.float32(0))

    def _alone(self, rows: NDArray[np.int64], vector: NDArray[np.float32]) -> ranking.Floats:
        matrix, size = self._rows.vectors, len(self._rows.ids)
        # Copying rows costs more than multiplying some that nobody asked for.
        if SHARE_OF_ALL * len(rows) > size:
            every: ranking.Floats = matrix[:size] @ vector
            return every if len(rows) == size else every[rows]
        some: ranking.Floats = matrix[rows] @ vector
        return some


def _windows(among: _Among, at: NDArray[np.int32], counts: ranking.Floats) -> NDArray[np.int32]:
    """Which turns hold a word by themselves or in the turn before them, each once."""
    followers = among.behind[at]
    followers = followers[followers != ranking.NONE]
    others = among.siblings
    if len(others):
        others = others[(counts[among.before[others]] > 0) & (counts[others] == 0)]
    found: NDArray[np.int32] = np.concatenate((at, followers[counts[followers] == 0], others))
    return found


def _bytes_of(ids: Iterable[str]) -> list[bytes]:
    return [uuid.UUID(one).bytes for one in ids]


def _any_of(column: NDArray[Any], values: Iterable[int]) -> NDArray[np.bool_]:
    """Where the column holds one of a few values."""
    found = np.zeros(len(column), np.bool_)
    for value in values:
        found |= column == value
    return found
