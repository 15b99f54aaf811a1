"""Data keys against a real PostgreSQL: made once, told to replicas, turned over, wrapped anew, destroyed."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest

from dac.memory.v1 import sealing_pb2
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.admin_changes import ChangeOutbox
from mesh.call import Call, serving
from mesh.envelope_keys import Wrapper
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.rotation import rotate
from services.memory.sealing.data_keys import TERMS, TEXT, DataKeys, KeyedSealer
from services.memory.sealing.erasure import Erasure
from services.memory.sealing.resealing import Resealer
from services.memory.sealing.sealed_tables import TABLES
from services.memory.sealing.server import SealingServicer

Open = Callable[..., Awaitable[Database]]
WRAPPER = Wrapper(b"n" * 32, "now", former={"before": b"b" * 32})
EARLIER = Wrapper(b"b" * 32, "before")
CHECK_S = 0.05


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Replica:
    """Everything of sealing in one process of memory."""

    def __init__(self, database: Database, *, enabled: bool = True, wrapper: Wrapper = WRAPPER, rows: int = 3) -> None:
        self.database, self.keys = database, DataKeys(database, wrapper, clock=now)
        self.sealer = KeyedSealer(self.keys, enabled=enabled, check_s=CHECK_S, monotonic=time.monotonic)
        self.erasure = Erasure(database, self.keys, self.sealer, clock=now, wait=lambda: asyncio.sleep(CHECK_S))
        self.server = SealingServicer(self.erasure, self.keys, wrapper, enabled=enabled, clock=now)
        self.resealer = self.new_resealer(rows)

    def new_resealer(self, rows: int = 3) -> Resealer:
        """One that remembers nothing, as after a kill."""
        keep = dt.timedelta(0)
        return Resealer(self.database, self.keys, self.sealer, rows=rows, interval_s=60, clock=now, keep_earlier=keep)

    async def ask(self, org_id: str, method: str, request: object) -> object:
        with serving(Call(principal=Principal(org_id=org_id, key_id="k", kind=Principal.KIND_USER_KEY))):
            return await getattr(self.server, method)(request, None)

    async def write(self, org_id: str, *texts: str, thread: str = "t") -> None:
        """Messages as a store writes them, each in a transaction of its own."""
        for text in texts:
            key, message_id = await self.sealer.key_of(org_id), uuid7()
            sealed = key.seal(f"messages/{message_id}", {"text": text, "openai_json": ""})
            async with self.database.transaction(org_id) as connection:
                await connection.execute(
                    "INSERT INTO threads (org_id, thread_id) VALUES ($1, $2) ON CONFLICT DO NOTHING", org_id, thread
                )
                await connection.execute(
                    "INSERT INTO messages (org_id, thread_id, position, message_id, role, text, sealed, "
                    "tokens_estimated, ordinal) SELECT $1, $2, count(*), $3, 'user', $4, $5, 1, count(*) "
                    "FROM messages WHERE org_id = $1 AND thread_id = $2",
                    org_id,
                    thread,
                    message_id,
                    text if sealed is None else "",
                    sealed,
                )

    async def read(self, org_id: str) -> list[str]:
        """The messages' texts, as a store reads them."""
        key = await self.sealer.key_of(org_id)
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(
                "SELECT message_id, text, sealed FROM messages WHERE org_id = $1 ORDER BY thread_id, position", org_id
            )
        return [
            row["text"] if row["sealed"] is None else key.open(f"messages/{row['message_id']}", row["sealed"])["text"]
            for row in rows
        ]

    async def counts(self, org_id: str) -> tuple[int, int, int]:
        """Plain, sealed, sealed by an earlier key: messages."""
        status = await self.ask(org_id, "GetSealStatus", sealing_pb2.GetSealStatusRequest())
        (one,) = [one for one in status.tables if one.table == "messages"]  # type: ignore[attr-defined]
        return one.plain_rows, one.sealed_rows, one.earlier_rows

    async def live_keys(self, org_id: str, purpose: str = TEXT) -> list[str]:
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(
                "SELECT key_id::text FROM data_keys WHERE org_id = $1 AND purpose = $2 AND destroyed_at IS NULL "
                "ORDER BY created_at",
                org_id,
                purpose,
            )
        return [row[0] for row in rows]


@pytest.fixture
async def replicas(database_for: Open) -> AsyncIterator[Callable[..., Awaitable[Replica]]]:
    """Factory of replicas on one database, each with its own connections."""
    made: list[Replica] = []

    async def make(*, follows: bool = False, **options: object) -> Replica:
        replica = Replica(await database_for("memory"), **options)  # type: ignore[arg-type]
        if follows:
            await replica.sealer.follow(replica.database.listen)
        made.append(replica)
        return replica

    yield make
    for replica in made:
        await replica.sealer.close()


async def test_a_key_is_made_once_whoever_asks_first(replicas: Callable[..., Awaitable[Replica]], org_id: str) -> None:
    two = [await replicas(), await replicas()]
    found = await asyncio.gather(*(one.sealer.key_of(org_id) for one in two for _ in range(5)))
    assert len({(key.key_id, key.generation) for key in found}) == 1 and found[0].key_id
    assert len(await two[0].live_keys(org_id)) == len(await two[0].live_keys(org_id, TERMS)) == 1
    sealed = found[0].seal("a", {"x": "y"})
    assert sealed is not None and found[-1].open("a", sealed) == {"x": "y"}
    assert found[0].term_id("word") == found[-1].term_id("word")
    other = await two[0].sealer.key_of(uuid7())
    assert other.term_id("word") != found[0].term_id("word")


async def test_off_there_is_no_key_for_text_and_what_was_sealed_stays_readable(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    off, on = await replicas(enabled=False), await replicas()
    await off.write(org_id, "plain")
    assert await off.live_keys(org_id) == [] and await off.counts(org_id) == (1, 0, 0)
    await on.write(org_id, "sealed")
    await asyncio.sleep(CHECK_S)
    assert await off.read(org_id) == await on.read(org_id) == ["plain", "sealed"]
    await off.write(org_id, "plain again")
    assert await on.read(org_id) == ["plain", "sealed", "plain again"]
    keys = await asyncio.gather(*(one.sealer.key_of(org_id) for one in (on, off)))
    # So that search finds rows of both times.
    assert keys[0].term_id("word") == keys[1].term_id("word")
    with pytest.raises(MeshError, match="encrypt_text"):
        await off.ask(org_id, "RotateDataKey", sealing_pb2.RotateDataKeyRequest())


async def test_switched_on_old_rows_are_sealed_and_a_broken_walk_goes_on(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    off, on = await replicas(enabled=False), await replicas()
    texts = [f"text {number}" for number in range(10)]
    await off.write(org_id, *texts)
    async with off.database.transaction(org_id) as connection:
        await connection.execute("UPDATE threads SET title = 'a title' WHERE org_id = $1", org_id)
        await connection.execute(
            "INSERT INTO cache_entries (org_id, fingerprint, answer, stored_at, expires_at) "
            "VALUES ($1, $2, '\\x01ff', now(), now())",
            org_id,
            b"f" * 32,
        )
    assert await on.resealer.step(org_id, "messages") is True
    assert await on.counts(org_id) == (7, 3, 0)
    # Another one goes on behind it, and a third finds the row of the walk locked.
    again = on.new_resealer()
    async with off.database.transaction(org_id) as connection:
        await connection.execute("SELECT FROM seal_walks WHERE org_id = $1 FOR UPDATE", org_id)
        assert await again.step(org_id, "messages") is None
    await again.reseal(org_id)
    assert await on.counts(org_id) == (0, 10, 0) and await on.read(org_id) == texts
    async with off.database.transaction(org_id) as connection:
        row = await connection.fetchrow("SELECT title, sealed FROM threads WHERE org_id = $1", org_id)
        cached = await connection.fetch("SELECT answer FROM cache_entries WHERE org_id = $1", org_id)
    key = await on.sealer.key_of(org_id)
    assert row["title"] == "" and key.open("threads/t", row["sealed"])["title"] == "a title"
    assert cached == [], "the program before cannot read sealed ones"
    # A replica that still writes plain text behind the walk is caught up with by the next walk.
    await off.write(org_id, "late")
    late = Resealer(on.database, on.keys, on.sealer, rows=3, interval_s=60, clock=lambda: now() + dt.timedelta(days=2))
    await late.reseal(org_id)
    assert await on.counts(org_id) == (0, 11, 0)


async def test_a_new_data_key_seals_everything_anew_and_the_former_is_destroyed(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    one, two = await replicas(follows=True), await replicas(follows=True)
    await one.write(org_id, "a", "b", "c", "d")
    assert await two.read(org_id) == ["a", "b", "c", "d"]
    (before,) = await one.live_keys(org_id)
    answer = await one.ask(org_id, "RotateDataKey", sealing_pb2.RotateDataKeyRequest())
    assert answer.key_id != before and (await one.sealer.key_of(org_id)).key_id == answer.key_id  # type: ignore[attr-defined]
    await one.write(org_id, "e")
    assert await two.read(org_id) == ["a", "b", "c", "d", "e"]
    assert await one.counts(org_id) == (0, 1, 4)
    # Begun, killed, and begun again.
    await one.resealer.step(org_id, "messages")
    await one.new_resealer().reseal(org_id)
    assert await one.counts(org_id) == (0, 5, 0) and await one.live_keys(org_id) == [answer.key_id]  # type: ignore[attr-defined]
    assert await one.read(org_id) == await two.read(org_id) == ["a", "b", "c", "d", "e"]


async def test_a_former_key_stays_while_any_row_needs_it(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    one = await replicas()
    await one.write(org_id, "a")
    await one.ask(org_id, "RotateDataKey", sealing_pb2.RotateDataKeyRequest())
    assert await one.keys.destroy_unused(org_id, now()) == 0
    assert await one.read(org_id) == ["a"] and len(await one.live_keys(org_id)) == 2


async def test_data_keys_are_wrapped_anew_for_the_present_master_key(
    replicas: Callable[..., Awaitable[Replica]],
) -> None:
    before, after = await replicas(wrapper=EARLIER), await replicas()
    organisations = [uuid7() for _ in range(3)]
    check = sealing_pb2.RewrapDataKeysRequest(check_only=True)
    # Other tests leave keys of masters that nobody knows any more.
    others = (await after.ask(organisations[0], "RewrapDataKeys", check)).lost  # type: ignore[attr-defined]
    for org_id in organisations:
        await before.write(org_id, org_id)
    lost = await replicas(wrapper=Wrapper(b"x" * 32, "lost"))
    await lost.write(hopeless := uuid7(), "x")
    limited = await rotate(after.keys, "now", 1, WRAPPER)
    assert limited.rotated == 1
    # Killed here, and begun again; beside it everything goes on.
    for org_id in organisations:
        assert await after.read(org_id) == [org_id]
    answer = await after.ask(organisations[0], "RewrapDataKeys", sealing_pb2.RewrapDataKeysRequest(limit=1000))
    checked = await after.ask(organisations[0], "RewrapDataKeys", check)
    assert answer.rotated >= 5 and answer.left == answer.lost == checked.left == others + 2  # type: ignore[attr-defined]
    only_now = await replicas(wrapper=Wrapper(b"n" * 32, "now"))
    for org_id in organisations:
        assert await only_now.read(org_id) == [org_id]
    with pytest.raises(MeshError, match="wrapped by master key lost"):
        await only_now.read(hopeless)
    with pytest.raises(MeshError, match="limit"):
        await after.ask(hopeless, "RewrapDataKeys", sealing_pb2.RewrapDataKeysRequest(limit=-1))
    async with lost.database.transaction(hopeless) as connection:
        await connection.execute("DELETE FROM data_keys WHERE org_id = $1", hopeless)


async def test_erased_nothing_is_left_and_nothing_opens_with_what_others_still_hold(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    one, two = await replicas(follows=True), await replicas(follows=True)
    erased: asyncio.Queue[str] = asyncio.Queue()
    two.sealer.on_erased(erased.put_nowait)
    elsewhere: list[str] = []

    async def erase_elsewhere(gone: str) -> None:
        elsewhere.append(gone)

    one.erasure.also(erase_elsewhere)
    await one.write(org_id, "a", "b")
    await one.write(other := uuid7(), "theirs")
    held = await two.sealer.key_of(org_id)
    async with one.database.transaction(org_id) as connection:
        rows = await connection.fetch("SELECT message_id, sealed FROM messages WHERE org_id = $1", org_id)
    for wrong in ("", other):
        with pytest.raises(MeshError, match="not the organisation of this key"):
            await one.ask(org_id, "EraseOrganisation", sealing_pb2.EraseOrganisationRequest(org_id=wrong))
    assert await one.read(org_id) == ["a", "b"]
    answer = await one.ask(org_id, "EraseOrganisation", sealing_pb2.EraseOrganisationRequest(org_id=org_id))
    assert answer.destroyed_keys == 2 and answer.deleted_rows >= 3 and elsewhere == [org_id]  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        assert await erased.get() == org_id
    fresh = await two.sealer.key_of(org_id)
    assert fresh.key_id != held.key_id and fresh.generation != held.generation
    # A copy of the rows, e.g. from a dump of before, does not open any more.
    with pytest.raises(MeshError, match="destroyed"):
        fresh.open(f"messages/{rows[0]['message_id']}", rows[0]["sealed"])
    async with one.database.transaction(org_id) as connection:
        wrapped = await connection.fetch(
            "SELECT wrapped_key FROM data_keys WHERE org_id = $1 AND destroyed_at IS NOT NULL", org_id
        )
    assert [row[0] for row in wrapped] == [b"", b""]
    assert await one.read(org_id) == [] and await one.read(other) == ["theirs"]
    await two.write(org_id, "new")
    assert await one.read(org_id) == ["new"]


async def test_a_replica_that_heard_nothing_cannot_write_with_a_destroyed_key(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    one, deaf = await replicas(), await replicas()
    held = await deaf.sealer.key_of(org_id)
    await one.ask(org_id, "EraseOrganisation", sealing_pb2.EraseOrganisationRequest(org_id=org_id))
    sealed = held.seal("threads/t", {"title": "x"})
    with pytest.raises(MeshError) as caught:
        async with deaf.database.transaction(org_id) as connection:
            await connection.execute(
                "INSERT INTO threads (org_id, thread_id, sealed) VALUES ($1, 't', $2)", org_id, sealed
            )
    assert caught.value.reason is Reason.UNAVAILABLE
    await asyncio.sleep(CHECK_S)
    await deaf.write(org_id, "x")
    assert await one.read(org_id) == ["x"]


async def test_erasing_while_others_write_leaves_rows_that_open(
    replicas: Callable[..., Awaitable[Replica]], org_id: str
) -> None:
    one, two = await replicas(follows=True), await replicas(follows=True)
    refused = 0

    async def write(number: int) -> None:
        nonlocal refused
        try:
            await two.write(org_id, f"text {number}", thread=f"t{number % 3}")
        except MeshError as error:
            assert error.reason in (Reason.UNAVAILABLE, Reason.ALREADY_EXISTS, Reason.INTERNAL), error
            refused += 1

    await two.write(org_id, "first")
    writing = asyncio.gather(*(write(number) for number in range(60)))
    for _ in range(3):
        await one.ask(org_id, "EraseOrganisation", sealing_pb2.EraseOrganisationRequest(org_id=org_id))
    await writing
    await asyncio.sleep(CHECK_S)
    assert len(await one.read(org_id)) <= 60 - refused
    await one.ask(org_id, "EraseOrganisation", sealing_pb2.EraseOrganisationRequest(org_id=org_id))
    assert await one.read(org_id) == []


async def test_audit_is_told_of_changes(replicas: Callable[..., Awaitable[Replica]], org_id: str) -> None:
    one = await replicas()
    await one.ask(org_id, "RotateDataKey", sealing_pb2.RotateDataKeyRequest())
    await one.ask(org_id, "EraseOrganisation", sealing_pb2.EraseOrganisationRequest(org_id=org_id))
    outbox = ChangeOutbox(one.database)
    mine = [
        (record, change)
        for change in await outbox.untold()
        if (record := record_pb2.AdminRecord.FromString(change.record)).org_id == org_id
    ]
    assert [(one.action, one.actor) for one, _ in mine] == [
        ("memory.data_key.rotate", "key:k"),
        ("memory.erase", "key:k"),
    ]
    await outbox.told([change for _, change in mine])
    left = await outbox.untold()
    assert not any(change in left for _, change in mine)


async def test_every_table_with_sealed_text_is_known(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT table_name, EXISTS (SELECT FROM pg_trigger WHERE tgname = 'check_data_key' "
        "AND tgrelid = ('memory.' || table_name)::regclass) AS guarded "
        "FROM information_schema.columns WHERE table_schema = 'memory' AND column_name = 'sealed'"
    )
    assert {row["table_name"] for row in rows} == set(TABLES) - {"cache_entries"}, "add it to sealed_tables.py"
    unguarded = [row["table_name"] for row in rows if not row["guarded"]]
    assert unguarded == [], "a migration after 0006 has to add the trigger check_data_key"


@pytest.fixture
async def superuser(migrated: object) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(migrated.superuser_dsn)  # type: ignore[attr-defined]
    yield connection
    await connection.close()


def test_the_page_of_a_walk_is_read_by_its_key() -> None:
    names: Sequence[str] = [name for name, table in TABLES.items() if "LIMIT $3" not in table.find]
    assert not names
