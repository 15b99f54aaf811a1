"""Text at rest: what went in through every RPC is nowhere in a dump of the whole database, and opens nowhere later."""

import asyncio
import base64
import contextlib
import datetime as dt
import pathlib
import re
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from dac.memory.v1 import sealing_pb2
from mesh.embedded import postgres_bin, running_dsn
from mesh.envelope_keys import Wrapper
from mesh.errors import MeshError
from mesh.testing import TestProcess, mesh_in_process
from services.memory.sealing.data_keys import PURPOSE, DataKeys, KeyedSealer
from services.memory.sealing.resealing import Resealer
from tests.integration.memory.tour import LAST, MARK, STEPS, Visitor, as_json, text, uncovered

CONFIG = "memory: {encrypt_text: %s, encrypt_key_check_s: 0.2, encrypt_reseal_interval_s: 600}\n"
TABLES_OF_THE_TOUR = {
    "threads",
    "branches",
    "messages",
    "memories",
    "memory_history",
    "thread_summaries",
    "cache_answers",
    "vector_items",
}
READERS = {
    "ConversationService.GetThread": MARK + "newtitle",
    "ConversationService.GetMessage": MARK + "question",
    "ConversationService.ListBranches": MARK + "branch",
    "CacheService.Lookup": MARK + "cached",
    "MemoryService.GetMemory": MARK + "newmemory",
    "MemoryService.GetMemoryHistory": MARK + "memory0",
    "MemoryService.GetSummary": MARK + "summary",
    "VectorService.SearchVectors": MARK + "vectormetadata",
    "ArchiveService.GetConversationFull": MARK + "answer",
}
"""What each must still tell."""
STEMS = (MARK.lower(), "harbouv")
"""The beginnings of the canaries: stemming leaves them, and lower-casing is looked through."""


def found_in(dump: bytes) -> set[str]:
    """Where canaries stand in a dump: as they are, in any case, and as hexadecimal or base64 of a bytea."""
    lower, found = dump.lower(), set()
    for stem in STEMS:
        for said in {stem, stem.capitalize(), stem.upper()}:
            needles = {said.lower().encode(), said.encode().hex().encode()}
            # Three ways to stand in base64, without the characters at the ends that others shape.
            needles |= {base64.b64encode(b"x" * shift + said.encode())[4:-4].lower() for shift in range(3)}
            for needle in needles:
                found |= {
                    lower[max(0, hit.start() - 60) : hit.end() + 40].decode("utf-8", "replace")
                    for hit in re.finditer(re.escape(needle), lower)
                }
    return found


async def dump_of(process: TestProcess) -> bytes:
    """Everything in the process's database."""
    return await dump_at(superuser_dsn(process))


async def dump_at(dsn: str) -> bytes:
    """Everything in a database, also what PostgreSQL wrote down about the columns."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("ANALYZE")
        statistics = await connection.fetch(
            "SELECT tablename, attname, most_common_vals::text, histogram_bounds::text, most_common_elems::text "
            "FROM pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
    finally:
        await connection.close()
    dump = await asyncio.create_subprocess_exec(postgres_bin() / "pg_dump", dsn, stdout=asyncio.subprocess.PIPE)
    dumped, _ = await dump.communicate()
    assert b"CREATE TABLE memory.messages" in dumped
    return dumped + repr([tuple(row) for row in statistics]).encode()


def superuser_dsn(process: TestProcess) -> str:
    """An administrator of the throw-away server."""
    dsn = running_dsn(process.settings.mesh.data_dir.parent / "postgres")
    assert dsn is not None
    return dsn


@pytest.fixture(scope="module")
async def sealed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestProcess]:
    """Memory with the switch on."""
    async with mesh_in_process(tmp_path_factory.mktemp("on"), config=CONFIG % "true", targets=("memory",)) as process:
        yield process


def test_every_rpc_is_part_of_the_tour() -> None:
    assert uncovered() == set(), "give each new RPC a step in tests/integration/memory/tour.py"


async def test_no_text_of_any_rpc_is_in_a_dump(sealed: TestProcess) -> None:
    visitor = Visitor(sealed, user_id="ada")
    await visitor.tour()
    # It can be read by who may.
    assert MARK + "newtitle" in visitor.answers["ConversationService.GetThread"]
    assert MARK + "cached" in visitor.answers["CacheService.Lookup"]
    assert found_in(await dump_of(sealed)) == set()
    status = await visitor.ask("SealingService.GetSealStatus", {})
    assert [one.table for one in status.tables if one.plain_rows] == []
    assert {one.table for one in status.tables if one.sealed_rows + one.earlier_rows} >= {"threads", "messages"}


async def test_what_was_plain_is_found_and_sealed_when_the_switch_is_turned(tmp_path: pathlib.Path) -> None:
    async with mesh_in_process(tmp_path, config=CONFIG % "false", targets=("memory",)) as process:
        visitor = Visitor(process, user_id="ada")
        await visitor.tour()
        dump = " ".join(found_in(await dump_of(process)))
        for where in ("newtitle", "question", "questionjson", "answer", "edit", "tag", "parameter", "branch"):
            assert (MARK + where).lower() in dump, where
        assert b"Harbouv".hex() in dump, "an answer of the cache, in a column of bytes"
        plain = await rows_of(visitor)
        assert {table for table, (count, _, _) in plain.items() if count} >= TABLES_OF_THE_TOUR
        # A replica with the switch on, on the same database.
        keys = DataKeys(process.databases["memory"], Wrapper.of(process.keyring, PURPOSE), clock=now)
        sealer = KeyedSealer(keys, enabled=True, check_s=0.2, monotonic=time.monotonic)
        await resealer(process, keys, sealer).reseal(visitor.org_id)
        sealed = await rows_of(visitor)
        assert {table: one[0] for table, one in sealed.items() if one[0]} == {}
        assert found_in(await dump_of(process)) == set()
        # The switch is off here, and everything is read as before.
        await asyncio.sleep(0.3)
        await reads_everything(visitor)


async def test_with_another_data_key_everything_is_sealed_anew_and_read(sealed: TestProcess) -> None:
    visitor = Visitor(sealed, user_id="ada")
    await visitor.tour()
    await visitor.ask("SealingService.RotateDataKey", {})
    sealing = sealed.services["memory"].sealing  # type: ignore[attr-defined]
    keys = DataKeys(sealed.databases["memory"], Wrapper.of(sealed.keyring, PURPOSE), clock=now)
    again = resealer(sealed, keys, sealing.sealer)
    for _ in range(50):
        await again.reseal(visitor.org_id)
        if not any(one[2] for one in (await rows_of(visitor)).values()):
            break
        # Memory's own one is at the same walk: that one goes on.
        await asyncio.sleep(0.05)
    status = await visitor.ask("SealingService.GetSealStatus", {})
    assert not [one.table for one in status.tables if one.plain_rows or one.earlier_rows]
    await reads_everything(visitor)


def now() -> dt.datetime:
    """The time."""
    return dt.datetime.now(dt.UTC)


def resealer(process: TestProcess, keys: DataKeys, sealer: KeyedSealer) -> Resealer:
    """One that has seen nothing yet, and keeps no former key."""
    database, none = process.databases["memory"], dt.timedelta(0)
    return Resealer(database, keys, sealer, rows=2, interval_s=600, clock=now, keep_earlier=none)


async def rows_of(visitor: Visitor) -> dict[str, tuple[int, int, int]]:
    """Plain, sealed, sealed by an earlier key: by table."""
    status = await visitor.ask("SealingService.GetSealStatus", {})
    return {one.table: (one.plain_rows, one.sealed_rows, one.earlier_rows) for one in status.tables}


async def reads_everything(visitor: Visitor) -> None:
    """What was said in the tour is read by those RPCs that read only."""
    for step in STEPS:
        if step.rpc in READERS:
            said = as_json(await visitor.ask(step.rpc, step.body(visitor.known)))
            assert READERS[step.rpc] in said, f"{step.rpc}: {said[:500]}"


async def test_erased_nothing_opens_any_more(sealed: TestProcess) -> None:
    visitor, other = Visitor(sealed), Visitor(sealed)
    await visitor.tour()
    await other.tour()
    connection = await asyncpg.connect(superuser_dsn(sealed))
    tables = [
        row[0]
        for row in await connection.fetch(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = 'memory' AND column_name = 'org_id'"
        )
    ]
    kept = await connection.fetch(
        "SELECT * FROM memory.messages WHERE org_id = $1 AND sealed IS NOT NULL "
        "ORDER BY thread_id, deleted_at NULLS FIRST, position",
        visitor.org_id,
    )
    assert kept[0]["thread_id"] == "t"
    with pytest.raises(MeshError, match="not the organisation"):
        await visitor.ask(LAST, {"org_id": other.org_id})
    erased: sealing_pb2.EraseOrganisationResponse = await visitor.ask(LAST, {"org_id": visitor.org_id})
    assert erased.deleted_rows > len(kept) and erased.destroyed_keys >= 2
    counts = {}
    for table in tables:
        # The names come from PostgreSQL itself.
        counts[table] = await connection.fetchval(
            f"SELECT count(*) FROM memory.{table} WHERE org_id = $1",
            visitor.org_id,
        )
    left = {table for table, count in counts.items() if count}
    assert left <= {"data_keys", "seal_walks", "memory_changes", "cache_totals"}, left
    # Rows from a dump of before, put back by force: the trigger refuses, and without it they do not open.
    row = dict(kept[0])
    await connection.execute("INSERT INTO memory.threads (org_id, thread_id) VALUES ($1, 't')", visitor.org_id)
    names, values = ", ".join(row), ", ".join(f"${number}" for number in range(1, len(row) + 1))
    again = f"INSERT INTO memory.messages ({names}) VALUES ({values})"
    with pytest.raises(asyncpg.TransactionRollbackError):
        await connection.execute(again, *row.values())
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(again, *row.values())
    with pytest.raises(MeshError, match="data key was destroyed"):
        await visitor.ask("ConversationService.ListMessages", {"thread_id": "t", "all": True})
    await connection.execute("DELETE FROM memory.threads WHERE org_id = $1", visitor.org_id)
    await connection.close()
    # A new beginning, with a new key; and the others still have theirs.
    await visitor.tour()
    assert MARK in visitor.answers["ConversationService.ListMessages"]
    listed = await other.ask("ConversationService.ListMessages", {"thread_id": "t", "all": True})
    assert any(MARK in one.text for one in listed.messages)


async def test_a_row_moved_to_another_place_does_not_open(sealed: TestProcess) -> None:
    mine, theirs = Visitor(sealed), Visitor(sealed)
    for visitor in (mine, theirs):
        await visitor.ask("ConversationService.CreateThread", {"thread_id": "t", "title": text("moved")})
        await visitor.ask("ConversationService.CreateThread", {"thread_id": "u", "title": text("other")})
    connection = await asyncpg.connect(superuser_dsn(sealed))
    with contextlib.suppress(asyncpg.TransactionRollbackError):
        await connection.execute(
            "UPDATE memory.threads SET sealed = (SELECT sealed FROM memory.threads "
            "WHERE org_id = $1 AND thread_id = 't') "
            "WHERE org_id = $1 AND thread_id = 'u'",
            mine.org_id,
        )
    with pytest.raises(MeshError, match="does not open"):
        await mine.ask("ConversationService.GetThread", {"thread_id": "u"})
    with pytest.raises(asyncpg.TransactionRollbackError):
        await connection.execute(
            "UPDATE memory.threads SET sealed = (SELECT sealed FROM memory.threads "
            "WHERE org_id = $1 AND thread_id = 't') "
            "WHERE org_id = $2 AND thread_id = 't'",
            mine.org_id,
            theirs.org_id,
        )
    await connection.close()
