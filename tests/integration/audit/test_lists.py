"""What auditors list and take away: filters in the database, pages that lose nothing, files for spreadsheets."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from dac.audit.v1 import audit_pb2 as pb
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.audit.config import AuditConfig
from services.audit.follower import Arrivals
from services.audit.lists import CHANGES, EXACT_PLANS, LOOKS, REQUESTS, ChangeFilters, Lists, RequestFilters
from services.audit.server import AuditServicer, request_row
from tests.conftest import Migrated
from tests.integration.audit.log_world import World, change, request
from tests.integration.budget.world import as_key

FOLDER = pathlib.Path(__file__).parents[3] / "services" / "audit" / "migrations"
Make = Callable[..., Awaitable[Migrated]]
DAY = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
OLD = """INSERT INTO requests (org_id, request_id, started_at, model, outcome, cost_nano_usd, record)
  VALUES ($1, $2, $3, 'test/free', 1, 7, $4)"""


class Office:
    """An organisation's records, and who lists them."""

    def __init__(self, database: Database, made: Migrated, org_id: str) -> None:
        self.database, self.made, self.org_id = database, made, org_id
        self.world = World(database)
        self.audit = AuditServicer(self.world.records, Lists(database), Arrivals(), AuditConfig())

    async def changes(self, **filters: Any) -> list[record_pb2.AdminRecord]:
        """All pages of two."""
        found: list[record_pb2.AdminRecord] = []
        token = ""
        while True:
            with as_key(self.org_id):
                page = await self.audit.ListChanges(
                    pb.ListChangesRequest(page_size=2, page_token=token, **filters), None
                )
            found += page.changes
            token = page.next_page_token
            if not token:
                return found

    async def requests(self, **filters: Any) -> list[str]:
        """The ids of all pages of two."""
        found: list[str] = []
        token = ""
        while True:
            with as_key(self.org_id):
                page = await self.audit.ListRequests(
                    pb.ListRequestsRequest(page_size=2, page_token=token, **filters), None
                )
            found += [one.request_id for one in page.requests]
            token = page.next_page_token
            if not token:
                return found

    async def file(self, parts: AsyncIterator[Any]) -> tuple[str, str]:
        """Content type and text."""
        with as_key(self.org_id):
            got = [part async for part in parts]
        return got[0].content_type, b"".join(part.data for part in got).decode()

    async def ask(self, *records: record_pb2.RequestRecord) -> None:
        """Stores requests; the cursor into budget's outbox stays what it is."""
        store = self.world.records
        await store.insert_requests([request_row(record) for record in records], await store.cursor())

    async def store_as_before(self, record: record_pb2.RequestRecord) -> None:
        """As the version of before these columns does."""
        async with self.database.transaction(self.org_id) as connection:
            at = record.started_at.ToDatetime(tzinfo=dt.UTC)
            await connection.execute(OLD, self.org_id, record.request_id, at, record.SerializeToString())


@pytest.fixture
async def office(make_database: Make) -> AsyncIterator[Office]:
    """A database of its own: what is stored here waits for no leaf."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield Office(database, made, uuid7())
    await database.close()


def at(minute: int) -> dt.datetime:
    return DAY + dt.timedelta(minutes=minute)


async def administer(office: Office, *made: tuple[str, str, str]) -> list[str]:
    """Changes by (actor, action, target), a minute apart; their ids."""
    records = []
    for minute, (actor, action, target) in enumerate(made):
        record = change(office.org_id, actor=actor, action=action, target=target)
        record.at.FromDatetime(at(minute))
        records.append(record)
    await office.world.administer(*records)
    return [record.record_id for record in records]


async def test_changes_are_found_by_who_what_which_and_when(office: Office) -> None:
    ids = await administer(
        office,
        ("operator", "key.create", "key:1"),
        ("key:9", "key.revoke", "key:1"),
        ("key:9", "keyring.rotate", "keyring:x"),
        ("key:9", "budget.set", "budget:50%_of"),
        ("key:9", "budget.set", "budget:50 percent"),
    )

    async def found(**filters: Any) -> list[int]:
        return [ids.index(one.record_id) for one in await office.changes(**filters)]

    assert await found() == [4, 3, 2, 1, 0]
    assert await found(actor="key:9") == [4, 3, 2, 1] and await found(actor="key") == []
    assert await found(action="key") == [1, 0], "a noun is all of its verbs, and not of longer nouns"
    assert await found(action="key.create") == [0] and await found(action="key.c") == []
    assert await found(target="key:") == [1, 0] and await found(target="budget:50%") == [3]
    assert await found(actor="key:9", action="budget", target="budget:50 ") == [4]
    assert await found(after=at(1)) == [4, 3, 2] and await found(before=at(1)) == [0]
    assert await found(after=at(0), before=at(3), action="key") == [1]
    with as_key(uuid7()):
        assert not (await office.audit.ListChanges(pb.ListChangesRequest(actor="key:9"), None)).changes


async def test_what_a_filter_looks_at_is_the_record_itself(office: Office) -> None:
    """Also of odd records: a column of its own could be changed without the log noticing."""
    odd = {
        "NUL": change(office.org_id, actor="a\x00b"),
        "long": change(office.org_id, actor="".join(map(chr, range(256, 9_000))), before_json="x" * 20_000),
        "empty": change(office.org_id, actor=""),
    }
    await office.world.administer(*odd.values())
    assert [one.record_id for one in await office.changes(actor=odd["long"].actor)] == [odd["long"].record_id]
    assert len(await office.changes()) == 3
    async with office.database.transaction(office.org_id) as connection:
        for broken in (b"\x1a\xff\xff\xff\xff\xff\x01", b"\x1a\x05a", b"\x08", b"\xff\xff", b"\x1a\x02\xff\xfe", b""):
            assert await connection.fetchval("SELECT change_field($1, 3)", broken) == ""
        later = b"\x50\x96\x01\x1a\x01a\x1a\x01b"
        assert await connection.fetchval("SELECT change_field($1, 3)", later) == "b"
        assert await connection.fetchval("SELECT change_field(NULL, 3)") == ""
    with pytest.raises(MeshError):
        async with office.database.transaction(office.org_id) as connection:
            await connection.execute("UPDATE changes SET actor = 'nobody'")


async def test_filters_and_page_tokens_are_checked(office: Office) -> None:
    await administer(office, *[("operator", "key.create", "key:1")] * 3)
    with as_key(office.org_id):
        token = (await office.audit.ListChanges(pb.ListChangesRequest(page_size=1), None)).next_page_token
        for wrong in ({"page_token": token, "actor": "operator"}, {"actor": "a\x00"}, {"page_token": "x"}):
            with pytest.raises(MeshError) as refusal:
                await office.audit.ListChanges(pb.ListChangesRequest(**wrong), None)
            assert refusal.value.reason is Reason.INVALID_REQUEST
        with pytest.raises(MeshError, match="neither csv nor jsonl"):
            await anext(aiter(office.audit.ExportChanges(pb.ExportChangesRequest(format="xml"), None)))
    for call in (
        office.audit.ExportChanges(pb.ExportChangesRequest(), None),
        office.audit.ExportRequests(pb.ExportRequestsRequest(), None),
    ):
        with as_key(office.org_id, "chat"), pytest.raises(MeshError) as refusal:
            await anext(aiter(call))
        assert refusal.value.reason is Reason.PERMISSION_DENIED


async def test_requests_are_found_by_who_asked_and_what_for(office: Office) -> None:
    """Also those that were stored before there was a column for it."""
    made = [request(office.org_id, operation="embeddings" if n % 3 == 0 else "") for n in range(12)]
    for minute, one in enumerate(made):
        one.started_at.FromDatetime(at(minute))
        one.path[0].id = "mine" if minute % 4 == 0 else "other"
    made[11].path[0].CopyFrom(Level(kind=Level.KIND_USER, id="u"))
    ids = [one.request_id for one in made]
    for one in made[:6]:
        await office.store_as_before(one)
    await office.ask(*made[6:])

    async def found(**filters: Any) -> list[int]:
        return [ids.index(one) for one in await office.requests(**filters)]

    assert await found() == list(range(12))[::-1]
    assert await found(actor="key:mine") == [8, 4, 0] and await found(actor="user:u") == [11]
    assert await found(operation="embeddings") == [9, 6, 3, 0]
    assert await found(operation="chat", actor="key:mine") == [8, 4]
    assert await found(actor="key:mine", started_after=at(0), started_before=at(8)) == [4]
    assert await found(actor="key:none") == []


async def test_a_page_ends_short_rather_than_looking_into_everything(office: Office) -> None:
    old = [request(office.org_id) for _ in range(LOOKS * 3)]
    for minute, one in enumerate(old):
        one.started_at.FromDatetime(at(minute))
    old[0].path[0].id = "first"
    for one in old:
        await office.store_as_before(one)
    with as_key(office.org_id):
        wanted = pb.ListRequestsRequest(page_size=1, actor="key:first")
        page = await office.audit.ListRequests(wanted, None)
    assert not page.requests and page.next_page_token
    assert await office.requests(actor="key:first") == [old[0].request_id]


async def test_files_hold_everything_that_fits_and_no_formula(office: Office) -> None:
    bad = '=HYPERLINK("http://evil.example","x")'
    await administer(office, *[("operator", "key.create", f"key:{n}") for n in range(230)], (bad, "+x.y", "@z"))
    audit = office.audit
    kind, text = await office.file(audit.ExportChanges(pb.ExportChangesRequest(), None))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert kind.startswith("text/csv") and len(rows) == 231 and text.count("\r\n") == 232
    assert (rows[0]["actor"], rows[0]["action"], rows[0]["target"]) == (f"'{bad}", "'+x.y", "'@z")
    assert [row["target"] for row in rows[1:]] == [f"key:{n}" for n in range(230)][::-1]
    kind, text = await office.file(audit.ExportChanges(pb.ExportChangesRequest(format="jsonl", target="key:22"), None))
    lines = [json.loads(line) for line in text.splitlines()]
    assert kind == "application/x-ndjson" and len(lines) == 11 and lines[0]["target"] == "key:229"
    asked = request(office.org_id, asked_model="=1+1", cost_nano_usd=-1_500, http_status=200)
    asked.redaction.kinds["email"] = 2
    asked.validation.status = "flagged"
    asked.attempts[0].usage.input_tokens = 12
    await office.ask(asked, *[request(office.org_id) for _ in range(205)])
    kind, text = await office.file(audit.ExportRequests(pb.ExportRequestsRequest(), None))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    row = next(row for row in rows if row["request_id"] == asked.request_id)
    assert len(rows) == 206 and (row["asked_model"], row["cost_usd"]) == ("'=1+1", "-0.000001500")
    assert (row["redacted"], row["validation"], row["input_tokens"]) == ("email:2", "flagged", "12")
    assert (row["actor"], row["operation"]) == (f"key:{asked.path[0].id}", "chat")
    _, text = await office.file(audit.ExportRequests(pb.ExportRequestsRequest(format="jsonl"), None))
    assert len({json.loads(line)["request_id"] for line in text.splitlines()}) == 206
    other = Office(office.database, office.made, uuid7())
    _, text = await other.file(other.audit.ExportRequests(pb.ExportRequestsRequest(), None))
    assert text.count("\r\n") == 1, "an empty file has its header"


async def test_a_rare_value_is_found_through_an_index(office: Office) -> None:
    database = office.database
    rare = change(office.org_id, actor="key:7", action="key.create", target="budget:7")
    many = [change(office.org_id, actor="operator", action="policy.set", target="policy:1") for _ in range(3_000)]
    asked = request(office.org_id)
    asked.path[0].id, asked.attempts[0].model, asked.outcome = "7", "test/rare", record_pb2.OUTCOME_FAILED
    await office.world.administer(rare, *many)
    await office.ask(asked, *[request(office.org_id) for _ in range(3_000)])
    owner = await asyncpg.connect(office.made.superuser_dsn)
    await owner.execute("ANALYZE audit.changes, audit.requests")
    await owner.close()
    any_time = (None, None)
    for narrow, index in (
        (("key:7", "", "", *any_time), "changes_by_actor"),
        (("", "key", "", *any_time), "changes_by_action"),
        (("", "", "budget:7", *any_time), "changes_by_target"),
    ):
        assert index in await plan(database, office.org_id, CHANGES, *narrow, 51)
        found = await Lists(database).changes(ChangeFilters(office.org_id, *narrow), None, 10)
        assert [row.record for row in found] == [rare.SerializeToString()]
    for wanted, index in (
        (("", 0, *any_time, "key:7", ""), "requests_by_actor"),
        (("test/rare", 0, *any_time, "", ""), "requests_by_model"),
        (("", 4, *any_time, "", ""), "requests_not_ok"),
    ):
        assert index in await plan(database, office.org_id, REQUESTS, *wanted, 51)
        rows = await Lists(database).requests(RequestFilters(office.org_id, *wanted), None, 10)
        assert [row.record for row in rows] == [asked.SerializeToString()]


async def plan(database: Database, org_id: str, statement: str, *values: Any) -> str:
    """How PostgreSQL would answer the first page."""
    async with database.transaction(org_id) as connection:
        await connection.execute(EXACT_PLANS)
        lines = await connection.fetch(f"EXPLAIN {statement}", org_id, None, None, *values)
    return "\n".join(line[0] for line in lines)
