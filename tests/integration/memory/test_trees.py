"""Threads as trees on a real PostgreSQL: places, edits, branches, merges, deletion, owners, limits, listeners."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.memory.v1 import conversation_pb2 as pb
from mesh.envelope_keys import Wrapper
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.sealing.data_keys import DataKeys, KeyedSealer
from tests.integration.memory.talks import ROOT, Talks

Open = Callable[..., Awaitable[Database]]


@pytest.fixture
async def database(database_for: Open) -> Database:
    return await database_for("memory")


@pytest.fixture
def talks(database: Database, org_id: str) -> Talks:
    return Talks(database, org_id)


async def refused(work: Awaitable[object], reason: Reason, *words: str) -> None:
    with pytest.raises(MeshError) as caught:
        await work
    assert caught.value.reason is reason, caught.value.message
    for word in words:
        assert word in caught.value.message


async def test_messages_know_the_one_before_and_how_they_ended(talks: Talks) -> None:
    await talks.turn("q", request_id="r")
    await talks.answer("a", "r", status=pb.Message.STATUS_PARTIAL, finish_reason="length")
    question, answer = await talks.messages()
    assert (question.parent_message_id, answer.parent_message_id) == ("", question.message_id)
    assert (question.status, answer.status) == (pb.Message.STATUS_COMPLETE, pb.Message.STATUS_PARTIAL)
    assert (answer.finish_reason, answer.branch_id) == ("length", "main")
    assert await talks.window() == ["q", "a"], "what was cut goes along as far as it came"


async def test_an_answer_follows_its_own_question_on_its_branch(talks: Talks) -> None:
    first = await talks.turn("q1", request_id="r1")
    await talks.turn("q2", request_id="r2")
    await talks.answer("a1", "r1")
    await talks.answer("a2", "r2")
    assert await talks.texts() == ["q1", "q2", "a1", "a2"], "others came between: after the head"
    await talks.ask("CreateBranch", name="side", message_id=first.message_ids[0], activate=True)
    await talks.turn("s", request_id="r3")
    await talks.ask("ActivateBranch", branch_id="main")
    await talks.answer("sa", "r3")
    assert await talks.texts() == ["q1", "q2", "a1", "a2"]
    side = (await talks.branches())["side"]
    assert await talks.texts(side.branch_id) == ["q1", "s", "sa"]


async def test_an_answer_is_kept_also_when_its_branch_was_deleted(talks: Talks) -> None:
    ids = await talks.say("q", "a")
    opened = await talks.turn("other", request_id="r", parent_message_id=ids[0])
    await talks.ask("DeleteBranch", branch_id=opened.branch_id)
    answered = await talks.answer("late", "r")
    assert await talks.texts(answered.branch_id) == ["q", "other", "late"]
    assert await talks.texts() == ["q", "a"], "it does not become active"


async def test_a_parent_continues_its_branch_or_begins_a_new_one(talks: Talks) -> None:
    ids = await talks.say("q1", "a1", "q2", "a2")
    await talks.turn("q3", parent_message_id=ids[-1])
    assert list(await talks.branches()) == ["main"]
    opened = await talks.turn("other", request_id="r", parent_message_id=ids[1])
    assert [one.text for one in opened.window] == ["q1", "a1"]
    again = await talks.turn("other", request_id="r", parent_message_id=ids[1])
    assert (again.message_ids, again.branch_id, again.window) == (opened.message_ids, opened.branch_id, opened.window)
    branches = await talks.branches()
    assert branches["branch 2"].active and branches["branch 2"].forked_from_message_id == ids[1]
    assert await talks.texts() == ["q1", "a1", "other"]
    assert await talks.texts("main") == ["q1", "a1", "q2", "a2", "q3"]
    assert await talks.window(parent_message_id=ids[0]) == ["q1"]
    await talks.turn("begin", parent_message_id=ROOT)
    assert await talks.texts() == ["begin"]
    assert len(await talks.texts(all=True)) == 7


async def test_a_branch_with_a_parent_holds_only_while_that_is_its_head(talks: Talks) -> None:
    ids = await talks.say("q", "a")
    await talks.turn("next", branch_id="main", parent_message_id=ids[1])
    late = talks.turn("late", branch_id="main", parent_message_id=ids[1])
    await refused(late, Reason.FAILED_PRECONDITION, "leave branch_id out")
    look = talks.window(branch_id="main", parent_message_id=ids[1])
    await refused(look, Reason.FAILED_PRECONDITION, "leave branch_id out")
    assert await talks.texts() == ["q", "a", "next"]


async def test_what_is_not_there_is_not_found(talks: Talks, database: Database, org_id: str) -> None:
    ids = await talks.say("q", "a")
    elsewhere = await Talks(database, org_id, thread_id="other").say("x", "y")
    for parent in (uuid7(), elsewhere[0]):
        await refused(talks.turn("z", parent_message_id=parent), Reason.NOT_FOUND, parent)
        await refused(talks.window(parent_message_id=parent), Reason.NOT_FOUND, parent)
        await refused(talks.ask("GetMessage", message_id=parent), Reason.NOT_FOUND, parent)
        await refused(talks.ask("UpdateMessage", message_id=parent, text="z"), Reason.NOT_FOUND)
        await refused(talks.ask("DeleteMessage", message_id=parent), Reason.NOT_FOUND)
        await refused(talks.ask("CreateBranch", message_id=parent), Reason.NOT_FOUND)
    await refused(talks.turn("z", branch_id="nope"), Reason.NOT_FOUND, "nope", "/branches")
    for method in ("ActivateBranch", "MergeBranch", "GetBranchStats", "DeleteBranch"):
        await refused(talks.ask(method, branch_id="nope\x00"), Reason.NOT_FOUND)
    await refused(talks.ask("GetMessage", message_id="17"), Reason.INVALID_REQUEST, "UUID")
    await refused(talks.ask("ListMessages", branch_id="main", all=True), Reason.INVALID_REQUEST)
    assert await talks.texts() == ["q", "a"] and len(ids) == 2


async def test_an_edit_is_a_sibling_on_a_new_branch(talks: Talks) -> None:
    ids = await talks.say("q1", "a1", "q2", "a2")
    edited = await talks.ask("UpdateMessage", message_id=ids[2], content="Q2", branch_name="better", request_id="e")
    again = await talks.ask("UpdateMessage", message_id=ids[2], content="Q2", branch_name="better", request_id="e")
    assert again == edited
    assert (edited.message.role, edited.message.replaces_message_id) == ("user", ids[2])
    assert edited.message.parent_message_id == ids[1]
    assert (edited.branch.name, edited.branch.active) == ("better", True)
    assert await talks.texts() == ["q1", "a1", "Q2"]
    assert await talks.texts("main") == ["q1", "a1", "q2", "a2"], "nothing is overwritten"
    found = await talks.ask("GetMessage", message_id=ids[2])
    assert list(found.sibling_message_ids) == [ids[2], edited.message.message_id]
    first = await talks.ask("UpdateMessage", message_id=ids[0], text="Q1")
    assert first.message.parent_message_id == "" and await talks.texts() == ["Q1"]
    await refused(talks.ask("UpdateMessage", message_id=ids[0]), Reason.INVALID_REQUEST)
    both = talks.ask("UpdateMessage", message_id=ids[0], text="a", content="b")
    await refused(both, Reason.INVALID_REQUEST, "another name")


async def test_what_replaces_a_message_stands_beside_it(talks: Talks) -> None:
    """An edit that is answered, and an answer anew: what a gateway sends."""
    ids = await talks.say("q1", "a1")
    opened = await talks.turn("Q1", request_id="r1", replaces=ids[0])
    assert list(opened.window) == []
    await talks.answer("A1", "r1")
    assert await talks.texts() == ["Q1", "A1"]
    await talks.ask("ActivateBranch", branch_id="main")
    assert await talks.window(parent_message_id=ids[0]) == ["q1"]
    await talks.answer("a1 again", "r2", replaces_message_id=ids[1])
    assert await talks.texts() == ["q1", "a1 again"]
    assert await talks.texts("main") == ["q1", "a1"]
    siblings = (await talks.ask("GetMessage", message_id=ids[1])).sibling_message_ids
    assert len(siblings) == 2


async def test_a_merge_brings_what_only_the_source_has_once(talks: Talks) -> None:
    ids = await talks.say("q1", "a1", "q2", "a2")
    side = (await talks.ask("CreateBranch", name="side", message_id=ids[1], activate=True)).branch.branch_id
    await talks.say("s1", "s2")
    merged = await talks.ask("MergeBranch", branch_id=side, request_id="m")
    assert await talks.texts("main") == ["q1", "a1", "q2", "a2", "s1", "s2"]
    assert await talks.texts(side) == ["q1", "a1", "s1", "s2"], "the source stays"
    assert [one.copied_from_message_id != "" for one in await talks.messages("main")] == [False] * 4 + [True] * 2
    await talks.say("s3", "s4")
    again = await talks.ask("MergeBranch", branch_id=side, request_id="m")
    assert again.message_ids == merged.message_ids and again.branch.head_message_id == merged.message_ids[-1]
    more = await talks.ask("MergeBranch", branch_id=side, request_id="m2")
    assert len(more.message_ids) == 2
    assert await talks.texts("main") == ["q1", "a1", "q2", "a2", "s1", "s2", "s3", "s4"]
    back = await talks.ask("MergeBranch", branch_id="main", target_branch_id=side)
    assert len(back.message_ids) == 2, "its copies are not brought back"
    assert await talks.texts(side) == ["q1", "a1", "s1", "s2", "s3", "s4", "q2", "a2"]
    await refused(talks.ask("MergeBranch", branch_id="main"), Reason.INVALID_REQUEST, "itself")


async def test_a_fast_forward_moves_the_head_or_is_refused(talks: Talks) -> None:
    ids = await talks.say("q1", "a1")
    side = (await talks.ask("CreateBranch", message_id=ids[1], activate=True)).branch.branch_id
    await talks.say("s1", "s2")
    forward = {"branch_id": side, "policy": pb.MERGE_POLICY_FAST_FORWARD}
    merged = await talks.ask("MergeBranch", **forward, request_id="m")
    assert not merged.message_ids and await talks.texts("main") == ["q1", "a1", "s1", "s2"]
    await talks.say("s3", "s4")
    await talks.turn("own", branch_id="main")
    assert (await talks.ask("MergeBranch", **forward, request_id="m")).branch.branch_id == "main", "a retry"
    await refused(talks.ask("MergeBranch", **forward), Reason.FAILED_PRECONDITION, "MERGE_POLICY_APPEND")


async def test_counts_of_a_branch(talks: Talks) -> None:
    ids = await talks.say("q1", "a1", "q2", "a2")
    side = (await talks.ask("CreateBranch", message_id=ids[1])).branch.branch_id
    await talks.turn("s", request_id="r", branch_id=side)
    await talks.answer("cut", "r", status=pb.Message.STATUS_PARTIAL)
    stats = await talks.ask("GetBranchStats", branch_id=side)
    counts = (stats.message_count, stats.user_messages, stats.assistant_messages, stats.partial_messages)
    assert counts == (4, 2, 2, 1)
    assert (stats.ahead_of_main, stats.behind_main, list(stats.models)) == (2, 2, ["mock/a"])
    assert not stats.branch.active and stats.tokens_estimated > 0 and stats.first_message_at == stats.last_message_at


async def test_a_deleted_message_goes_nowhere_and_what_follows_it_stays(talks: Talks) -> None:
    ids = await talks.say("q1", "a1", "q2", "a2")
    await talks.ask("DeleteMessage", message_id=ids[1])
    assert await talks.texts() == await talks.window() == ["q1", "q2", "a2"]
    assert await talks.texts(include_deleted=True) == ["q1", "a1", "q2", "a2"]
    await refused(talks.ask("GetMessage", message_id=ids[1]), Reason.NOT_FOUND)
    await refused(talks.ask("DeleteMessage", message_id=ids[1]), Reason.NOT_FOUND)
    await talks.ask("DeleteMessage", message_id=ids[3])
    head = (await talks.branches())["main"].head_message_id
    assert head == ids[2], "no branch ends with what nobody sees"
    await talks.turn("q3", parent_message_id=head)
    assert await talks.texts() == ["q1", "q2", "q3"]
    assert (await talks.ask("GetThread")).thread.message_count == 3


async def test_an_erased_message_leaves_nothing_also_of_its_copies(talks: Talks) -> None:
    ids = await talks.say("q1", "a1")
    side = (await talks.ask("CreateBranch", message_id=ids[0], activate=True)).branch.branch_id
    secret = (await talks.turn("secret")).message_ids[0]
    await talks.turn("after")
    await talks.ask("MergeBranch", branch_id=side)
    assert await talks.texts("main") == ["q1", "a1", "secret", "after"]
    await talks.ask("DeleteMessage", message_id=secret, erase=True)
    assert await talks.texts("main") == ["q1", "a1", "after"]
    assert await talks.texts(side) == ["q1", "after"]
    assert "secret" not in await talks.texts(all=True, include_deleted=True)
    await talks.ask("DeleteMessage", message_id=ids[0], erase=True)
    assert await talks.texts("main") == ["a1", "after"] and await talks.texts(side) == ["after"]
    assert (await talks.ask("GetThread")).thread.message_count == 3


async def test_a_deleted_branch_leaves_its_messages_and_an_erased_one_only_others(talks: Talks) -> None:
    ids = await talks.say("q1", "a1")
    first = (await talks.ask("CreateBranch", message_id=ids[0], activate=True)).branch.branch_id
    kept = await talks.say("s1", "s2")
    second = (await talks.ask("CreateBranch", message_id=kept[0], activate=True)).branch.branch_id
    await talks.say("z1", "z2")
    await talks.ask("DeleteBranch", branch_id=second, erase=True)
    assert sorted(await talks.texts(all=True)) == ["a1", "q1", "s1", "s2"]
    assert (await talks.ask("GetThread")).thread.active_branch_id == "main"
    await talks.ask("DeleteBranch", branch_id=first)
    assert sorted(await talks.texts(all=True)) == ["a1", "q1", "s1", "s2"]
    again = (await talks.ask("CreateBranch", message_id=kept[1])).branch.branch_id
    assert await talks.texts(again) == ["q1", "s1", "s2"], "nothing was lost"
    await refused(talks.ask("DeleteBranch", branch_id="main"), Reason.FAILED_PRECONDITION)


async def test_a_branch_is_made_once(talks: Talks) -> None:
    await talks.say("q", "a")
    made = await talks.ask("CreateBranch", name="n", request_id="b")
    assert await talks.ask("CreateBranch", name="n", request_id="b") == made
    assert await talks.texts(made.branch.branch_id) == ["q", "a"] and len(await talks.branches()) == 2


async def test_threads_are_found_by_tag_word_and_model(talks: Talks) -> None:
    made = await talks.ask(
        "CreateThread",
        thread_id="",
        conversation_id="trip",
        title="Walking to Rome 50%",
        tags=["work", "it's", "work"],
        model="auto:quality",
        parameters={"temperature": 0.5, "seed": 7, "stop": ["x"]},
    )
    assert (made.thread.conversation_id, list(made.thread.tags)) == ("trip", ["work", "it's"])
    assert made.thread.parameters["seed"] == 7
    await talks.ask("CreateThread", thread_id="plain", title="nothing")

    async def found(**fields: Any) -> list[str]:
        return [one.thread_id for one in (await talks.ask("ListThreads", **fields)).threads]

    assert await found() == ["trip", "plain"] or await found() == ["plain", "trip"]
    assert await found(tag=["work"]) == await found(tag=["it's", "work"]) == ["trip"]
    assert await found(search="rome walks") == await found(model="auto:quality") == ["trip"]
    assert await found(tag=["WORK"]) == await found(search="walk paris") == await found(model="x") == []
    changed = await talks.ask("UpdateThread", thread_id="trip", title="Paris", clear=["tags"], version=1)
    assert (changed.thread.title, list(changed.thread.tags), changed.thread.version) == ("Paris", [], 2)
    assert changed.thread.model == "auto:quality" and changed.thread.parameters["temperature"] == 0.5
    assert await found(search="rome") == await found(tag=["work"]) == []
    stale = talks.ask("UpdateThread", thread_id="trip", title="late", version=1)
    await refused(stale, Reason.FAILED_PRECONDITION, "version 2")
    wrong = talks.ask("UpdateThread", thread_id="trip", clear=["owner"])
    await refused(wrong, Reason.INVALID_REQUEST, "title, tags, model, parameters")
    for fields in ({"tags": ["x" * 65]}, {"tags": ["a\n"]}, {"tags": [str(n) for n in range(33)]}):
        await refused(talks.ask("CreateThread", **fields), Reason.INVALID_REQUEST, "tags")


async def test_a_deleted_thread_comes_back_whole_and_an_erased_one_never(talks: Talks) -> None:
    await talks.say("q", "a")
    await talks.ask("DeleteThread")
    for work in (talks.ask("GetThread"), talks.texts(), talks.turn("x"), talks.window(), talks.ask("CreateThread")):
        await refused(work, Reason.NOT_FOUND, "/api/threads/t/restore")
    assert not (await talks.ask("ListThreads")).threads
    assert [one.thread_id for one in (await talks.ask("ListThreads", deleted=True)).threads] == ["t"]
    restored = (await talks.ask("RestoreThread")).thread
    assert not restored.HasField("deleted_at") and await talks.texts() == ["q", "a"]
    await talks.ask("DeleteThread")
    await talks.ask("DeleteThread", erase=True)
    await refused(talks.ask("RestoreThread"), Reason.NOT_FOUND)
    async with talks.database.transaction(talks.principal.org_id) as connection:
        for query in ("SELECT FROM threads", "SELECT FROM messages", "SELECT FROM branches"):
            assert await connection.fetch(query) == []
    assert (await talks.turn("anew")).window == []


async def test_an_answer_that_comes_after_the_deletion_is_kept(talks: Talks) -> None:
    await talks.turn("q", request_id="r")
    await talks.ask("DeleteThread")
    await talks.answer("a", "r")
    await talks.ask("RestoreThread")
    assert await talks.texts() == ["q", "a"]


async def test_a_users_thread_is_seen_by_that_user_and_by_admins(talks: Talks) -> None:
    ann, bob, admin = talks.seen_by(user_id="ann"), talks.seen_by(user_id="bob"), talks.seen_by("admin")
    ids = await ann.say("mine", "yes")
    assert (await ann.ask("GetThread")).thread.user_id == "ann"
    for other in (bob, talks):
        calls: dict[str, dict[str, Any]] = {
            "GetThread": {},
            "UpdateThread": {"title": "x"},
            "DeleteThread": {"erase": True},
            "RestoreThread": {},
            "ListMessages": {"all": True},
            "GetMessage": {"message_id": ids[0]},
            "UpdateMessage": {"message_id": ids[0], "text": "x"},
            "DeleteMessage": {"message_id": ids[0]},
            "ListBranches": {},
            "CreateBranch": {"message_id": ids[0]},
            "ActivateBranch": {"branch_id": "main"},
            "MergeBranch": {"branch_id": "x"},
            "GetBranchStats": {"branch_id": "main"},
            "DeleteBranch": {"branch_id": "x"},
            "AppendMessages": {"messages": [pb.Message(role="user", text="x")]},
            "OpenTurn": {"messages": [pb.Message(role="user", text="x")]},
            "CreateThread": {},
        }
        for method, fields in calls.items():
            await refused(other.ask(method, **fields), Reason.NOT_FOUND)
        assert await other.window() == [] and not (await other.ask("ListThreads")).threads
    await refused(bob.ask("ListThreads", user_id="ann"), Reason.PERMISSION_DENIED)
    assert [one.thread_id for one in (await admin.ask("ListThreads", user_id="ann")).threads] == ["t"]
    assert await admin.texts() == ["mine", "yes"]
    theirs = Talks(talks.database, talks.principal.org_id, thread_id="shared")
    await theirs.say("ours", "yes")
    shared = ann.seen_by(user_id="ann")
    shared.thread_id = "shared"
    await refused(shared.texts(), Reason.NOT_FOUND)


async def test_limits_say_how_to_mend_and_never_lose_an_answer(database: Database, org_id: str) -> None:
    config = MemoryConfig(thread_max_messages=3, thread_max_branches=2, thread_max_per_user=2)
    talks = Talks(database, org_id, config=config).seen_by(user_id="u")
    ids = await talks.say("q1", "a1")
    await talks.turn("q2", request_id="r")
    await talks.answer("a2", "r")
    await refused(talks.turn("q3"), Reason.FAILED_PRECONDITION, "thread_max_messages")
    await refused(talks.window(), Reason.FAILED_PRECONDITION, "thread_max_messages")
    assert await talks.window(request_id="r") == ["q1", "a1"], "a retry is not refused"
    await talks.ask("DeleteMessage", message_id=ids[0])
    await talks.ask("DeleteMessage", message_id=ids[1])
    await talks.ask("CreateBranch")
    for work in (
        talks.ask("CreateBranch"),
        talks.window(parent_message_id=ROOT),
        talks.turn("q", parent_message_id=ROOT),
    ):
        await refused(work, Reason.FAILED_PRECONDITION, "thread_max_branches")
    edited = next(one for one in await talks.messages() if one.role == "assistant")
    edit = talks.ask("UpdateMessage", message_id=edited.message_id, text="x")
    await refused(edit, Reason.FAILED_PRECONDITION, "thread_max_branches")
    await talks.answer("another", "r9", replaces_message_id=edited.message_id)
    await talks.ask("CreateThread", thread_id="second")
    await refused(talks.ask("CreateThread", thread_id="third"), Reason.FAILED_PRECONDITION, "thread_max_per_user")
    assert (await talks.ask("CreateThread", thread_id="second")).thread.thread_id == "second"
    await talks.ask("DeleteThread", thread_id="second")
    made = await asyncio.gather(*(talks.ask("CreateThread", thread_id="") for _ in range(4)), return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in made) == 1
    await refused(talks.ask("RestoreThread", thread_id="second"), Reason.FAILED_PRECONDITION, "thread_max_per_user")


class Notes:
    """A listener that writes down what it is told, and can refuse."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.broken = False

    async def saved(self, connection: Any, org_id: str, thread: Any, messages: Any) -> None:
        self.heard.append([one.text for one in messages])
        if self.broken:
            raise MeshError(Reason.UNAVAILABLE, "not now")

    async def erased(self, connection: Any, org_id: str, thread_id: str, message_ids: Any) -> None:
        self.heard.append(message_ids if message_ids is None else len(message_ids))


async def test_listeners_hear_what_is_saved_and_erased_or_nothing_happens(database: Database, org_id: str) -> None:
    notes = Notes()
    talks = Talks(database, org_id, listeners=[notes])
    await talks.turn("q", request_id="r")
    await talks.turn("q", request_id="r")
    ids = list((await talks.answer("a", "r")).message_ids)
    await talks.ask("UpdateMessage", message_id=ids[0], text="A")
    await talks.ask("MergeBranch", branch_id=(await talks.branches())["branch 2"].branch_id)
    assert notes.heard == [["q"], ["a"], ["A"], ["A"]]
    notes.heard.clear()
    await talks.ask("DeleteMessage", message_id=ids[0])
    await talks.ask("DeleteThread")
    await talks.ask("RestoreThread")
    await talks.ask("DeleteThread", erase=True)
    assert notes.heard == [1, None, ["q", "A", "A"], None]
    notes.broken = True
    await refused(talks.turn("lost"), Reason.UNAVAILABLE)
    await refused(talks.ask("GetThread"), Reason.NOT_FOUND)


async def test_sealed_threads_hold_no_text_and_read_the_same(database: Database, org_id: str) -> None:
    keys = DataKeys(database, Wrapper(b"w" * 32, "master"), clock=lambda: dt.datetime.now(dt.UTC))
    talks = Talks(database, org_id, sealer=KeyedSealer(keys, enabled=True, check_s=60, monotonic=time.monotonic))
    await talks.ask("CreateThread", title="canary title", tags=["canary-tag"], parameters={"stop": "canary-stop"})
    ids = await talks.say("canary question", "canary answer")
    await talks.ask("UpdateMessage", message_id=ids[0], openai_json='{"canary":1}', branch_name="canary name")
    await talks.ask("MergeBranch", branch_id=(await talks.branches())["canary name"].branch_id)
    await talks.ask("UpdateThread", title="canary again")
    async with database.transaction(org_id) as connection:
        for table in ("threads", "messages", "branches"):
            rows = await connection.fetch(f"SELECT t::text AS whole FROM {table} t")
            assert rows and not [row for row in rows if "canary" in row["whole"]]
    thread = (await talks.ask("ListThreads", tag=["canary-tag"], search="canary")).threads[0]
    assert (thread.title, thread.parameters["stop"]) == ("canary again", "canary-stop")
    assert await talks.texts("main") == ["canary question", "canary answer", ""]
    assert (await talks.messages("main"))[-1].openai_json == '{"canary":1}'
    assert list(await talks.branches()) == ["main", "canary name"]


async def test_the_words_of_a_message_are_numbered_for_search(talks: Talks) -> None:
    await talks.turn("Kitchens were painted, kitchens!")
    await talks.turn("")
    async with talks.database.transaction(talks.principal.org_id) as connection:
        rows = await connection.fetch("SELECT terms FROM messages ORDER BY position")
    numbers = [row["terms"] for row in rows]
    assert [len(one) for one in numbers] == [3, 0] and len(set(numbers[0])) == 2, "as often as said, without stop words"


async def test_row_level_security_holds_for_branches(talks: Talks) -> None:
    await talks.turn("q")
    for organisations in ((), (uuid7(),)):
        async with talks.database.transaction(*organisations) as connection:
            assert await connection.fetch("SELECT FROM branches") == []
