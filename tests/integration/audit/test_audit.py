"""What audit keeps: every record of budget's outbox exactly once, for its organisation only, for ever."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.audit.v1 import audit_pb2 as pb
from dac.budget.v1 import budget_pb2
from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.transport import reading
from services.audit.analytics.rollups import Counting, Rollups
from services.audit.config import AuditConfig
from services.audit.server import AuditService
from services.audit.store import PostgresAuditStore
from services.budget.server import BudgetService
from tests.integration.audit.conftest import MakeAudit
from tests.integration.budget.world import as_key, as_service

DatabaseFor = Callable[..., Awaitable[Database]]
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


async def store(budget: BudgetService, org_id: str, **fields: Any) -> str:
    made = record_pb2.RequestRecord(
        **{"org_id": org_id, "request_id": uuid7(), "asked_model": "test/free", "outcome": 1, **fields}
    )
    made.started_at.GetCurrentTime()
    with as_key(org_id):
        await budget.budget.Commit(budget_pb2.CommitRequest(record=made), None)
    return made.request_id


async def get(audit: AuditService, org_id: str, request_id: str) -> record_pb2.RequestRecord:
    with as_key(org_id):
        return (await audit.audit.GetRequest(pb.GetRequestRequest(request_id=request_id), None)).request


async def page(audit: AuditService, org_id: str, **fields: Any) -> pb.ListRequestsResponse:
    with as_key(org_id):
        return await audit.audit.ListRequests(pb.ListRequestsRequest(**fields), None)


async def test_a_request_is_found_right_after_its_commit(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    audit = await make_audit(budget)
    request_id = await store(budget, org_id, finish_reason="stop")
    assert (await get(audit, org_id, request_id)).finish_reason == "stop"
    stranger = uuid7()
    with pytest.raises(MeshError) as refusal:
        await get(audit, stranger, request_id)
    assert refusal.value.reason is Reason.NOT_FOUND


async def test_a_request_is_counted_soon_after_it_is_stored_though_nobody_asks(
    budget: BudgetService, make_audit: MakeAudit, org_id: str, database_for: DatabaseFor
) -> None:
    audit = await make_audit(budget, upkeep_s=3600.0, count_every_s=0.01)
    waiting = Counting(await database_for("audit"), Rollups(AuditConfig(), lambda: NOW)).waiting
    async with asyncio.timeout(30):
        for _ in range(2):
            await get(audit, org_id, await store(budget, org_id))
            while await waiting():
                await asyncio.sleep(0.01)


async def test_two_replicas_store_every_request_once(budget: BudgetService, make_audit: MakeAudit, org_id: str) -> None:
    replicas = [await make_audit(budget, settle_wait_s=10), await make_audit(budget, settle_wait_s=10)]
    wanted = [await store(budget, org_id) for _ in range(30)]
    for number, request_id in enumerate(wanted):
        await get(replicas[number % 2], org_id, request_id)
    found = [r.request_id for r in (await page(replicas[0], org_id)).requests]
    assert sorted(found) == sorted(wanted)


async def test_another_replica_follows_on_when_the_leader_stops(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    leader = await make_audit(budget)
    await get(leader, org_id, await store(budget, org_id))
    heir = await make_audit(budget, settle_wait_s=10)
    await leader.close()
    await get(heir, org_id, await store(budget, org_id))


async def test_pages_are_newest_first_filtered_and_bound_to_their_filters(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    audit = await make_audit(budget, settle_wait_s=10)
    ids = [await store(budget, org_id, asked_model=f"test/{n % 2}", outcome=1 + n % 2) for n in range(6)]
    await get(audit, org_id, ids[-1])
    first = await page(audit, org_id, page_size=4)
    rest = await page(audit, org_id, page_size=4, page_token=first.next_page_token)
    assert [r.request_id for r in (*first.requests, *rest.requests)] == ids[::-1]
    assert rest.next_page_token == ""
    assert [r.request_id for r in (await page(audit, org_id, model="test/0")).requests] == ids[4::-2]
    assert len((await page(audit, org_id, outcome=2)).requests) == 3
    for wrong in ({"page_token": "x"}, {"page_token": first.next_page_token, "model": "test/0"}):
        with pytest.raises(MeshError) as refusal:
            await page(audit, org_id, **wrong)
        assert refusal.value.reason is Reason.INVALID_REQUEST
    with pytest.raises(MeshError):
        await page(audit, uuid7(), page_token=first.next_page_token)


async def test_following_shows_the_own_organisations_new_requests(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    audit = await make_audit(budget, settle_wait_s=10)
    await get(audit, org_id, await store(budget, org_id))
    with as_key(org_id):
        async with reading(audit.audit.FollowRequests(pb.FollowRequestsRequest(), None)) as events:
            coming = asyncio.ensure_future(anext(events))
            while not coming.done():
                await store(budget, uuid7())
                last = await store(budget, org_id)
                await get(audit, org_id, last)
            assert (await coming).request.org_id == org_id


async def test_changes_come_from_services_once_and_only_administrators_see_them(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    audit = await make_audit(budget)
    change = record_pb2.AdminRecord(record_id=uuid7(), org_id=org_id, action="key.create", actor="operator")
    append = pb.AppendRequest(records=[change, change])
    with as_key(org_id, "operator"), pytest.raises(MeshError) as refusal:
        await audit.audit.Append(append, None)
    assert refusal.value.reason is Reason.PERMISSION_DENIED
    with as_service("gateway"):
        await audit.audit.Append(append, None)
        await audit.audit.Append(append, None)
    with as_key(org_id):
        found = await audit.audit.ListChanges(pb.ListChangesRequest(), None)
    assert [c.action for c in found.changes] == ["key.create"]
    with as_key(org_id, "read"), pytest.raises(MeshError):
        await audit.audit.ListChanges(pb.ListChangesRequest(), None)


async def test_nobody_else_says_what_audit_removed(budget: BudgetService, make_audit: MakeAudit, org_id: str) -> None:
    audit = await make_audit(budget)
    forged = record_pb2.AdminRecord(record_id=uuid7(), org_id=org_id, action="audit.erase")
    with as_service("gateway"), pytest.raises(MeshError, match="only audit itself"):
        await audit.audit.Append(pb.AppendRequest(records=[forged]), None)


async def test_a_page_of_long_changes_is_shorter(budget: BudgetService, make_audit: MakeAudit, org_id: str) -> None:
    audit = await make_audit(budget)
    long = [
        record_pb2.AdminRecord(record_id=uuid7(), org_id=org_id, action="key.create", after_json="x" * 300_000)
        for _ in range(5)
    ]
    for one in long:
        one.at.GetCurrentTime()
    with as_service("gateway"):
        await audit.audit.Append(pb.AppendRequest(records=long), None)
    found, token, pages = [], "", 0
    while pages == 0 or token:
        with as_key(org_id):
            page = await audit.audit.ListChanges(pb.ListChangesRequest(page_token=token), None)
        assert page.ByteSize() < 2**21
        found += [one.record_id for one in page.changes]
        token, pages = page.next_page_token, pages + 1
    assert sorted(found) == sorted(one.record_id for one in long) and pages == 2


@pytest.mark.parametrize("statement", ["UPDATE {} SET record = ''", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["requests", "changes"])
async def test_nothing_recorded_can_be_changed(
    database_for: DatabaseFor, org_id: str, table: str, statement: str
) -> None:
    database = await database_for("audit")
    with pytest.raises(MeshError):
        async with database.transaction(org_id) as connection:
            await connection.execute(statement.format(table))


async def test_a_request_of_another_organisation_is_not_stored(database_for: DatabaseFor, org_id: str) -> None:
    """Also after a batch of that organisation on the same connection: its list was of that transaction."""
    database = await database_for("audit")
    other = uuid7()
    insert = """INSERT INTO requests (org_id, request_id, started_at, model, outcome, cost_nano_usd, record)
        VALUES ($1, $2, now(), '', 1, 7, '')"""
    async with database.transaction(org_id, other) as connection:
        await connection.execute(insert, other, uuid7())
    with pytest.raises(MeshError):
        async with database.transaction(org_id) as connection:
            await connection.execute(insert, other, uuid7())
    async with database.transaction(other) as connection:
        assert await connection.fetchval("SELECT count(*) FROM requests WHERE org_id = $1", other) == 1


async def test_append_only_is_held_against_the_owner_too(migrated: Any, org_id: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(migrated.superuser_dsn)
    try:
        for table in ("requests", "changes"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(f"DELETE FROM audit.{table}")
    finally:
        await connection.close()


async def test_a_nul_stops_nobodys_feed_and_is_no_filter(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    audit = await make_audit(budget, settle_wait_s=10)
    odd = await store(budget, uuid7(), asked_model="a\x00b")
    last = await store(budget, org_id)
    assert (await get(audit, org_id, last)).request_id == last, f"the feed stops at {odd}"
    with pytest.raises(MeshError, match="GET /v1/models") as refusal:
        await page(audit, org_id, model="\x00")
    assert refusal.value.reason is Reason.INVALID_REQUEST
    with pytest.raises(MeshError, match="OUTCOME_OK") as refusal:
        await page(audit, org_id, outcome=70_000)
    assert refusal.value.reason is Reason.INVALID_REQUEST
    with pytest.raises(MeshError) as refusal:
        await page(audit, org_id, started_after={"seconds": 2**62})
    assert refusal.value.reason is Reason.INVALID_REQUEST


async def test_whether_requests_can_be_stored_at_all_is_known(
    budget: BudgetService, make_audit: MakeAudit, database_for: DatabaseFor, org_id: str
) -> None:
    audit = await make_audit(budget)
    await audit.store.check_insert()
    elsewhere = PostgresAuditStore(await database_for("budget"))
    with pytest.raises(MeshError) as refusal:
        await elsewhere.check_insert()
    assert refusal.value.reason is Reason.INTERNAL
