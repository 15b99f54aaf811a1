"""What was said in requests, on a real database: sealed, read by administrators alone, gone with the record."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import asyncpg
import pytest

from dac.audit.v1 import text_pb2 as pb
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import is_uuid, uuid7
from mesh.postgres import Database
from mesh.tlog.leaves import commit_text
from services.audit.store import ChangeRow
from services.audit.texts.server import TextServicer
from services.audit.texts.store import TextStore
from tests.conftest import Migrated
from tests.integration.audit.sealed_world import CANARY, SealedWorld, found_in
from tests.integration.audit.test_log import FOLDER
from tests.integration.audit.test_retention import asked
from tests.integration.budget.world import as_key

Make = Callable[..., Awaitable[Migrated]]
SAID = pb.RecordedText(request=f'{{"messages":"{CANARY} asks"}}', answer=f"{CANARY} answers").SerializeToString()
SALT = b"s" * 32


@contextmanager
def as_gateway() -> Iterator[None]:
    with serving(Call(principal=Principal(kind=Principal.KIND_SERVICE, service="gateway"))):
        yield


def told(org_id: str, **fields: object) -> record_pb2.RequestRecord:
    """A request whose record commits to SAID."""
    return asked(org_id, text_commitment=commit_text(SALT, SAID), **fields)  # type: ignore[arg-type]


class Texts(SealedWorld):
    """A sealed log, and TextService beside it."""

    def __init__(self, database: Database, made: Migrated, *, seals: bool = True) -> None:
        super().__init__(database, made, seals=seals)
        self.texts = TextServicer(TextStore(database, self.payloads), self.note, lambda: dt.datetime.now(dt.UTC))
        self.noted: list[record_pb2.AdminRecord] = []
        self.full = False
        """Whether no change can be stored."""

    async def note(self, rows: Sequence[ChangeRow]) -> None:
        if self.full:
            raise MeshError(Reason.UNAVAILABLE, "no room")
        self.noted += [record_pb2.AdminRecord.FromString(row.record) for row in rows]

    async def keep(self, *records: record_pb2.RequestRecord, text: bytes = SAID) -> list[str]:
        """Hands over the text of requests, as the gateway does."""
        kept = [pb.KeptText(org_id=one.org_id, request_id=one.request_id, salt=SALT, text=text) for one in records]
        with as_gateway():
            return list((await self.texts.KeepTexts(pb.KeepTextsRequest(texts=kept), None)).not_stored_yet)

    async def text(self, org_id: str, request_id: str, scope: str = "admin") -> pb.RecordedText:
        with as_key(org_id, scope):
            return (await self.texts.GetText(pb.GetTextRequest(request_id=request_id), None)).text

    async def rows(self) -> int:
        return int((await self.as_administrator("SELECT count(*) FROM request_texts"))[0][0])


@pytest.fixture
async def idle(make_database: Make) -> AsyncIterator[Texts]:
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    yield Texts(database, made)
    await database.close()


@pytest.fixture
async def kept(idle: Texts) -> AsyncIterator[Texts]:
    """The same with a sequencer that runs."""
    task = asyncio.create_task(idle.sequencer().run())
    yield idle
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def refused(asking: Awaitable[object], reason: Reason) -> None:
    with pytest.raises(MeshError) as error:
        await asking
    assert error.value.reason is reason, error.value


async def test_a_text_is_sealed_and_its_organisations_administrators_alone_read_it(idle: Texts) -> None:
    mine, other = uuid7(), uuid7()
    record = told(mine, user=uuid7(), key=uuid7())
    assert await idle.keep(record) == [record.request_id], "its record is not stored yet"
    assert await idle.rows() == 0
    await idle.ask(record)
    assert await idle.keep(record) == [] and await idle.keep(record) == [] and await idle.rows() == 1
    assert (await idle.text(mine, record.request_id)).answer == f"{CANARY} answers"
    assert found_in(await idle.dump()) == []
    await refused(idle.text(other, record.request_id), Reason.NOT_FOUND)
    await refused(idle.text(mine, record.request_id, "read"), Reason.PERMISSION_DENIED)
    await refused(idle.text(mine, uuid7()), Reason.NOT_FOUND)
    await refused(idle.text(mine, "x"), Reason.NOT_FOUND)
    # Nor does another organisation's transaction see the row, whatever a statement asks for.
    async with idle.database.transaction(other) as connection:
        assert await connection.fetchval("SELECT count(*) FROM request_texts") == 0


@pytest.mark.parametrize("begins", [0, 1, 255])
async def test_a_text_is_read_whatever_its_salt_begins_with(idle: Texts, begins: int) -> None:
    salt = bytes([begins]) + SALT[1:]
    record = asked(uuid7(), text_commitment=commit_text(salt, SAID))
    await idle.ask(record)
    with as_gateway():
        text = pb.KeptText(org_id=record.org_id, request_id=record.request_id, salt=salt, text=SAID)
        await idle.texts.KeepTexts(pb.KeepTextsRequest(texts=[text]), None)
    assert (await idle.text(record.org_id, record.request_id)).answer == f"{CANARY} answers"


async def test_who_reads_a_text_stands_in_the_record_before_it_is_shown(idle: Texts) -> None:
    org_id = uuid7()
    record = told(org_id)
    await idle.ask(record)
    await idle.keep(record)
    await refused(idle.text(org_id, uuid7()), Reason.NOT_FOUND)
    assert not idle.noted, "nothing was read"
    await idle.text(org_id, record.request_id)
    (read,) = idle.noted
    assert (read.org_id, read.action, read.target) == (org_id, "text.read", f"request:{record.request_id}")
    assert is_uuid(read.record_id) and read.HasField("at")
    idle.full = True
    await refused(idle.text(org_id, record.request_id), Reason.UNAVAILABLE)


async def test_a_text_that_its_record_does_not_commit_to_is_not_kept(idle: Texts) -> None:
    org_id = uuid7()
    record, silent = told(org_id), asked(org_id)
    await idle.ask(record, silent)
    assert await idle.keep(record, text=SAID + b"\x0a\x01x") == [] and await idle.keep(silent) == []
    assert await idle.rows() == 0
    foreign = told(uuid7())
    foreign.request_id = record.request_id
    assert await idle.keep(foreign) == [record.request_id], "nobody gives another organisation's request a text"


async def test_texts_are_kept_sealed_or_not_at_all_and_only_for_services(idle: Texts) -> None:
    record = told(uuid7())
    await idle.ask(record)
    plain = Texts(idle.database, idle.made, seals=False)
    with pytest.raises(MeshError, match=r"audit\.seal_payloads"):
        await plain.keep(record)
    with pytest.raises(asyncpg.CheckViolationError):
        await idle.as_administrator(
            f"INSERT INTO request_texts VALUES ('{record.org_id}', '{record.request_id}', 'plain')"
        )
    with as_key(record.org_id, "admin"), pytest.raises(MeshError) as error:
        await idle.texts.KeepTexts(pb.KeepTextsRequest(), None)
    assert error.value.reason is Reason.PERMISSION_DENIED


async def test_an_erasure_takes_the_text_and_the_key_that_opened_it(kept: Texts) -> None:
    org_id, user = uuid7(), uuid7()
    theirs, others = told(org_id, user=user, key=uuid7()), told(org_id, user=uuid7())
    await kept.ask(theirs, others)
    await kept.keep(theirs, others)
    await kept.settled()
    (copied,) = await kept.as_administrator(
        f"SELECT encode(text, 'hex') FROM request_texts WHERE request_id = '{theirs.request_id}'"
    )
    assert (await kept.erase(org_id, f"user:{user}")).requests == 1
    await refused(kept.text(org_id, theirs.request_id), Reason.NOT_FOUND)
    assert (await kept.text(org_id, others.request_id)).answer and await kept.rows() == 1
    # It does not come back late, and a copy of it opens no more.
    assert await kept.keep(theirs) == [theirs.request_id]
    await kept.as_administrator(
        f"INSERT INTO request_texts VALUES ('{org_id}', '{theirs.request_id}', decode('{copied[0]}', 'hex'))"
    )
    kept.payloads.forget(org_id)
    await refused(kept.text(org_id, theirs.request_id), Reason.NOT_FOUND)
    await kept.as_administrator(f"DELETE FROM request_texts WHERE request_id = '{theirs.request_id}'")
    await kept.holds_together(redacted=1)


async def test_texts_go_when_their_records_are_pruned_and_a_hold_keeps_them(kept: Texts) -> None:
    org_id, held_by = uuid7(), uuid7()
    old, new = told(org_id, days_ago=100), told(org_id)
    held = told(org_id, user=held_by, days_ago=100)
    await kept.ask(old, new, held)
    await kept.keep(old, new, held)
    await kept.hold(org_id, f"user:{held_by}")
    await kept.settled()
    await kept.counting.everything()
    assert (await kept.prune()).requests == 1
    await refused(kept.text(org_id, old.request_id), Reason.NOT_FOUND)
    assert (await kept.text(org_id, new.request_id)).answer and (await kept.text(org_id, held.request_id)).answer
    await kept.holds_together(redacted=1)


@pytest.mark.parametrize("statement", ["DELETE FROM request_texts", "UPDATE request_texts SET text = ''"])
async def test_nobody_takes_away_or_changes_a_text_alone(idle: Texts, statement: str) -> None:
    record = told(uuid7())
    await idle.ask(record)
    await idle.keep(record)
    with pytest.raises(MeshError, match="refused a statement"):
        async with idle.database.transaction(record.org_id) as connection:
            await connection.execute(statement)
    owner = await asyncpg.connect(idle.made.owner_dsn, server_settings={"search_path": "audit"})
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement)
    await owner.close()
    assert await idle.rows() == 1
