"""Finding memories: each organisation's index in this process, brought up to date before every question.

Nothing is found that another replica has deleted, and everything that it has written: the database is asked what
changed since the last question, by the sequence of changes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mesh.errors import MeshError
from services.memory.embedder import Embedder
from services.memory.memories_store import MemoryStore
from services.memory.memory_rows import metadata_ids, terms_ids
from services.memory.recall_index import Findings, Query, RecallIndex
from services.memory.sealing import OrgKey, Sealer

PAGE_ROWS = 1024
"""How many changes are read at once."""
AT_ONCE_ROWS = 64
"""So many changes are taken over without a thread."""
MAX_QUERY_CHARS = 4096
"""Only the beginning of a longer question is looked for."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class _Held:
    """One organisation's index, and whose turn it is."""

    def __init__(self, index: RecallIndex) -> None:
        self.index = index
        self.turn = asyncio.Lock()


class Recaller:
    """Searches, exactly, in arrays."""

    def __init__(self, store: MemoryStore, embedder: Embedder, sealer: Sealer, *, max_bytes: int) -> None:
        self._store, self._embedder, self._sealer, self._max_bytes = store, embedder, sealer, max_bytes
        self._held: OrderedDict[str, _Held] = OrderedDict()

    @property
    def embedder_id(self) -> str:
        """Which embedder takes part; empty when words alone decide."""
        return self._embedder.embedder_id if self._embedder.semantic else ""

    async def vectors(self, texts: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """By meaning; None for each while no model can be asked."""
        if not self._embedder.semantic or not texts:
            return [None] * len(texts)
        try:
            return list(await self._embedder.embed(texts))
        except MeshError as error:
            _log.warning("memories are searched by words alone: %s", error.message)
            return [None] * len(texts)

    async def find(self, org_id: str, text: str, query: Query) -> Findings:
        """What fits `text` best among what `query` says; its terms and vector are filled in here."""
        return await _whatever_happens(self._find(org_id, text[:MAX_QUERY_CHARS], query))

    async def nearest(self, org_id: str, query: Query) -> list[tuple[str, float]]:
        """Those nearest to `query.vector`."""
        return await _whatever_happens(self._nearest(org_id, query))

    async def _find(self, org_id: str, text: str, query: Query) -> Findings:
        key = await self._sealer.key_of(org_id)
        (vector,) = await self.vectors([text])
        held = self._hold(org_id, key)
        async with held.turn:
            index = await self._current(org_id, held, key)
            numbers = metadata_ids(key, query.metadata)
            whole = dataclasses.replace(query, terms=terms_ids(key, text), vector=vector, metadata_terms=numbers)
            return await asyncio.to_thread(index.search, whole)

    async def _nearest(self, org_id: str, query: Query) -> list[tuple[str, float]]:
        key = await self._sealer.key_of(org_id)
        held = self._hold(org_id, key)
        async with held.turn:
            index = await self._current(org_id, held, key)
            return index.nearest(query)

    def forget(self, org_id: str) -> None:
        """Drops the organisation's index; the next question makes it anew."""
        self._held.pop(org_id, None)

    def _hold(self, org_id: str, key: OrgKey) -> _Held:
        held = self._held.get(org_id)
        if held is None or held.index.generation != key.generation:
            held = self._held[org_id] = _Held(self._fresh(key))
        self._held.move_to_end(org_id)
        used = sum(one.index.size_bytes for one in self._held.values())
        while used > self._max_bytes and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            used -= dropped.index.size_bytes
        return held

    def _fresh(self, key: OrgKey) -> RecallIndex:
        dimensions = self._embedder.dimensions if self._embedder.semantic else 0
        return RecallIndex(dimensions, self.embedder_id, key.generation)

    async def _current(self, org_id: str, held: _Held, key: OrgKey) -> RecallIndex:
        """The index with every change that was committed before the question."""
        if held.index.worn:
            held.index = self._fresh(key)
        while True:
            mirror = await self._store.changes(org_id, held.index.seq, PAGE_ROWS)
            if 0 < held.index.seq < mirror.swept_seq:
                held.index = self._fresh(key)
                continue
            if len(mirror.changes) <= AT_ONCE_ROWS:
                held.index.apply(mirror.changes)
            else:
                await asyncio.to_thread(held.index.apply, mirror.changes)
            if len(mirror.changes) < PAGE_ROWS:
                # Not every number that was given out was used.
                held.index.seq = max(held.index.seq, mirror.seq)
                return held.index


async def _whatever_happens(work: Coroutine[Any, Any, T]) -> T:
    """Its result; it goes on when nobody waits any more: a thread that writes an index cannot be stopped, and what it
    has read is of use to the next question.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(_seen)
    return await asyncio.shield(task)


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
