"""The provable log on a real database: everything stored gets one leaf, proofs hold offline, and nothing goes back."""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from dac.audit.v1 import log_pb2
from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.migrate import migrate
from mesh.postgres import Database
from mesh.tlog import merkle
from mesh.tlog.leaves import commit, read_leaf
from mesh.tlog.notes import Checkpoint, VerifierKey, open_checkpoint
from mesh.tlog.proofs import Proof
from mesh.tlog.tiles import unpack_entries
from services.audit.follower import Arrivals
from services.audit.log import server
from services.audit.log.server import LogServicer
from services.audit.log.signing import signer_of
from services.audit.log.store import LogStore
from services.audit.server import request_row
from services.budget.server import BudgetService
from tests.conftest import REPOSITORY, Migrated
from tests.integration.audit.conftest import MakeAudit
from tests.integration.audit.log_world import KEY, OneConnection, World, change, file, request
from tests.integration.audit.test_audit import store
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
FOLDER = REPOSITORY / "services" / "audit" / "migrations"


@pytest.fixture
async def world(make_database: Make) -> AsyncIterator[World]:
    """A log of its own, empty."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield World(database)
    await database.close()


async def receipt(
    servicer: object, org_id: str, record_id: str, wait_s: float = 0
) -> log_pb2.GetInclusionProofResponse:
    wanted = log_pb2.GetInclusionProofRequest(record_id=record_id, wait_s=wait_s)
    with as_key(org_id, "read"):
        return await servicer.GetInclusionProof(wanted, None)  # type: ignore[attr-defined, no-any-return]


async def test_a_request_gets_a_receipt_that_is_checked_without_dac(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    audit = await make_audit(budget)
    request_id = await store(budget, org_id, finish_reason="stop")
    found = await receipt(audit.log.log, org_id, request_id, wait_s=10)
    with as_key(org_id, "read"):
        newest = await audit.log.log.GetCheckpoint(log_pb2.GetCheckpointRequest(), None)
    key = VerifierKey.parse(newest.verifier_key)
    assert Proof.parse(found.proof).check(found.leaf.encode(), key).size > found.index
    leaf = read_leaf(found.leaf.encode())
    assert (leaf.id, leaf.org_id, leaf.org_seq, leaf.decision) == (request_id, org_id, "1", "ok")
    assert leaf.commitment == commit(found.salt, found.record)
    assert record_pb2.RequestRecord.FromString(found.record).finish_reason == "stop"
    with pytest.raises(MeshError) as refusal:
        await receipt(audit.log.log, uuid7(), request_id)
    assert refusal.value.reason is Reason.NOT_FOUND


async def test_the_next_leader_goes_on_where_the_last_one_stopped(
    budget: BudgetService, make_audit: MakeAudit, org_id: str
) -> None:
    leader = await make_audit(budget)
    first = await receipt(leader.log.log, org_id, await store(budget, org_id), wait_s=10)
    heir = await make_audit(budget)
    await leader.close()
    second = await receipt(heir.log.log, org_id, await store(budget, org_id), wait_s=10)
    assert (first.org_seq, second.org_seq) == (1, 2)
    key = VerifierKey.parse(
        Proof.parse(first.proof).check(first.leaf.encode(), signer_key(heir)) and str(signer_key(heir))
    )
    old = open_checkpoint(Proof.parse(first.proof).checkpoint, key)
    with as_key(org_id, "read"):
        proof = await heir.log.log.GetConsistencyProof(log_pb2.GetConsistencyProofRequest(size=old.size), None)
    new = open_checkpoint(proof.checkpoint, key)
    assert merkle.is_consistent(old.size, new.size, list(proof.hashes), old.root, new.root)


def signer_key(audit: object) -> VerifierKey:
    return audit.log.sequencer._make_signer().verifier  # type: ignore[attr-defined, no-any-return]


async def test_everything_is_logged_once_in_order_with_its_number(world: World) -> None:
    orgs = [uuid7() for _ in range(3)]
    requests = [request(orgs[number % 3], operation="embeddings") for number in range(40)]
    changes = [change(orgs[number % 3], target=f"key:{number}") for number in range(5)]
    await world.ask(*requests[:20])
    await world.administer(*changes)
    sequencer = world.sequencer(batch=7)
    await sequencer.lead()
    assert await world.sequence(sequencer) == 25
    await world.ask(*requests)
    assert await world.sequence(sequencer) == 20
    assert await world.sequence(sequencer) == 0
    leaves = [read_leaf(leaf) for leaf in await world.store.leaves(0, 100)]
    assert [leaf.id for leaf in leaves if leaf.kind == "request"] == [one.request_id for one in requests]
    assert [leaf.target for leaf in leaves if leaf.kind == "change"] == [f"key:{number}" for number in range(5)]
    for org_id in orgs:
        own = [int(leaf.org_seq) for leaf in leaves if leaf.org_id == org_id]
        assert own == list(range(1, len(own) + 1))
    verification = await world.verify()
    assert (verification.findings, verification.entries) == ([], 45)


async def test_rows_of_before_the_log_are_taken_up_in_order(make_database: Make, tmp_path: pathlib.Path) -> None:
    for file_name in ("0001_records.sql", "0002_rollups.sql"):
        shutil.copy(FOLDER / file_name, tmp_path)
    made = await make_database({"audit": tmp_path})
    database = Database(made.dsn("audit"), "audit")
    world = World(database)
    try:
        org_id = uuid7()
        old, later = [request(org_id) for _ in range(5)], [request(org_id) for _ in range(3)]
        administered = change(org_id)
        # As the version of then stored them.
        async with database.transaction(org_id) as connection:
            await connection.executemany(
                "INSERT INTO requests (org_id, request_id, started_at, model, outcome, cost_nano_usd, record)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                [request_row(record)[:7] for record in old],
            )
            await connection.execute(
                "INSERT INTO changes (org_id, record_id, at, record) VALUES ($1, $2, $3, $4)",
                org_id,
                administered.record_id,
                administered.at.ToDatetime(tzinfo=dt.UTC),
                administered.SerializeToString(),
            )
        shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
        await migrate(made.owner_dsn, {"audit": tmp_path}, made.passwords)
        await world.ask(*later)
        assert await world.sequence() == 9
        leaves = [read_leaf(leaf) for leaf in await world.store.leaves(0, 9)]
        assert [leaf.id for leaf in leaves if leaf.kind == "request"] == [one.request_id for one in (*old, *later)]
        assert (await world.verify()).findings == []
    finally:
        await database.close()


async def test_nothing_is_passed_over_that_is_stored_late(world: World) -> None:
    """A row whose position was given out before, but which is committed after, a later one."""
    org_id = uuid7()
    sequencer = world.sequencer()
    await sequencer.lead()
    slow, quick = request(org_id), request(org_id)
    async with world.database.transaction(org_id) as connection:
        await connection.execute("SELECT set_config('app.counts', 'yes', true)")
        await connection.execute(
            "INSERT INTO requests (org_id, request_id, started_at, model, outcome, cost_nano_usd, record)"
            " VALUES ($1, $2, now(), '', 1, 7, $3)",
            org_id,
            slow.request_id,
            slow.SerializeToString(),
        )
        await world.ask(quick)
        passing = asyncio.create_task(sequencer.step())
        done, _ = await asyncio.wait({passing}, timeout=0.3)
        assert not done, "the sequencer does not go past a row that is still being written"
    await passing
    await world.sequence(sequencer)
    assert [read_leaf(leaf).id for leaf in await world.store.leaves(0, 9)] == [slow.request_id, quick.request_id]


async def test_a_former_leader_writes_nothing(world: World) -> None:
    org_id = uuid7()
    former, leader = world.sequencer(), world.sequencer()
    await former.lead()
    await leader.lead()
    await world.ask(request(org_id))
    with pytest.raises(MeshError, match="taken the lead"):
        await former.step()
    assert (await world.store.head()).size == 0
    assert await leader.step() == 1
    # Also one that believes in the right epoch cannot append to a head that has moved: no fork.
    former._head = former._head._replace(epoch=leader._head.epoch)
    await world.ask(request(org_id))
    with pytest.raises(MeshError, match="taken the lead"):
        await former.step()
    assert await leader.step() == 1
    assert (await world.verify()).findings == []


async def test_no_key_but_the_first_signs_and_no_damaged_log_is_built_on(world: World, make_database: Make) -> None:
    await world.ask(request(uuid7()))
    await world.sequence()
    with pytest.raises(MeshError, match=r"restore data/secrets/audit-log\.key"):
        await world.sequencer(key=signer_of(b"o" * 32)).lead()
    head = await world.store.head()
    connection = await world.database.connect()
    try:
        await connection.execute("UPDATE log_head SET size = size + 1")
    finally:
        await connection.close()
    with pytest.raises(MeshError, match="checkpoint is of 1 entries, its head of 2"):
        await world.sequencer().lead()
    assert head.size == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_entries SET leaf = ''",
        "DELETE FROM log_entries",
        "TRUNCATE log_entries",
        "UPDATE log_salts SET salt = ''",
        "DELETE FROM log_salts",
        "DELETE FROM log_tiles",
        "UPDATE log_tiles SET root = ''",
        "DELETE FROM log_head",
        "TRUNCATE log_head",
        "UPDATE log_head SET size = size - 1",
        "UPDATE log_head SET epoch = epoch - 1",
        "UPDATE log_head SET root = ''",
        "UPDATE log_head SET request_position = request_position - 1",
        "UPDATE log_head SET verifier_key = 'x'",
        "INSERT INTO log_head DEFAULT VALUES",
    ],
)
async def test_the_log_only_grows_also_for_a_superuser(logged: Migrated, statement: str) -> None:
    connection = await asyncpg.connect(logged.superuser_dsn, server_settings={"search_path": "audit"})
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UniqueViolationError)):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_files_of_the_log_are_those_of_tlog_tiles(world: World) -> None:
    org_id = uuid7()
    await world.ask(*[request(org_id) for _ in range(300)])
    await world.sequence()
    note = (await file(world.servicer, "checkpoint")).decode()
    checkpoint = open_checkpoint(note, KEY)
    entries = unpack_entries(await file(world.servicer, "tile/entries/000", ["operator"]))
    entries += unpack_entries(await file(world.servicer, "tile/entries/001.p/44", ["operator"]))
    hashes = [merkle.hash_leaf(entry) for entry in entries]
    assert merkle.root_of(hashes) == checkpoint.root and checkpoint.size == 300
    assert await file(world.servicer, "tile/0/000") == b"".join(hashes[:256])
    assert await file(world.servicer, "tile/0/001.p/9") == b"".join(hashes[256:265])
    assert await file(world.servicer, "tile/1/000.p/1") == merkle.root_of(hashes[:256])
    for path in ("tile/0/001", "tile/0/001.p/45", "tile/1/000.p/2", "tile/2/000.p/1", "elsewhere", "tile/0/002.p/1"):
        with pytest.raises(MeshError) as refusal:
            await file(world.servicer, path)
        assert refusal.value.reason is Reason.NOT_FOUND, path
    with pytest.raises(MeshError) as refusal:
        await file(world.servicer, "tile/entries/000")
    assert refusal.value.reason is Reason.PERMISSION_DENIED


async def test_an_empty_log_has_no_checkpoint_and_wrong_sizes_have_no_proof(world: World, org_id: str) -> None:
    with pytest.raises(MeshError, match="no entry yet"):
        await world.checkpoint()
    await world.ask(request(org_id))
    await world.sequence()
    for size in (0, 2, -1):
        with as_key(org_id, "read"), pytest.raises(MeshError, match="size"):
            await world.servicer.GetConsistencyProof(log_pb2.GetConsistencyProofRequest(size=size), None)
    for wanted in ({"record_id": "x"}, {"record_id": uuid7()}, {"record_id": uuid7(), "wait_s": 11}):
        with as_key(org_id, "read"), pytest.raises(MeshError):
            await world.servicer.GetInclusionProof(log_pb2.GetInclusionProofRequest(**wanted), None)


@pytest.fixture(scope="module")
async def logged(make_database: Make) -> Migrated:
    """A database with a log of 600 entries that nobody changes."""
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    world = World(database)
    orgs = [uuid7() for _ in range(4)]
    await world.ask(*[request(orgs[number % 4]) for number in range(590)])
    await world.administer(*[change(orgs[number % 4]) for number in range(10)])
    assert await world.sequence(None) == 600
    await database.close()
    return made


TAMPERING = {
    "UPDATE log_entries SET leaf = set_byte(leaf, 40, 65) WHERE idx = 300": "do not hash to the root",
    "UPDATE log_entries SET idx = -1 WHERE idx = 3; UPDATE log_entries SET idx = 3 WHERE idx = 4;"
    "UPDATE log_entries SET idx = 4 WHERE idx = -1": "do not hash to the root",
    "DELETE FROM log_entries WHERE idx = 599": "its checkpoint says 600",
    "DELETE FROM log_entries WHERE idx = 17": "stands in its place",
    "DELETE FROM log_salts WHERE idx = 17": "the salt of request",
    "UPDATE log_salts SET salt = sha256(salt) WHERE idx = 17": "not what its leaf commits to",
    "UPDATE requests SET record = record || '\\x00' WHERE position = 20": "not what its leaf commits to",
    "UPDATE changes SET record = '' WHERE position = 2": "not what its leaf commits to",
    "DELETE FROM requests WHERE position = 20": "the record of request",
    "UPDATE requests SET cost_nano_usd = 1 WHERE position = 20": "the cost of request",
    "UPDATE requests SET model = 'x' WHERE position = 20": "the model of request",
    "UPDATE requests SET outcome = 5 WHERE position = 20": "the outcome of request",
    "UPDATE requests SET started_at = now() WHERE position = 20": "the time of request",
    "UPDATE changes SET at = now() WHERE position = 2": "the time of change",
    "INSERT INTO requests (org_id, request_id, position, started_at, model, outcome, cost_nano_usd, record) OVERRIDING"
    " SYSTEM VALUE SELECT org_id, gen_random_uuid(), 1, started_at, model, outcome, cost_nano_usd, record"
    " FROM requests WHERE position = 20": "591 requests are stored, and 590 have a leaf",
    "UPDATE log_tiles SET hashes = set_byte(hashes, 3, 1 - sign(get_byte(hashes, 3))::int)"
    " WHERE number = 1": "not what the leaves hash to",
    "DELETE FROM log_tiles WHERE number = 1": "tile 0/1",
    "UPDATE log_head SET checkpoint = replace(checkpoint, '600', '599')": "does not verify",
    "UPDATE log_entries SET org_id = gen_random_uuid() WHERE idx = 9": "is missing",
    "UPDATE log_entries SET position = position + 1 WHERE idx = 300": "the record of request",
    "UPDATE log_entries SET kind = 3 - kind WHERE idx = 300": "the record of request",
}


@pytest.mark.parametrize("edit", TAMPERING)
async def test_what_an_administrator_of_the_database_changes_is_found(logged: Migrated, edit: str) -> None:
    connection = await asyncpg.connect(logged.superuser_dsn, server_settings={"search_path": "audit"})
    try:
        await connection.execute("BEGIN")
        servicer = LogServicer(LogStore(OneConnection(connection)), Arrivals())  # type: ignore[arg-type]
        world = World(None)  # type: ignore[arg-type]
        assert (await world.verify(servicer=servicer)).findings == []
        # The rights of whoever owns the machine: triggers and keys are switched off.
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(edit)
        verification = await world.verify(servicer=servicer)
        assert any(TAMPERING[edit] in f"{one.where}: {one.what}" for one in verification.findings), (
            verification.findings
        )
    finally:
        await connection.close()


async def test_the_whole_log_comes_in_stretches_and_small_messages(
    logged: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any size of a stretch and of a message the stream is the same."""
    database = Database(logged.dsn("audit"), "audit")
    world = World(database)
    try:
        whole, messages = await read(world)
        assert messages < 7
        for stretch in (100, 200, 256, 300, 600):
            monkeypatch.setattr(server, "READ_BATCH", stretch)
            monkeypatch.setattr(server, "MESSAGE_BYTES", 20_000)
            assert (found := await world.verify()).findings == [] and found.entries == 600
            again, messages = await read(world)
            assert len(again) == len(whole) and messages > 7
    finally:
        await database.close()


async def read(world: World) -> tuple[bytes, int]:
    with as_key("", "operator"):
        parts = [part.data async for part in world.servicer.ReadLog(log_pb2.ReadLogRequest(), None)]
    return b"".join(parts), len(parts)


async def test_a_rewritten_log_is_found_by_a_checkpoint_from_outside_only(world: World) -> None:
    org_id = uuid7()
    await world.ask(*[request(org_id) for _ in range(30)])
    await world.sequence()
    kept = open_checkpoint((await world.checkpoint()).checkpoint, KEY)
    await world.ask(*[request(org_id) for _ in range(300)])
    await world.sequence()
    assert (await world.verify(kept)).findings == []
    forked = Checkpoint(kept.origin, kept.size, merkle.hash_leaf(b"another past"))
    assert "not those that it was made of" in (await world.verify(forked)).findings[0].what
    longer = kept._replace(size=331)
    assert "had 331 entries" in (await world.verify(longer)).findings[0].what
    elsewhere = kept._replace(origin="elsewhere")
    assert "another log" in (await world.verify(elsewhere)).findings[0].what
    assert (await world.verify(None, signer_of(b"o" * 32).verifier)).faults > 0
