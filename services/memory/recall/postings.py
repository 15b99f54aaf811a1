"""Which rows hold a word, and how often: an inverted index in three arrays, sorted now and then."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FIRST_POSTINGS = 1024
TAIL_POSTINGS = 32_768
"""Postings behind the sorted part are looked through one by one; with more of them, all is sorted anew."""


class Postings:
    """Words (numbers) → rows. Rows are only added; who asks leaves out what is gone. Not for two threads."""

    def __init__(self) -> None:
        self._terms = np.zeros(FIRST_POSTINGS, np.int64)
        self._rows = np.zeros(FIRST_POSTINGS, np.int32)
        self._counts = np.zeros(FIRST_POSTINGS, np.float32)
        self._used = self._sorted = 0

    @property
    def size_bytes(self) -> int:
        """What the arrays take."""
        return self._terms.nbytes + self._rows.nbytes + self._counts.nbytes

    def add(self, rows: NDArray[np.int32], terms: NDArray[np.int64]) -> None:
        """Words, with repeats, and the row of each; no row was there before, and they ascend."""
        if not len(terms):
            return
        order = np.argsort(terms, kind="stable")
        terms, rows = terms[order], rows[order]
        first = np.ones(len(terms), np.bool_)
        first[1:] = (terms[1:] != terms[:-1]) | (rows[1:] != rows[:-1])
        begins = np.flatnonzero(first)
        there = slice(self._used, self._used + len(begins))
        self._reserve(there.stop)
        self._terms[there] = terms[begins]
        self._rows[there] = rows[begins]
        self._counts[there] = np.diff(begins, append=len(terms))
        self._used = there.stop

    def of(self, term: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The rows that hold a word, ascending, and how often each does."""
        if self._used - self._sorted > max(TAIL_POSTINGS, self._sorted // 8):
            self.settle()
        ordered, wanted = self._terms[: self._sorted], np.int64(term)
        first, last = ordered.searchsorted(wanted, "left"), ordered.searchsorted(wanted, "right")
        behind = self._sorted + np.flatnonzero(self._terms[self._sorted : self._used] == term)
        if not len(behind):
            return self._rows[first:last], self._counts[first:last]
        return (
            np.concatenate((self._rows[first:last], self._rows[behind])),
            np.concatenate((self._counts[first:last], self._counts[behind])),
        )

    def settle(self) -> None:
        """Sorts all."""
        order = np.argsort(self._terms[: self._used], kind="stable")
        for column in (self._terms, self._rows, self._counts):
            column[: self._used] = column[: self._used][order]
        self._sorted = self._used

    def _reserve(self, size: int) -> None:
        if size > len(self._terms):
            wanted = max(size, 2 * len(self._terms))
            self._terms = np.resize(self._terms, wanted)
            self._rows = np.resize(self._rows, wanted)
            self._counts = np.resize(self._counts, wanted)
