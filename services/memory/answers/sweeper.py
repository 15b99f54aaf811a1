"""Background work of the cache: deletes what has expired, writes down what was counted."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable

from mesh.rounds import Rounds
from services.memory.answers.counts import Counts
from services.memory.answers.store import CacheStore
from services.memory.config import MemoryConfig

_log = logging.getLogger(__name__)


class Sweeper:
    """Deletes expired answers and writes counts now and then. Lookups never depend on it."""

    def __init__(
        self, store: CacheStore, config: MemoryConfig, counts: Counts, *, clock: Callable[[], dt.datetime]
    ) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._sweeping = self._rounds("memory-cache-sweeper", config.cache_sweep_interval_s, self.sweep)
        self._counting = self._rounds("memory-cache-counts", config.cache_count_interval_s, counts.write)
        self._begun = False

    def start(self) -> None:
        """Begins."""
        self._begun = True
        self._sweeping.start()
        self._counting.start()

    async def close(self) -> None:
        """Stops, and writes what was counted."""
        await self._sweeping.close()
        await self._counting.close()
        if self._begun:
            await self._counting.round()
        self._begun = False

    async def sweep(self) -> int:
        """One round; how many answers it deleted."""
        return await self._store.sweep(self._clock(), self._config.cache_sweep_limit)

    def _rounds(self, name: str, interval_s: float, work: Callable[[], Awaitable[object]]) -> Rounds:
        return Rounds(name, work, interval_s, _log, meanwhile="the cache's background work waits", at_once=False)
