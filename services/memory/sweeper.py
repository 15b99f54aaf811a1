"""Background work of the cache: deletes what has expired, writes down what was counted."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable

from mesh.errors import MeshError
from services.memory.cache_counts import Counts
from services.memory.cache_store import CacheStore
from services.memory.config import MemoryConfig

_log = logging.getLogger(__name__)


class Sweeper:
    """Deletes expired answers and writes counts now and then. Lookups never depend on it."""

    def __init__(
        self, store: CacheStore, config: MemoryConfig, counts: Counts, *, clock: Callable[[], dt.datetime]
    ) -> None:
        self._store, self._config, self._counts, self._clock = store, config, counts, clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins."""
        if not self._tasks:
            for name, interval_s, work in (
                ("memory-cache-sweeper", self._config.cache_sweep_interval_s, self.sweep),
                ("memory-cache-counts", self._config.cache_count_interval_s, self._counts.write),
            ):
                self._tasks.append(asyncio.create_task(_now_and_then(interval_s, work), name=name))

    async def close(self) -> None:
        """Stops, and writes what was counted."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            await _tried(self._counts.write)

    async def sweep(self) -> int:
        """One round; how many answers it deleted."""
        return await self._store.sweep(self._clock(), self._config.cache_sweep_limit)


async def _now_and_then(interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await _tried(work)


async def _tried(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except MeshError as error:
        _log.warning("the cache's background work waits: %s", error.message)
    except Exception:
        _log.exception("the cache's background work failed and goes on")
