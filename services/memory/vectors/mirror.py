"""Collections mirrored in this process's memory, each brought up to date by its changes before it is searched."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from services.memory.unstopped import unstopped
from services.memory.vectors.feed import Changes, VectorFeed
from services.memory.vectors.store import Collection, Vectors

PAGE = 2000
FLOAT_BYTES = 4


class Shelf(Protocol):
    """Holds the vectors of one collection."""

    def __len__(self) -> int: ...

    def add(self, ids: Sequence[int], rows: Vectors) -> None:
        """Adds vectors."""

    def remove(self, ids: Iterable[int]) -> None:
        """Removes what is there of these."""

    def best(self, vector: Vectors, k: int, allowed: Sequence[int] | None) -> list[tuple[int, float]]:
        """The k best, of all or of these."""

    def saved(self, position: int, floor: int) -> None:
        """The collection's state is that of change `position`: a shelf with a file may write it."""

    def erase(self) -> None:
        """The collection is gone: so is its file."""


OpenShelf = Callable[[Collection], tuple[Shelf, int, int]]
"""The shelf of a collection with the position it is at and its floor: empty ones are at 0, 0."""


class _Partition:
    """One collection's shelf and which changes it has."""

    def __init__(self, org_id: str, shelf: Shelf, position: int, floor: int, dimensions: int) -> None:
        self.org_id = org_id
        self.shelf, self.position, self.floor, self.dimensions = shelf, position, floor, dimensions
        self.lock = asyncio.Lock()

    @property
    def size_bytes(self) -> int:
        """About what it takes."""
        return len(self.shelf) * self.dimensions * FLOAT_BYTES


class Mirror:
    """All mirrored collections of this process; the longest unused make room."""

    def __init__(self, feed: VectorFeed, open_shelf: OpenShelf, max_bytes: int) -> None:
        self._feed, self._open, self._max_bytes = feed, open_shelf, max_bytes
        self._partitions: OrderedDict[str, _Partition] = OrderedDict()

    async def search(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        """See VectorIndex.search."""
        return await unstopped(self._search(collection, vector, k, pairs))

    async def _search(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        allowed = None
        if pairs:
            # Before the lock: what is added meanwhile was not asked for, what is removed is not on the shelf.
            allowed = await self._feed.numbers_with(collection, pairs)
            if not allowed:
                return []
        partition = await self._partition(collection)
        async with partition.lock:
            await self._catch_up(partition, collection)
            return await asyncio.to_thread(partition.shelf.best, vector, k, allowed)

    async def settle(self, collection: Collection) -> None:
        """See VectorIndex.settle."""
        await unstopped(self._settle(collection))

    async def _settle(self, collection: Collection) -> None:
        partition = await self._partition(collection)
        async with partition.lock:
            await self._catch_up(partition, collection)

    async def drop(self, collection: Collection) -> None:
        """See VectorIndex.drop."""
        partition = self._partitions.pop(collection.collection_id, None)
        if partition is None:
            partition = await self._opened(collection)
        async with partition.lock:
            partition.shelf.erase()

    async def erase(self, org_id: str) -> None:
        """See VectorIndex.erase."""
        for key, partition in list(self._partitions.items()):
            if partition.org_id == org_id:
                del self._partitions[key]
                async with partition.lock:
                    partition.shelf.erase()

    async def close(self) -> None:
        """Writes what has a file."""
        for partition in self._partitions.values():
            async with partition.lock:
                await asyncio.to_thread(partition.shelf.saved, partition.position, partition.floor)
        self._partitions.clear()

    async def _opened(self, collection: Collection) -> _Partition:
        shelf, position, floor = await asyncio.to_thread(self._open, collection)
        return _Partition(collection.org_id, shelf, position, floor, collection.dimensions)

    async def _partition(self, collection: Collection) -> _Partition:
        key = collection.collection_id
        if key not in self._partitions:
            opened = await self._opened(collection)
            self._partitions.setdefault(key, opened)
        self._partitions.move_to_end(key)
        partition = self._partitions[key]
        await self._make_room(partition)
        return partition

    async def _make_room(self, keep: _Partition) -> None:
        taken = sum(one.size_bytes for one in self._partitions.values())
        for key, one in list(self._partitions.items()):
            if taken <= self._max_bytes:
                return
            if one is not keep and not one.lock.locked():
                del self._partitions[key]
                taken -= one.size_bytes
                async with one.lock:
                    await asyncio.to_thread(one.shelf.saved, one.position, one.floor)

    async def _catch_up(self, partition: _Partition, collection: Collection) -> None:
        """Reads changes until there are no more up to the collection's."""
        if partition.dimensions != collection.dimensions or partition.position < collection.swept_seq:
            await self._begin_anew(partition, collection)
        while partition.position < collection.seq:
            changes = await self._feed.changes(collection, partition.position, PAGE)
            if changes is None:
                partition.shelf.erase()
                self._partitions.pop(collection.collection_id, None)
                return
            if partition.position == 0:
                partition.floor = changes.swept_seq
            elif changes.swept_seq > partition.floor and partition.position < changes.swept_seq:
                await self._begin_anew(partition, collection)
                continue
            await asyncio.to_thread(_apply, partition.shelf, changes)
            partition.position = changes.seq

    async def _begin_anew(self, partition: _Partition, collection: Collection) -> None:
        if partition.position == 0 and partition.dimensions == collection.dimensions:
            return
        partition.shelf.erase()
        fresh = await self._opened(collection)
        partition.shelf, partition.position, partition.floor = fresh.shelf, 0, 0
        partition.dimensions = collection.dimensions


def _apply(shelf: Shelf, changes: Changes) -> None:
    shelf.add(changes.numbers, changes.vectors)
    shelf.remove(changes.removed)
