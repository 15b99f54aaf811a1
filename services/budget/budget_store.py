"""Budgets as administrators see them: set, listed, deleted, verified; a change and its record are one transaction."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mesh.postgres import Database
from services.budget import errors
from services.budget.ledger import CHARGING, Level, Limit
from services.budget.store import read_key
from services.budget.windows import Window, start_of

SET = """INSERT INTO budgets (org_id, budget_id, level_kind, level_id, window_kind, limit_nano_usd)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (org_id, level_kind, level_id, window_kind) DO UPDATE SET limit_nano_usd = EXCLUDED.limit_nano_usd
  RETURNING budget_id"""
FIND = (
    """SELECT * FROM budgets WHERE org_id = $1 AND level_kind = $2 AND level_id = $3 AND window_kind = $4 FOR UPDATE"""
)
LIST = "SELECT * FROM budgets WHERE org_id = $1 AND budget_id > $2 ORDER BY budget_id LIMIT $3"
COUNTERS = """SELECT budget_id, window_start, committed, reserved FROM counters WHERE org_id = $1
  AND (budget_id, window_start) IN (SELECT * FROM unnest($2::uuid[], $3::timestamptz[]))"""
DELETE = "DELETE FROM budgets WHERE org_id = $1 AND budget_id = $2 RETURNING *"
TELL = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"
VERIFY = """
SELECT 'charged' AS what, key, sum(amount)::bigint AS first, 0::bigint AS second
FROM ledger, unnest(counters) AS key WHERE org_id = $1 AND kind = ANY ($2::text[]) GROUP BY key
UNION ALL
SELECT 'held', key, sum(amount)::bigint, 0
FROM reservations, unnest(counters) AS key WHERE org_id = $1 AND state = 0 GROUP BY key
UNION ALL
SELECT 'counter', budget_id || '@' || extract(epoch FROM window_start)::bigint, committed, reserved
FROM counters WHERE org_id = $1
UNION ALL
SELECT 'budget', budget_id::text, 0, 0 FROM budgets WHERE org_id = $1
UNION ALL
SELECT 'rows', '', (SELECT count(*) FROM ledger WHERE org_id = $1),
       (SELECT count(*) FROM reservations WHERE org_id = $1 AND state = 0)
UNION ALL
SELECT * FROM (
  SELECT 'wrong', r.reservation_id::text, r.cost,
         coalesce(sum(l.amount) FILTER (WHERE l.kind = ANY ($2::text[])), 0)::bigint
  FROM reservations r LEFT JOIN ledger l ON l.org_id = r.org_id AND l.reservation_id = r.reservation_id
  WHERE r.org_id = $1 GROUP BY r.org_id, r.reservation_id
  HAVING r.cost <> coalesce(sum(l.amount) FILTER (WHERE l.kind = ANY ($2::text[])), 0)
      OR (r.state = 0) <> (count(l.kind) = 0)
  LIMIT 100) w
"""
"""One statement, so that all of it is seen as of one moment."""

NIL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Status:
    """A limit with the counter of its current window."""

    limit: Limit
    window_start: dt.datetime
    spent_nano_usd: int = 0
    reserved_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """What recomputing the counters found."""

    differences: list[str]
    ledger_rows: int
    open_reservations: int


SealChange = Callable[[Status | None, Status | None], tuple[str, bytes]]
"""(before, after) → record id and serialised AdminRecord."""


def _limit(row: Any) -> Limit:
    level = Level(str(row["org_id"]), row["level_kind"], str(row["level_id"]))
    return Limit(str(row["budget_id"]), level, Window(row["window_kind"]), row["limit_nano_usd"])


@dataclass(frozen=True)
class PostgresBudgetStore:
    """Budgets in the schema `budget`."""

    database: Database

    async def set(self, wanted: Limit, now: dt.datetime, seal: SealChange) -> Status:
        """Makes the limit of a level and window, or changes it; what was spent stays."""
        level = wanted.level
        async with self.database.transaction(level.org_id) as connection:
            found = await connection.fetchrow(FIND, level.org_id, level.kind, level.level_id, int(wanted.window))
            before = (await self._statuses(connection, [_limit(found)], now))[0] if found else None
            budget_id = await connection.fetchval(
                SET,
                level.org_id,
                wanted.budget_id,
                level.kind,
                level.level_id,
                int(wanted.window),
                wanted.limit_nano_usd,
            )
            limit = Limit(str(budget_id), level, wanted.window, wanted.limit_nano_usd)
            after = (await self._statuses(connection, [limit], now))[0]
            await connection.execute(TELL, level.org_id, *seal(before, after))
        return after

    async def page(self, org_id: str, after_id: str, limit: int, now: dt.datetime) -> list[Status]:
        """The organisation's budgets after an id."""
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(LIST, org_id, after_id or NIL, limit)
            return await self._statuses(connection, [_limit(row) for row in rows], now)

    async def delete(self, org_id: str, budget_id: str, now: dt.datetime, seal: SealChange) -> None:
        """Removes a budget and its counters. Raises NOT_FOUND."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(DELETE, org_id, budget_id)
            if row is None:
                raise errors.budget_not_found(budget_id)
            limit = _limit(row)
            await connection.execute(TELL, org_id, *seal(Status(limit, start_of(limit.window, now)), None))

    async def verify(self, org_id: str) -> Verification:
        """Recomputes every counter from the ledger and the open reservations, as of one moment."""
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(VERIFY, org_id, list(CHARGING))
        found: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        for what, key, first, second in rows:
            found[what][key] = (first, second)
        differences = []
        for key in sorted(found["counter"].keys() | found["charged"].keys() | found["held"].keys()):
            if key.partition("@")[0] not in found["budget"]:
                continue  # Deleted: the ledger still names it, its counters are gone.
            committed, reserved = found["counter"].get(key, (0, 0))
            should = (found["charged"].get(key, (0, 0))[0], found["held"].get(key, (0, 0))[0])
            if (committed, reserved) != should:
                counter = read_key(org_id, key)
                differences.append(
                    f"budget {counter.budget_id}, window of {counter.window_start:%Y-%m-%d}: the counter says "
                    f"committed {committed} and reserved {reserved} nano-USD, the ledger {should[0]} and {should[1]}"
                )
        differences += [
            f"reservation {reservation_id}: its cost is {cost} nano-USD, its ledger rows say {charged}"
            for reservation_id, (cost, charged) in found["wrong"].items()
        ]
        return Verification(differences, *found["rows"][""])

    async def _statuses(self, connection: Any, limits: list[Limit], now: dt.datetime) -> list[Status]:
        starts = [start_of(limit.window, now) for limit in limits]
        if not limits:
            return []
        rows = await connection.fetch(COUNTERS, limits[0].level.org_id, [limit.budget_id for limit in limits], starts)
        counters = {(str(row[0]), row[1]): (row[2], row[3]) for row in rows}
        return [
            Status(limit, start, *counters.get((limit.budget_id, start), (0, 0)))
            for limit, start in zip(limits, starts, strict=True)
        ]
