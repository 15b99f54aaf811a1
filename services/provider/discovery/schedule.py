"""Discovery by the clock: one leader among the replicas asks every provider when its list is old enough."""

import asyncio
import datetime
import logging
import random
from collections.abc import Callable

from mesh.errors import MeshError
from mesh.postgres import Database
from services.provider.config import ProviderConfig
from services.provider.discovery.discovery import Discovery

TAKE_LEAD = "SELECT pg_try_advisory_lock(hashtext('dac.provider.discovery'))"
RETRY_S = 900.0
"""How long after a failure a provider is asked again, when nothing else is due before."""
LOOK_S = 60.0
"""How often the leader looks whether something is due, and others whether there is a leader."""
_log = logging.getLogger("dac.provider.discovery")


class DiscoverySchedule:
    """The leader's loop. It spends no money: the graded questions are never asked from here."""

    def __init__(
        self,
        discovery: Discovery,
        database: Database,
        config: ProviderConfig,
        *,
        now: Callable[[], datetime.datetime],
        jitter: Callable[[], float] = random.random,
        look_s: float = LOOK_S,
    ) -> None:
        self._discovery, self._database, self._config = discovery, database, config
        self._now, self._jitter, self._look_s = now, jitter, look_s
        self._task: asyncio.Task[None] | None = None
        self._wait_s = self._next_wait_s()

    def start(self) -> None:
        """Begins in the background, unless it is switched off."""
        if self._config.discovery_interval_s:
            self._task = asyncio.create_task(self._run(), name="provider-discovery")

    async def close(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _next_wait_s(self) -> float:
        return self._config.discovery_interval_s * (0.9 + 0.2 * self._jitter())

    async def _run(self) -> None:
        # Replicas that start together should not look together.
        await asyncio.sleep(self._config.discovery_first_s * (0.5 + self._jitter()))
        while True:
            try:
                async with self._database.session() as session:
                    leads = await session.fetchval(TAKE_LEAD)
                    while leads:
                        await self.look()
                        await asyncio.sleep(self._look_s)
                        # A lost session has lost the lock: somebody else may be the leader now.
                        await session.fetchval("SELECT 1")
            except MeshError as error:
                _log.debug("the schedule of discovery waits: %s", error.message)
            except Exception:
                _log.exception("scheduled discovery failed")
            await asyncio.sleep(self._look_s)

    async def look(self) -> bool:
        """Asks every provider when the one that waited longest is due, else those that failed a while ago; whether it
        asked. Raises MeshError."""
        await self._discovery.refresh()
        last = self._discovery.last_try()
        if last is not None and (self._now() - last).total_seconds() < self._wait_s:
            failing = self._discovery.failing(self._now() - datetime.timedelta(seconds=RETRY_S))
            if failing:
                await self._discovery.run(failing)
            return bool(failing)
        self._wait_s = self._next_wait_s()
        ran = await self._discovery.run()
        failed = [one for one in ran if one.error]
        if ran:
            _log.info("listed the models of %d providers, %d failed", len(ran) - len(failed), len(failed))
        return bool(ran)
