"""Dropped by declaration and missing are told apart: a log with a forged start, or one that none declares, is found."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from dac.audit.v1 import log_pb2
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog import merkle
from mesh.tlog.notes import Checkpoint
from mesh.tlog.packing import WINDOW
from mesh.tlog.standalone import START, Wrong, check, check_heads
from mesh.tlog.tiles import WIDTH
from services.audit.follower import Arrivals
from services.audit.log.beginning import hashes_of
from services.audit.log.server import LogServicer
from services.audit.log.store import LogStore
from tests.conftest import Migrated
from tests.integration.audit.dropped_world import ORGS, Dropped, copy_of
from tests.integration.audit.log_world import KEY, OneConnection, World, request
from tests.integration.audit.test_heads import copied, exported
from tests.integration.audit.test_log import FOLDER
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
TAKEN = (
    f"DELETE FROM log_packs WHERE window_no = 0; DELETE FROM log_entries WHERE idx < {WINDOW}; "
    f"DELETE FROM log_salts WHERE idx < {WINDOW}"
)


@pytest.fixture
async def dropped(ready: Dropped) -> Dropped:
    """The same without it."""
    assert await ready.drop() == WINDOW
    return ready


async def found(log: Dropped, kept: Checkpoint | None = None) -> str:
    """What verification says."""
    checked = await log.verify(kept)
    return "\n".join(f"{one.where}: {one.what}" for one in checked.findings)


@pytest.fixture(scope="module")
async def later_log(make_database: Make, old_log: Migrated) -> Migrated:
    """One that begins later."""
    async with copy_of(old_log, make_database) as log:
        assert await log.drop() == WINDOW
    return log.made


MISSING = {
    TAKEN: f"entry {WINDOW} stands in its place",
    f"{TAKEN}; UPDATE log_start SET idx = {WINDOW}": f"the entries before {WINDOW} are gone, and its entries declare "
    "that of those before 0",
}
EDITS = {
    f"DELETE FROM log_entries WHERE idx < {WINDOW + WIDTH}; UPDATE log_start SET idx = {WINDOW + WIDTH}": (
        f"the entries before {WINDOW + WIDTH} are gone"
    ),
    "UPDATE log_start SET idx = 0, leaf_idx = -1": "stands in its place",
    "UPDATE log_start SET org_seqs[2] = org_seqs[2] + 1": "is due",
    "UPDATE log_start SET org_seqs[3] = org_seqs[3] + 1": "its target is not what the entries before it give",
    "UPDATE log_start SET org_ids = org_ids[1:2], org_seqs = org_seqs[1:2]": "is due",
    "UPDATE log_salts SET salt = sha256(salt) WHERE idx = (SELECT leaf_idx FROM log_start)": "its target is not what",
    "DELETE FROM log_salts WHERE idx = (SELECT leaf_idx FROM log_start)": "the salt of start",
    "UPDATE log_entries SET kind = 3 WHERE idx = (SELECT leaf_idx FROM log_start)": "the kind of start",
    "UPDATE log_tiles SET hashes = sha256(hashes) || substring(hashes FROM 33) WHERE number = 2": "tile 0/2",
    "UPDATE log_tiles SET root = sha256(root) WHERE number = 3": "tile 0/3",
    "DELETE FROM log_tiles WHERE number = 3": "do not hash to the root",
}


async def after(made: Migrated, edit: str) -> list[str]:
    """What verification says of a log that was edited with the rights of whoever owns the machine."""
    connection = await asyncpg.connect(made.superuser_dsn, server_settings={"search_path": "audit"})
    try:
        await connection.execute("BEGIN")
        servicer = LogServicer(LogStore(OneConnection(connection)), Arrivals())  # type: ignore[arg-type]
        world = World(None)  # type: ignore[arg-type]
        assert (await world.verify(servicer=servicer)).findings == []
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(edit)
        return [f"{one.where}: {one.what}" for one in (await world.verify(servicer=servicer)).findings]
    finally:
        await connection.close()


@pytest.mark.parametrize("edit", MISSING)
async def test_leaves_that_are_gone_undeclared_are_missing(old_log: Migrated, edit: str) -> None:
    told = await after(old_log, edit)
    assert any(MISSING[edit] in one for one in told), told


@pytest.mark.parametrize("edit", EDITS)
async def test_what_was_changed_of_the_beginning_is_found(later_log: Migrated, edit: str) -> None:
    told = await after(later_log, edit)
    assert any(EDITS[edit] in one for one in told), told


async def test_heads_bind_the_numbers_of_a_start_that_the_key_itself_signs(
    ready: Dropped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leads says another number for the organisation that has no entry left; the heads before say the right one."""
    real = LogStore.numbers_before

    async def fewer(store: LogStore, start: int) -> dict[str, int]:
        return {**await real(store, start), ORGS[1]: 2}

    await ready.as_superuser(
        """DO $$ BEGIN EXECUTE replace(pg_get_functiondef('log_begin'::regproc),
        'IS DISTINCT FROM (of_orgs, seqs)', 'IS NULL'); END $$"""
    )
    monkeypatch.setattr(LogStore, "numbers_before", fewer)
    assert await ready.drop() == WINDOW
    assert "its target is not what the entries before it give" in await found(ready)


async def test_a_start_without_heads_behind_it_is_found(make_database: Make) -> None:
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    log = Dropped(database, made)
    log.leader = log.sequencer()
    log.dropper = log.dropping()
    await log.fill()
    await log.redact()
    await log.as_superuser(
        """DO $$ BEGIN EXECUTE replace(pg_get_functiondef('log_start_waits'::regproc), $a$RETURN 'heads'$a$, 'NULL');
        END $$"""
    )
    assert await log.drop() == WINDOW
    assert "no heads behind them say which numbers they had" in await found(log)
    await database.close()


async def test_numbers_that_are_not_those_of_the_packs_are_refused(
    ready: Dropped, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LogStore.numbers_before

    async def fewer(store: LogStore, start: int) -> dict[str, int]:
        return {**await real(store, start), ORGS[1]: 2}

    monkeypatch.setattr(LogStore, "numbers_before", fewer)
    assert await ready.drop() == 0
    assert await found(ready) == ""


async def test_another_past_that_was_dropped_is_found_by_a_checkpoint_of_before(dropped: Dropped) -> None:
    """The key and the database are the forger's, and the log verifies by itself: the kept checkpoint is of another."""
    for size in (300, WINDOW, WINDOW + 300):
        kept = Checkpoint(KEY.name, size, await root_at(dropped, size))
        assert await found(dropped, kept) == ""
        forged = kept._replace(root=await root_at(dropped, size + 1))
        assert "saved checkpoint" in await found(dropped, forged)


async def root_at(log: Dropped, size: int) -> bytes:
    """The root of the log's first entries, from tiles that are kept."""
    nodes = merkle.complete_nodes(0, size)
    hashes = await hashes_of(log.store, nodes, (await log.store.head()).size)
    return merkle.fold([hashes(*node) for node in nodes])


async def test_an_export_without_or_with_another_start_does_not_hold(dropped: Dropped, tmp_path: pathlib.Path) -> None:
    own = await exported(dropped, ORGS[0], tmp_path / "own")
    other = json.loads((await exported(dropped, ORGS[2], tmp_path / "other") / START).read_text())
    start = json.loads((own / START).read_text())
    check(own, str(KEY))
    bare = copied(own, tmp_path / "bare")
    (bare / START).unlink()
    with pytest.raises(Wrong, match="and 1 is due"):
        check(bare, str(KEY))
    org_id, last, blind = start["line"].split(" ")
    heads = json.loads((own / "heads.json").read_text())
    for edit in (
        {"line": f"{org_id} {int(last) - 1} {blind}"},
        {"line": other["line"], "place": other["place"], "line_path": other["line_path"]},
        {"place": str(int(start["place"]) ^ 1)},
        {"leaf": start["leaf"].replace(f"start:{WINDOW}:", f"start:{WINDOW // 2}:")},
        heads,
        {"index": "x"},
    ):
        (own / START).write_text(json.dumps({**start, **edit}))
        with pytest.raises(Wrong):
            check(own, str(KEY))
            check_heads(own, str(KEY))
    (own / START).write_text(json.dumps(start))
    # An entry left out at the beginning is one that the start did not drop.
    lines = (own / "entries.jsonl").read_text().splitlines()
    (own / "entries.jsonl").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(Wrong, match="is due"):
        check(own, str(KEY))
    (own / "entries.jsonl").write_text("")
    with pytest.raises(Wrong, match="of them are here"):
        check_heads(own, str(KEY))


async def test_leaves_that_go_while_they_are_read_end_the_reading(ready: Dropped) -> None:
    with as_key("", "operator"):
        reading = ready.servicer.ReadLog(log_pb2.ReadLogRequest(), None)
        await anext(reading)
        assert await ready.drop() == WINDOW
        with pytest.raises(MeshError, match="ask again"):
            async for _ in reading:
                pass
    with as_key(ORGS[0], "admin"):
        export = ready.servicer.Export(log_pb2.ExportRequest(), None)
        await anext(export)
        await ready.as_superuser("UPDATE log_start SET idx = 8192")
        with pytest.raises(MeshError, match="ask again"):
            async for _ in export:
                pass


async def test_what_is_stored_while_leaves_go_is_counted(dropped: Dropped) -> None:
    await dropped.store_all([request(uuid7()) for _ in range(3)])
    assert await found(dropped) == ""
