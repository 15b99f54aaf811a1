"""One partition's vectors in one float32 array: exact search without an index, quick below some 100,000 rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FIRST_ROWS = 16
REMOVED = -1
"""The id of a row that holds nothing any more."""


class Matrix:
    """Vectors by id. Rows are handed out in order and reused; `ids` says whose each is. Not for two threads."""

    def __init__(self, dimensions: int = 384) -> None:
        self.dimensions = dimensions
        self._rows = np.zeros((0, dimensions), np.float32)
        self._ids = np.full(0, REMOVED, np.int64)
        self._used = 0
        self._row_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, one: int) -> bool:
        return one in self._row_of

    @property
    def ids(self) -> NDArray[np.int64]:
        """The id of each row, REMOVED where there is none. Changes with the next `add` or `remove`."""
        return self._ids[: self._used]

    def add(self, ids: Sequence[int], rows: ArrayLike) -> None:
        """Adds the vectors, or puts them in the place of what has these ids. Ids are 0 or more."""
        given = np.asarray(rows, np.float32).reshape(len(ids), -1) if len(ids) else np.zeros((0, self.dimensions))
        if given.shape[1] != self.dimensions:
            raise ValueError(f"vectors of {given.shape[1]} numbers do not go with those of {self.dimensions}")
        if any(one < 0 for one in ids):
            raise ValueError(f"ids are 0 or more, not {min(ids)}")
        new = dict.fromkeys(one for one in ids if one not in self._row_of)
        self._reserve(self._used + len(new))
        for offset, one in enumerate(new):
            self._row_of[one] = self._used + offset
            self._ids[self._used + offset] = one
        self._used += len(new)
        if len(ids):
            self._rows[[self._row_of[one] for one in ids]] = given

    def remove(self, ids: Iterable[int]) -> None:
        """Removes what is there of these. The numbers are overwritten at once."""
        gone = [row for one in ids if (row := self._row_of.pop(one, None)) is not None]
        self._ids[gone] = REMOVED
        self._rows[gone] = 0
        if self._used >= 4 * FIRST_ROWS and len(self._row_of) < self._used // 2:
            self._compact()

    def mask(self, ids: Iterable[int]) -> NDArray[np.bool_]:
        """True for the rows of these ids, for `top`."""
        allowed = np.zeros(self._used, np.bool_)
        allowed[[row for one in ids if (row := self._row_of.get(one)) is not None]] = True
        return allowed

    def scores(self, vector: ArrayLike) -> NDArray[np.float32]:
        """The product of every row with the vector, in the order of `ids`; 0 where nothing is."""
        given = np.asarray(vector, np.float32).reshape(-1)
        if given.shape[0] != self.dimensions:
            raise ValueError(f"a vector of {given.shape[0]} numbers does not go with those of {self.dimensions}")
        found: NDArray[np.float32] = self._rows[: self._used] @ given
        return found

    def top(self, vector: ArrayLike, k: int, *, allowed: NDArray[np.bool_] | None = None) -> list[tuple[int, float]]:
        """The k best (id, product), best first, equal ones by id; only rows where `allowed` is True."""
        if k < 1 or not self._row_of:
            return []
        scores = self.scores(vector)
        rows: NDArray[np.intp] | None = None
        if allowed is not None or len(self._row_of) < self._used:
            usable = self.ids != REMOVED
            rows = np.flatnonzero(usable if allowed is None else usable & allowed)
            scores = scores[rows]
        if len(scores) > k:
            # Everything as good as the k-th, so that equal scores do not fall as the partition likes.
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            best = np.flatnonzero(scores >= kth)
            rows, scores = best if rows is None else rows[best], scores[best]
        ids = self._ids[: self._used] if rows is None else self._ids[rows]
        order = np.lexsort((ids, -scores))[:k]
        return [(int(ids[one]), float(scores[one])) for one in order]

    def _reserve(self, rows: int) -> None:
        capacity = len(self._rows)
        if rows <= capacity:
            return
        wanted = max(rows, 2 * capacity, FIRST_ROWS)
        grown = np.zeros((wanted, self.dimensions), np.float32)
        grown[: self._used] = self._rows[: self._used]
        ids = np.full(wanted, REMOVED, np.int64)
        ids[: self._used] = self._ids[: self._used]
        self._rows, self._ids = grown, ids

    def _compact(self) -> None:
        kept = np.flatnonzero(self.ids != REMOVED)
        size = max(len(kept), FIRST_ROWS)
        rows = np.zeros((size, self.dimensions), np.float32)
        rows[: len(kept)] = self._rows[kept]
        ids = np.full(size, REMOVED, np.int64)
        ids[: len(kept)] = self._ids[kept]
        self._rows, self._ids, self._used = rows, ids, len(kept)
        self._row_of = {int(one): row for row, one in enumerate(ids[: len(kept)])}
