"""What keeps old leaves where they are: age, payloads, holds, no archive, no heads; and the database's own guards."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from dac.audit.v1 import log_pb2
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog.packing import WINDOW
from mesh.tlog.tiles import WIDTH
from services.audit.log.packer import Packer
from tests.conftest import Migrated
from tests.integration.audit.dropped_world import ORGS, Dropped
from tests.integration.audit.log_world import change, request
from tests.integration.audit.test_log import FOLDER
from tests.integration.audit.test_retention import NOW, as_operator

Make = Callable[..., Awaitable[Migrated]]


@pytest.fixture
async def log(make_database: Make) -> AsyncIterator[Dropped]:
    """An empty log."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield Dropped(database, made)
    await database.close()


async def stays(log: Dropped, waits_for: str) -> None:
    """Nothing goes, neither by the plan nor by whoever goes past it; and the log verifies."""
    plan = await log.dropper.plan()
    assert (plan.start, plan.end, plan.waits_for) == (0, 0, waits_for)
    assert await log.drop() == 0
    if waits_for not in ("never", "age"):
        refused = await log.leader.begin_at(WINDOW, needs_archive=log.dropper.needs_archive)
        assert refused == waits_for
    assert (await log.verify()).findings == []
    assert (await log.store.started()).idx == 0


async def test_what_is_not_old_enough_or_is_kept_for_ever_stays(ready: Dropped) -> None:
    ready.dropper = ready.dropping(3001)
    await stays(ready, "age")
    plan = await ready.dropper.plan()
    assert plan.due_at is not None and plan.due_at - dt.timedelta(days=1) <= dt.datetime.now(dt.UTC) < plan.due_at
    ready.dropper = ready.dropping(0)
    await stays(ready, "never")


async def test_a_payload_keeps_its_window(log: Dropped) -> None:
    made = await log.fill()
    await log.counting.everything()
    await Packer(log.store, 90, 3600).round(NOW)
    await stays(log, "payloads")
    # All but one: the change of an organisation, which pruning of requests leaves.
    await log.prune(NOW)
    await log.sequence(log.leader)
    await log.keeper.carry_out_all()
    await log.sequence(log.leader)
    await Packer(log.store, 90, 3600).round(NOW)
    assert not await log.ids(ORGS[0]) and made
    await stays(log, "payloads")


async def test_a_record_without_its_salt_keeps_its_window(log: Dropped) -> None:
    made = await log.fill()
    one = made[0].request_id
    await log.redact()
    # Somebody took the salt away and left the record.
    position = next(
        place.entry.position
        for place in await log.store.packs.between(0, WINDOW, range(WINDOW))
        if place.entry.record_id == one
    )
    await log.as_superuser(
        "INSERT INTO requests (org_id, request_id, position, started_at, model, outcome, cost_nano_usd, record) "
        f"OVERRIDING SYSTEM VALUE VALUES ('{made[0].org_id}', '{one}', {position}, now(), 'x', 1, 7, '')"
    )
    plan = await log.dropper.plan()
    assert (plan.end, plan.waits_for) == (0, "payloads")


async def test_a_hold_keeps_the_windows_of_its_organisation(ready: Dropped) -> None:
    other = await ready.hold(uuid7())
    assert other
    for subject in ("", f"user:{uuid7()}"):
        hold_id = await ready.hold(ORGS[1], subject)
        await ready.sequence(ready.leader)
        await stays(ready, "hold")
        await ready.lift(ORGS[1], hold_id)
    await ready.sequence(ready.leader)
    # The hold of an organisation that has nothing there keeps nothing.
    assert await ready.drop() == WINDOW
    assert (await ready.verify()).findings == []


async def test_a_hold_that_is_set_at_that_moment_is_waited_for(ready: Dropped) -> None:
    """Set but not committed: whoever drops sees it, and does not go past it."""
    async with ready.database.transaction(ORGS[0]) as connection:
        await connection.execute(
            "INSERT INTO holds (org_id, hold_id, subject, reason, actor, set_at) VALUES ($1, $2, '', 'x', 'y', now())",
            ORGS[0],
            uuid7(),
        )
        dropping = asyncio.create_task(ready.leader.begin_at(WINDOW, needs_archive=False))
        done, _ = await asyncio.wait({dropping}, timeout=0.5)
        assert not done
    assert await dropping == "hold"


async def test_only_what_an_archive_was_said_to_have_goes(ready: Dropped) -> None:
    ready.dropper = ready.dropping(needs_archive=True)
    ready.servicer._dropper = ready.dropper
    await stays(ready, "archive")
    checkpoint = (await ready.store.head()).checkpoint
    with as_operator():
        for wrong in (checkpoint.replace("\n", "\nx", 1), ""):
            with pytest.raises(MeshError, match="it is none of this log"):
                await ready.servicer.ReportArchive(log_pb2.ReportArchiveRequest(checkpoint=wrong), None)
        told = await ready.servicer.ReportArchive(log_pb2.ReportArchiveRequest(checkpoint=checkpoint), None)
        status = await ready.servicer.GetStart(log_pb2.GetStartRequest(), None)
    size = (await ready.store.head()).size
    assert told.archived == size == status.archived
    assert (status.start, status.next_start, status.size, status.needs_archive) == (0, WINDOW, size, True)
    assert await ready.drop() == WINDOW


async def test_an_archive_that_ends_before_the_window_does_is_not_enough(log: Dropped) -> None:
    await log.fill(rest=0)
    early = (await log.store.head()).size - WIDTH
    assert early < WINDOW
    await log.store_all([request(ORGS[0]) for _ in range(2 * WIDTH)])
    await log.redact()
    await log.store.note_archive(early)
    log.dropper = log.dropping(needs_archive=True)
    await stays(log, "archive")


async def test_numbers_have_to_be_noted_behind_what_goes(log: Dropped) -> None:
    """Without heads behind it nothing but the declaration itself would say with which numbers the log begins."""
    log.leader = log.sequencer()
    await log.fill()
    await log.redact()
    await stays(log, "heads")


async def test_what_is_not_packed_stays(log: Dropped) -> None:
    await log.fill()
    await stays(log, "packing")
    await log.administer(change(ORGS[0]))
    await log.sequence(log.leader)
    assert await log.leader.begin_at(WINDOW - 1, needs_archive=False) == "packing"
    assert await log.leader.begin_at(2 * WINDOW, needs_archive=False) == "packing"


async def test_nobody_else_takes_leaves_away_or_sets_the_start_back(ready: Dropped) -> None:
    for statement in ("DELETE FROM log_packs", "DELETE FROM log_tiles", "DELETE FROM log_start", "TRUNCATE log_start"):
        with pytest.raises(MeshError):
            async with ready.database.transaction(*ORGS) as connection:
                await connection.execute(statement)
    async with ready.database.transaction(*ORGS) as connection:
        assert await connection.execute("UPDATE log_start SET idx = 8192") == "UPDATE 0"
    assert await ready.drop() == WINDOW
    owner = await asyncpg.connect(ready.made.owner_dsn, server_settings={"search_path": "audit"})
    for statement in ("UPDATE log_start SET idx = 0", "DELETE FROM log_start", "DELETE FROM log_packs"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(statement)
    await owner.close()
