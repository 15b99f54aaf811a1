"""One organisation's memories as arrays: kept in step by the sequence of changes, rebuilt at will.

It holds no text: words are numbers. What changed is taken over many at a time, without a look at each where it is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.memory.recall.changes import NO_ID, Changes
from services.memory.recall.postings import Postings

FIRST_ROWS = 64
NOBODY = -1
WORN_ROWS = 1024
ROW_OVERHEAD_BYTES = 200
"""What Python's own objects of a row take, roughly: its id and its place."""


class MemoryColumns:
    """The mirror. Rows are only added, in the order in which they came. Not for two threads at once."""

    def __init__(self, dimensions: int) -> None:
        self.seq = 0
        self.ids: list[bytes] = []
        self.row_of: dict[bytes, int] = {}
        self.codes: dict[str, dict[str, int]] = {"user": {}, "agent": {}, "thread": {}}
        self.words = Postings()
        self.vectors = np.zeros((FIRST_ROWS, dimensions), np.float32)
        self.windows = np.zeros((FIRST_ROWS, dimensions), np.float32)
        self.held: dict[str, NDArray[Any]] = {
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
        self._metadata = Postings()
        self._described: dict[int, frozenset[int]] = {}
        # Who names a turn before it that has not come yet.
        self._waiting: dict[bytes, list[int]] = {}

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def worn(self) -> bool:
        """Whether so many rows are gone that it should be made anew."""
        return len(self.ids) - len(self.row_of) > max(WORN_ROWS, len(self.row_of))

    @property
    def size_bytes(self) -> int:
        """What it takes, roughly."""
        row_bytes = ROW_OVERHEAD_BYTES + sum(column.itemsize for column in self.held.values())
        row_bytes += 2 * self.vectors.itemsize * self.vectors.shape[1]
        return row_bytes * len(self.ids) + self.words.size_bytes + self._metadata.size_bytes

    def column(self, name: str) -> NDArray[Any]:
        """A column, as far as there are rows."""
        return self.held[name][: len(self.ids)]

    def rows_of(self, ids: Iterable[bytes]) -> list[int]:
        """The rows of those that are there."""
        return [row for one in ids if (row := self.row_of.get(one)) is not None]

    def apply(self, changes: Changes) -> None:
        """Takes over what changed."""
        rows = self._found(changes.ids)
        known = rows != NOBODY
        other_text = known & ~changes.gone & (self.held["text"][rows] != changes.text_ids)
        for at in np.flatnonzero(known & (changes.gone | other_text)):
            self._remove(changes.ids[at], int(rows[at]))
        new = np.flatnonzero(~changes.gone & (~known | other_text))
        if len(new):
            rows[new] = self._append(changes, new)
        there = np.flatnonzero(~changes.gone)
        if len(there):
            self._describe(changes, there, rows[there])
        if len(changes):
            self.seq = max(self.seq, int(changes.seqs.max()))

    def settle(self) -> None:
        """Makes what comes next quick, after much has come."""
        self.words.settle()

    def with_metadata(self, terms: Sequence[int]) -> NDArray[np.bool_]:
        """Where all of these entries are."""
        wanted, has = frozenset(terms), np.zeros(len(self.ids), np.bool_)
        # An entry that was taken away since still stands there.
        holding, _ = self._metadata.of(next(iter(wanted)))
        has[[row for row in holding.tolist() if wanted <= self._described.get(row, frozenset())]] = True
        return has

    def reserve(self, rows: int) -> None:
        """Makes room for so many more at once; what is not used yet takes no memory."""
        self._reserve(len(self.ids) + rows)

    def _found(self, ids: list[bytes]) -> NDArray[np.int32]:
        return np.fromiter(map(self.row_of.get, ids, repeat(NOBODY)), np.int32, len(ids))

    def _append(self, changes: Changes, new: NDArray[np.int64]) -> NDArray[np.int32]:
        first, ids = len(self.ids), [changes.ids[at] for at in new]
        rows = np.arange(first, first + len(ids), dtype=np.int32)
        self._reserve(first + len(ids))
        self.ids += ids
        self.row_of.update(zip(ids, range(first, first + len(ids)), strict=True))
        self.held["alive"][rows] = True
        self.held["text"][rows] = changes.text_ids[new]
        self.held["length"][rows] = changes.lengths[new]
        self.words.add(*_spread(changes.terms, changes.lengths, new, rows))
        if self._waiting:
            for row, one in zip(rows.tolist(), ids, strict=True):
                if (waiting := self._waiting.pop(one, None)) is not None:
                    self.held["previous"][waiting] = row
        return rows

    def _describe(self, changes: Changes, there: NDArray[np.int64], rows: NDArray[np.int32]) -> None:
        held, every = self.held, len(there) == len(changes)
        held["kind"][rows] = changes.kinds[there]
        for name, values in (("user", changes.users), ("agent", changes.agents), ("thread", changes.threads)):
            codes = self.codes[name]
            told = values if every else [values[at] for at in there]
            for value in dict.fromkeys(told):
                codes.setdefault(value, len(codes))
            held[name][rows] = np.fromiter(map(codes.__getitem__, told), np.int32, len(told))
        held["occurred"][rows] = changes.occurred_s[there]
        held["valid_from"][rows] = changes.valid_from_s[there]
        held["valid_to"][rows] = changes.valid_to_s[there]
        self._chain(changes.previous if every else [changes.previous[at] for at in there], rows)
        if changes.metadata_lengths.any() or self._described:
            self._note_metadata(changes, there, rows)
        for matrix, name, has, vectors in (
            (self.vectors, "embedded", changes.embedded, changes.vectors),
            (self.windows, "windowed", changes.windowed, changes.windows),
        ):
            has = has[there]
            lost = rows[~has & held[name][rows]]
            matrix[lost] = 0
            held[name][rows] = has
            matrix[_run(rows[has])] = vectors

    def _chain(self, previous: list[bytes], rows: NDArray[np.int32]) -> None:
        before = self._found(previous)
        self.held["previous"][rows] = before
        for at in np.flatnonzero(before == NOBODY).tolist():
            if previous[at] != NO_ID:
                self._waiting.setdefault(previous[at], []).append(int(rows[at]))

    def _note_metadata(self, changes: Changes, there: NDArray[np.int64], rows: NDArray[np.int32]) -> None:
        ends = np.cumsum(changes.metadata_lengths)
        noted = []
        for at, row in zip(there.tolist(), rows.tolist(), strict=True):
            size, end = changes.metadata_lengths[at], ends[at]
            now = frozenset(changes.metadata_terms[end - size : end].tolist())
            if now != self._described.get(row, frozenset()):
                noted += [(row, term) for term in now]
                self._described[row] = now
        if noted:
            self._metadata.add(
                np.array([row for row, _ in noted], np.int32), np.array([term for _, term in noted], np.int64)
            )

    def _remove(self, memory_id: bytes, row: int) -> None:
        del self.row_of[memory_id]
        self.held["alive"][row] = False
        previous = self.column("previous")
        previous[previous == row] = NOBODY
        self._described.pop(row, None)
        self.vectors[row] = 0
        self.windows[row] = 0

    def _reserve(self, rows: int) -> None:
        capacity = len(self.vectors)
        if rows <= capacity:
            return
        wanted = max(rows, capacity * 3 // 2)
        for name, column in self.held.items():
            grown = np.zeros(wanted, column.dtype)
            grown[:capacity] = column
            self.held[name] = grown
        for name in ("vectors", "windows"):
            before = getattr(self, name)
            matrix = np.zeros((wanted, before.shape[1]), before.dtype)
            matrix[:capacity] = before
            setattr(self, name, matrix)


def _run(rows: NDArray[np.int32]) -> slice | NDArray[np.int32]:
    """Rows one behind the other as a slice: into it numbers are written several times as quickly."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _spread(
    terms: NDArray[np.int64], lengths: NDArray[np.int32], wanted: NDArray[np.int64], rows: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The row of each of the terms of some of the changes, and those terms."""
    if len(wanted) < len(lengths):
        chosen = np.zeros(len(lengths), np.bool_)
        chosen[wanted] = True
        terms, lengths = terms[np.repeat(chosen, lengths)], lengths[wanted]
    return np.repeat(rows, lengths), terms
