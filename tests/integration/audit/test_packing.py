"""Packed entries on a real database: all goes on as before, each organisation sees its own, nothing is laundered."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg
import pytest

from dac.audit.v1 import log_pb2
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog import merkle
from mesh.tlog.heads import NOBODY
from mesh.tlog.leaves import read_leaf
from mesh.tlog.notes import open_checkpoint
from mesh.tlog.packing import WINDOW, pack, unpack
from mesh.tlog.proofs import Proof
from mesh.tlog.tiles import WIDTH, unpack_entries
from services.audit.follower import Arrivals
from services.audit.log.packer import Packer
from services.audit.log.server import LogServicer
from services.audit.log.store import LogStore
from tests.conftest import REPOSITORY, Migrated
from tests.integration.audit.log_world import KEY, OneConnection, World, change, file, request
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
FOLDER = REPOSITORY / "services" / "audit" / "migrations"
SIZE = WINDOW + WIDTH + 20
NOW = dt.datetime.now(dt.UTC)
LATER = NOW + dt.timedelta(days=91)


class Old(NamedTuple):
    """A log of which the first window is packed, and what it was before."""

    made: Migrated
    world: World
    orgs: list[str]
    leaves: list[bytes]
    exported: list[str]


async def export(world: World, org_id: str) -> list[str]:
    """The lines of an organisation's export."""
    with as_key(org_id, "admin"):
        parts = [part.data async for part in world.servicer.Export(log_pb2.ExportRequest(), None)]
    return b"".join(parts).decode().splitlines()


async def filled(made: Migrated) -> tuple[World, list[str]]:
    """A log of four organisations that is a window and a bit long."""
    database = Database(made.dsn("audit"), "audit")
    world, orgs = World(database), [uuid7() for _ in range(4)]
    await world.administer(*[change(orgs[number % 4]) for number in range(20)])
    made_requests = [request(orgs[number % 4], trace_id=f"{number:032x}") for number in range(SIZE - 21)]
    made_requests[7].started_at.seconds = 2**62
    made_requests[8].operation = "a\nb"
    await world.ask(*made_requests[:1000])
    noting = world.sequencer(heads_every_s=3600)
    await noting.lead()
    assert await world.sequence(noting) == 1021
    for start in range(1000, SIZE, 1000):
        await world.ask(*made_requests[start : start + 1000])
    assert await world.sequence() == SIZE - 1021
    return world, orgs


@pytest.fixture(scope="module")
async def old(make_database: Make) -> AsyncIterator[Old]:
    """A packed log that nobody changes."""
    made = await make_database({"audit": FOLDER})
    world, orgs = await filled(made)
    leaves, exported = await world.store.leaves(0, SIZE), await export(world, orgs[1])
    assert await packer(world).round(LATER) == 1
    yield Old(made, world, orgs, leaves, exported)
    await world.database.close()


def packer(world: World) -> Packer:
    """One that packs after 90 days."""
    return Packer(world.store, 90, 3600)


@contextlib.asynccontextmanager
async def edited(old: Old, edit: str) -> AsyncIterator[World]:
    """The log after an edit by whoever owns the machine; taken back afterwards."""
    connection = await asyncpg.connect(old.made.superuser_dsn, server_settings={"search_path": "audit"})
    try:
        await connection.execute("BEGIN")
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(edit)
        world = World(OneConnection(connection))  # type: ignore[arg-type]
        world.servicer = LogServicer(LogStore(OneConnection(connection)), Arrivals())  # type: ignore[arg-type]
        yield world
    finally:
        await connection.close()


async def told(world: World) -> list[str]:
    """What verification objects to."""
    return [f"{one.where}: {one.what}" for one in (await world.verify(servicer=world.servicer)).findings]


async def test_only_full_windows_that_are_old_are_packed_and_once(old: Old, make_database: Make) -> None:
    assert await old.world.store.packs.packed() == range(WINDOW)
    assert await packer(old.world).round(LATER) == 0
    made = await make_database({"audit": FOLDER})
    world, _ = await filled(made)
    try:
        assert await packer(world).round(NOW + dt.timedelta(days=89)) == 0
        assert await world.store.packs.packed() == range(0)
    finally:
        await world.database.close()


async def test_a_packed_log_verifies_with_every_record(old: Old) -> None:
    checked = await old.world.verify()
    assert (checked.findings, checked.entries) == ([], SIZE)
    assert await old.world.store.leaves(0, SIZE) == old.leaves
    assert await old.world.store.leaves(WINDOW - 3, WINDOW + 3) == old.leaves[WINDOW - 3 : WINDOW + 3]


async def test_files_proofs_and_exports_are_what_they_were(old: Old) -> None:
    note = (await file(old.world.servicer, "checkpoint")).decode()
    checkpoint = open_checkpoint(note, KEY)
    bundle = unpack_entries(await file(old.world.servicer, "tile/entries/003", ["operator"]))
    assert bundle == old.leaves[3 * WIDTH : 4 * WIDTH]
    assert await file(old.world.servicer, "tile/0/003.p/9") == b"".join(map(merkle.hash_leaf, bundle[:9]))
    for place in (0, 5, WINDOW - 1, WINDOW):
        leaf = read_leaf(old.leaves[place])
        with as_key(leaf.org_id, "read"):
            found = await old.world.servicer.GetInclusionProof(
                log_pb2.GetInclusionProofRequest(record_id=leaf.id), None
            )
        assert Proof.parse(found.proof).check(found.leaf.encode(), KEY) == checkpoint
        assert (found.index, found.leaf.encode()) == (place, old.leaves[place]) and found.salt and found.record
    assert await export(old.world, old.orgs[1]) == old.exported


async def test_a_piece_of_an_unpacked_window_costs_one_question_more_than_its_rows(old: Old) -> None:
    asked: list[str] = []
    async with edited(old, f"DELETE FROM log_entries WHERE idx < {WINDOW}") as world:
        whole = await world.store.blocks(0, 2 * WIDTH)
        async with world.database.transaction() as connection:
            connection.add_query_logger(lambda record: asked.append(record.query))
        assert await world.store.leaves(WIDTH, 2 * WIDTH) == old.leaves[WIDTH : 2 * WIDTH]
        assert await world.store.blocks(WIDTH, 2 * WIDTH) == whole[-WIDTH:]
    # Twice the rows that are left and what is packed; of whole entries also what is still stored beside it.
    assert len(asked) == 5, asked


async def test_numbers_go_on_behind_what_is_packed(make_database: Make) -> None:
    made = await make_database({"audit": FOLDER})
    world, orgs = await filled(made)
    try:
        alone = uuid7()
        seqs = await world.store.last_seqs([*orgs, alone])
        async with superuser(made) as connection:
            await connection.execute("DELETE FROM log_salts; DELETE FROM requests; DELETE FROM changes")
        assert await packer(world).round(LATER) == 1
        # Rows are left of what is not packed; with no row at all the numbers come from the packs.
        async with superuser(made) as connection:
            assert await connection.fetchval("SELECT count(*) FROM log_entries") == SIZE - WINDOW
            assert await connection.fetchval("SELECT min(idx) FROM log_entries") == WINDOW
            await connection.execute("DELETE FROM log_entries")
        packed = {
            read_leaf(one.entry.leaf).org_id: one.entry.org_seq
            for one in await world.store.packs.between(0, WINDOW, range(WINDOW))
        }
        assert await world.store.last_seqs([*orgs, alone, NOBODY]) == {**packed, alone: 0}
        assert await world.store.all_seqs() == packed
        assert all(packed[org_id] < seqs[org_id] for org_id in orgs)
    finally:
        await world.database.close()


@contextlib.asynccontextmanager
async def superuser(made: Migrated) -> AsyncIterator[Any]:
    """Whoever owns the machine, without triggers."""
    connection = await asyncpg.connect(
        made.superuser_dsn, server_settings={"search_path": "audit", "session_replication_role": "replica"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def test_an_organisation_reaches_its_own_packs_only(old: Old) -> None:
    stranger, owner = uuid7(), read_leaf(old.leaves[0]).org_id
    record_id = read_leaf(old.leaves[0]).id
    assert await old.world.store.packs.entry(owner, record_id, SIZE) is not None
    assert await old.world.store.packs.entry(stranger, record_id, SIZE) is None
    others = next(one for one in old.orgs if one != owner)
    assert await old.world.store.packs.entry(others, record_id, SIZE) is None
    assert len(await export(old.world, stranger)) == 1
    lines = await export(old.world, others)
    assert {read_leaf(json.loads(line)["leaf"].encode()).org_id for line in lines[1:]} == {others}
    count = "SELECT count(*), count(DISTINCT org_id) FROM log_packs"
    async with old.world.database.transaction() as connection:
        assert tuple(await connection.fetchrow(count)) == (0, 0)
    async with old.world.database.transaction(owner) as connection:
        assert tuple(await connection.fetchrow(count)) == (1, 1)
    async with old.world.database.transaction(others) as connection:
        rows = await connection.fetch("SELECT packed FROM log_packs")
    assert {read_leaf(one.leaf).org_id for row in rows for one in unpack(row[0])} == {others}


REFUSED = [
    "UPDATE log_packs SET last_seq = 0",
    "DELETE FROM log_packs",
    "TRUNCATE log_packs",
    "DELETE FROM log_entries",
]


@pytest.mark.parametrize("statement", REFUSED)
@pytest.mark.parametrize("role", ["superuser", "service"])
async def test_nobody_removes_packs_or_rows_by_hand(old: Old, statement: str, role: str) -> None:
    dsn = old.made.superuser_dsn if role == "superuser" else old.made.dsn("audit")
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "audit"})
    try:
        # Saying that something is being removed does not make one the owner's function that removes it.
        await connection.execute("SET audit.removing = 'on'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_what_is_not_the_table_is_not_packed(make_database: Make) -> None:
    made = await make_database({"audit": FOLDER})
    world, orgs = await filled(made)
    try:
        places = await world.store.packs.unpacked(0)
        own = {org_id: [one.entry for one in places if one.org_id == org_id] for org_id in (*orgs, NOBODY)}
        packs = {org_id: pack(org_id, entries) for org_id, entries in own.items()}
        lacking = {**packs, orgs[0]: pack(orgs[0], own[orgs[0]][:-1])}
        assert not await world.store.packs.store(0, places, lacking)
        assert not await world.store.packs.store(1, places, packs)
        forged = [one._replace(leaf=one.leaf.replace(b'"7"', b'"8"')) for one in own[orgs[0]]]
        assert not await world.store.packs.store(0, places, {**packs, orgs[0]: pack(orgs[0], forged)})
        assert await world.store.packs.packed() == range(0)
        # A leaf that was changed in the table is not what the tiles say: it stays where it was changed.
        async with superuser(made) as connection:
            await connection.execute("UPDATE log_entries SET leaf = set_byte(leaf, 40, 65) WHERE idx = 300")
        with pytest.raises(MeshError, match="do not hash to their tiles"):
            await packer(world).round(LATER)
        assert await world.store.packs.packed() == range(0)
    finally:
        await world.database.close()


TAMPERING = {
    "DELETE FROM log_packs WHERE org_id = (SELECT min(org_id::text)::uuid FROM log_packs)": "stands in its place",
    "DELETE FROM log_entries WHERE idx < 4096;"
    "UPDATE log_packs SET packed = set_byte(packed, length(packed) - 1, 255 - get_byte(packed, length(packed) - 1))": (
        "do not hash to the root"
    ),
    "UPDATE log_packs SET packed = set_byte(packed, 0, 9)": "stands in its place",
    "UPDATE log_entries SET leaf = set_byte(leaf, 40, 65) WHERE idx = 30": "stands in its place",
    "DELETE FROM log_salts WHERE idx = 30": "the salt of request",
    "UPDATE requests SET record = record || '\\x00' WHERE position = 9": "not what its leaf commits to",
    "DELETE FROM changes WHERE position = 2": "the record of change",
}


@pytest.mark.parametrize("edit", TAMPERING)
async def test_what_is_changed_in_packs_is_found(old: Old, edit: str) -> None:
    async with edited(old, edit) as world:
        findings = await told(world)
        assert any(TAMPERING[edit] in one for one in findings), findings
