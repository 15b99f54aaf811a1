"""The vectors of partitions, held in memory and brought up to date by their change sequence.

What is held is only ever a way to find candidates: whether one is still there, and what it answers, is read from the
store for every hit. So an answer that was deleted anywhere is gone at once, whatever a replica still holds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict

import numpy as np

from services.memory.answers.store import CacheStore, Partition
from services.memory.vectors.matrix import Matrix

PAGE = 5000
OVERHEAD_BYTES = 600
ROW_BYTES = 150
"""What a row takes beside its numbers."""
DIGEST_BYTES = 130


class Held:
    """One partition's vectors, as far as `seq`."""

    __slots__ = ("digests", "generation", "lock", "matrix", "seq")

    def __init__(self, dimensions: int, generation: str) -> None:
        self.digests: set[bytes] = set()
        """Of the questions that were seen here, also of those that have gone since."""
        self.matrix, self.seq, self.generation = Matrix(dimensions), 0, generation
        self.lock = asyncio.Lock()

    @property
    def size_bytes(self) -> int:
        """About what it takes."""
        rows = len(self.matrix) * (4 * self.matrix.dimensions + ROW_BYTES)
        return OVERHEAD_BYTES + rows + len(self.digests) * DIGEST_BYTES


class Partitions:
    """Partitions by use, the least used dropped when they take too much. One embedder's vectors only."""

    def __init__(self, store: CacheStore, embedder_id: str, dimensions: int, *, max_bytes: int, max_rows: int) -> None:
        self._store, self._embedder_id, self._dimensions = store, embedder_id, dimensions
        self._max_bytes, self._max_rows = max_bytes, max_rows
        self._held: OrderedDict[Partition, Held] = OrderedDict()
        self._sizes: dict[Partition, int] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def known(self, partition: Partition, generation: str) -> Held | None:
        """What is held of a partition; what is of another generation of the organisation's memory is dropped."""
        held = self._held.get(partition)
        if held is None:
            return None
        if held.generation != generation:
            self.forget(partition)
            return None
        self._held.move_to_end(partition)
        return held

    async def current(self, partition: Partition, generation: str, now: dt.datetime) -> Held:
        """The partition with everything that was stored before this call."""
        held = self.known(partition, generation)
        if held is None:
            held = self._held[partition] = Held(self._dimensions, generation)
        async with held.lock:
            while len(held.matrix) < self._max_rows:
                rows = await self._store.changes(partition, held.seq, self._embedder_id, now, PAGE)
                if rows:
                    vectors = np.frombuffer(b"".join(row[2] for row in rows), dtype="<f4")
                    held.matrix.add([row[0] for row in rows], vectors.reshape(len(rows), -1))
                    if len(held.digests) > 2 * self._max_rows:
                        # Most have gone; one that is still there costs an embedding that nobody needs.
                        held.digests.clear()
                    held.digests.update(row[3] for row in rows)
                    held.seq = rows[-1][1]
                if len(rows) < PAGE:
                    break
        self._weigh(partition, held)
        return held

    def remove(self, partition: Partition, row_ids: list[int]) -> None:
        """Forgets rows that are not there any more."""
        held = self._held.get(partition)
        if held is not None:
            held.matrix.remove(row_ids)
            self._weigh(partition, held)

    def forget(self, partition: Partition) -> None:
        """Drops what is held of a partition."""
        if self._held.pop(partition, None) is not None:
            self.bytes -= self._sizes.pop(partition, 0)

    def forget_organisation(self, org_id: str) -> None:
        """Drops what is held of an organisation."""
        for partition in [one for one in self._held if one.org_id == org_id]:
            self.forget(partition)

    def _weigh(self, partition: Partition, held: Held) -> None:
        if self._held.get(partition) is not held:
            return
        size = held.size_bytes
        self.bytes += size - self._sizes.get(partition, 0)
        self._sizes[partition] = size
        while self.bytes > self._max_bytes and len(self._held) > 1:
            self.forget(next(iter(self._held)))
