"""Records of a database that was restored into another server, whose transactions are counted from the beginning."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from mesh.ids import uuid7
from mesh.postgres import Database
from services.budget.record_store import START, Cursor, PostgresRecordStore
from tests.conftest import Migrated

WRITE = "INSERT INTO record_outbox (org_id, request_id, record) VALUES ($1, $2, $3)"
AHEAD = 10_000_000
"""How much further the other server was."""


@pytest.fixture
async def restored(
    make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path]
) -> tuple[Migrated, Cursor]:
    """A database with two records of another server, and how far a consumer has read there: the first of them."""
    made = await make_database({"budget": all_services["budget"]})
    database = Database(made.dsn("budget"), "budget")
    store, org_id = PostgresRecordStore(database), uuid7()
    await store.go_on()
    await write(database, org_id, b"read", b"unread")
    await database.close()
    administrator = await asyncpg.connect(made.superuser_dsn)
    await administrator.execute("UPDATE budget.record_outbox SET xid = (xid::text::bigint + $1)::text::xid8", AHEAD)
    xid, seq = await administrator.fetchrow("SELECT xid::text, seq FROM budget.record_outbox ORDER BY seq LIMIT 1")
    await administrator.close()
    return made, Cursor(int(xid), seq)


async def write(database: Database, org_id: str, *records: bytes) -> None:
    for record in records:
        async with database.transaction(org_id) as connection:
            await connection.execute(WRITE, org_id, uuid7(), record)


async def test_no_record_is_lost_or_read_twice(restored: tuple[Migrated, Cursor]) -> None:
    made, cursor = restored
    replicas = [Database(made.dsn("budget"), "budget") for _ in range(3)]
    store, org_id = PostgresRecordStore(replicas[0]), uuid7()
    try:
        await store.advance("audit", cursor)
        await asyncio.gather(*(PostgresRecordStore(database).go_on() for database in replicas))
        await write(replicas[1], org_id, b"new")
        records, behind = await store.read(cursor, 10, 10**6)
        assert records == [b"unread", b"new"]
        # Once more, as a restart does; and again restored into another server.
        await asyncio.gather(*(PostgresRecordStore(database).go_on() for database in replicas))
        await write(replicas[2], org_id, b"newer")
        assert (await store.read(behind, 10, 10**6))[0] == [b"newer"]
        assert (await store.read(START, 10, 10**6))[0] == [b"read", b"unread", b"new", b"newer"]
    finally:
        for database in replicas:
            await database.close()


async def test_what_a_consumer_has_read_alone_says_so(restored: tuple[Migrated, Cursor]) -> None:
    """All records were read and removed; only the consumer's place came with the backup."""
    made, cursor = restored
    database = Database(made.dsn("budget"), "budget")
    store = PostgresRecordStore(database)
    try:
        await store.advance("audit", Cursor(cursor.xid + 5, cursor.seq + 5))
        async with database.transaction() as connection:
            await connection.execute("SELECT forget_records($1::text::xid8, 99)", str(cursor.xid + 5))
        await store.go_on()
        await write(database, uuid7(), b"new")
        assert (await store.read(Cursor(cursor.xid + 5, cursor.seq + 5), 10, 10**6))[0] == [b"new"]
    finally:
        await database.close()


async def test_a_record_waits_for_older_transactions_there_too(restored: tuple[Migrated, Cursor]) -> None:
    made, cursor = restored
    database = Database(made.dsn("budget"), "budget")
    store, org_id = PostgresRecordStore(database), uuid7()
    try:
        await store.go_on()
        async with database.transaction(org_id) as late:
            await late.execute(WRITE, org_id, uuid7(), b"late")
            await write(database, org_id, b"early")
            assert (await store.read(cursor, 10, 10**6))[0] == [b"unread"]
        assert (await store.read(cursor, 10, 10**6))[0] == [b"unread", b"late", b"early"]
    finally:
        await database.close()
