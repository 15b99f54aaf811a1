"""Heads: the log notes the last number of every organisation, and an export that leaves something out does not hold."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from dac.audit.v1 import log_pb2
from mesh.cli.audit_bundle import write_bundle
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog import standalone
from mesh.tlog.heads import NOBODY
from mesh.tlog.leaves import read_leaf
from mesh.tlog.standalone import HEADS, Wrong, check, check_heads
from services.audit.log.store import LogStore
from tests.conftest import REPOSITORY, Migrated
from tests.integration.audit.log_world import KEY, World, change, request
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
FOLDER = REPOSITORY / "services" / "audit" / "migrations"
ALWAYS = 1e-6


@pytest.fixture
async def made(make_database: Make) -> Migrated:
    """A database of its own."""
    return await make_database({"audit": FOLDER})


@pytest.fixture
async def world(made: Migrated) -> AsyncIterator[World]:
    """A log of its own, empty."""
    database = Database(made.dsn("audit"), "audit")
    yield World(database)
    await database.close()


async def noted(world: World, heads_every_s: float = ALWAYS) -> int:
    """What a new leader appends."""
    sequencer = world.sequencer(heads_every_s=heads_every_s)
    await sequencer.lead()
    return await world.sequence(sequencer)


async def exported(world: World, org_id: str, folder: pathlib.Path) -> pathlib.Path:
    """The folder of an organisation's export."""
    with as_key(org_id, "admin"):
        parts = [part.data async for part in world.servicer.Export(log_pb2.ExportRequest(), None)]
    write_bundle(parts, folder)
    return folder


async def test_numbers_are_noted_once_for_what_is_new(world: World) -> None:
    orgs = [uuid7() for _ in range(3)]
    assert await noted(world) == 0, "an empty log has nothing to note"
    await world.ask(*[request(orgs[number % 3]) for number in range(10)])
    await world.administer(change(orgs[0]))
    assert await noted(world) == 12
    assert await noted(world) == 0
    leaf = read_leaf((await world.store.leaves(11, 12))[0])
    assert (leaf.kind, leaf.org_id, leaf.org_seq, leaf.decision) == ("heads", NOBODY, "1", "done")
    heads = await world.store.newest_heads()
    assert heads is not None and (heads.idx, heads.org_seqs) == (11, dict(zip(orgs, (5, 3, 3), strict=True)))
    await world.ask(request(orgs[1]))
    # The next leader knows when that was: within the hour nothing is noted.
    assert await noted(world, 3600) == 1
    assert await noted(world) == 1
    checked = await world.verify()
    assert (checked.findings, checked.entries, checked.organisations) == ([], 14, 3)


async def test_heads_that_say_another_number_are_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also signed with the log's own key: whoever leaves entries out of exports has to say so in the log."""
    orgs = [uuid7() for _ in range(3)]
    await world.ask(*[request(orgs[number % 3]) for number in range(9)])
    await noted(world, 0)
    real = LogStore.all_seqs

    async def fewer(store: LogStore) -> dict[str, int]:
        return {**await real(store), orgs[1]: 2}

    monkeypatch.setattr(LogStore, "all_seqs", fewer)
    await noted(world)
    (finding,) = (await world.verify()).findings
    assert finding.where == "entry 9" and "its target is not what the entries before it give" in finding.what


EDITS = {
    "UPDATE log_salts SET salt = sha256(salt) WHERE idx = 9": "its target is not what",
    "UPDATE log_entries SET kind = 2 WHERE idx = 9": "the kind of heads",
    "DELETE FROM log_salts WHERE idx = 9": "of heads",
}


@pytest.mark.parametrize("edit", EDITS)
async def test_heads_that_were_changed_are_found(made: Migrated, world: World, edit: str) -> None:
    await world.ask(*[request(uuid7()) for _ in range(9)])
    assert await noted(world) == 10
    connection = await asyncpg.connect(
        made.superuser_dsn, server_settings={"search_path": "audit", "session_replication_role": "replica"}
    )
    await connection.execute(edit)
    await connection.close()
    (finding,) = (await world.verify()).findings
    assert EDITS[edit] in finding.what


async def test_an_export_is_shown_to_be_whole_up_to_its_heads(world: World, tmp_path: pathlib.Path) -> None:
    orgs = [uuid7() for _ in range(5)]
    await world.ask(*[request(orgs[number % 5]) for number in range(300)])
    await noted(world)
    await world.ask(*[request(orgs[0]) for _ in range(7)])
    late = uuid7()
    await world.ask(request(late))
    await noted(world, 0)
    whole = await exported(world, orgs[0], tmp_path / "whole")
    assert check(whole, str(KEY))[0] == 67
    found = check_heads(whole, str(KEY))
    assert found is not None and found[:2] == (60, 300)
    shown = (whole / HEADS).read_text()
    assert not any(other in shown for other in orgs[1:]), "an organisation sees nothing of the others"
    assert check_heads(await exported(world, late, tmp_path / "late"), str(KEY)) is None

    lines = (whole / "entries.jsonl").read_text().splitlines()
    for kept in (59, 1, 0):
        short = copied(whole, tmp_path / str(kept))
        (short / "entries.jsonl").write_text("".join(f"{line}\n" for line in lines[:kept]))
        # The entries that are there hold, and have no gap: only the heads tell.
        assert check(short, str(KEY))[0] == kept
        with pytest.raises(Wrong, match=f"had 60 entries by then, and {kept} of them"):
            check_heads(short, str(KEY))
    short = copied(whole, tmp_path / "later")
    (short / "entries.jsonl").write_text("".join(f"{line}\n" for line in lines[:63]))
    assert check_heads(short, str(KEY)) == found


def copied(folder: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A folder to change."""
    return pathlib.Path(shutil.copytree(folder, to))


async def test_no_other_line_leaf_or_place_passes_for_the_heads(world: World, tmp_path: pathlib.Path) -> None:
    orgs = [uuid7() for _ in range(5)]
    await world.ask(*[request(orgs[number % 5]) for number in range(25)])
    await noted(world)
    own = await exported(world, orgs[0], tmp_path / "own")
    other = json.loads((await exported(world, orgs[1], tmp_path / "other") / HEADS).read_text())
    heads = json.loads((own / HEADS).read_text())
    org_id, last, blind = heads["line"].split(" ")
    entry = json.loads((own / "entries.jsonl").read_text().splitlines()[0])
    edits = [
        {"line": f"{org_id} {int(last) - 1} {blind}"},
        {"line": f"{orgs[1]} {last} {blind}"},
        {"line": other["line"], "place": other["place"], "line_path": other["line_path"]},
        {"place": str(int(heads["place"]) ^ 1)},
        {"lines": "4"},
        {"line_path": heads["line_path"][:-1]},
        {"leaf": heads["leaf"].replace('"heads"', '"change"')},
        {"leaf": entry["leaf"], "index": entry["index"]},
        {"index": str(int(heads["index"]) - 1)},
        {"index": "x"},
        {"line": None},
    ]
    assert check_heads(own, str(KEY)) is not None
    for edit in edits:
        (own / HEADS).write_text(json.dumps({**heads, **edit}))
        with pytest.raises(Wrong, match="heads: "):
            check_heads(own, str(KEY))


async def test_the_verifier_says_up_to_where_nothing_is_left_out(
    world: World, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    org_id = uuid7()
    await world.ask(*[request(org_id) for _ in range(4)])
    await noted(world)
    folder = await exported(world, org_id, tmp_path / "own")
    monkeypatch.setattr("sys.argv", ["verify", str(folder)])
    assert standalone.main() == 0
    assert "Nothing is left out up to entry 4 of the log" in capsys.readouterr().out
    (folder / HEADS).unlink()
    assert standalone.main() == 0
    assert "the export has no heads" in capsys.readouterr().out
