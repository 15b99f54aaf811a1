"""Whole conversations against a real PostgreSQL: trees, files, batches, counts; and who sees what of them."""

import datetime as dt
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.memory.v1 import archive_pb2, conversation_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.envelope_keys import Wrapper
from mesh.errors import Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.sealing.data_keys import DataKeys, KeyedSealer
from tests.integration.memory.archive_house import START, Caller, House, Msg, refused

Open = Callable[..., Awaitable[Database]]


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


async def test_with_text_sealed_all_of_it_works_and_nothing_is_readable(database_for: Open, org_id: str) -> None:
    database = await database_for("memory")
    keys = DataKeys(database, Wrapper(b"w" * 32, "master"), clock=lambda: START)
    house = House(database, KeyedSealer(keys, enabled=True, check_s=60, monotonic=time.monotonic))
    anna = house.caller(Principal(org_id=org_id, user_id="anna", scopes=["chat", "read"]))
    await make_tree(anna)
    await anna.batch({"tag": {"thread_id": "t", "add": ["y" * 65]}}, request_id="r1")
    for form in ("json", "markdown"):
        file = await anna.file("t", form)
        if form == "json":
            await anna.bring(file, thread_id=form)
        else:
            request = archive_pb2.ImportConversationRequest(markdown=file, thread_id=form)
            await anna.ask("ImportConversation", request)
        assert shape_of(await anna.file(form)) == shape_of(await anna.file("t"))
    assert len(await anna.found("rome", tag=["travel"])) == 3
    stats = await anna.ask("GetConversationStats", archive_pb2.GetConversationStatsRequest())
    assert {one.name: one.count for one in stats.tags} == {"travel": 3}
    async with database.transaction(org_id) as connection:
        for table in ("threads", "messages", "branches", "batches"):
            for row in await connection.fetch(f"SELECT {table}::text FROM {table}"):
                assert not any(word in row[0] for word in ("Rome", "Trip", "travel", "yyyy", "sunny")), table
