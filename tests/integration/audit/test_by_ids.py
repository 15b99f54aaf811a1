"""Requests looked up by their ids: what is read depends on how many are asked for, not on how many there are."""

from __future__ import annotations

import datetime as dt
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mesh.ids import uuid7
from mesh.postgres import Database
from services.audit.store import BY_IDS, PostgresAuditStore, RequestRow

STORED, ASKED = 600, 20
READ = """SELECT coalesce(sum(idx_tup_fetch), 0)::bigint + coalesce(sum(seq_tup_read), 0)::bigint
  FROM pg_stat_xact_user_tables WHERE schemaname = 'audit' AND relname = 'requests'"""


@pytest.fixture
async def store(
    make_database: Callable[..., Awaitable[Any]], all_services: dict[str, pathlib.Path]
) -> AsyncIterator[PostgresAuditStore]:
    """Audit's records in a database of this test alone: PostgreSQL has no statistics of its tables yet."""
    made = await make_database({"audit": all_services["audit"]})
    database = Database(made.dsn("audit"), "audit")
    await database.open()
    yield PostgresAuditStore(database)
    await database.close()


def row(org_id: str) -> RequestRow:
    """A request of the organisation."""
    return RequestRow(org_id, uuid7(), dt.datetime.now(dt.UTC), "m/a", 1, 5, b"\x0a\x01r", "", "chat")


async def test_a_lookup_reads_what_it_asks_for_before_the_first_statistics(store: PostgresAuditStore) -> None:
    mine, other = uuid7(), uuid7()
    rows = [row(mine) for _ in range(STORED)]
    await store.insert_requests([*rows, row(other)], "1")
    asked = [one.request_id for one in rows[:ASKED]]
    async with store.database.transaction(mine) as connection:
        # The sixth time on a prepared statement is planned without its parameters.
        for _ in range(7):
            before = await connection.fetchval(READ)
            found = await connection.fetch(BY_IDS, [mine] * ASKED, asked)
            read = await connection.fetchval(READ) - before
            assert {one[1] for one in found} == set(asked)
            assert read <= 2 * ASKED, f"{read} rows were read for {ASKED} requests of {STORED}"


async def test_a_lookup_finds_no_request_of_an_organisation_that_the_transaction_does_not_see(
    store: PostgresAuditStore,
) -> None:
    mine, other = row(uuid7()), row(uuid7())
    await store.insert_requests([mine, other], "1")
    ids = [mine.org_id, other.org_id, mine.org_id], [mine.request_id, other.request_id, other.request_id]
    async with store.database.transaction(mine.org_id) as connection:
        found = await connection.fetch(BY_IDS, *ids)
    assert [tuple(one) for one in found] == [(mine.org_id, mine.request_id, mine.record)]
    async with store.database.transaction() as connection:
        assert await connection.fetch(BY_IDS, *ids) == []
