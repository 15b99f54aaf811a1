"""Budgets as administrators see them: set, changed, listed, deleted; a change and its record are one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mesh.admin_record import Change
from mesh.postgres import Database
from services.budget import errors
from services.budget.alerts.forecast import DAY, needs_recent
from services.budget.ledger.row_columns import limit_of
from services.budget.ledger.rows import Limit
from services.budget.ledger.windows import start_of
from services.budget.usage.store import PostgresUsageStore

SHOWN = """SELECT org_id, budget_id, level_kind, level_id, window_kind, limit_nano_usd, thresholds, is_hard, selector,
  zone, note, alert_emails, created_at FROM budgets WHERE org_id = $1 """
SET = """INSERT INTO budgets (org_id, budget_id, level_kind, level_id, window_kind, selector, zone, limit_nano_usd,
                              is_hard, thresholds, alert_emails, note)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
  ON CONFLICT (org_id, level_kind, level_id, window_kind, selector) DO UPDATE
    SET limit_nano_usd = EXCLUDED.limit_nano_usd, is_hard = EXCLUDED.is_hard, thresholds = EXCLUDED.thresholds,
        alert_emails = EXCLUDED.alert_emails, note = EXCLUDED.note
  RETURNING budget_id"""
FIND = SHOWN + "AND level_kind = $2 AND level_id = $3 AND window_kind = $4 AND selector = $5 FOR UPDATE"
ANY = SHOWN + "AND budget_id = $2"
GET = SHOWN + "AND budget_id = $2 AND selector <> 'stop' FOR UPDATE"
LIST = SHOWN + "AND budget_id > $2 AND selector <> 'stop' ORDER BY budget_id LIMIT $3"
ON_PATH = SHOWN + "AND level_id = ANY ($2::uuid[]) AND selector <> 'stop' ORDER BY budget_id"
STOPPED = SHOWN + "AND selector = 'stop'"
COUNTERS = """SELECT c.budget_id, c.window_start, c.committed, c.reserved,
    ARRAY(SELECT a.threshold_percent FROM alerts a WHERE a.org_id = $1 AND a.budget_id = c.budget_id
      AND a.window_start = c.window_start ORDER BY 1)
  FROM counters c WHERE c.org_id = $1
  AND (c.budget_id, c.window_start) IN (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]))"""
ASK_AGAIN = "UPDATE counters SET next_alert = 0 WHERE org_id = $1 AND budget_id = $2"
"""A changed limit moves its thresholds: the next charge finds them out."""
DELETE = "DELETE FROM budgets WHERE org_id = $1 AND budget_id = $2"
FORGET_ALERTS = "DELETE FROM alerts WHERE org_id = $1 AND budget_id = $2"
TELL = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"

NIL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Status:
    """A limit with the counter of its current window."""

    limit: Limit
    window_start: dt.datetime
    spent_nano_usd: int = 0
    reserved_nano_usd: int = 0
    reached_percent: tuple[int, ...] = ()
    created_at: dt.datetime | None = None
    recent_nano_usd: int | None = None
    """What was spent in the last 24 hours of the window; None = not asked for."""

    @property
    def counted_since(self) -> dt.datetime:
        """When counting began: with the window, or with a younger budget."""
        return max(self.window_start, self.created_at or self.window_start)


SealChange = Callable[[Status | None, Status | None], Change]
"""(before, after) → what audit is told."""


def _limit(row: Any) -> Limit:
    return replace(limit_of(*row[:2], *row[2:11]), alert_emails=tuple(row[11]))


def _values(limit: Limit) -> Sequence[Any]:
    level = limit.level
    return (
        level.org_id,
        limit.budget_id,
        level.kind,
        level.level_id,
        int(limit.window),
        limit.selector,
        limit.zone,
        limit.limit_nano_usd,
        limit.is_hard,
        list(limit.thresholds_percent),
        list(limit.alert_emails),
        limit.note,
    )


@dataclass(frozen=True)
class PostgresBudgetStore:
    """Budgets in the schema `budget`."""

    database: Database

    async def set(self, wanted: Limit, now: dt.datetime, seal: SealChange, *, only_new: bool = False) -> Status:
        """Makes the budget of a level, window and selector, or changes it; what was spent stays.

        Raises ALREADY_EXISTS (`only_new`), or FAILED_PRECONDITION for another zone.
        """
        level = wanted.level
        place = (level.org_id, level.kind, level.level_id, int(wanted.window), wanted.selector)
        async with self.database.transaction(level.org_id) as connection:
            found = await connection.fetchrow(FIND, *place)
            before = (await self._statuses(connection, [found], now))[0] if found else None
            if before is not None and only_new:
                raise errors.budget_exists(before.limit.budget_id)
            if before is not None and before.limit.zone != wanted.zone:
                raise errors.zone_fixed(before.limit.budget_id, before.limit.zone)
            return await self._write(connection, wanted, before, now, seal)

    async def change(
        self, org_id: str, budget_id: str, changed: Callable[[Limit], Limit], now: dt.datetime, seal: SealChange
    ) -> Status:
        """Changes a budget. Raises NOT_FOUND."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(GET, org_id, budget_id)
            if row is None:
                raise errors.budget_not_found(budget_id)
            before = (await self._statuses(connection, [row], now))[0]
            return await self._write(connection, changed(before.limit), before, now, seal)

    async def _write(
        self, connection: Any, wanted: Limit, before: Status | None, now: dt.datetime, seal: SealChange
    ) -> Status:
        budget_id = await connection.fetchval(SET, *_values(wanted))
        await connection.execute(ASK_AGAIN, wanted.level.org_id, budget_id)
        row = await connection.fetchrow(ANY, wanted.level.org_id, budget_id)
        after = (await self._statuses(connection, [row], now))[0]
        await connection.execute(TELL, wanted.level.org_id, *seal(before, after))
        return after

    async def get(self, org_id: str, budget_id: str, now: dt.datetime) -> Status:
        """One budget. Raises NOT_FOUND."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(GET, org_id, budget_id)
            if row is None:
                raise errors.budget_not_found(budget_id)
            return (await self._statuses(connection, [row], now))[0]

    async def page(self, org_id: str, after_id: str, limit: int, now: dt.datetime) -> list[Status]:
        """The organisation's budgets after an id."""
        async with self.database.transaction(org_id) as connection:
            return await self._statuses(connection, await connection.fetch(LIST, org_id, after_id or NIL, limit), now)

    async def on_path(self, org_id: str, level_ids: Sequence[str], now: dt.datetime) -> list[Status]:
        """The budgets of some levels."""
        async with self.database.transaction(org_id) as connection:
            return await self._statuses(connection, await connection.fetch(ON_PATH, org_id, list(level_ids)), now)

    async def paced(self, org_id: str, statuses: Sequence[Status], now: dt.datetime) -> list[Status]:
        """The statuses with what was spent in the last 24 hours, for the forecast."""
        older = [one for one in statuses if needs_recent(one.counted_since, now)]
        counters = [(one.limit.budget_id, one.window_start) for one in older]
        recent = await PostgresUsageStore(self.database).spent_recently(org_id, counters, now - DAY)
        young = {one.limit.budget_id: one.spent_nano_usd for one in statuses if one not in older}
        return [
            replace(one, recent_nano_usd=young.get(one.limit.budget_id, recent.get(one.limit.budget_id, 0)))
            for one in statuses
        ]

    async def stopped(self, org_id: str, now: dt.datetime) -> Status | None:
        """The emergency stop; None when there is none."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(STOPPED, org_id)
            return None if row is None else (await self._statuses(connection, [row], now))[0]

    async def delete(self, org_id: str, budget_id: str, now: dt.datetime, seal: SealChange) -> None:
        """Removes a budget, its counters and warnings. Raises NOT_FOUND."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(ANY, org_id, budget_id)
            if row is None or await connection.execute(DELETE, org_id, budget_id) != "DELETE 1":
                raise errors.budget_not_found(budget_id)
            await connection.execute(FORGET_ALERTS, org_id, budget_id)
            limit = _limit(row)
            status = Status(limit, start_of(limit.window, now, limit.zone))
            await connection.execute(TELL, org_id, *seal(status, None))

    @staticmethod
    async def _statuses(connection: Any, rows: Sequence[Any], now: dt.datetime) -> list[Status]:
        limits = [_limit(row) for row in rows]
        starts = [start_of(limit.window, now, limit.zone) for limit in limits]
        if not limits:
            return []
        found = await connection.fetch(COUNTERS, limits[0].level.org_id, [limit.budget_id for limit in limits], starts)
        counters = {(str(row[0]), row[1]): (row[2], row[3], tuple(row[4])) for row in found}
        return [
            Status(limit, start, *counters.get((limit.budget_id, start), (0, 0, ())), created_at=row["created_at"])
            for limit, start, row in zip(limits, starts, rows, strict=True)
        ]
