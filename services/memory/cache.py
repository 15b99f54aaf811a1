"""The exact response cache: what may be stored, for how long, and the sweeper of what has expired."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
from collections.abc import Callable

from mesh.errors import MeshError
from services.memory import errors
from services.memory.cache_store import CacheStore
from services.memory.config import MemoryConfig

FINGERPRINT_BYTES = 32
STORABLE_FINISH_REASON = "stop"

_log = logging.getLogger(__name__)


class ResponseCache:
    """Whole answers by fingerprint, inside one organisation."""

    def __init__(self, store: CacheStore, config: MemoryConfig, *, clock: Callable[[], dt.datetime]) -> None:
        self._store, self._config, self._clock = store, config, clock

    async def find(self, org_id: str, fingerprint: bytes) -> tuple[bytes, float] | None:
        """The stored answer and its age in seconds; never an expired one."""
        now = self._clock()
        found = await self._store.find(org_id, _checked(fingerprint), now)
        return None if found is None else (found[0], max(0.0, (now - found[1]).total_seconds()))

    async def put(
        self, org_id: str, fingerprint: bytes, answer: bytes, *, finish_reason: str, lifetime_s: float
    ) -> bool:
        """Stores an answer that ended by itself and is not too large; whether it did."""
        _checked(fingerprint)
        if not math.isfinite(lifetime_s) or lifetime_s < 0:
            raise errors.invalid("lifetime_s", f"must be a number of seconds from 0, not {lifetime_s}")
        if finish_reason != STORABLE_FINISH_REASON or not 0 < len(answer) <= self._config.cache_max_entry_bytes:
            return False
        now = self._clock()
        life_s = min(lifetime_s or self._config.cache_lifetime_s, self._config.cache_max_lifetime_s)
        await self._store.put(org_id, fingerprint, answer, now, now + dt.timedelta(seconds=life_s))
        return True


def _checked(fingerprint: bytes) -> bytes:
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise errors.invalid("fingerprint", f"must have {FINGERPRINT_BYTES} bytes (SHA-256), not {len(fingerprint)}")
    return fingerprint


class Sweeper:
    """Deletes expired answers now and then. Lookups never depend on it."""

    def __init__(self, store: CacheStore, config: MemoryConfig, *, clock: Callable[[], dt.datetime]) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to sweep."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="memory-cache-sweeper")

    async def close(self) -> None:
        """Stops."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def sweep(self) -> int:
        """One round; how many answers it deleted."""
        return await self._store.sweep(self._clock(), self._config.cache_sweep_limit)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._config.cache_sweep_interval_s)
            try:
                await self.sweep()
            except MeshError as error:
                _log.warning("expired answers stay for now: %s", error.message)
            except Exception:
                _log.exception("the sweeper failed and goes on")
