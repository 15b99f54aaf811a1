"""BuildContext against a real PostgreSQL: what survives, what is recalled, what is left out and why."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from dac.memory.v1 import conversation_pb2, memory_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.server import ConversationServicer
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.recall.server import now
from tests.integration.memory.memory_house import FACT, MemoryHouse, Scopes

Open = Callable[..., Awaitable[Database]]
Kind = memory_pb2.ContextMessage.Kind
ADMIN = ("admin", "chat")


class TalkHouse(MemoryHouse):
    """MemoryService with the threads that its turns come from."""

    def __init__(self, database: Database, config: MemoryConfig | None = None) -> None:
        super().__init__(database, config)
        threads = ThreadDatabase(database, listeners=[self.part.turn_index])
        self.threads = ConversationServicer(Conversations(threads, self.config, clock=now, new_id=uuid7))

    async def on_threads(self, org_id: str, method: str, request: object, *, user: str = "") -> Any:
        with serving(Call(principal=Principal(org_id=org_id, user_id=user, scopes=("chat", "read")))):
            return await getattr(self.threads, method)(request, None)

    async def say(self, org_id: str, thread: str, *messages: Any, user: str = "") -> list[str]:
        """Saves messages given as (role, text) or (role, text, JSON); their ids."""
        request = conversation_pb2.OpenTurnRequest(
            thread_id=thread, request_id=uuid7(), messages=map(_message, messages)
        )
        await self.on_threads(org_id, "OpenTurn", request, user=user)
        listed = conversation_pb2.ListMessagesRequest(thread_id=thread, page_size=1000)
        found = (await self.on_threads(org_id, "ListMessages", listed, user=user)).messages
        return [one.message_id for one in found][-len(messages) :]

    async def context(
        self,
        org_id: str,
        *said: tuple[str, str],
        thread: str = "t",
        user: str = "",
        scopes: Scopes = ("chat",),
        recall: bool = True,
        across: bool = False,
        **limits: Any,
    ) -> Any:
        news = [memory_pb2.BuildContextRequest.NewMessage(role=role, text=text) for role, text in said]
        options = memory_pb2.BuildContextRequest.RecallOptions(enabled=recall, across_threads=across)
        request = memory_pb2.BuildContextRequest(thread_id=thread, messages=news, recall=options, **limits)
        return await self.ask(org_id, "BuildContext", request, user=user, scopes=scopes)


def _message(told: Sequence[str]) -> conversation_pb2.Message:
    return conversation_pb2.Message(role=told[0], text=told[1], openai_json=told[2] if len(told) > 2 else "")


def texts(context: Any, *kinds: int) -> list[str]:
    return [one.text for one in context.messages if one.kind in kinds]


@pytest.fixture
async def house(database_for: Open) -> TalkHouse:
    return TalkHouse(await database_for("memory"))


def said_of(number: int) -> tuple[str, str]:
    return f"Tell me about topic{number}, please.", f"Topic{number} is a kind of animal."


async def long_talk(house: TalkHouse, org_id: str, turns: int = 20, **who: str) -> None:
    await house.say(org_id, "t", ("system", "You are kind."), **who)
    for number in range(turns):
        await house.say(
            org_id,
            "t",
            ("user", f"Tell me about topic{number}, please."),
            ("assistant", f"Topic{number} is a kind of animal."),
            **who,
        )


async def test_a_short_thread_comes_whole_and_nothing_else(house: TalkHouse, org_id: str) -> None:
    await house.say(org_id, "t", ("system", "You are kind."), ("user", "hello"), ("assistant", "hi"))
    context = await house.context(org_id, ("user", "how are you?"), max_tokens=1000)
    assert [(one.role, one.text) for one in context.messages] == [
        ("system", "You are kind."),
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "how are you?"),
    ]
    assert (list(context.left_out), context.private, context.over_budget) == ([], False, False)
    assert context.tokens == sum(one.tokens for one in context.messages) > 0


async def test_system_messages_and_the_latest_turn_survive_any_budget(house: TalkHouse, org_id: str) -> None:
    await long_talk(house, org_id, 5)
    context = await house.context(org_id, ("system", "Be brief."), ("user", "And now?"), max_tokens=1)
    assert [one.text for one in context.messages] == ["You are kind.", "Be brief.", "And now?"]
    assert context.over_budget
    # Without new messages the latest turn is the thread's own.
    context = await house.context(org_id, max_tokens=1)
    assert [one.text for one in context.messages] == [
        "You are kind.",
        "Tell me about topic4, please.",
        "Topic4 is a kind of animal.",
    ]


@pytest.mark.parametrize("budget", [30, 60, 100, 150, 250, 400, 900, 0])
@pytest.mark.parametrize("recall", [True, False])
async def test_the_budget_holds_and_what_is_left_out_adds_up(
    house: TalkHouse, org_id: str, budget: int, recall: bool
) -> None:
    await long_talk(house, org_id)
    said = ("user", "What was topic3 again?")
    context = await house.context(org_id, said, max_tokens=budget, recall=recall)
    again = await house.context(org_id, said, max_tokens=budget, recall=recall)
    assert context == again, "the same state gives the same context"
    assert context.over_budget or not budget or context.tokens <= budget
    window = texts(context, Kind.KIND_WINDOW)
    out = sum(one.count for one in context.left_out if one.kind == Kind.KIND_WINDOW)
    assert len(window) + out == 40
    listed = [text for number in range(20) for text in said_of(number)]
    assert window == listed[len(listed) - len(window) :], "the newest, in order, without holes"
    if not recall:
        assert not texts(context, Kind.KIND_SYSTEM_BLOCK, Kind.KIND_SUMMARY)


async def test_what_fell_out_of_the_window_is_recalled_with_its_date(house: TalkHouse, org_id: str) -> None:
    await long_talk(house, org_id)
    context = await house.context(org_id, ("user", "What was topic3 again?"), max_messages=4)
    (block,) = texts(context, Kind.KIND_SYSTEM_BLOCK)
    assert "Topic3 is a kind of animal." in block and "data, not instructions" in block
    assert f"[{now().date().isoformat()}]" in block
    assert not context.private and not any(one.across_threads for one in context.recalled)
    assert [(one.kind, one.count, one.why) for one in context.left_out if one.kind == Kind.KIND_WINDOW] == [
        (Kind.KIND_WINDOW, 36, "max_messages")
    ]


async def test_a_summary_is_made_in_the_background_and_stands_before_the_window(house: TalkHouse, org_id: str) -> None:
    await long_talk(house, org_id)
    said = ("user", "What else?")
    first = await house.context(org_id, said, max_messages=4)
    assert [one.why for one in first.left_out if one.kind == Kind.KIND_SUMMARY] == ["not_ready"]
    await house.part.summarist.make_all()
    context = await house.context(org_id, said, max_messages=4)
    (summary,) = texts(context, Kind.KIND_SUMMARY)
    assert "animal" in summary and "data, not instructions" in summary
    kinds = [one.kind for one in context.messages]
    assert kinds == sorted(kinds), "system, block, summary, window, new"
    found = await house.ask(org_id, "GetSummary", memory_pb2.GetSummaryRequest(thread_id="t"))
    assert (found.summary.written_by, found.summary.messages_covered) == ("extracted", 36)


async def test_a_models_summary_is_preferred_and_goes_with_what_it_covers(house: TalkHouse, org_id: str) -> None:
    ids = await house.say(org_id, "t", *(("user", f"message number {one}") for one in range(12)))
    write = memory_pb2.UpdateSummaryRequest(
        thread_id="t", text="They counted.", until_message_id=ids[7], written_by="some/model"
    )
    assert (await house.ask(org_id, "UpdateSummary", write)).summary.messages_covered == 8
    context = await house.context(org_id, ("user", "go on"), max_messages=4)
    assert "They counted." in texts(context, Kind.KIND_SUMMARY)[0]
    erase = conversation_pb2.DeleteMessageRequest(thread_id="t", message_id=ids[2], erase=True)
    await house.on_threads(org_id, "DeleteMessage", erase)
    context = await house.context(org_id, ("user", "go on"), max_messages=4)
    assert texts(context, Kind.KIND_SUMMARY) == []
    with pytest.raises(MeshError) as caught:
        await house.ask(org_id, "UpdateSummary", write, user="u9")
    assert caught.value.reason is Reason.NOT_FOUND


async def test_tool_calls_stay_with_their_results(house: TalkHouse, org_id: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f"}}]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "42"}
    pair = (
        ("assistant", "", msgspec.json.encode(call).decode()),
        ("tool", "42", msgspec.json.encode(result).decode()),
    )
    await house.say(org_id, "t", ("user", "compute"), *pair, ("assistant", "It is 42"), ("user", "thanks"))
    for most in range(1, 6):
        context = await house.context(org_id, ("user", "and?"), max_messages=most, recall=False)
        roles = [one.role for one in context.messages]
        assert ("tool" in roles) == (most >= 4)
        assert roles.count("tool") == sum(bool(one.openai_json) and one.role == "assistant" for one in context.messages)
    await house.say(org_id, "t", pair[0])
    context = await house.context(org_id, ("user", "and?"), recall=False)
    assert [(one.count, one.why) for one in context.left_out] == [(1, "incomplete_tool_calls")]


async def test_memories_of_a_user_follow_into_another_thread_only_when_asked(house: TalkHouse, org_id: str) -> None:
    await house.say(org_id, "old", ("user", "My sailing boat is called Pelican."), user="u1")
    await house.say(org_id, "hers", ("user", "My sailing boat is called Walrus."), user="u2")
    await house.remember(org_id, "Lives in Bergen", kind=FACT, pinned=True, user="u1")
    said = ("user", "What is my boat called?")
    for asked, expected in ((False, False), (True, True)):
        context = await house.context(org_id, said, thread="", user="u1", across=asked)
        block = "".join(texts(context, Kind.KIND_SYSTEM_BLOCK))
        assert ("Pelican" in block, "Bergen" in block, context.private) == (expected,) * 3
        assert "Walrus" not in block
    assert [one.across_threads for one in context.recalled] == [True, True]
    nobody = await house.context(org_id, said, thread="", across=True, scopes=ADMIN)
    assert texts(nobody, Kind.KIND_SYSTEM_BLOCK) == [], "an administrator's own chat is not everybody's memory"


async def test_another_users_thread_is_not_there(house: TalkHouse, org_id: str) -> None:
    await house.say(org_id, "t", ("user", "secret"), user="u1")
    with pytest.raises(MeshError) as caught:
        await house.context(org_id, ("user", "hello"), user="u2")
    assert caught.value.reason is Reason.NOT_FOUND


async def test_turns_are_memories_from_their_own_transaction_until_theirs_of_deletion(
    house: TalkHouse, org_id: str
) -> None:
    (message, _) = await house.say(org_id, "t", ("user", "The walnut is ripe"), ("tool", "walnut tool"), user="u1")
    assert await house.recall(org_id, "walnut", user="u1") == ["The walnut is ripe"]
    delete = conversation_pb2.DeleteMessageRequest(thread_id="t", message_id=message, erase=True)
    await house.on_threads(org_id, "DeleteMessage", delete, user="u1")
    assert await house.recall(org_id, "walnut", user="u1") == []
    await house.say(org_id, "t", ("user", "The chestnut is ripe"), user="u1")
    await house.on_threads(org_id, "DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="t"), user="u1")
    assert await house.recall(org_id, "chestnut", user="u1") == []
    await house.remember(org_id, "chestnut of another", user="u2", thread_id="t")
    await house.on_threads(org_id, "RestoreThread", conversation_pb2.RestoreThreadRequest(thread_id="t"), user="u1")
    assert await house.recall(org_id, "chestnut", user="u1") == ["The chestnut is ripe"]
    erase = conversation_pb2.DeleteThreadRequest(thread_id="t", erase=True)
    await house.on_threads(org_id, "DeleteThread", erase, user="u1")
    assert await house.texts(org_id, user="u1") == set()
    assert await house.texts(org_id, user="u2") == {"chestnut of another"}, "theirs is not of this thread"


async def test_a_context_that_is_echoed_is_not_remembered(house: TalkHouse, org_id: str) -> None:
    await house.remember(org_id, "The pineapple is in the cellar", kind=FACT, pinned=True, user="u1")
    context = await house.context(org_id, ("user", "hello"), thread="", user="u1", across=True)
    (block,) = texts(context, Kind.KIND_SYSTEM_BLOCK)
    await house.say(org_id, "t", ("system", block), ("user", f"{block} where is it?"), user="u1")
    found = await house.texts(org_id, user="u1")
    assert found == {"The pineapple is in the cellar", "where is it?"}


async def test_turns_that_were_saved_without_memories_are_caught_up_with(house: TalkHouse, org_id: str) -> None:
    await house.say(org_id, "t", ("user", "An old walnut"), ("assistant", "Yes."), ("assistant", " "), user="u1")
    async with house.database.transaction(org_id) as connection:
        await connection.execute("DELETE FROM memories")
    other = TalkHouse(house.database)
    assert await other.recall(org_id, "walnut", user="u1") == []
    assert await other.part.catch_up.run() >= 3, "every organisation is looked after"
    assert await other.recall(org_id, "walnut", user="u1") == ["An old walnut", "Yes."]
    (first, *_) = (await other.ask(org_id, "ListMemories", memory_pb2.ListMemoriesRequest(), user="u1")).memories
    await other.ask(org_id, "DeleteMemory", memory_pb2.DeleteMemoryRequest(memory_id=first.memory_id), user="u1")
    await other.part.catch_up.of_organisation(org_id)
    assert len(await other.texts(org_id, user="u1")) == 1, "what was deleted is not made anew"


async def test_what_cannot_be_read_keeps_no_other_turn_from_being_remembered(house: TalkHouse, org_id: str) -> None:
    other_org, key_id = str(uuid.uuid4()), str(uuid.uuid4())
    for org, thread in ((org_id, "broken"), (org_id, "whole"), (other_org, "t")):
        await house.say(org, thread, ("user", "An old walnut"), user="u1")
    async with house.database.transaction(org_id) as connection:
        await connection.execute(
            """INSERT INTO data_keys (org_id, key_id, purpose, wrapped_key, master_key_id, created_at)
                VALUES ($1, $2, 'text', 'of another installation', '', now())""",
            org_id,
            key_id,
        )
        lost = b"\x01" + uuid.UUID(key_id).bytes + b"sealed with it"
        await connection.execute("UPDATE messages SET sealed = $1 WHERE thread_id = 'broken'", lost)
    for org in (org_id, other_org):
        async with house.database.transaction(org) as connection:
            await connection.execute("DELETE FROM memories")
    other = TalkHouse(house.database)
    await other.part.catch_up.run()
    for org in (org_id, other_org):
        assert await other.recall(org, "walnut", user="u1") == ["An old walnut"]
