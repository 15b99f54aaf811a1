"""Erasure on a real database: what goes is declared, is gone everywhere, stays gone, and proofs hold on."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from dac.audit.v1 import retention_pb2 as pb
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog.leaves import read_leaf
from mesh.tlog.proofs import Proof
from mesh.tlog.redactions import read_spans
from services.audit.analytics.rollups import Counting, Recounts, Rollups
from services.audit.config import AuditConfig
from services.audit.follower import Arrivals
from services.audit.log.server import LogServicer
from services.audit.log.store import LogStore
from services.audit.retention.keeper import Keeper
from services.audit.retention.server import Retention
from services.audit.sealing.payloads import PLAIN, Payloads
from tests.conftest import Migrated
from tests.integration.audit.engines import ENGINES, figures_in
from tests.integration.audit.log_world import KEY, OneConnection, World, change, request
from tests.integration.audit.test_log import FOLDER, receipt
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
NOW = dt.datetime.now(dt.UTC)
CONFIG = AuditConfig()


def as_operator() -> Any:
    return serving(Call(request_id=uuid7(), principal=Principal(kind=Principal.KIND_OPERATOR, scopes=["operator"])))


class Kept(World):
    """A log with retention, and a sequencer that runs beside."""

    def __init__(self, database: Database, made: Migrated, payloads: Payloads = PLAIN) -> None:
        super().__init__(database, payloads)
        self.made = made
        self.rollups = Rollups(CONFIG, lambda: NOW)
        self.counting = Counting(database, self.rollups, None, payloads)
        self.retention = Retention(database, self.store, self.counting, Arrivals(), CONFIG, lambda: NOW)
        self.keeper = self.retention.keeper
        self.rpcs = self.retention.servicer

    async def settled(self) -> None:
        """Waits until everything stored has its leaf."""
        while True:
            async with self.database.transaction() as connection:
                stored = await connection.fetchrow("SELECT request_position, change_position FROM log_settled()")
            requests, changes = (await self.store.head())[4:6]
            if stored[0] <= requests and stored[1] <= changes:
                return
            await asyncio.sleep(0.02)

    async def ids(self, org_id: str, table: str = "requests", column: str = "request_id") -> set[str]:
        async with self.database.transaction(org_id) as connection:
            return {str(row[0]) for row in await connection.fetch(f"SELECT {column} FROM {table}")}

    async def told(self, org_id: str, action: str) -> list[record_pb2.AdminRecord]:
        """The changes of an action, in order."""
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch("SELECT record FROM changes ORDER BY position")
        found = [record_pb2.AdminRecord.FromString(row[0]) for row in rows]
        return [one for one in found if one.action == action]

    async def erase(self, org_id: str, subject: str, **fields: Any) -> pb.EraseResponse:
        with as_key(org_id, "admin"):
            return await self.rpcs.Erase(pb.EraseRequest(subject=subject, basis="asked for", **fields), None)

    async def prune(self, before: dt.datetime = NOW, **fields: Any) -> pb.PruneResponse:
        asked = pb.PruneRequest(before=stamp(before), **fields)
        with as_operator():
            return await self.rpcs.Prune(asked, None)

    async def hold(self, org_id: str, subject: str = "") -> str:
        with as_key(org_id, "admin"):
            done = await self.rpcs.SetHold(pb.SetHoldRequest(subject=subject, reason="Smith v. Jones"), None)
        return done.hold.hold_id

    async def lift(self, org_id: str, hold_id: str) -> None:
        with as_key(org_id, "admin"):
            await self.rpcs.LiftHold(pb.LiftHoldRequest(hold_id=hold_id), None)

    async def holds_together(self, redacted: int, pending: int = 0) -> None:
        await self.settled()
        checked = await self.verify()
        assert (checked.findings, checked.redacted, checked.pending) == ([], redacted, pending)


@pytest.fixture
async def kept(request: pytest.FixtureRequest, make_database: Make) -> AsyncIterator[Kept]:
    """A log of its own whose sequencer runs."""
    async with figures_in(getattr(request, "param", "partitions"), make_database) as made:
        database = Database(made.dsn("audit"), "audit")
        world = Kept(database, made)
        task = asyncio.create_task(world.sequencer().run())
        yield world
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()


@pytest.fixture
async def idle(make_database: Make) -> AsyncIterator[Kept]:
    """The same with a sequencer that only the test steps."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield Kept(database, made)
    await database.close()


def stamp(at: dt.datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


def asked(
    org_id: str, *, user: str = "", key: str = "", days_ago: float = 0, **fields: Any
) -> record_pb2.RequestRecord:
    """A request of a user by a key."""
    record = request(org_id, **fields)
    del record.path[:]
    for kind, level_id in ((Level.KIND_ORG, org_id), (Level.KIND_USER, user), (Level.KIND_KEY, key)):
        if level_id:
            record.path.add(kind=kind, id=level_id)  # type: ignore[arg-type]
    record.started_at.FromDatetime(NOW - dt.timedelta(days=days_ago))
    return record


def ids(records: Sequence[record_pb2.RequestRecord]) -> set[str]:
    return {record.request_id for record in records}


async def test_a_user_is_erased_and_every_proof_still_holds(kept: Kept) -> None:
    org_id, elsewhere, user, key = uuid7(), uuid7(), uuid7(), uuid7()
    theirs = [asked(org_id, user=user, key=key) for _ in range(5)]
    others = [asked(org_id, user=uuid7(), key=uuid7()) for _ in range(5)]
    apart = [asked(elsewhere, user=user)]
    named = [change(org_id, target=f"user:{user}"), change(org_id, actor=f"user:{user}")]
    spared = [change(org_id, after_json=f'{{"user_id":"{user}"}}')]
    for one, other in zip(theirs, others, strict=True):
        await kept.ask(one, other, *apart)
    await kept.administer(*named, *spared)
    await kept.settled()
    dry = await kept.erase(org_id, f"user:{user}", dry_run=True)
    assert (dry.requests, dry.changes, len(dry.declarations)) == (5, 2, 0)
    done = await kept.erase(org_id, f"user:{user}")
    assert (done.requests, done.changes, done.waiting, done.pending) == (5, 2, 0, 0)
    assert await kept.ids(org_id) == ids(others)
    assert await kept.ids(elsewhere) == ids(apart)
    assert not await kept.ids(org_id, "changes", "record_id") & {one.record_id for one in named}
    [told] = await kept.told(org_id, "audit.erase")
    assert (told.target, told.record_id) == (f"user:{user}", done.declarations[0])
    assert '"basis":"asked for"' in told.after_json
    assert await kept.ids(org_id, "log_salts", "idx") and len(await kept.ids(org_id, "log_salts", "idx")) == 7
    await kept.holds_together(redacted=7)
    found = await receipt(kept.servicer, org_id, theirs[0].request_id)
    assert (found.salt, found.record) == (b"", b"")
    assert Proof.parse(found.proof).check(found.leaf.encode(), KEY)
    again = await kept.erase(org_id, f"user:{user}")
    assert (again.requests, again.changes, len(again.declarations)) == (0, 0, 1)


async def test_the_numbers_that_are_gone_are_the_declared_ones(kept: Kept) -> None:
    org_id, key = uuid7(), uuid7()
    await kept.ask(*[asked(org_id, key=key if number in (2, 3, 4, 8) else uuid7()) for number in range(1, 11)])
    await kept.settled()
    assert (await kept.erase(org_id, f"key:{key}")).requests == 4
    [told] = await kept.told(org_id, "audit.erase")
    import json

    assert json.loads(told.after_json) == {"basis": "asked for", "count": 4, "entries": "2-4,8"}
    assert read_spans("2-4,8") == [(2, 4), (8, 8)]


async def test_one_request_is_erased_and_an_unknown_one_is_not_found(kept: Kept) -> None:
    org_id = uuid7()
    one, other = asked(org_id), asked(org_id)
    await kept.ask(one, other)
    await kept.settled()
    assert (await kept.erase(org_id, f"request:{one.request_id}")).requests == 1
    assert await kept.ids(org_id) == {other.request_id}
    for subject in (f"request:{one.request_id}", f"request:{uuid7()}"):
        with pytest.raises(MeshError) as refusal:
            await kept.erase(org_id, subject)
        assert refusal.value.reason is Reason.NOT_FOUND
    for broken in ("", "user:x", "team:" + uuid7()):
        with pytest.raises(MeshError, match="subject"):
            await kept.erase(org_id, broken)
    await kept.holds_together(redacted=1)


async def test_only_ones_own_organisation_and_never_without_a_reason(kept: Kept) -> None:
    org_id, user = uuid7(), uuid7()
    await kept.ask(asked(org_id, user=user))
    await kept.settled()
    subject = f"user:{user}"
    with pytest.raises(MeshError, match="only the operator"), as_key(uuid7(), "admin"):
        await kept.rpcs.Erase(pb.EraseRequest(subject=subject, basis="x", org_id=org_id), None)
    assert (await kept.erase(uuid7(), subject)).requests == 0
    with pytest.raises(MeshError, match="say why"), as_key(org_id, "admin"):
        await kept.rpcs.Erase(pb.EraseRequest(subject=subject), None)
    for scope, call in (
        ("read", kept.rpcs.Erase(pb.EraseRequest(subject=subject, basis="x"), None)),
        ("read", kept.rpcs.SetHold(pb.SetHoldRequest(reason="x"), None)),
        ("read", kept.rpcs.LiftHold(pb.LiftHoldRequest(hold_id=uuid7()), None)),
        ("read", kept.rpcs.ListHolds(pb.ListHoldsRequest(), None)),
        ("admin", kept.rpcs.Prune(pb.PruneRequest(before=stamp(NOW)), None)),
    ):
        with pytest.raises(MeshError) as refusal, as_key(org_id, scope):
            await call
        assert refusal.value.reason is Reason.PERMISSION_DENIED
    with pytest.raises(MeshError, match="has no organisation"), as_operator():
        await kept.rpcs.Erase(pb.EraseRequest(subject=subject, basis="x"), None)
    assert len(await kept.ids(org_id)) == 1
    with as_operator():
        done = await kept.rpcs.Erase(pb.EraseRequest(subject=subject, basis="x", org_id=org_id), None)
    assert done.requests == 1 and [one.actor for one in await kept.told(org_id, "audit.erase")] == ["operator"]


async def test_the_log_holds_at_every_step_of_an_erasure(idle: Kept) -> None:
    """What a kill -9 between two steps leaves: nothing missing, or only what is declared."""
    org_id, user = uuid7(), uuid7()
    await idle.ask(*[asked(org_id, user=user) for _ in range(3)], asked(org_id))
    await idle.sequence()
    impatient = Keeper(
        idle.retention.store,
        idle.store,
        count=lambda _: idle.counting.everything(),  # type: ignore[arg-type, return-value]
        recorded=lambda _: None,
        clock=lambda: NOW,
        new_id=uuid7,
        wait_s=0,
    )
    from services.audit.retention.keeper import Order
    from services.audit.retention.subjects import Subject

    done = await impatient.erase(org_id, Subject("user", user), Order("operator", "asked for"))
    assert done.pending == 1
    # Declared, and not in the log yet: nobody removes anything.
    assert await idle.keeper.carry_out_all() == 1
    assert len(await idle.ids(org_id)) == 4
    assert (await idle.verify()).findings == []
    await idle.sequence()
    checked = await idle.verify()
    assert (checked.findings, checked.redacted, checked.pending) == ([], 0, 3)
    # The next leader finds it and carries it out; twice changes nothing.
    assert await idle.keeper.carry_out_all() == 0
    assert await idle.keeper.carry_out_all() == 0
    assert len(await idle.ids(org_id)) == 1
    await idle.holds_together(redacted=3)


@pytest.mark.parametrize("kept", ENGINES, indirect=True)
async def test_figures_keep_their_sums_and_lose_the_name(kept: Kept) -> None:
    org_id, user, key, other = uuid7(), uuid7(), uuid7(), uuid7()
    mine = [asked(org_id, user=user, key=key, thread_id="t", cost_nano_usd=100) for _ in range(3)]
    await kept.ask(*mine, asked(org_id, user=other, thread_id="o", cost_nano_usd=11))
    await kept.settled()

    async def figures(column: str) -> dict[str, int]:
        async with kept.database.transaction(org_id) as connection:
            rows = await connection.fetch(
                f"SELECT {column}, sum(cost_nano_usd)::bigint FROM rollup_days WHERE kind = 3 GROUP BY 1"
            )
        return {str(row[0]): row[1] for row in rows}

    await kept.counting.everything()
    assert await figures("user_id") == {user: 300, other: 11}
    await kept.erase(org_id, f"user:{user}")
    for column, gone in (("user_id", user), ("owner", user), ("key_id", key)):
        told = await figures(column)
        assert gone not in told and sorted(told.values()) == [11, 300]
    assert (await figures("user_id"))[other] == 11
    async with kept.database.transaction(org_id) as connection:
        days = await connection.fetch("SELECT owner, thread_id FROM thread_days")
    assert len(days) == 2 and [row[1] for row in days if str(row[0]) == other] == ["o"]
    assert all(str(row[0]) != user and row[1] != "t" for row in days)
    # A day that lost records keeps its figures when it is counted anew, and the user's next request begins a new row.
    assert await Recounts(kept.database, kept.rollups).day(org_id, NOW.date()) == 0
    await kept.ask(asked(org_id, user=user, cost_nano_usd=5))
    await kept.counting.everything()
    assert sorted((await figures("user_id")).values()) == [5, 11, 300]
    assert (await figures("user_id"))[user] == 5


async def test_what_was_removed_does_not_come_back(kept: Kept) -> None:
    org_id, user = uuid7(), uuid7()
    gone, stays = asked(org_id, user=user), asked(org_id)
    made = change(org_id, target=f"user:{user}")
    await kept.ask(gone, stays)
    await kept.administer(made)
    await kept.settled()
    await kept.erase(org_id, f"user:{user}")
    # Budget's outbox and a service's own are delivered once more.
    await kept.ask(gone, stays)
    await kept.administer(made)
    assert await kept.ids(org_id) == {stays.request_id}
    assert made.record_id not in await kept.ids(org_id, "changes", "record_id")
    later = asked(org_id)
    await kept.ask(later)
    await kept.settled()
    leaves = [read_leaf(leaf).id for leaf in await kept.store.leaves(0, 100)]
    assert leaves.count(gone.request_id) == 1 and later.request_id in leaves
    await kept.holds_together(redacted=2)


async def test_the_services_own_role_removes_nothing_by_itself(kept: Kept) -> None:
    org_id = uuid7()
    await kept.ask(asked(org_id))
    await kept.settled()
    for table in ("requests", "changes", "log_salts", "log_entries", "log_tiles"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET org_id = org_id"):
            with pytest.raises(MeshError):
                async with kept.database.transaction(org_id) as connection:
                    await connection.execute("SELECT set_config('audit.removing', 'on', true)")
                    await connection.execute(statement)
    # Nor does its function without a declaration that stands in the log.
    async with kept.database.transaction(org_id) as connection:
        await connection.execute(
            "INSERT INTO redactions (org_id, record_id, declared_at, request_ids, change_ids, idxs)"
            " SELECT org_id, $1, now(), array_agg(request_id), '{}', '{0}' FROM requests GROUP BY org_id",
            uuid7(),
        )
    assert await kept.keeper.carry_out_all() == 1
    assert len(await kept.ids(org_id)) == 1
    connection = await asyncpg.connect(kept.made.superuser_dsn, server_settings={"search_path": "audit"})
    try:
        await connection.execute("SET ROLE dac_owner")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("DELETE FROM requests")
        await connection.execute("SET audit.removing = 'on'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute("UPDATE requests SET model = 'x'")
    finally:
        await connection.close()


TAMPERING = {
    # Of entries 1 to 6 of one organisation: 1, 2 were erased; 7 declares that.
    "DELETE FROM requests WHERE position = 4; DELETE FROM log_salts WHERE idx = 3": "number 4 of organisation",
    "DELETE FROM log_salts WHERE idx = 3": "the salt of request",
    "DELETE FROM changes; DELETE FROM log_salts WHERE idx = 6": "the record of change",
    "INSERT INTO log_salts SELECT 0, org_id, salt FROM log_salts WHERE idx = 3": "the record of request",
    "INSERT INTO requests (org_id, request_id, position, started_at, model, outcome, cost_nano_usd, record) OVERRIDING"
    " SYSTEM VALUE SELECT org_id, gen_random_uuid(), 1, started_at, model, outcome, cost_nano_usd, record"
    " FROM requests WHERE position = 4": "5 requests are stored, and 4 have a leaf",
}


@pytest.mark.parametrize("edit", TAMPERING)
async def test_what_goes_without_a_word_is_found(make_database: Make, edit: str, redacted: Migrated) -> None:
    connection = await asyncpg.connect(redacted.superuser_dsn, server_settings={"search_path": "audit"})
    try:
        await connection.execute("BEGIN")
        servicer = LogServicer(LogStore(OneConnection(connection)), Arrivals())  # type: ignore[arg-type]
        world = World(None)  # type: ignore[arg-type]
        assert (await world.verify(servicer=servicer)).findings == []
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(edit)
        found = [f"{one.where}: {one.what}" for one in (await world.verify(servicer=servicer)).findings]
        assert any(TAMPERING[edit] in one for one in found), found
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def redacted(make_database: Make) -> Migrated:
    """A log of six requests of which two are erased."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    world = Kept(database, made)
    org_id, user = uuid7(), uuid7()
    await world.ask(*[asked(org_id, user=user if number < 2 else uuid7()) for number in range(6)])
    await world.sequence()
    world.keeper._wait_s = 0
    await world.erase(org_id, f"user:{user}")
    await world.sequence()
    await world.keeper.carry_out_all()
    await database.close()
    return made


@pytest.mark.parametrize("entries", ["1-3", "1-4", "x", "2-1"])
async def test_a_declaration_that_does_not_fit_is_a_finding(idle: Kept, entries: str) -> None:
    org_id = uuid7()
    await idle.ask(asked(org_id), asked(org_id))
    told = change(org_id, action="audit.erase", after_json=f'{{"entries":"{entries}"}}')
    await idle.sequence()
    await idle.administer(told)
    await idle.sequence()
    found = (await idle.verify()).findings
    assert [one.where for one in found] == ["entry 2"] and "cannot be read" in found[0].what
