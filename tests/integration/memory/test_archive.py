"""ArchiveService against a real PostgreSQL: search, trees, files, batches, counts; and who sees what of them."""

import dataclasses
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf import json_format

from dac.memory.v1 import archive_pb2, conversation_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.archive_server import ArchiveServicer
from services.memory.archive_store import PostgresArchiveStore
from services.memory.batch_store import PostgresBatchStore
from services.memory.config import MemoryConfig
from services.memory.conversation_archive import ConversationArchive
from services.memory.conversation_batch import Batches
from services.memory.conversation_server import ConversationServicer
from services.memory.conversations import Conversations
from services.memory.message_search import MessageSearch
from services.memory.numbering import Numberer
from services.memory.sealing import PlainSealer
from services.memory.search_store import PostgresSearchStore, PostgresUnnumbered
from services.memory.thread_work import ThreadDatabase
from services.memory.viewers import Viewer

Open = Callable[..., Awaitable[Database]]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
Msg = conversation_pb2.Message


class Meanings:
    """An index of meanings that says what it was told to."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float]] | None = None

    async def nearest(self, viewer: Viewer, query: str, *, thread_id: str, user_id: str, most: int) -> Any:
        return self.said


class House:
    """Both servicers on one database, called as somebody of an organisation."""

    def __init__(self, database: Database, sealer: Any = None) -> None:
        self.now, self.database, self.meanings = START, database, Meanings()
        self.sealer = sealer or PlainSealer()
        config, threads = MemoryConfig(), ThreadDatabase(database, sealer=self.sealer)
        conversations = Conversations(threads, config, clock=lambda: self.now, new_id=uuid7)
        batches = Batches(conversations, PostgresBatchStore(database), clock=lambda: self.now, new_id=uuid7)
        archive = ConversationArchive(PostgresArchiveStore(threads), config, clock=lambda: self.now)
        search = MessageSearch(PostgresSearchStore(threads), self.meanings)
        self.servicers = (ConversationServicer(conversations), ArchiveServicer(archive, search, batches))
        self.numberer = Numberer(PostgresUnnumbered(database, self.sealer), config)

    def caller(self, who: Principal) -> "Caller":
        return Caller(self, who)


@dataclasses.dataclass
class Caller:
    """Somebody who calls."""

    house: House
    who: Principal

    async def ask(self, method: str, request: object) -> Any:
        servicer = next(one for one in self.house.servicers if method in type(one).__dict__)
        with serving(Call(principal=self.who)):
            return await getattr(servicer, method)(request, None)

    async def say(self, thread_id: str, text: str, role: str = "user", **values: Any) -> str:
        """Appends a message; its id."""
        self.house.now += dt.timedelta(seconds=1)
        with_parent = {"parent_message_id": values.pop("parent")} if "parent" in values else {}
        request = conversation_pb2.AppendMessagesRequest(
            thread_id=thread_id, messages=[Msg(role=role, text=text, **values)], **with_parent
        )
        return str((await self.ask("AppendMessages", request)).message_ids[0])

    async def begin(self, thread_id: str, **values: Any) -> None:
        await self.ask("CreateThread", conversation_pb2.CreateThreadRequest(thread_id=thread_id, **values))

    async def found(self, query: str, **values: Any) -> list[str]:
        """The texts that a search finds."""
        return [one.message.text for one in (await self.search(query, **values)).hits]

    async def search(self, query: str, **values: Any) -> Any:
        return await self.ask("SearchMessages", archive_pb2.SearchMessagesRequest(query=query, **values))

    async def file(self, thread_id: str, form: str = "json", **values: Any) -> str:
        request = archive_pb2.ExportConversationRequest(thread_id=thread_id, format=form, **values)
        data = b""
        with serving(Call(principal=self.who)):
            async for part in self.house.servicers[1].ExportConversation(request, None):
                data += part.data
        return data.decode()

    async def bring(self, file: str, **values: Any) -> Any:
        """Imports an exported JSON file, whose text is the body as it is."""
        request = json_format.Parse(file, archive_pb2.ImportConversationRequest(**values))
        return await self.ask("ImportConversation", request)

    async def batch(self, *operations: dict[str, Any], request_id: str = "") -> Any:
        document = {"operations": list(operations), "request_id": request_id}
        return await self.ask(
            "BatchConversations", json_format.ParseDict(document, archive_pb2.BatchConversationsRequest())
        )


@pytest.fixture
async def house(database_for: Open) -> House:
    return House(await database_for("memory"))


@pytest.fixture
def anna(house: House, org_id: str) -> Caller:
    return house.caller(Principal(org_id=org_id, user_id="anna", scopes=["chat", "read"]))


@pytest.fixture
def bob(house: House, org_id: str) -> Caller:
    return house.caller(Principal(org_id=org_id, user_id="bob", scopes=["chat", "read"]))


@pytest.fixture
def admin(house: House, org_id: str) -> Caller:
    return house.caller(Principal(org_id=org_id, scopes=["admin"]))


@pytest.fixture
def stranger(house: House) -> Caller:
    return house.caller(Principal(org_id=uuid7(), user_id="anna", scopes=["admin"]))


async def refused(work: Awaitable[object]) -> Reason:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value.reason


async def test_search_finds_what_was_said_and_shows_where(anna: Caller) -> None:
    await anna.begin("t", title="Walls")
    await anna.say("t", "We painted the kitchen yellow.")
    await anna.say("t", "Nice, and the bathroom?", "assistant")
    await anna.say("t", "The kitchen took two days; painting is slow.")
    answer = await anna.search("painting the kitchen")
    assert [one.message.text for one in answer.hits] == [
        "We painted the kitchen yellow.",
        "The kitchen took two days; painting is slow.",
    ]
    hit = answer.hits[0]
    marked = [hit.snippets[0].text[span.start : span.end] for span in hit.snippets[0].found]
    assert (hit.thread_title, marked) == ("Walls", ["painted", "kitchen"])
    assert hit.score == hit.word_score > 0 and not answer.by_meaning
    assert await anna.found("rowing") == []
    assert await anna.found("?!") == []


async def test_a_rare_word_weighs_more_than_a_common_one(anna: Caller) -> None:
    await anna.begin("t")
    for n in range(8):
        await anna.say("t", f"the report number {n} is done")
    await anna.say("t", "the quokka is here")
    assert (await anna.found("quokka report"))[0] == "the quokka is here"
    assert await anna.found("quokka report", all_words=True) == []


async def test_search_keeps_to_its_filters(anna: Caller, house: House) -> None:
    await anna.begin("one", tags=["home"])
    await anna.begin("two", tags=["work", "home"])
    await anna.say("one", "apples in one")
    await anna.say("two", "apples in two", "assistant", model="m/1")
    noon = house.now + dt.timedelta(seconds=1)
    house.now += dt.timedelta(hours=1)
    await anna.say("two", "late apples in two")
    assert set(await anna.found("apple")) == {"apples in one", "apples in two", "late apples in two"}
    assert await anna.found("apple", thread_id="one") == ["apples in one"]
    assert await anna.found("apple", conversation_id="one") == ["apples in one"]
    assert await anna.found("apple", role=["assistant"]) == ["apples in two"]
    assert await anna.found("apple", model=["m/1", "m/2"]) == ["apples in two"]
    assert set(await anna.found("apple", tag=["home", "work"])) == {"apples in two", "late apples in two"}
    assert await anna.found("apple", start_at=noon) == ["late apples in two"]
    assert set(await anna.found("apple", end_at=noon)) == {"apples in one", "apples in two"}
    assert await refused(anna.found("apple", thread_id="nowhere")) is Reason.NOT_FOUND
    assert await refused(anna.found(" ")) is Reason.INVALID_REQUEST
    assert await refused(anna.found("x" * 2001)) is Reason.INVALID_REQUEST


async def test_pages_of_a_search_hold_everything_once(anna: Caller) -> None:
    await anna.begin("t")
    for n in range(5):
        await anna.say("t", f"pear {n}")
    texts, token = [], ""
    while True:
        page = await anna.search("pear", page_size=2, page_token=token)
        texts += [one.message.text for one in page.hits]
        token = page.next_page_token
        if not token:
            break
    assert texts == [f"pear {n}" for n in reversed(range(5))], "of equals the newest first"
    token = (await anna.search("pear", page_size=2)).next_page_token
    assert await refused(anna.search("plum", page_size=2, page_token=token)) is Reason.INVALID_REQUEST


async def test_nobody_finds_what_is_anothers(
    anna: Caller, bob: Caller, admin: Caller, stranger: Caller, house: House, org_id: str
) -> None:
    await anna.begin("t")
    await anna.say("t", "the secret word is xylophone")
    nobody = house.caller(Principal(org_id=org_id, scopes=["chat", "read"]))
    for other in (bob, stranger, nobody):
        assert await other.found("xylophone") == []
        assert await refused(other.found("xylophone", thread_id="t")) is Reason.NOT_FOUND
        full = archive_pb2.GetConversationFullRequest(thread_id="t")
        assert await refused(other.ask("GetConversationFull", full)) is Reason.NOT_FOUND
        assert await refused(other.file("t")) is Reason.NOT_FOUND
        assert (await other.ask("GetConversationStats", archive_pb2.GetConversationStatsRequest())).messages == 0
        result = await other.batch({"delete": {"thread_id": "t"}}, {"tag": {"thread_id": "t", "add": ["x"]}})
        assert [one.error.reason for one in result.results] == ["NOT_FOUND", "NOT_FOUND"]
    assert await admin.found("xylophone") == await anna.found("xylophone") != []
    assert await admin.found("xylophone", user_id="bob") == []
    assert await refused(bob.found("xylophone", user_id="anna")) is Reason.PERMISSION_DENIED


async def test_the_search_function_answers_only_for_the_organisation_that_is_set(
    anna: Caller, house: House, org_id: str
) -> None:
    await anna.begin("t")
    await anna.say("t", "xylophone")
    numbers = [(await house.sealer.key_of(org_id)).term_id("xylophon")]
    ask = "SELECT * FROM find_messages($1, $2, false, 5, '', '', true, NULL, '{}', '{}', '{}', NULL, NULL)"
    async with house.database.transaction(org_id) as connection:
        assert len(await connection.fetch(ask, org_id, numbers)) == 1
    async with house.database.transaction(uuid7()) as connection:
        assert (
            await connection.fetch(
                ask.replace("$1", "current_setting('app.org_ids')::uuid").replace("$2", "$1"), numbers
            )
            == []
        )
    with pytest.raises(MeshError):
        async with house.database.transaction(uuid7()) as connection:
            await connection.fetch(ask, org_id, numbers)


async def test_what_is_deleted_or_erased_is_not_found(anna: Caller) -> None:
    await anna.begin("t")
    first, second = await anna.say("t", "walnut one"), await anna.say("t", "walnut two")
    delete = conversation_pb2.DeleteMessageRequest
    await anna.ask("DeleteMessage", delete(thread_id="t", message_id=first))
    assert await anna.found("walnut") == await anna.found("walnut", thread_id="t") == ["walnut two"]
    await anna.ask("DeleteMessage", delete(thread_id="t", message_id=second, erase=True))
    assert await anna.found("walnut") == []
    await anna.begin("u")
    await anna.say("u", "walnut three")
    await anna.ask("DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="u"))
    assert await anna.found("walnut") == []
    await anna.ask("RestoreThread", conversation_pb2.RestoreThreadRequest(thread_id="u"))
    assert await anna.found("walnut") == ["walnut three"]
    await anna.ask("DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="u", erase=True))
    assert await anna.found("walnut") == []


async def test_messages_of_an_older_program_are_found_once_they_are_numbered(
    anna: Caller, house: House, org_id: str
) -> None:
    await anna.begin("t")
    await anna.say("t", "hazelnut")
    async with house.database.transaction(org_id) as connection:
        await connection.execute("UPDATE messages SET terms = NULL")
    assert await anna.found("hazelnut") == []
    assert await house.numberer.number_once() >= 1
    assert await anna.found("hazelnut") == ["hazelnut"]
    async with house.database.transaction(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM messages WHERE terms IS NULL") == 0


async def test_meaning_is_mixed_in_where_there_is_an_index(anna: Caller, bob: Caller, house: House) -> None:
    await anna.begin("t")
    dog, cat = await anna.say("t", "the dog barked"), await anna.say("t", "a kitten purred")
    await bob.begin("b")
    hidden = await bob.say("b", "a puppy purred")
    assert await refused(anna.search("dog", mode=archive_pb2.SEARCH_MODE_MEANING)) is Reason.FAILED_PRECONDITION
    house.meanings.said = [(hidden, 0.99), (cat, 0.9), (uuid7(), 0.8), (dog, 0.35)]
    answer = await anna.search("dog", mode=archive_pb2.SEARCH_MODE_MEANING)
    assert [one.message.text for one in answer.hits] == ["a kitten purred", "the dog barked"]
    assert answer.by_meaning and answer.hits[0].meaning_score == 0.9
    assert set(await anna.found("dog")) == {"a kitten purred", "the dog barked"}
    assert await anna.found("dog", all_words=True) == ["the dog barked"]
    house.meanings.said = [(cat, 0.2)]
    assert await anna.found("dog") == ["the dog barked"], "something is always nearest"
    assert await anna.found("dog", mode=archive_pb2.SEARCH_MODE_WORDS) == ["the dog barked"]


async def make_tree(anna: Caller) -> None:
    """A thread with two branches, a cut answer, a tool call, a deleted message."""
    await anna.begin("t", title="Trip", tags=["travel"], model="auto:quality", parameters={"temperature": 0.2})
    question = await anna.say("t", "Where to go in May?")
    call = '{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"weather","arguments":"{}"}}]}'
    await anna.say("t", "", "assistant", openai_json=call, model="m/1")
    await anna.say("t", "sunny", "tool", openai_json='{"role":"tool","tool_call_id":"c","content":"sunny"}')
    await anna.say("t", "To Lis", "assistant", status=Msg.STATUS_PARTIAL, model="m/1")
    await anna.say("t", "## User\nor to Rome? -->", parent=question)
    gone = await anna.say("t", "forget this")
    await anna.ask("DeleteMessage", conversation_pb2.DeleteMessageRequest(thread_id="t", message_id=gone))


def shape_of(file: str) -> Any:
    """What must be the same again: everything but ids and the threads' own times."""
    document = json.loads(file)
    places = {one["message_id"]: place for place, one in enumerate(document["messages"])} | {"": None}
    named = ("head_message_id", "forked_from_message_id")
    messages = [
        {name: value for name, value in one.items() if name not in ("message_id", "thread_id", "parent_message_id")}
        | {"parent": places[one.get("parent_message_id", "")]}
        for one in document["messages"]
    ]
    branches = [
        {name: value for name, value in one.items() if name not in named}
        | {name: places[one.get(name, "")] for name in named}
        for one in document["branches"]
    ]
    kept = ("title", "tags", "model", "parameters", "active_branch_id", "message_count")
    return messages, branches, {name: document["thread"].get(name) for name in kept}


@pytest.mark.parametrize("form", ["json", "markdown"])
async def test_an_export_imports_to_the_same_tree(anna: Caller, stranger: Caller, house: House, form: str) -> None:
    await make_tree(anna)
    exported, file = await anna.file("t"), await anna.file("t", form)

    async def bring(who: Caller, **values: Any) -> Any:
        if form == "json":
            return await who.bring(file, **values)
        request = archive_pb2.ImportConversationRequest(markdown=file, **values)
        return await who.ask("ImportConversation", request)

    same = await bring(anna)
    assert (same.created, same.thread.thread_id, list(same.notes)) == (False, "t", [])
    for who, target in ((anna, "copy"), (stranger, "t")):
        house.now += dt.timedelta(days=1)
        made = await bring(who, thread_id=target)
        assert (made.created, made.message_count, made.branch_count) == (True, 6, 2)
        assert shape_of(await who.file(target)) == shape_of(exported)
        assert not (await bring(who, thread_id=target)).created
        assert set(await who.found("rome", thread_id=target)) == {"## User\nor to Rome? -->"}
    assert len(await anna.found("rome")) == 2
    assert "forget this" not in file
    kept = await anna.file("t", include_deleted=True)
    assert "forget this" in kept


async def test_an_imported_thread_goes_on_like_any_other(anna: Caller) -> None:
    await make_tree(anna)
    await anna.bring(await anna.file("t"), thread_id="copy")
    await anna.say("copy", "and then?")
    listed = await anna.ask("ListMessages", conversation_pb2.ListMessagesRequest(thread_id="copy"))
    assert [one.text for one in listed.messages] == ["Where to go in May?", "## User\nor to Rome? -->", "and then?"]
    again = await anna.bring(await anna.file("t"), thread_id="copy")
    assert not again.created and again.thread.message_count == 6, "what was said since stays"


async def test_a_file_never_goes_over_another_thread(anna: Caller, bob: Caller) -> None:
    await make_tree(anna)
    file = await anna.file("t")
    await anna.begin("other")
    await anna.say("other", "something else")
    assert await refused(anna.bring(file, thread_id="other")) is Reason.ALREADY_EXISTS
    assert await refused(bob.bring(file)) is Reason.NOT_FOUND, "the id is anna's"
    assert (await bob.bring(file, thread_id="mine")).thread.user_id == "bob"
    assert len(await anna.found("rome")) == len(await bob.found("rome")) == 1
    assert await refused(anna.bring('{"format":"dac.conversation/9"}')) is Reason.INVALID_REQUEST
    broken = file.replace('"role":"tool"', '"role":"robot"')
    assert await refused(anna.bring(broken, thread_id="broken")) is Reason.INVALID_REQUEST
    assert await refused(anna.file("broken")) is Reason.NOT_FOUND, "all of it or nothing"
    assert await refused(anna.file("t", "pdf")) is Reason.INVALID_REQUEST


async def test_markdown_of_others_becomes_one_line(anna: Caller) -> None:
    markdown = "# Lunch\n\n## User\n\nPasta?\n\n## Assistant\n\nYes,\n\nwith basil.\n"
    request = archive_pb2.ImportConversationRequest(markdown=markdown)
    made = await anna.ask("ImportConversation", request)
    assert (made.created, made.thread.title, made.message_count) == (True, "Lunch", 2)
    assert "no tree" in made.notes[0]
    again = await anna.ask("ImportConversation", request)
    assert (again.created, again.thread.thread_id) == (False, made.thread.thread_id)
    assert await anna.found("basil") == ["Yes,\n\nwith basil."]


async def test_the_whole_tree_in_pages(anna: Caller) -> None:
    await make_tree(anna)
    nodes: list[Any] = []
    token = ""
    while True:
        request = archive_pb2.GetConversationFullRequest(thread_id="t", page_size=2, page_token=token)
        page = await anna.ask("GetConversationFull", request)
        nodes += page.nodes
        token = page.next_page_token
        if not token:
            break
    assert [one.message.text for one in nodes] == [
        "Where to go in May?",
        "",
        "sunny",
        "To Lis",
        "## User\nor to Rome? -->",
        "",
    ]
    root = nodes[0]
    assert list(page.root_message_ids) == [root.message.message_id]
    assert list(root.child_message_ids) == [nodes[1].message.message_id, nodes[4].message.message_id]
    assert [one.depth for one in nodes] == [0, 1, 2, 3, 1, 2]
    assert [one.active for one in nodes] == [True, False, False, False, True, False]
    assert list(nodes[3].head_of_branch_ids) == ["main"]
    assert nodes[5].message.HasField("deleted_at") and len(page.branches) == 2
    everything = archive_pb2.GetConversationFullRequest(thread_id="t", include_deleted=True)
    assert (await anna.ask("GetConversationFull", everything)).nodes[5].message.text == "forget this"


async def test_a_batch_gives_each_change_its_own_result(anna: Caller) -> None:
    await anna.begin("old", tags=["a", "b"])
    answer = await anna.batch(
        {"create": {"title": "New", "tags": ["x"]}},
        {"update": {"thread_id": "old", "title": "Renamed"}},
        {"tag": {"thread_id": "old", "add": ["c", "a"], "remove": ["b"]}},
        {"delete": {"thread_id": "nowhere"}},
        {"tag": {"thread_id": "old", "add": [""]}},
        {"delete": {"thread_id": "old"}},
        {"restore": {"thread_id": "old"}},
    )
    reasons = [one.error.reason for one in answer.results]
    assert reasons == ["", "", "", "NOT_FOUND", "INVALID_REQUEST", "", ""]
    assert (answer.succeeded, answer.failed) == (5, 2)
    assert answer.results[0].thread.title == "New"
    assert list(answer.results[2].thread.tags) == ["a", "c"] and answer.results[6].thread.title == "Renamed"
    assert await refused(anna.batch()) is Reason.INVALID_REQUEST
    assert await refused(anna.batch(*[{"restore": {"thread_id": "old"}}] * 101)) is Reason.INVALID_REQUEST
    assert await refused(anna.batch({})) is Reason.INVALID_REQUEST


async def test_a_batch_sent_again_does_nothing_twice(anna: Caller, bob: Caller, house: House) -> None:
    operations: tuple[dict[str, Any], ...] = (
        {"create": {"title": "New"}},
        {"update": {"thread_id": "gone", "title": "x"}},
        {"create": {"thread_id": "named", "title": "y" * 600}},
        {"create": {"thread_id": "named", "title": "Named"}},
        {"update": {"thread_id": "named", "title": "Named B"}},
    )
    first = await anna.batch(*operations, request_id="r1")
    update = conversation_pb2.UpdateThreadRequest(thread_id="named", title="Newer")
    await anna.ask("UpdateThread", update)
    again = await anna.batch(*operations, request_id="r1")
    assert [one.thread_id for one in again.results] == [one.thread_id for one in first.results]
    assert [one.error for one in again.results] == [one.error for one in first.results]
    assert again.results[4].thread.title == "Newer", "nothing is overwritten"
    listed = await anna.ask("ListThreads", conversation_pb2.ListThreadsRequest())
    assert len(listed.threads) == 2
    assert await refused(anna.batch(operations[0], request_id="r1")) is Reason.REQUEST_ID_CONFLICT
    assert (await bob.batch({"create": {}}, request_id="r1")).succeeded == 1, "another's request is another"
    house.now += dt.timedelta(days=2)
    assert (await anna.batch(operations[0], request_id="r1")).succeeded == 1


async def test_a_batch_that_was_cut_goes_on_where_it_stopped(anna: Caller, house: House, org_id: str) -> None:
    operations: tuple[dict[str, Any], ...] = ({"create": {"title": "one"}}, {"create": {"title": "two"}})
    first = await anna.batch(*operations, request_id="r1")
    async with house.database.transaction(org_id) as connection:
        await connection.execute(
            "UPDATE batches SET done = false, thread_ids = thread_ids[1:1], reasons = reasons[1:1], "
            "messages = messages[1:1]"
        )
    assert await refused(anna.batch(*operations, request_id="r1")) is Reason.UNAVAILABLE, "somebody may be at it"
    house.now += dt.timedelta(minutes=2)
    again = await anna.batch(*operations, request_id="r1")
    assert [one.thread_id for one in again.results] == [one.thread_id for one in first.results]
    assert (await anna.ask("GetConversationStats", archive_pb2.GetConversationStatsRequest())).threads == 2


async def test_counts_are_of_ones_own(anna: Caller, bob: Caller, admin: Caller) -> None:
    await make_tree(anna)
    await bob.begin("b", tags=["travel"])
    await bob.say("b", "hello")
    await anna.begin("d")
    await anna.ask("DeleteThread", conversation_pb2.DeleteThreadRequest(thread_id="d"))
    ask = archive_pb2.GetConversationStatsRequest
    stats = await anna.ask("GetConversationStats", ask())
    assert (stats.threads, stats.deleted_threads, stats.messages, stats.branches) == (1, 1, 5, 2)
    assert stats.partial_messages == 1 and stats.tokens_estimated > 0
    assert {one.name: one.count for one in stats.roles} == {"assistant": 2, "tool": 1, "user": 2}
    assert {one.name: one.count for one in stats.models} == {"m/1": 2}
    assert {one.name: one.count for one in stats.tags} == {"travel": 1}
    assert stats.first_message_at.ToDatetime(tzinfo=dt.UTC) == START + dt.timedelta(seconds=1)
    assert (await admin.ask("GetConversationStats", ask(whole_organisation=True))).threads == 2
    assert (await admin.ask("GetConversationStats", ask(user_id="bob"))).messages == 1
    assert await refused(bob.ask("GetConversationStats", ask(user_id="anna"))) is Reason.PERMISSION_DENIED
    assert await refused(bob.ask("GetConversationStats", ask(whole_organisation=True))) is Reason.PERMISSION_DENIED
