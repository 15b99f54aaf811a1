"""Rate limits in PostgreSQL: set, listed, deleted, and read whole by every replica when one of them changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.admin_record import Change
from mesh.postgres import Database
from services.budget.limits import rate_limit_errors
from services.budget.limits.rate_limits import RateLimit

EPOCH = "SELECT epoch FROM rate_limit_epoch"
READ_ALL = "SELECT * FROM read_rate_limits()"
FIND = """SELECT * FROM rate_limits WHERE org_id = $1 AND level_kind = $2 AND level_id = $3 AND model = $4 FOR UPDATE"""
SET = """INSERT INTO rate_limits (org_id, rate_limit_id, level_kind, level_id, model, requests_per_minute,
    tokens_per_minute, concurrent_requests) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
  ON CONFLICT (level_id, level_kind, model, org_id) DO UPDATE SET requests_per_minute = EXCLUDED.requests_per_minute,
    tokens_per_minute = EXCLUDED.tokens_per_minute, concurrent_requests = EXCLUDED.concurrent_requests
  RETURNING *"""
LIST = "SELECT * FROM rate_limits WHERE org_id = $1 AND rate_limit_id > $2 ORDER BY rate_limit_id LIMIT $3"
DELETE = "DELETE FROM rate_limits WHERE org_id = $1 AND rate_limit_id = $2 RETURNING *"
TELL = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"
BEAT = """INSERT INTO rate_limit_replicas (instance, seen_at) VALUES ($1, now())
  ON CONFLICT (instance) DO UPDATE SET seen_at = now()"""
BURY = "DELETE FROM rate_limit_replicas WHERE seen_at < now() - make_interval(secs => $1)"
ALIVE = "SELECT count(*) FROM rate_limit_replicas"
LEAVE = "DELETE FROM rate_limit_replicas WHERE instance = $1"
ENDED = """SELECT r.org_id::text, r.request_id::text FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, request_id)
  JOIN reservations r ON r.org_id = u.org_id AND r.request_id = u.request_id WHERE r.state <> 0"""
NIL = "00000000-0000-0000-0000-000000000000"

SealChange = Callable[[RateLimit | None, RateLimit | None], Change]
"""(before, after) → what audit is told."""


def _limit(row: Any) -> RateLimit:
    return RateLimit(
        str(row["rate_limit_id"]),
        str(row["org_id"]),
        row["level_kind"],
        str(row["level_id"]),
        row["model"],
        row["requests_per_minute"],
        row["tokens_per_minute"],
        row["concurrent_requests"],
    )


@dataclass(frozen=True)
class PostgresRateLimitStore:
    """Rate limits in the schema `budget`."""

    database: Database

    async def read_all(self, known_epoch: int) -> tuple[int, list[RateLimit]] | None:
        """The epoch and every organisation's limits; None while nothing has changed since `known_epoch`."""
        async with self.database.transaction() as connection:
            # First the epoch: limits that are newer than it are read once more, never missed.
            epoch = await connection.fetchval(EPOCH)
            if epoch == known_epoch:
                return None
            return epoch, [_limit(row) for row in await connection.fetch(READ_ALL)]

    async def set(self, wanted: RateLimit, seal: SealChange) -> RateLimit:
        """Makes the limit of a level and model, or changes it; what was counted stays."""
        org_id = wanted.org_id
        async with self.database.transaction(org_id) as connection:
            found = await connection.fetchrow(FIND, org_id, wanted.level_kind, wanted.level_id, wanted.model)
            row = await connection.fetchrow(
                SET,
                org_id,
                wanted.rate_limit_id,
                wanted.level_kind,
                wanted.level_id,
                wanted.model,
                wanted.requests_per_minute,
                wanted.tokens_per_minute,
                wanted.concurrent_requests,
            )
            after = _limit(row)
            await connection.execute(TELL, org_id, *seal(_limit(found) if found else None, after))
        return after

    async def page(self, org_id: str, after_id: str, limit: int) -> list[RateLimit]:
        """The organisation's rate limits after an id."""
        async with self.database.transaction(org_id) as connection:
            return [_limit(row) for row in await connection.fetch(LIST, org_id, after_id or NIL, limit)]

    async def delete(self, org_id: str, rate_limit_id: str, seal: SealChange) -> None:
        """Removes a rate limit. Raises NOT_FOUND."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(DELETE, org_id, rate_limit_id)
            if row is None:
                raise rate_limit_errors.rate_limit_not_found(rate_limit_id)
            await connection.execute(TELL, org_id, *seal(_limit(row), None))

    async def beat(self, instance: str, life_s: float) -> int:
        """Says that this replica is alive; returns how many are."""
        async with self.database.transaction() as connection:
            await connection.execute(BEAT, instance)
            await connection.execute(BURY, life_s)
            return int(await connection.fetchval(ALIVE))

    async def leave(self, instance: str) -> None:
        """Says that this replica goes."""
        async with self.database.transaction() as connection:
            await connection.execute(LEAVE, instance)

    async def ended(self, held: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Of these requests (organisation, id) those whose reservation is resolved."""
        async with self.database.transaction(*{org_id for org_id, _ in held}) as connection:
            rows = await connection.fetch(ENDED, [one[0] for one in held], [one[1] for one in held])
        return [(row[0], row[1]) for row in rows]
