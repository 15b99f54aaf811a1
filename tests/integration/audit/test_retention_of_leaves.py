"""Old leaves are dropped, declared by a leaf: the log verifies, proofs and exports hold on, numbers go on."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog.heads import NOBODY
from mesh.tlog.leaves import read_leaf
from mesh.tlog.merkle import is_consistent
from mesh.tlog.packing import WINDOW
from mesh.tlog.standalone import check, check_heads, check_start
from mesh.tlog.starts import named_start
from mesh.tlog.tiles import WIDTH, Tile
from tests.conftest import Migrated
from tests.integration.audit.dropped_world import ORGS, Dropped
from tests.integration.audit.log_world import KEY, file, request
from tests.integration.audit.test_heads import exported
from tests.integration.audit.test_log import FOLDER, receipt

Make = Callable[..., Awaitable[Migrated]]


@pytest.fixture
async def log(make_database: Make) -> AsyncIterator[Dropped]:
    """An empty log."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield Dropped(database, made)
    await database.close()


async def test_what_is_left_verifies_and_goes_on(log: Dropped, tmp_path: pathlib.Path) -> None:
    made = await log.fill()
    await log.redact()
    before, seqs = await log.kept_now(), await log.store.all_seqs()
    assert await log.drop() == WINDOW
    checked = await log.verify(before)
    assert (checked.findings, checked.start) == ([], WINDOW)
    assert checked.entries + WINDOW == (await log.store.head()).size
    leaf = read_leaf((await log.store.leaves(before.size, before.size + 1))[0])
    assert (leaf.kind, leaf.org_id, named_start(leaf)) == ("start", NOBODY, WINDOW)

    # The organisation without an entry left goes on with its numbers, and the next leader finds them.
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
    folder = await exported(log, new[1].org_id, tmp_path / "fresh")
    assert check(folder, str(KEY))[0] == 1 and check_start(folder, str(KEY)) == (0, 0, "")


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


async def test_files_of_what_is_gone_are_refused(log: Dropped) -> None:
    await log.fill()
    await log.redact()
    await log.drop()
    with pytest.raises(MeshError, match=f"begins with entry {WINDOW}") as refused:
        await file(log.servicer, Tile(-1, 3).path, ["read", "operator"])
    assert refused.value.reason == Reason.FAILED_PRECONDITION
    assert await file(log.servicer, Tile(-1, WINDOW // WIDTH).path, ["read", "operator"])
    assert await file(log.servicer, Tile(0, 0).path)


async def test_another_window_goes_later(log: Dropped) -> None:
    await log.fill(windows=2)
    await log.redact()
    log.dropper._begin_at = one_window(log)
    assert await log.dropper.round()
    assert (await log.verify()).start == WINDOW
    await log.store_all([request(ORGS[0])])
    log.dropper._begin_at = log.leader.begin_at
    assert await log.drop() == WINDOW
    checked = await log.verify()
    assert (checked.findings, checked.start) == ([], 2 * WINDOW)
    assert await log.drop() == 0


def one_window(log: Dropped) -> Callable[..., Awaitable[str]]:
    """Drops the first window, whatever was asked for."""

    async def begin_at(start: int, *, needs_archive: bool) -> str:
        return await log.leader.begin_at(WINDOW, needs_archive=needs_archive)

    return begin_at
