"""Finding memories: each organisation's index in this process, brought up to date before every question.

Nothing is found that another replica has deleted, and everything that it has written: the database is asked what
changed since the last question, by the sequence of changes. The first question begins to fill the index; until it is
full, whoever has few memories is answered from those alone.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mesh.errors import MeshError
from services.memory.embedding.embedder import Embedder
from services.memory.recall.changes import Changes
from services.memory.recall.index import Findings, Query, RecallIndex
from services.memory.recall.rows import metadata_ids, terms_ids
from services.memory.recall.store import MemoryStore, Mirror
from services.memory.sealing.sealing import OrgKey, Sealer
from services.memory.unstopped import seen, unstopped

PAGE_ROWS = 4096
"""How many changes are read at once."""
AT_ONCE_ROWS = 64
"""So many changes are taken over without a thread."""
PATIENCE_S = 0.2
"""How long a question waits for an index that is being filled, before it looks for a shorter way."""
MAX_QUERY_CHARS = 4096
"""Only the beginning of a longer question is looked for."""

_log = logging.getLogger(__name__)


class _Held:
    """One organisation's index, whose turn it is, who fills it, and what it takes as it was last weighed."""

    def __init__(self, index: RecallIndex) -> None:
        self.index = index
        self.turn = asyncio.Lock()
        self.filling: asyncio.Task[None] | None = None
        self.size_bytes = 0
        self.forgotten = False
        """Whether what it holds is void."""
        self.many: set[str] = set()
        """Users who have too many memories to be answered from those alone."""


class Recaller:
    """Searches, exactly, in arrays."""

    def __init__(self, store: MemoryStore, embedder: Embedder, sealer: Sealer, *, max_bytes: int) -> None:
        self._store, self._embedder, self._sealer, self._max_bytes = store, embedder, sealer, max_bytes
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._used_bytes = 0

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
        return await unstopped(self._find(org_id, text[:MAX_QUERY_CHARS], query))

    async def nearest(self, org_id: str, query: Query) -> list[tuple[str, float]]:
        """Those nearest to `query.vector`."""
        return await unstopped(self._nearest(org_id, query))

    async def close(self) -> None:
        """Stops filling."""
        filling = [held.filling for held in self._held.values() if held.filling is not None]
        for task in filling:
            task.cancel()
        await asyncio.gather(*filling, return_exceptions=True)

    async def _find(self, org_id: str, text: str, query: Query) -> Findings:
        key = await self._sealer.key_of(org_id)
        # The model reads the question while the database is asked what changed.
        reading = asyncio.create_task(self.vectors([text]))
        reading.add_done_callback(seen)
        held, index = await self._current(org_id, key, query)
        numbers = metadata_ids(key, query.metadata)
        (vector,) = await reading
        whole = dataclasses.replace(query, terms=terms_ids(key, text), vector=vector, metadata_terms=numbers)
        async with held.turn:
            return await asyncio.to_thread(index.search, whole)

    async def _nearest(self, org_id: str, query: Query) -> list[tuple[str, float]]:
        held, index = await self._current(org_id, await self._sealer.key_of(org_id), query)
        async with held.turn:
            return await asyncio.to_thread(index.nearest, query)

    def forget(self, org_id: str) -> None:
        """Drops the organisation's index; the next question makes it anew."""
        if (held := self._drop(org_id)) is not None:
            held.forgotten = True

    def _drop(self, org_id: str) -> _Held | None:
        """Lets go of it; a question that uses it, or fills it, goes on with it."""
        held = self._held.pop(org_id, None)
        self._used_bytes -= held.size_bytes if held is not None else 0
        return held

    def _hold(self, org_id: str, key: OrgKey) -> _Held:
        held = self._held.get(org_id)
        if held is None or held.index.generation != key.generation:
            self.forget(org_id)
            held = self._held[org_id] = _Held(self._fresh(key))
        self._held.move_to_end(org_id)
        size_bytes = held.index.size_bytes
        self._used_bytes += size_bytes - held.size_bytes
        held.size_bytes = size_bytes
        while self._used_bytes > self._max_bytes and len(self._held) > 1:
            self._drop(next(iter(self._held)))
        return held

    def _fresh(self, key: OrgKey) -> RecallIndex:
        dimensions = self._embedder.dimensions if self._embedder.semantic else 0
        return RecallIndex(dimensions, self.embedder_id, key.generation)

    async def _current(self, org_id: str, key: OrgKey, query: Query) -> tuple[_Held, RecallIndex]:
        """An index with every change of what the question is asked of that was committed before it.

        What was given is whole and stays so, also when the organisation's index is made anew meanwhile.
        """
        held = self._hold(org_id, key)
        while True:
            if held.forgotten:
                held = self._hold(org_id, key)
            async with held.turn:
                index = held.index
                if index.filled and not index.worn and await self._catch_up(org_id, index):
                    return held, index
                if index.filled:
                    held.index = self._fresh(key)
                if held.filling is None or held.filling.done():
                    held.filling = asyncio.create_task(self._fill(org_id, held, key), name="memory-index")
                    held.filling.add_done_callback(seen)
                filling = held.filling
            await asyncio.wait({filling}, timeout=PATIENCE_S)
            # Whoever asks for one user's memories need not wait for everybody's.
            if not filling.done() and (few := await self._few(org_id, key, query, held.many)) is not None:
                return _Held(few), few
            await asyncio.shield(filling)

    async def _fill(self, org_id: str, held: _Held, key: OrgKey) -> None:
        """Fills the index from where it is. Nobody else writes it until it is full."""
        while not await self._catch_up(org_id, held.index, still_wanted=lambda: not held.forgotten):
            held.index = self._fresh(key)
        await asyncio.to_thread(held.index.settle)
        held.index.filled = not held.forgotten

    async def _few(self, org_id: str, key: OrgKey, query: Query, many: set[str]) -> RecallIndex | None:
        """An index of one user's memories alone; None when they are many, or the question is asked of all."""
        if query.user_id is None or query.user_id in many:
            return None
        index = self._fresh(key)
        mirror = await self._store.changes(org_id, -1, PAGE_ROWS, index.embedder_id, index.dimensions, query.user_id)
        if mirror.changes is not None:
            if len(mirror.changes) >= PAGE_ROWS:
                many.add(query.user_id)
                return None
            await self._apply(index, mirror.changes)
        return index

    async def _catch_up(
        self, org_id: str, index: RecallIndex, *, still_wanted: Callable[[], bool] = lambda: True
    ) -> bool:
        """Takes over what changed; False = too much was swept meanwhile: it must be made anew."""
        after = index.seq
        reading = self._read(org_id, index, after)
        while True:
            mirror = await reading
            if 0 < after < mirror.swept_seq:
                return False
            changes = mirror.changes
            if changes is None or len(changes) < PAGE_ROWS or not still_wanted():
                if changes is not None:
                    await self._apply(index, changes)
                index.reached(mirror.seq)
                return True
            if not index.seq:
                index.expect(mirror.seq)
            # The next page is read while this one is taken over.
            after = int(changes.seqs[-1])
            reading = self._read(org_id, index, after)
            await self._apply(index, changes)

    def _read(self, org_id: str, index: RecallIndex, after: int) -> asyncio.Task[Mirror]:
        wanted = self._store.changes(org_id, after, PAGE_ROWS, index.embedder_id, index.dimensions)
        reading = asyncio.create_task(wanted)
        reading.add_done_callback(seen)
        return reading

    async def _apply(self, index: RecallIndex, changes: Changes) -> None:
        if len(changes) <= AT_ONCE_ROWS:
            index.apply(changes)
        else:
            await asyncio.to_thread(index.apply, changes)
