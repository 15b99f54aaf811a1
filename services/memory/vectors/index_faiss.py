"""Search by FAISS in this process, with a file for each collection that spares reading it again after a start.

The file is a copy: one that is missing, of another version or broken is made again from PostgreSQL. What a file has
not yet is caught up with, and what it has too much is removed, before the first search.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pathlib
import shutil
import struct
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from services.memory.vectors import vector_errors as errors
from services.memory.vectors.feed import VectorFeed
from services.memory.vectors.mirror import Mirror, Shelf
from services.memory.vectors.store import Collection, Vectors

MAGIC = b"dacfaiss1"
HEADER = struct.Struct("<9sqqq")
"""The magic, dimensions, position and floor, in front of what FAISS writes."""

_log = logging.getLogger(__name__)


class FaissShelf:
    """See vector_mirror.Shelf: exact inner products, by number."""

    def __init__(self, faiss: Any, path: pathlib.Path, dimensions: int, index: Any = None) -> None:
        self._faiss, self._path, self._dimensions = faiss, path, dimensions
        self._index = index if index is not None else faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))
        self._dirty = False

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Sequence[int], rows: Vectors) -> None:
        """See Shelf."""
        if len(ids):
            # A file may be ahead of what is asked for: a number never means two vectors, so the same may come twice.
            self.remove(ids)
            self._index.add_with_ids(np.ascontiguousarray(rows, np.float32), np.asarray(ids, np.int64))
            self._dirty = True

    def remove(self, ids: Iterable[int]) -> None:
        """See Shelf."""
        wanted = np.fromiter(ids, np.int64)
        if len(wanted) and len(self) and self._index.remove_ids(self._faiss.IDSelectorBatch(wanted)):
            # What was deleted must not stay in a file until the next one is written.
            self._path.unlink(missing_ok=True)
            self._dirty = True

    def best(self, vector: Vectors, k: int, allowed: Sequence[int] | None) -> list[tuple[int, float]]:
        """See Shelf."""
        if not len(self):
            return []
        options = None
        if allowed is not None:
            selector = self._faiss.IDSelectorBatch(np.asarray(allowed, np.int64))
            options = self._faiss.SearchParameters(sel=selector)
        scores, ids = self._index.search(vector.reshape(1, -1), min(k, len(self)), params=options)
        found = [(int(one), float(score)) for one, score in zip(ids[0], scores[0], strict=True) if one >= 0]
        return sorted(found, key=lambda one: (-one[1], one[0]))

    def saved(self, position: int, floor: int) -> None:
        """Writes the file anew beside the old one, then puts it in its place."""
        if not self._dirty:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        data = self._faiss.serialize_index(self._index).tobytes()
        descriptor, name = tempfile.mkstemp(dir=self._path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(HEADER.pack(MAGIC, self._dimensions, position, floor))
            file.write(data)
        pathlib.Path(name).replace(self._path)
        self._dirty = False

    def erase(self) -> None:
        """Deletes the file and what is in memory."""
        self._path.unlink(missing_ok=True)
        self._index.reset()
        self._dirty = False


def _shelf(faiss: Any, folder: pathlib.Path, collection: Collection) -> tuple[Shelf, int, int]:
    path = folder / collection.org_id / f"{collection.collection_id}.faiss"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return FaissShelf(faiss, path, collection.dimensions), 0, 0
    try:
        magic, dimensions, position, floor = HEADER.unpack_from(data)
        if magic != MAGIC or dimensions != collection.dimensions or not 0 <= position <= collection.seq:
            raise ValueError("it is of another version or collection")
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8, offset=HEADER.size))
        if index.d != dimensions:
            raise ValueError("its vectors have another length")
    except (struct.error, ValueError, RuntimeError, AssertionError) as error:
        _log.warning("the vector file %s is made anew from PostgreSQL: %s", path.name, str(error)[:200])
        path.unlink(missing_ok=True)
        return FaissShelf(faiss, path, collection.dimensions), 0, 0
    return FaissShelf(faiss, path, collection.dimensions, index), position, floor


class FaissIndex:
    """See vector_index.VectorIndex."""

    name = "faiss"

    def __init__(self, mirror: Mirror, folder: pathlib.Path) -> None:
        self._mirror, self._folder = mirror, folder

    async def search(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        """See VectorIndex."""
        return await self._mirror.search(collection, vector, k, pairs)

    async def settle(self, collection: Collection) -> None:
        """See VectorIndex."""
        await self._mirror.settle(collection)

    async def drop(self, collection: Collection) -> None:
        """See VectorIndex."""
        await self._mirror.drop(collection)

    async def erase(self, org_id: str) -> None:
        """See VectorIndex."""
        await self._mirror.erase(org_id)
        await asyncio.to_thread(shutil.rmtree, self._folder / org_id, ignore_errors=True)

    async def start(self) -> None:
        """Nothing to begin: a collection's file is read when it is asked for first."""

    async def close(self) -> None:
        """Writes the files."""
        await self._mirror.close()


def faiss_index(feed: VectorFeed, folder: pathlib.Path, max_bytes: int) -> FaissIndex:
    """The index with its files in `folder`."""
    try:
        import faiss
    except ImportError:
        raise errors.index_not_installed("faiss") from None
    # It would take every core for each search.
    faiss.omp_set_num_threads(1)
    return FaissIndex(Mirror(feed, lambda collection: _shelf(faiss, folder, collection), max_bytes), folder)
