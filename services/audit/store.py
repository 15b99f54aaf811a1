"""Requests and changes in PostgreSQL: inserted once, never changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mesh.postgres import Database

CONSUMER = "audit"
# What was removed on purpose does not come back when it is delivered once more.
INSERT_REQUESTS = """INSERT INTO requests
    (org_id, request_id, started_at, model, outcome, cost_nano_usd, record, actor, operation)
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::smallint[], $6::bigint[], $7::bytea[],
    $8::text[], $9::text[]) AS n (org_id, request_id)
  WHERE NOT EXISTS (SELECT FROM removed x WHERE x.org_id = n.org_id AND x.kind = 1 AND x.record_id = n.request_id)
  ON CONFLICT (org_id, request_id) DO NOTHING"""
INSERT_CHANGES = """INSERT INTO changes (org_id, record_id, at, record)
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[]) AS n (org_id, record_id)
  WHERE NOT EXISTS (SELECT FROM removed x WHERE x.org_id = n.org_id AND x.kind = 2 AND x.record_id = n.record_id)
  ON CONFLICT (org_id, record_id) DO NOTHING RETURNING record"""
ADVANCE = """INSERT INTO cursors (consumer, cursor) VALUES ($1, $2)
  ON CONFLICT (consumer) DO UPDATE SET cursor = EXCLUDED.cursor"""
ARRIVED = "SELECT position, record FROM requests WHERE org_id = $1 AND position > $2 ORDER BY position LIMIT $3"
NEWEST = "SELECT coalesce(max(position), 0) FROM requests WHERE org_id = $1"


class RequestRow(NamedTuple):
    """A request as it is stored: what lists filter by, and the record."""

    org_id: str
    request_id: str
    started_at: dt.datetime
    model: str
    outcome: int
    cost_nano_usd: int
    record: bytes
    actor: str
    operation: str


class ChangeRow(NamedTuple):
    """An administrative change as it is stored."""

    org_id: str
    record_id: str
    at: dt.datetime
    record: bytes


class AuditStore(Protocol):
    """What is recorded."""

    async def check_insert(self) -> None:
        """Raises when no request at all could be stored."""

    async def cursor(self) -> str:
        """How far budget's outbox has been read."""

    async def insert_requests(self, rows: Sequence[RequestRow], cursor: str) -> None:
        """Stores requests and the cursor behind them in one transaction."""


@dataclass(frozen=True)
class PostgresAuditStore:
    """The schema `audit`."""

    database: Database

    async def cursor(self) -> str:
        """How far budget's outbox has been read; empty = not at all."""
        async with self.database.transaction() as connection:
            return await connection.fetchval("SELECT cursor FROM cursors WHERE consumer = $1", CONSUMER) or ""

    async def check_insert(self) -> None:
        """Raises when no request at all could be stored: the table or the right to it is missing."""
        async with self.database.transaction() as connection:
            await connection.execute(INSERT_REQUESTS, *([] for _ in RequestRow._fields))

    async def insert_requests(self, rows: Sequence[RequestRow], cursor: str) -> None:
        """Stores requests and the cursor behind them in one transaction; those already there are left as they are."""
        async with self.database.transaction(*sorted({row.org_id for row in rows})) as connection:
            if rows:
                await connection.execute(INSERT_REQUESTS, *map(list, zip(*rows, strict=True)))
            await connection.execute(ADVANCE, CONSUMER, cursor)

    async def insert_changes(self, rows: Sequence[ChangeRow]) -> list[bytes]:
        """Stores changes; those already there are left as they are. Returns the new ones."""
        async with self.database.transaction(*sorted({row.org_id for row in rows})) as connection:
            return [row[0] for row in await connection.fetch(INSERT_CHANGES, *map(list, zip(*rows, strict=True)))]

    async def request(self, org_id: str, request_id: str) -> bytes | None:
        """One request's record."""
        async with self.database.transaction(org_id) as connection:
            record: bytes | None = await connection.fetchval(
                "SELECT record FROM requests WHERE org_id = $1 AND request_id = $2", org_id, request_id
            )
            return record

    async def newest(self, org_id: str) -> int:
        """The position of the organisation's last request."""
        async with self.database.transaction(org_id) as connection:
            return int(await connection.fetchval(NEWEST, org_id))

    async def arrived(self, org_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Requests in order of arrival."""
        async with self.database.transaction(org_id) as connection:
            return [(row[0], row[1]) for row in await connection.fetch(ARRIVED, org_id, after, limit)]
