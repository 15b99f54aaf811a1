"""Requests and changes in PostgreSQL: inserted once, never changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from mesh.postgres import Database
from services.audit import errors
from services.audit.sealing.form import Place, plain_change, plain_request
from services.audit.sealing.payloads import PLAIN, Payloads, Sealed

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
  ON CONFLICT (org_id, record_id) DO NOTHING RETURNING org_id::text, record_id::text"""
BY_IDS = "SELECT org_id, request_id, record FROM requests_by_ids($1::uuid[], $2::uuid[])"
ADVANCE = """INSERT INTO cursors (consumer, cursor) VALUES ($1, $2)
  ON CONFLICT (consumer) DO UPDATE SET cursor = EXCLUDED.cursor"""
ARRIVED = """SELECT position, request_id::text, record FROM requests WHERE org_id = $1 AND position > $2
  ORDER BY position LIMIT $3"""
NEWEST = "SELECT coalesce(max(position), 0) FROM requests WHERE org_id = $1"


KIND_REQUEST, KIND_CHANGE = 1, 2
"""The kinds of records, as the log's tables number them."""
Row = TypeVar("Row")
Told = TypeVar("Told")
TRIES = 3
"""So often a batch is sealed anew because one of its keys was destroyed meanwhile."""


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


class SealingStore(Protocol):
    """What stores sealed rows."""

    @property
    def database(self) -> Database:
        """Where."""

    @property
    def payloads(self) -> Payloads:
        """What seals them."""


async def stored_sealed(
    store: SealingStore,
    org_ids: Collection[str],
    seal: Callable[[], Awaitable[Sealed[Row]]],
    insert: Callable[[Any, Sequence[Row]], Awaitable[Told]],
) -> Told:
    """Has `insert` store what `seal` made, in one transaction over the organisations; sealed anew when one of their
    keys was destroyed meanwhile. Returns what `insert` does. Raises MeshError."""
    for _ in range(TRIES):
        sealed = await seal()
        async with store.database.transaction(*sorted(org_ids)) as connection:
            if await store.payloads.still_live(connection, sealed):
                return await insert(connection, sealed.rows)
    raise errors.keys_destroyed_meanwhile()


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
    payloads: Payloads = PLAIN

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

        async def insert(connection: Any, sealed: Sequence[RequestRow]) -> None:
            if sealed:
                await connection.execute(INSERT_REQUESTS, *map(list, zip(*sealed, strict=True)))
            await connection.execute(ADVANCE, CONSUMER, cursor)

        await stored_sealed(self, {row.org_id for row in rows}, lambda: sealed_requests(self.payloads, rows), insert)

    async def insert_changes(self, rows: Sequence[ChangeRow]) -> list[bytes]:
        """Stores changes; those already there are left as they are. Returns the new ones."""
        plain = {(row.org_id, row.record_id): row.record for row in rows}

        async def insert(connection: Any, sealed: Sequence[ChangeRow]) -> list[bytes]:
            stored = await connection.fetch(INSERT_CHANGES, *map(list, zip(*sealed, strict=True)))
            return [plain[row[0], row[1]] for row in stored]

        org_ids = {row.org_id for row in rows}
        return await stored_sealed(self, org_ids, lambda: sealed_changes(self.payloads, rows), insert)

    async def request(self, org_id: str, request_id: str) -> bytes | None:
        """One request's record."""
        async with self.database.transaction(org_id) as connection:
            record: bytes | None = await connection.fetchval(
                "SELECT record FROM requests WHERE org_id = $1 AND request_id = $2", org_id, request_id
            )
        if record is None:
            return None
        return (await self.payloads.opened([(Place(org_id, KIND_REQUEST, request_id), record)], bare=True))[0]

    async def newest(self, org_id: str) -> int:
        """The position of the organisation's last request."""
        async with self.database.transaction(org_id) as connection:
            return int(await connection.fetchval(NEWEST, org_id))

    async def arrived(self, org_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Requests in order of arrival."""
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(ARRIVED, org_id, after, limit)
        records = [(Place(org_id, KIND_REQUEST, row[1]), row[2]) for row in rows]
        opened = await self.payloads.opened(records, bare=True)
        return [(row[0], record) for row, record in zip(rows, opened, strict=True)]


async def sealed_requests(payloads: Payloads, rows: Sequence[RequestRow]) -> Sealed[RequestRow]:
    """Requests as they are stored; of a sealed one the column of models shows none that was only asked for."""
    if not payloads.seals:
        return Sealed(rows)
    plain = [plain_request(Place(row.org_id, KIND_REQUEST, row.request_id), row.record) for row in rows]
    sealed = await payloads.sealed([one for one, _ in plain])
    return Sealed(
        [
            row._replace(record=record, model=row.model if was_asked else "")
            for row, (_, was_asked), record in zip(rows, plain, sealed.rows, strict=True)
        ],
        sealed.known,
    )


async def sealed_changes(payloads: Payloads, rows: Sequence[ChangeRow]) -> Sealed[ChangeRow]:
    """Changes as they are stored."""
    if not payloads.seals:
        return Sealed(rows)
    plain = [plain_change(Place(row.org_id, KIND_CHANGE, row.record_id), row.record) for row in rows]
    sealed = await payloads.sealed(plain)
    return Sealed([row._replace(record=record) for row, record in zip(rows, sealed.rows, strict=True)], sealed.known)
