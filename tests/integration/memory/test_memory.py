"""Memory against a real PostgreSQL: isolation, idempotence, windows, the cache."""

import asyncio
import base64
import datetime as dt
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.memory.v1 import cache_pb2, conversation_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.answers.cache import ResponseCache
from services.memory.answers.server import CacheServicer
from services.memory.answers.store import PostgresCacheStore
from services.memory.answers.sweeper import Sweeper
from services.memory.config import MemoryConfig
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.server import ConversationServicer
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.sealing.sealing import PlainSealer

Open = Callable[..., Awaitable[Database]]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PRINT = b"f" * 32


class House:
    """Both servicers on one database, called as an organisation."""

    def __init__(self, database: Database) -> None:
        self.now, self.database, config = START, database, MemoryConfig(cache_max_entry_bytes=2000)
        answers = PostgresCacheStore(database)
        self.threads = ConversationServicer(
            Conversations(ThreadDatabase(database), config, clock=lambda: self.now, new_id=uuid7)
        )
        cache = ResponseCache(
            answers,
            config,
            HashedEmbedder("for tests"),
            PlainSealer(),
            digest_key=b"k" * 32,
            clock=lambda: self.now,
            new_id=uuid7,
            chance=random.Random(1),
        )
        self.cache = CacheServicer(cache, answers, clock=lambda: self.now)
        self.sweeper = Sweeper(answers, config, cache.counts, clock=lambda: self.now)

    async def ask(self, org_id: str, method: str, request: object) -> object:
        servicer = self.cache if method in ("Lookup", "Store") else self.threads
        with serving(Call(principal=Principal(org_id=org_id))):
            return await getattr(servicer, method)(request, None)

    async def turn(self, org_id: str, request_id: str, *texts: str, **limits: Any) -> list[str]:
        """Opens a turn with user messages in thread "t"; the texts of the window."""
        messages = [conversation_pb2.Message(role="user", text=text) for text in texts]
        request = conversation_pb2.OpenTurnRequest(thread_id="t", request_id=request_id, messages=messages, **limits)
        return [one.text for one in (await self.ask(org_id, "OpenTurn", request)).window]  # type: ignore[attr-defined]

    async def answer(self, org_id: str, request_id: str, text: str) -> list[str]:
        request = conversation_pb2.AppendMessagesRequest(
            thread_id="t", request_id=request_id, messages=[conversation_pb2.Message(role="assistant", text=text)]
        )
        return list((await self.ask(org_id, "AppendMessages", request)).message_ids)  # type: ignore[attr-defined]

    async def texts(self, org_id: str) -> list[str]:
        request = conversation_pb2.ListMessagesRequest(thread_id="t")
        return [one.text for one in (await self.ask(org_id, "ListMessages", request)).messages]  # type: ignore[attr-defined]


@pytest.fixture
async def house(database_for: Open) -> House:
    return House(await database_for("memory"))


async def refused(work: Awaitable[object]) -> Reason:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value.reason


async def test_a_turn_is_saved_and_the_window_holds_what_was_before(house: House, org_id: str) -> None:
    assert await house.turn(org_id, "r1", "hello") == []
    await house.answer(org_id, "r1", "hi")
    assert await house.turn(org_id, "r2", "how are you?") == ["hello", "hi"]
    assert await house.texts(org_id) == ["hello", "hi", "how are you?"], "an unanswered turn stays visible"
    assert await house.turn(org_id, "r3", "again", max_messages=2) == ["hi", "how are you?"]


async def test_a_retry_repeats_nothing(house: House, org_id: str) -> None:
    await house.turn(org_id, "r1", "a", "b")
    first = await house.answer(org_id, "r1", "answer")
    assert await house.answer(org_id, "r1", "answer") == first
    assert await house.turn(org_id, "r1", "a", "b") == [], "the retry's window holds neither its turn nor its answer"
    assert await house.texts(org_id) == ["a", "b", "answer"]
    thread = await house.ask(org_id, "GetThread", conversation_pb2.GetThreadRequest(thread_id="t"))
    assert thread.thread.message_count == 3  # type: ignore[attr-defined]


async def test_an_answer_is_saved_also_when_its_turn_ends_with_an_assistants_message(house: House, org_id: str) -> None:
    begun = conversation_pb2.Message(role="assistant", text="The answer is")
    request = conversation_pb2.OpenTurnRequest(thread_id="t", request_id="r1", messages=[begun])
    await house.ask(org_id, "OpenTurn", request)
    first = await house.answer(org_id, "r1", "42")
    assert await house.answer(org_id, "r1", "42") == first
    assert await house.texts(org_id) == ["The answer is", "42"]


async def test_opening_a_turn_without_messages_only_reads(house: House, org_id: str) -> None:
    assert await house.turn(org_id, "r1") == []
    assert await refused(house.texts(org_id)) is Reason.NOT_FOUND, "a read must not make the thread"
    await house.turn(org_id, "r1", "hello")
    await house.answer(org_id, "r1", "hi")
    before = await house.ask(org_id, "GetThread", conversation_pb2.GetThreadRequest(thread_id="t"))
    house.now += dt.timedelta(seconds=5)
    assert await house.turn(org_id, "r2") == ["hello", "hi"]
    assert await house.turn(org_id, "r2", max_messages=1) == ["hi"]
    assert await house.turn(org_id, "r1") == [], "a retry's window holds neither its turn nor its answer"
    assert await house.ask(org_id, "GetThread", conversation_pb2.GetThreadRequest(thread_id="t")) == before
    assert await house.turn(org_id, "r2", "and you?") == ["hello", "hi"]


async def test_a_window_is_read_while_the_thread_is_locked(house: House, org_id: str) -> None:
    await house.turn(org_id, "r1", "hello")
    async with house.database.transaction(org_id) as connection:
        await connection.execute("SELECT FROM threads WHERE thread_id = 't' FOR UPDATE")
        assert await asyncio.wait_for(house.turn(org_id, "r2"), 5) == ["hello"]


async def test_concurrent_turns_lose_and_double_nothing(house: House, org_id: str) -> None:
    await asyncio.gather(*(house.turn(org_id, f"r{n % 10}", f"m{n % 10}") for n in range(30)))
    assert sorted(await house.texts(org_id)) == sorted(f"m{n}" for n in range(10))


async def test_the_window_fits_its_tokens(house: House, org_id: str) -> None:
    for n in range(5):
        await house.turn(org_id, f"r{n}", f"{n}" * 400)
    request = conversation_pb2.OpenTurnRequest(
        thread_id="t", request_id="last", messages=[conversation_pb2.Message(role="user", text="x")], max_tokens=220
    )
    response = await house.ask(org_id, "OpenTurn", request)
    assert [one.text[0] for one in response.window] == ["3", "4"]  # type: ignore[attr-defined]
    assert response.window_tokens == 208  # type: ignore[attr-defined]


async def test_an_organisation_sees_only_its_own(house: House, org_id: str) -> None:
    other = uuid7()
    await house.turn(org_id, "r1", "secret")
    get = conversation_pb2.GetThreadRequest(thread_id="t")
    assert await refused(house.ask(other, "GetThread", get)) is Reason.NOT_FOUND
    assert await refused(house.texts(other)) is Reason.NOT_FOUND
    assert await refused(house.answer(other, "r1", "x")) is Reason.NOT_FOUND
    delete = conversation_pb2.DeleteThreadRequest(thread_id="t")
    assert await refused(house.ask(other, "DeleteThread", delete)) is Reason.NOT_FOUND
    assert await house.turn(other, "r1", "mine") == [], "the same id is another thread there"
    assert await house.texts(org_id) == ["secret"]


async def test_row_level_security_holds_without_the_where_clause(house: House, org_id: str) -> None:
    await house.turn(org_id, "r1", "secret")
    answer = cache_pb2.CachedAnswer(openai_json=b"{}", finish_reason="stop")
    await house.ask(org_id, "Store", cache_pb2.StoreRequest(fingerprint=PRINT, answer=answer))
    for organisations in ((), (uuid7(),)):
        async with house.database.transaction(*organisations) as connection:
            for query in ("SELECT FROM threads", "SELECT FROM messages", "SELECT FROM cache_answers"):
                assert await connection.fetch(query) == []


async def test_nobody_without_an_organisation(house: House) -> None:
    assert await refused(house.turn("", "r1", "x")) is Reason.PERMISSION_DENIED
    with serving(Call()):
        assert (
            await refused(house.threads.ListThreads(conversation_pb2.ListThreadsRequest(), None))
            is Reason.PRINCIPAL_REQUIRED
        )


async def test_threads_are_made_once_listed_newest_first_and_deleted(house: House, org_id: str) -> None:
    for n in range(5):
        house.now = START + dt.timedelta(seconds=n)
        create = conversation_pb2.CreateThreadRequest(thread_id=f"t{n}", title=f"no {n}")
        await house.ask(org_id, "CreateThread", create)
    again = await house.ask(org_id, "CreateThread", conversation_pb2.CreateThreadRequest(thread_id="t0", title="new"))
    assert again.thread.title == "no 0"  # type: ignore[attr-defined]
    seen: list[str] = []
    token = ""
    while True:
        request = conversation_pb2.ListThreadsRequest(page_size=2, page_token=token)
        page = await house.ask(org_id, "ListThreads", request)
        seen += [one.thread_id for one in page.threads]  # type: ignore[attr-defined]
        token = page.next_page_token  # type: ignore[attr-defined]
        if not token:
            break
    assert seen == ["t4", "t3", "t2", "t1", "t0"]
    await house.ask(org_id, "DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="t4"))
    gone = house.ask(org_id, "GetThread", conversation_pb2.GetThreadRequest(thread_id="t4"))
    assert await refused(gone) is Reason.NOT_FOUND


async def test_messages_come_in_pages_and_bad_tokens_are_refused(house: House, org_id: str) -> None:
    await house.turn(org_id, "r1", "a", "b", "c")
    first = await house.ask(org_id, "ListMessages", conversation_pb2.ListMessagesRequest(thread_id="t", page_size=2))
    token = first.next_page_token  # type: ignore[attr-defined]
    second = await house.ask(
        org_id, "ListMessages", conversation_pb2.ListMessagesRequest(thread_id="t", page_size=2, page_token=token)
    )
    assert [one.text for one in second.messages] == ["c"] and not second.next_page_token  # type: ignore[attr-defined]
    for bad in ("x", "!!!!", "LTE="):
        request = conversation_pb2.ListMessagesRequest(thread_id="t", page_token=bad)
        assert await refused(house.ask(org_id, "ListMessages", request)) is Reason.INVALID_REQUEST
        threads = conversation_pb2.ListThreadsRequest(page_token=bad)
        assert await refused(house.ask(org_id, "ListThreads", threads)) is Reason.INVALID_REQUEST


async def test_odd_messages(house: House, org_id: str) -> None:
    await house.turn(org_id, "r1", "nul \x00 inside")
    assert await house.texts(org_id) == ["nul \ufffd inside"]
    odd = conversation_pb2.OpenTurnRequest(thread_id="t", messages=[conversation_pb2.Message(role="robot")])
    assert await refused(house.ask(org_id, "OpenTurn", odd)) is Reason.INVALID_REQUEST
    named = conversation_pb2.Message(role="user", text="x", model="m\x00", openai_json='{"a":"\x00"}')
    await house.ask(org_id, "AppendMessages", conversation_pb2.AppendMessagesRequest(thread_id="t", messages=[named]))
    titled = conversation_pb2.CreateThreadRequest(thread_id="titled", title="a\x00b")
    assert (await house.ask(org_id, "CreateThread", titled)).thread.title == "a\ufffdb"  # type: ignore[attr-defined]
    nul_request = conversation_pb2.OpenTurnRequest(thread_id="t", request_id="r\x00")
    assert await refused(house.ask(org_id, "OpenTurn", nul_request)) is Reason.INVALID_REQUEST
    for moment in ("2026-01-01T00:00:00+00:00 a\x00b", "0001-01-01T00:00:00+23:59 t"):
        token = base64.urlsafe_b64encode(moment.encode()).decode()
        threads = conversation_pb2.ListThreadsRequest(page_token=token)
        assert await refused(house.ask(org_id, "ListThreads", threads)) is Reason.INVALID_REQUEST
    for thread_id in ("", "x" * 129, "a\x00b"):
        request = conversation_pb2.OpenTurnRequest(thread_id=thread_id)
        assert await refused(house.ask(org_id, "OpenTurn", request)) is Reason.INVALID_REQUEST


async def store(house: House, org_id: str, **more: object) -> bool:
    values: dict[str, object] = {"openai_json": b'{"a":1}', "finish_reason": "stop"}
    lifetime_s = more.pop("lifetime_s", 0.0)
    answer = cache_pb2.CachedAnswer(**{**values, **more})  # type: ignore[arg-type]
    request = cache_pb2.StoreRequest(fingerprint=PRINT, answer=answer, lifetime_s=lifetime_s)  # type: ignore[arg-type]
    return bool((await house.ask(org_id, "Store", request)).stored)  # type: ignore[attr-defined]


async def look(house: House, org_id: str) -> cache_pb2.LookupResponse:
    return await house.ask(org_id, "Lookup", cache_pb2.LookupRequest(fingerprint=PRINT))  # type: ignore[return-value]


async def test_the_cache_gives_back_what_was_stored_inside_the_organisation(house: House, org_id: str) -> None:
    assert not (await look(house, org_id)).HasField("answer")
    assert await store(house, org_id, model="a/1", cost_nano_usd=7)
    house.now += dt.timedelta(seconds=5)
    found = await look(house, org_id)
    assert (found.answer.openai_json, found.answer.model, found.answer.cost_nano_usd) == (b'{"a":1}', "a/1", 7)
    assert found.age_s == 5
    assert not (await look(house, uuid7())).HasField("answer")


async def test_expired_answers_are_never_given_and_are_swept(house: House, org_id: str) -> None:
    await store(house, org_id)
    house.now += dt.timedelta(seconds=3599)
    assert (await look(house, org_id)).HasField("answer")
    house.now += dt.timedelta(seconds=1)
    assert not (await look(house, org_id)).HasField("answer")
    await house.sweeper.sweep()
    async with house.database.transaction(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM cache_answers") == 0


async def test_the_sweeper_leaves_what_lives(house: House, org_id: str) -> None:
    expired = cache_pb2.StoreRequest(
        fingerprint=b"e" * 32,
        lifetime_s=1.0,
        answer=cache_pb2.CachedAnswer(openai_json=b"{}", finish_reason="stop"),
    )
    await house.ask(org_id, "Store", expired)
    await store(house, org_id, lifetime_s=60.0)
    house.now += dt.timedelta(seconds=59)
    assert await house.sweeper.sweep() >= 1
    assert (await look(house, org_id)).HasField("answer")


async def test_what_may_not_be_stored(house: House, org_id: str) -> None:
    for more in (
        {"finish_reason": "length"},
        {"finish_reason": ""},
        {"openai_json": b"x" * 2001},
        {"openai_json": b""},
    ):
        assert not await store(house, org_id, **more)
        assert not (await look(house, org_id)).HasField("answer")
    for lifetime_s in (-1.0, float("nan"), float("inf")):
        assert await refused(store(house, org_id, lifetime_s=lifetime_s)) is Reason.INVALID_REQUEST
    short = cache_pb2.LookupRequest(fingerprint=b"short")
    assert await refused(house.ask(org_id, "Lookup", short)) is Reason.INVALID_REQUEST
