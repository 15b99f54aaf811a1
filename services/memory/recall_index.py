"""One organisation's memories as arrays: searched exactly, kept in step by the sequence of changes, rebuilt at will.

It holds no text: words are numbers, and what is found is read from the database. Whose a memory is, which agent's and
which thread's, are columns; they are masks before anything is scored, so that nobody's memories move anybody else's
scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.memory import ranking
from services.memory.memory import FACT, Change
from services.memory.postings import Postings

FIRST_ROWS = 64
NOBODY = -1
WORN_ROWS = 1024
ROW_OVERHEAD_BYTES = 250
"""What Python's own objects of a row take, roughly: its id and its place."""


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


class RecallIndex:
    """The mirror. `apply` and `search` are not for two threads at once."""

    def __init__(self, dimensions: int, embedder_id: str, generation: str = "") -> None:
        self.seq = 0
        self.generation = generation
        self._embedder_id = embedder_id
        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        self._waiting: dict[str, list[int]] = {}
        self._codes: dict[str, dict[str, int]] = {"user": {}, "agent": {}, "thread": {}}
        self._metadata: dict[int, frozenset[int]] = {}
        self._postings = Postings()
        self._vectors = np.zeros((FIRST_ROWS, dimensions), np.float32)
        self._windows = np.zeros((FIRST_ROWS, dimensions), np.float32)
        self._columns: dict[str, NDArray[Any]] = {
            "alive": np.zeros(FIRST_ROWS, np.bool_),
            "kind": np.zeros(FIRST_ROWS, np.int8),
            "user": np.zeros(FIRST_ROWS, np.int32),
            "agent": np.zeros(FIRST_ROWS, np.int32),
            "thread": np.zeros(FIRST_ROWS, np.int32),
            "text": np.zeros(FIRST_ROWS, np.int64),
            "length": np.zeros(FIRST_ROWS, np.float32),
            "previous": np.full(FIRST_ROWS, NOBODY, np.int32),
            "occurred": np.zeros(FIRST_ROWS, np.float64),
            "valid_from": np.zeros(FIRST_ROWS, np.float64),
            "valid_to": np.zeros(FIRST_ROWS, np.float64),
            "embedded": np.zeros(FIRST_ROWS, np.bool_),
            "windowed": np.zeros(FIRST_ROWS, np.bool_),
        }

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def worn(self) -> bool:
        """Whether so many rows are gone that it should be made anew."""
        return len(self._ids) - len(self._row_of) > max(WORN_ROWS, len(self._row_of))

    @property
    def size_bytes(self) -> int:
        """What it takes, roughly."""
        arrays = sum(column.nbytes for column in self._columns.values())
        matrices = self._vectors.nbytes + self._windows.nbytes
        return arrays + matrices + self._postings.size_bytes + ROW_OVERHEAD_BYTES * len(self._ids)

    def apply(self, changes: Iterable[Change]) -> None:
        """Takes over what changed, in order."""
        for change in changes:
            row = self._row_of.get(change.memory_id)
            if change.gone:
                if row is not None:
                    self._remove(change.memory_id, row)
            else:
                if row is not None and self._columns["text"][row] != change.text_id:
                    self._remove(change.memory_id, row)
                    row = None
                if row is None:
                    row = self._append(change)
                self._describe(row, change)
            self.seq = max(self.seq, change.seq)

    def search(self, query: Query) -> Findings:
        """The best k, best first."""
        mask = self._mask(query)
        rows = np.flatnonzero(mask)
        if not len(rows):
            return Findings([], 0)
        places, before, behind = self._neighbours(rows)
        words = self._words(rows, places, before, query.terms)
        embedded: NDArray[np.bool_] = self._columns["embedded"][rows]
        cosines = None
        if query.vector is not None and embedded.any():
            cosines = self._cosines(rows, before, behind, words, query.vector)
        threads = self._columns["thread"][rows]
        threads[threads == self._codes["thread"].get("", NOBODY)] = ranking.NONE
        among, scores = ranking.surrounded(ranking.mixed(words, cosines, embedded), before, behind, threads)
        rows, words = rows[among], words[among]
        cosines = None if cosines is None else cosines[among]
        if cosines is None:
            # Without meaning, what shares no word with the query is no answer to it.
            matching = np.flatnonzero(words > 0)
            rows, words, scores = rows[matching], words[matching], scores[matching]
        chosen = ranking.best(scores, query.k)
        found = [
            Found(
                self._ids[rows[at]], float(scores[at]), float(words[at]), 0.0 if cosines is None else float(cosines[at])
            )
            for at in chosen
        ]
        return Findings(found, int(len(embedded) - np.count_nonzero(embedded)))

    def nearest(self, query: Query) -> list[tuple[str, float]]:
        """The k memories nearest by meaning, with their cosines; of the text itself, without the turn before it."""
        rows = np.flatnonzero(self._mask(query) & self._columns["embedded"][: len(self._ids)])
        if query.vector is None or not len(rows):
            return []
        cosines = self._products(self._vectors, rows, query.vector)
        return [(self._ids[rows[at]], float(cosines[at])) for at in ranking.best(cosines, query.k)]

    def _mask(self, query: Query) -> NDArray[np.bool_]:
        size = len(self._ids)
        column = {name: values[:size] for name, values in self._columns.items()}
        mask: NDArray[np.bool_] = column["alive"].copy()
        if query.user_id is not None:
            mask &= column["user"] == self._codes["user"].get(query.user_id, NOBODY)
        if query.agents is not None:
            mask &= _any_of(column["agent"], [self._codes["agent"].get(one, NOBODY) for one in query.agents])
        if query.thread_id is not None:
            mask &= column["thread"] == self._codes["thread"].get(query.thread_id, NOBODY)
        if query.not_thread_id is not None:
            mask &= column["thread"] != self._codes["thread"].get(query.not_thread_id, NOBODY)
        if query.kinds is not None:
            mask &= _any_of(column["kind"], query.kinds)
        if query.occurred_from_s is not None:
            mask &= column["occurred"] >= np.float64(query.occurred_from_s)
        if query.occurred_before_s is not None:
            mask &= column["occurred"] < np.float64(query.occurred_before_s)
        if query.valid_at_s is not None:
            moment = np.float64(query.valid_at_s)
            holds = (column["valid_from"] <= moment) & (column["valid_to"] > moment)
            mask &= holds | (column["kind"] != FACT)
        if query.metadata_terms:
            wanted = frozenset(query.metadata_terms)
            has = np.zeros(size, np.bool_)
            has[[row for row, terms in self._metadata.items() if wanted <= terms]] = True
            mask &= has
        return self._listed(mask, query)

    def _listed(self, mask: NDArray[np.bool_], query: Query) -> NDArray[np.bool_]:
        if query.only is not None:
            listed = np.zeros(len(mask), np.bool_)
            listed[[row for one in query.only if (row := self._row_of.get(one)) is not None]] = True
            mask &= listed
        if query.without:
            mask[[row for one in query.without if (row := self._row_of.get(one)) is not None]] = False
        return mask

    def _neighbours(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Where in `rows` each row is, and where the turns before and behind each are."""
        places = np.full(len(self._ids) + 1, ranking.NONE, np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        # The last place stands for no turn, which the index -1 points to.
        before = places[self._columns["previous"][rows]]
        behind = np.full(len(rows), ranking.NONE, np.int32)
        followed = np.flatnonzero(before != ranking.NONE)
        behind[before[followed]] = followed
        return places, before, behind

    def _words(
        self, rows: NDArray[np.int64], places: NDArray[np.int32], before: NDArray[np.int32], terms: Sequence[int]
    ) -> ranking.Floats:
        """BM25 of each by itself, and of it with the turn before it."""
        lengths = np.append(self._columns["length"][rows], np.float32(0))
        own = ranking.WordScores(lengths[:-1])
        together = ranking.WordScores(lengths[:-1] + lengths[before])
        # The last one stands for no turn.
        counts = np.zeros(len(rows) + 1, np.float32)
        for term in dict.fromkeys(terms):
            holding, often = self._postings.of(term)
            at = places[holding]
            allowed = at != ranking.NONE
            at, often = at[allowed], often[allowed]
            if not len(at):
                continue
            own.add(at, often)
            counts[at] = often
            window = counts[:-1] + counts[before]
            windows = np.flatnonzero(window)
            together.add(windows, window[windows])
            counts[at] = 0
        return own.scores + np.float32(ranking.WINDOW_WEIGHT) * together.scores

    def _cosines(
        self,
        rows: NDArray[np.int64],
        before: NDArray[np.int32],
        behind: NDArray[np.int32],
        words: ranking.Floats,
        vector: NDArray[np.float32],
    ) -> ranking.Floats:
        """The nearest of each by itself, with the turn before it, and with the turn behind it.

        Of very many, the last two are asked only of the best by themselves and of their neighbours.
        """
        alone = self._products(self._vectors, rows, vector)
        windowed: NDArray[np.bool_] = self._columns["windowed"][rows]
        embedded: NDArray[np.bool_] = self._columns["embedded"][rows]
        if not windowed.any():
            return alone
        together = np.full(len(rows) + 1, NOBODY, np.float32)
        if len(rows) > 2 * ranking.CANDIDATES:
            first = ranking.mixed(words, alone, embedded)
            chosen = np.argpartition(-first, ranking.CANDIDATES - 1)[: ranking.CANDIDATES]
            wanted = np.zeros(len(rows) + 1, np.bool_)
            for there in (chosen, before[chosen], behind[chosen]):
                wanted[there] = True
            at = np.flatnonzero(wanted[:-1] & windowed)
        else:
            at = np.flatnonzero(windowed)
        together[at] = self._products(self._windows, rows[at], vector)
        nearest: ranking.Floats = np.maximum(alone, np.maximum(together[:-1], together[behind]))
        # One without a vector of its own is not known by its neighbour's.
        return np.where(embedded, nearest, np.float32(0))

    def _products(
        self, matrix: NDArray[np.float32], rows: NDArray[np.int64], vector: NDArray[np.float32]
    ) -> ranking.Floats:
        # Copying rows costs more than multiplying some that nobody asked for.
        if 4 * len(rows) > len(self._ids):
            every: ranking.Floats = (matrix[: len(self._ids)] @ vector)[rows]
            return every
        some: ranking.Floats = matrix[rows] @ vector
        return some

    def _append(self, change: Change) -> int:
        row = len(self._ids)
        self._reserve(row + 1)
        self._ids.append(change.memory_id)
        self._row_of[change.memory_id] = row
        self._postings.add(row, change.terms)
        self._columns["text"][row] = change.text_id
        self._columns["length"][row] = len(change.terms)
        self._columns["alive"][row] = True
        for waiting in self._waiting.pop(change.memory_id, ()):
            self._columns["previous"][waiting] = row
        return row

    def _describe(self, row: int, change: Change) -> None:
        columns = self._columns
        columns["kind"][row] = change.kind
        for name, value in (("user", change.user_id), ("agent", change.agent_id), ("thread", change.thread_id)):
            codes = self._codes[name]
            columns[name][row] = codes.setdefault(value, len(codes))
        columns["occurred"][row] = change.occurred_at_s
        columns["valid_from"][row], columns["valid_to"][row] = change.valid_from_s, change.valid_to_s
        columns["previous"][row] = self._row_of.get(change.previous_id, NOBODY)
        if change.previous_id and change.previous_id not in self._row_of:
            self._waiting.setdefault(change.previous_id, []).append(row)
        self._metadata.pop(row, None)
        if change.metadata_terms:
            self._metadata[row] = frozenset(change.metadata_terms)
        usable = change.embedder_id == self._embedder_id
        for matrix, column, stored in (
            (self._vectors, "embedded", change.vector),
            (self._windows, "windowed", change.window_vector),
        ):
            there = usable and stored is not None and len(stored) == 2 * matrix.shape[1]
            columns[column][row] = there
            matrix[row] = np.frombuffer(stored, "<f2") if there and stored is not None else 0

    def _remove(self, memory_id: str, row: int) -> None:
        del self._row_of[memory_id]
        self._columns["alive"][row] = False
        previous = self._columns["previous"][: len(self._ids)]
        previous[previous == row] = NOBODY
        self._metadata.pop(row, None)
        self._vectors[row] = 0
        self._windows[row] = 0

    def _reserve(self, rows: int) -> None:
        capacity = len(self._vectors)
        if rows <= capacity:
            return
        wanted = max(rows, capacity * 3 // 2)
        for name, column in self._columns.items():
            grown = np.zeros(wanted, column.dtype)
            grown[:capacity] = column
            self._columns[name] = grown
        for name in ("_vectors", "_windows"):
            matrix = np.zeros((wanted, self._vectors.shape[1]), np.float32)
            matrix[:capacity] = getattr(self, name)[:capacity]
            setattr(self, name, matrix)


def _any_of(column: NDArray[Any], values: Iterable[int]) -> NDArray[np.bool_]:
    """Where the column holds one of a few values."""
    found = np.zeros(len(column), np.bool_)
    for value in values:
        found |= column == value
    return found
