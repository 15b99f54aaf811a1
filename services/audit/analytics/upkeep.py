"""What is done in the background: requests counted as they are stored, days counted anew that are due, partitions."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterator

from mesh.errors import MeshError
from mesh.postgres import Database
from services.audit.analytics.cells import Grain
from services.audit.analytics.rollups import Counting, Recounts, Rollups
from services.audit.config import AuditConfig

_log = logging.getLogger(__name__)
AT_ONCE = 20
"""Days that are counted anew in one go."""


def partitions(now: dt.datetime) -> Iterator[tuple[Grain, str, dt.datetime, dt.datetime]]:
    """The partitions that must be there: minutes by the day, hours by the month, days by the year; now and next."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for ahead in range(3):
        start = today + dt.timedelta(days=ahead)
        yield Grain.MINUTE, f"rollup_minutes_{start:%Y%m%d}", start, start + dt.timedelta(days=1)
    month = today.replace(day=1)
    following = (month + dt.timedelta(days=32)).replace(day=1)
    for start, end in ((month, following), (following, (following + dt.timedelta(days=32)).replace(day=1))):
        yield Grain.HOUR, f"rollup_hours_{start:%Y%m}", start, end
    year = today.replace(month=1, day=1)
    for start in (year, year.replace(year=year.year + 1)):
        yield Grain.DAY, f"rollup_days_{start:%Y}", start, start.replace(year=start.year + 1)


class Upkeep:
    """The loop of one replica. Everything it does may be done by several at once."""

    def __init__(
        self,
        database: Database,
        rollups: Rollups,
        counting: Counting,
        recounts: Recounts,
        news: Callable[[], asyncio.Event],
        now: Callable[[], dt.datetime],
        config: AuditConfig,
    ) -> None:
        """`news`: set when requests are stored by this process."""
        self._database, self._rollups, self._counting, self._recounts = database, rollups, counting, recounts
        self._news, self._now, self._config = news, now, config
        self._done_on: dt.date | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins."""
        self._tasks = [
            asyncio.create_task(self._count(), name="audit-counting"),
            asyncio.create_task(self._keep_up(), name="audit-upkeep"),
        ]

    async def close(self) -> None:
        """Ends; what waits is counted by whoever is next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _count(self) -> None:
        while True:
            news = self._news()
            await _tried(self._counting.everything)
            # What another replica stored is counted there; what it left when it died, by this timeout.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), self._config.upkeep_s)
            # One batch for all that comes in the meantime: a batch of one costs as much as one of fifty.
            await asyncio.sleep(self._config.count_every_s)

    async def _keep_up(self) -> None:
        while True:
            await _tried(self.tables)
            await _tried(self.recount)
            await asyncio.sleep(self._config.upkeep_s)

    async def tables(self) -> None:
        """Makes what is missing and drops what is too old, once a day."""
        now = self._now()
        if self._done_on == now.date():
            return
        async with self._database.transaction() as connection:
            await connection.execute("SELECT seed_recounts()")
        for grain, name, start, end in partitions(now):
            async with self._database.transaction() as connection:
                await connection.execute("SELECT make_rollup_partition($1, $2, $3, $4)", grain.value, name, start, end)
        for grain in Grain:
            async with self._database.transaction() as connection:
                await connection.execute("SELECT forget_rollups($1, $2)", grain.value, self._rollups.kept_from(grain))
        async with self._database.transaction() as connection:
            await connection.execute("SELECT forget_thread_days($1)", self._rollups.kept_from(Grain.DAY).date())
        self._done_on = now.date()

    async def recount(self) -> int:
        """Counts days anew that are due; how many."""
        done = 0
        while True:
            async with self._database.transaction() as connection:
                due = await connection.fetch("SELECT org_id, day FROM days_to_recount($1)", AT_ONCE)
            for row in due:
                await self._recounts.day(str(row[0]), row[1], only_if_due=True)
            done += len(due)
            if len(due) < AT_ONCE:
                return done


async def _tried(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except MeshError as error:
        _log.warning("the upkeep of analytics is put off: %s", error.message)
    except Exception:
        _log.exception("the upkeep of analytics failed")
