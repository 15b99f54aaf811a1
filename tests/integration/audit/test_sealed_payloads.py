"""Sealed payloads on a real database: nothing of them can be read there, and what is erased opens nowhere any more."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from dac.audit.v1 import log_pb2, sealing_pb2
from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.tlog.packing import WINDOW
from services.audit.log.packer import Packer
from services.audit.retention.keeper import Keeper, Order
from services.audit.retention.subjects import Subject
from services.audit.sealing.payloads import UNREADABLE
from services.audit.server import request_row
from services.audit.store import INSERT_REQUESTS, sealed_requests
from tests.conftest import Migrated
from tests.integration.audit.log_world import change
from tests.integration.audit.sealed_world import CANARY, MASTER, SealedWorld, found_in
from tests.integration.audit.test_log import FOLDER, receipt
from tests.integration.audit.test_retention import NOW, as_operator, asked
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
OTHER = Keyring(b"o" * 32)
COPY = (
    "DROP TABLE IF EXISTS copy_requests, copy_salts",
    "CREATE TABLE copy_requests AS SELECT * FROM requests",
    "CREATE TABLE copy_salts AS SELECT * FROM log_salts",
)
"""A backup of the payloads."""
PUT_BACK = (
    "INSERT INTO requests OVERRIDING SYSTEM VALUE SELECT * FROM copy_requests ON CONFLICT DO NOTHING",
    "INSERT INTO log_salts SELECT * FROM copy_salts ON CONFLICT DO NOTHING",
)


@pytest.fixture
async def idle(make_database: Make) -> AsyncIterator[SealedWorld]:
    """A log of its own with a sequencer that only the test steps."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield SealedWorld(database, made)
    await database.close()


@pytest.fixture
async def kept(idle: SealedWorld) -> AsyncIterator[SealedWorld]:
    """The same with a sequencer that runs."""
    task = asyncio.create_task(idle.sequencer().run())
    yield idle
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def telling(org_id: str, **fields: str) -> record_pb2.RequestRecord:
    """A request with the canary in every text that somebody outside may shape, but for the thread."""
    made = asked(org_id, message=CANARY, client_request_id=CANARY, tags={CANARY: "x", "y": CANARY}, **fields)
    made.route.reason = f"because of {CANARY}"
    made.attempts[0].message = CANARY
    return made


def refused(org_id: str, **fields: str) -> record_pb2.RequestRecord:
    """A request for a model that the client made up."""
    made = asked(org_id, asked_model=CANARY, outcome=3, **fields)
    del made.attempts[:]
    return made


async def test_nothing_of_a_payload_is_in_a_dump_and_everything_is_read_as_before(idle: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()
    old = [telling(org_id, user=user, key=uuid7()), refused(org_id, user=user)]
    made = change(org_id, target=f"key:{uuid7()}", before_json=json.dumps(CANARY), after_json=json.dumps(CANARY))
    await idle.ask(*old)
    await idle.administer(made)
    for start in range(0, WINDOW + 300, 1000):
        await idle.ask(*[telling(org_id, user=user) for _ in range(min(1000, WINDOW + 300 - start))])
    sequencer = idle.sequencer(heads_every_s=3600)
    await sequencer.lead()
    await idle.sequence(sequencer)
    assert await idle.counting.everything() == WINDOW + 302
    assert await Packer(idle.store, 90, 3600).round(NOW + dt.timedelta(days=91)) == 1
    assert found_in(await idle.dump()) == []
    for one in old:
        assert await idle.get(org_id, one.request_id) == one
    assert old[1] in await idle.list(org_id, outcome="OUTCOME_REFUSED")
    assert await idle.list_changes(org_id, target=made.target) == [made]
    checked = await idle.verify()
    assert (checked.findings, checked.redacted) == ([], 0)
    found = await receipt(idle.servicer, org_id, made.record_id)
    assert record_pb2.AdminRecord.FromString(found.record) == made
    with as_key(org_id, "admin"):
        exported = [part.data async for part in idle.servicer.Export(log_pb2.ExportRequest(), None)]
    records = [json.loads(line).get("record", "") for line in b"".join(exported).splitlines()]
    assert all(base64.b64decode(one)[:1] != b"\0" for one in records)


async def test_without_the_switch_the_dump_tells_it(idle: SealedWorld) -> None:
    """The search of the test above finds what is there."""
    plain, org_id = idle.replica(seals=False), uuid7()
    await plain.ask(telling(org_id))
    await plain.administer(change(org_id, after_json=CANARY))
    assert len(found_in(await idle.dump())) > 5


async def test_an_erased_users_payloads_open_no_more_also_from_a_copy(kept: SealedWorld) -> None:
    org_id, user, key = uuid7(), uuid7(), uuid7()
    theirs, others = [telling(org_id, user=user, key=key) for _ in range(3)], [telling(org_id, key=uuid7())]
    await kept.ask(*theirs, *others)
    await kept.settled()
    await kept.as_administrator(*COPY)
    assert await kept.live_keys(org_id) >= {f"user:{user}", f"key:{key}"}
    done = await kept.erase(org_id, f"user:{user}")
    assert (done.requests, done.waiting, done.pending) == (3, 0, 0)
    await kept.holds_together(redacted=3)
    assert f"user:{user}" not in await kept.live_keys(org_id)
    await kept.as_administrator(*PUT_BACK)
    for replica in (kept, kept.replica()):
        for one in theirs:
            back = await replica.get(org_id, one.request_id)
            assert (back.message, back.client_request_id, list(back.attempts)) == (UNREADABLE, "", [])
        assert await replica.get(org_id, others[0].request_id) == others[0]
        assert len(await replica.list(org_id)) == 4
    told = [one.what for one in (await kept.verify()).findings]
    assert len(told) == 3 and all("is not what its leaf commits to" in one for one in told), told
    assert not found_in(await kept.dump())


async def test_an_erased_keys_payloads_open_no_more_and_its_users_others_do(kept: SealedWorld) -> None:
    org_id, user, key = uuid7(), uuid7(), uuid7()
    gone, stays = telling(org_id, user=user, key=key), telling(org_id, user=user, key=uuid7())
    await kept.ask(gone, stays)
    await kept.settled()
    await kept.as_administrator(*COPY)
    await kept.erase(org_id, f"key:{key}")
    await kept.as_administrator(*PUT_BACK)
    assert (await kept.get(org_id, gone.request_id)).message == UNREADABLE
    assert await kept.get(org_id, stays.request_id) == stays
    assert f"user:{user}" in await kept.live_keys(org_id)


async def test_a_change_opens_no_more_when_one_of_two_whom_it_concerns_is_erased(kept: SealedWorld) -> None:
    org_id, actor, target = uuid7(), uuid7(), uuid7()
    made = change(org_id, actor=f"user:{actor}", target=f"user:{target}", after_json=CANARY)
    await kept.administer(made)
    await kept.settled()
    await kept.as_administrator("CREATE TABLE copy AS SELECT org_id, record_id, at, record, position FROM changes")
    assert (await kept.erase(org_id, f"user:{actor}")).changes == 1
    await kept.as_administrator(
        "INSERT INTO changes (org_id, record_id, at, record, position) OVERRIDING SYSTEM VALUE "
        "SELECT * FROM copy ON CONFLICT DO NOTHING"
    )
    assert [one.after_json for one in await kept.list_changes(org_id, target=f"user:{target}")] == [""]


async def test_a_hold_keeps_the_key_and_its_lifting_lets_it_go(idle: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()
    one = telling(org_id, user=user)
    await idle.ask(one)
    await idle.sequence()
    idle.keeper._wait_s = 0
    assert (await idle.erase(org_id, f"user:{user}")).pending == 1
    hold_id = await idle.hold(org_id)
    await idle.sequence()
    assert await idle.keeper.carry_out_all() == 1
    assert f"user:{user}" in await idle.live_keys(org_id)
    assert await idle.get(org_id, one.request_id) == one
    await idle.lift(org_id, hold_id)
    assert await idle.keeper.carry_out_all() == 0
    assert f"user:{user}" not in await idle.live_keys(org_id)
    await idle.sequence()
    checked = await idle.verify()
    assert (checked.findings, checked.redacted) == ([], 1)


async def test_holds_of_one_subject_are_seen_in_sealed_records(kept: SealedWorld) -> None:
    org_id, user, key = uuid7(), uuid7(), uuid7()
    held, free = [telling(org_id, user=user, key=one, days_ago=100) for one in (key, uuid7())]  # type: ignore[arg-type]
    await kept.ask(held, free)
    await kept.settled()
    hold_id = await kept.hold(org_id, f"key:{key}")
    with pytest.raises(MeshError, match=hold_id):
        await kept.erase(org_id, f"user:{user}")
    pruned = await kept.prune(NOW - dt.timedelta(days=90), org_id=org_id)
    assert (pruned.requests, pruned.held) == (1, 1)
    assert await kept.get(org_id, held.request_id) == held
    # One that does not open any more is kept as well: nobody can say that the hold does not cover it.
    blind = kept.replica(OTHER)
    pruned = await blind.prune(NOW, org_id=org_id)
    assert (pruned.requests, pruned.held) == (0, 1)


async def test_the_key_stays_while_something_of_the_subject_waits(idle: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()
    idle.keeper._wait_s = 0
    await idle.ask(telling(org_id, user=user))
    await idle.sequence()
    late = telling(org_id, user=user)
    await idle.ask(late)
    done = await idle.erase(org_id, f"user:{user}")
    assert (done.requests, done.waiting) == (1, 1)
    await idle.sequence()
    assert await idle.keeper.carry_out_all() == 0
    assert await idle.get(org_id, late.request_id) == late
    assert (await idle.erase(org_id, f"user:{user}")).requests == 1
    await idle.sequence()
    assert await idle.keeper.carry_out_all() == 0
    assert f"user:{user}" not in await idle.live_keys(org_id)
    # Whoever comes back gets another key.
    again = telling(org_id, user=user)
    await idle.ask(again)
    assert await idle.get(org_id, again.request_id) == again


async def test_killed_between_any_two_steps_the_log_holds_and_the_key_goes_with_the_records(idle: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()
    await idle.ask(*[telling(org_id, user=user) for _ in range(3)])
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
    await impatient.erase(org_id, Subject("user", user), Order("operator", "asked for"))
    for _ in range(2):
        # Declared, then in the log; removed by nobody yet.
        assert f"user:{user}" in await idle.live_keys(org_id) and len(await idle.ids(org_id)) == 3
        assert (await idle.verify()).findings == []
        await idle.sequence()
    successor = idle.replica()
    assert await successor.keeper.carry_out_all() == 0
    assert f"user:{user}" not in await idle.live_keys(org_id) and not await idle.ids(org_id)
    checked = await successor.verify()
    assert (checked.findings, checked.redacted) == ([], 3)


async def test_a_replica_that_still_has_a_destroyed_key_writes_nothing_with_it(kept: SealedWorld) -> None:
    """Storing and erasing at once: whatever is stored in the end opens."""
    org_id, user = uuid7(), uuid7()
    made: list[record_pb2.RequestRecord] = []

    async def store(replica: SealedWorld) -> None:
        for _ in range(15):
            made.append(telling(org_id, user=user))
            await replica.ask(made[-1])

    await kept.ask(telling(org_id, user=user))
    await kept.settled()
    storing = asyncio.gather(store(kept.replica()), store(kept.replica()))
    while not storing.done():
        await kept.erase(org_id, f"user:{user}")
        await kept.settled()
    await storing
    left = await kept.ids(org_id)
    for one in made:
        if one.request_id in left:
            assert await kept.replica().get(org_id, one.request_id) == one
    await kept.settled()
    await kept.erase(org_id, f"user:{user}")
    assert f"user:{user}" not in await kept.live_keys(org_id)
    assert (await kept.verify()).findings == []


async def test_whoever_destroys_a_key_waits_for_who_is_storing_with_it(idle: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()
    idle.keeper._wait_s = 0
    await idle.ask(telling(org_id, user=user))
    await idle.sequence()
    await idle.erase(org_id, f"user:{user}")
    await idle.sequence()
    late = telling(org_id, user=user)
    storing = idle.replica()
    sealed = await sealed_requests(storing.payloads, [request_row(late)])
    async with idle.database.transaction(org_id) as connection:
        assert await storing.payloads.still_live(connection, sealed)
        await connection.execute(INSERT_REQUESTS, *map(list, zip(*sealed.rows, strict=True)))
        destroying = asyncio.create_task(idle.keeper.carry_out_all())
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not destroying.done() and not (await idle.as_administrator(waiting))[0][0]:
            await asyncio.sleep(0.02)
        assert not destroying.done()
    assert await destroying == 0
    assert await idle.get(org_id, late.request_id) == late
    assert f"user:{user}" in await idle.live_keys(org_id)


async def test_what_was_sealed_before_the_key_went_is_sealed_anew(idle: SealedWorld) -> None:
    """The guard of the test above, step by step."""
    org_id, user = uuid7(), uuid7()
    row = request_row(telling(org_id, user=user))
    sealed = await sealed_requests(idle.payloads, [row])
    async with idle.database.transaction(org_id) as connection:
        assert await idle.payloads.still_live(connection, sealed)
    idle.keeper._wait_s = 0
    await idle.erase(org_id, f"user:{user}")
    await idle.sequence()
    assert await idle.keeper.carry_out_all() == 0
    async with idle.database.transaction(org_id) as connection:
        assert not await idle.payloads.still_live(connection, sealed)


async def test_the_master_key_is_changed_and_payloads_are_not_touched(idle: SealedWorld) -> None:
    org_id, elsewhere = uuid7(), uuid7()
    one, two = telling(org_id), telling(elsewhere, user=uuid7())
    await idle.ask(one, two)
    before = await idle.as_administrator("SELECT record FROM requests ORDER BY position")
    both = idle.replica(Keyring(b"n" * 32, [MASTER]))

    async def rewrap(world: SealedWorld = both, **fields: object) -> tuple[int, int, int]:
        asked_for = sealing_pb2.RewrapPayloadKeysRequest(**fields)  # type: ignore[arg-type]
        with as_operator():
            done = await world.sealing.servicer.RewrapPayloadKeys(asked_for, None)
        return done.rotated, done.left, done.lost

    with pytest.raises(MeshError) as refusal, as_key(org_id, "admin"):
        await both.sealing.servicer.RewrapPayloadKeys(sealing_pb2.RewrapPayloadKeysRequest(), None)
    assert refusal.value.reason is Reason.PERMISSION_DENIED
    assert await rewrap(check_only=True) == (0, 2, 0)
    assert await rewrap(limit=1) == (1, 1, 0)
    assert await rewrap() == (1, 0, 0)
    new = idle.replica(Keyring(b"n" * 32))
    assert await new.get(org_id, one.request_id) == one and await new.get(elsewhere, two.request_id) == two
    assert await idle.as_administrator("SELECT record FROM requests ORDER BY position") == before
    assert await rewrap(idle.replica(OTHER)) == (0, 2, 2)


async def test_the_status_counts_an_organisations_records_and_keys(kept: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()

    async def status(world: SealedWorld) -> sealing_pb2.GetPayloadSealingResponse:
        with as_key(org_id, "admin"):
            return await world.sealing.servicer.GetPayloadSealing(sealing_pb2.GetPayloadSealingRequest(), None)

    off = kept.replica(seals=False)
    await off.ask(asked(org_id, user=user))
    first = await status(off)
    assert not first.seal_payloads and not first.HasField("since") and first.plain_requests == 1
    await kept.ask(asked(org_id, user=user), asked(uuid7(), user=user))
    await kept.administer(change(org_id))
    second = await status(kept)
    assert second.seal_payloads and second.HasField("since") and second.subject_keys == 1
    counts = (second.plain_requests, second.sealed_requests, second.plain_changes, second.sealed_changes)
    assert counts == (1, 1, 0, 1)
    await kept.settled()
    await kept.erase(org_id, f"user:{user}")
    third = await status(kept)
    assert (third.plain_requests + third.sealed_requests, third.subject_keys, third.destroyed_keys) == (0, 0, 1)


async def test_a_wrong_master_key_is_a_finding_and_loses_nothing(idle: SealedWorld) -> None:
    org_id = uuid7()
    one, late = telling(org_id), telling(org_id)
    await idle.ask(one)
    await idle.sequence()
    wrong = idle.replica(OTHER)
    assert (await wrong.get(org_id, one.request_id)).message == UNREADABLE
    assert [(found.request_id, found.message) for found in await wrong.list(org_id)] == [(one.request_id, UNREADABLE)]
    told = (await wrong.verify()).findings
    assert len(told) == 1 and "is not what its leaf commits to" in told[0].what
    # It stores nothing under keys of its own: UNAVAILABLE, so that the record waits in its outbox and is not skipped.
    with pytest.raises(MeshError) as refusal:
        await wrong.ask(late)
    assert refusal.value.reason is Reason.UNAVAILABLE and MASTER.id in refusal.value.message
    await idle.ask(late)
    # And writes no leaf of what it cannot open.
    sequencer = wrong.sequencer()
    await sequencer.lead()
    with pytest.raises(MeshError, match="wrapped by master key"):
        await sequencer.step()
    assert await idle.sequence() == 1
    assert (await idle.verify()).findings == []


async def test_a_program_of_before_writes_no_leaf_once_something_is_sealed(idle: SealedWorld) -> None:
    take = "SELECT * FROM log_take(0, 0, 10)"
    await idle.replica(seals=False).ask(telling(uuid7()))
    assert len(await idle.database.rows(take)) == 1
    await idle.ask(telling(uuid7()))
    with pytest.raises(MeshError) as refusal:
        await idle.database.rows(take)
    assert isinstance(refusal.value.__cause__, asyncpg.ObjectNotInPrerequisiteStateError)
    assert await idle.sequence() == 2


async def test_a_sealed_record_opens_in_its_own_place_only(idle: SealedWorld) -> None:
    org_id, elsewhere, user = uuid7(), uuid7(), uuid7()
    one, two, three = telling(org_id, user=user), telling(org_id, user=user), telling(elsewhere, user=user)
    made = change(org_id, actor="operator", action="key.create", after_json=CANARY)
    await idle.ask(one, two, three)
    await idle.administer(made)
    await idle.sequence()
    keys = await idle.as_administrator("SELECT org_id, subject, key_id FROM payload_keys")
    assert len({row[2] for row in keys if row[1] == f"user:{user}"}) == 2
    async with idle.database.transaction(elsewhere) as connection:
        seen = {str(row[0]) for row in await connection.fetch("SELECT org_id FROM payload_keys")}
    assert seen == {elsewhere}
    swap = "UPDATE requests SET record = (SELECT record FROM requests WHERE request_id = '{}') WHERE request_id = '{}'"
    await idle.as_administrator(
        swap.format(two.request_id, one.request_id),
        swap.format(two.request_id, three.request_id),
        # Who did it, in the open part of the head.
        "UPDATE changes SET record = overlay(record PLACING 'operatoR'::bytea "
        "FROM position('operator'::bytea IN record))",
    )
    assert await idle.get(org_id, two.request_id) == two
    assert (await idle.get(org_id, one.request_id)).message == UNREADABLE
    assert (await idle.get(elsewhere, three.request_id)).message == UNREADABLE
    assert [found.after_json for found in await idle.list_changes(org_id, actor="operatoR")] == [""]
    assert len((await idle.verify()).findings) == 3


async def test_switched_off_new_records_are_plain_and_all_are_read(idle: SealedWorld) -> None:
    org_id, user = uuid7(), uuid7()
    before, after = telling(org_id, user=user), asked(org_id, user=user)
    await idle.ask(before)
    off = idle.replica(seals=False)
    await off.ask(after)
    await off.sequence()
    rows = await idle.as_administrator("SELECT get_byte(record, 0) = 0 FROM requests ORDER BY position")
    assert [row[0] for row in rows] == [True, False]
    assert {one.request_id for one in await off.list(org_id)} == {before.request_id, after.request_id}
    assert (await off.verify()).findings == []
    off.keeper._wait_s = 0
    await off.counting.everything()
    assert (await off.erase(org_id, f"user:{user}")).requests == 2
    await off.sequence()
    assert await off.keeper.carry_out_all() == 0
    assert f"user:{user}" not in await off.live_keys(org_id)
