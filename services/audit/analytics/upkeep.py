"""What is done in the background: requests counted as they are stored, days counted anew that are due, partitions."""

from __future__ import annotations

import datetime as dt
import functools
import logging
from collections.abc import Callable, Iterator

from mesh.postgres import Database
from mesh.rounds import Rounds
from services.audit.analytics.cells import Grain
from services.audit.analytics.rollups import GUARD_CHUNKS, Counting, Recounts, Rollups
from services.audit.config import AuditConfig

_log = logging.getLogger(__name__)
PUT_OFF = "the upkeep of analytics is put off"
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
    """The rounds of one replica. Everything they do may be done by several at once."""

    def __init__(
        self,
        database: Database,
        rollups: Rollups,
        counting: Counting,
        recounts: Recounts,
        now: Callable[[], dt.datetime],
        config: AuditConfig,
    ) -> None:
        self._database, self._rollups, self._recounts, self._now = database, rollups, recounts, now
        self._done_on: dt.date | None = None
        put_off = functools.partial(Rounds, every_s=config.upkeep_s, log=_log, meanwhile=PUT_OFF)
        # What another replica stored is counted there; what it left when it died, after `upkeep_s`. One batch for all
        # that comes in the meantime: a batch of one costs as much as one of fifty.
        self._counting = put_off("audit-counting", counting.everything, gather_s=config.count_every_s)
        self._rounds = (self._counting, put_off("audit-tables", self.tables), put_off("audit-recounts", self.recount))

    def start(self) -> None:
        """Begins."""
        for rounds in self._rounds:
            rounds.start()

    async def close(self) -> None:
        """Ends; what waits is counted by whoever is next."""
        for rounds in self._rounds:
            await rounds.close()

    def wake(self) -> None:
        """Requests were stored by this process."""
        self._counting.wake()

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
        async with self._database.transaction() as connection:
            # Those that a version before this one made, too.
            await connection.execute(GUARD_CHUNKS)
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
