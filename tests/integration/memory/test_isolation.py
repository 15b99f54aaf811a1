"""Equal texts in two organisations, and of two users of one: no RPC of memory tells one what is the other's.

Everybody says the same, with the same ids where callers choose them, so that what tells them apart are the ids that DAC
made: none of one may stand in an answer to another, also not when it is asked for by name.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.testing import TestProcess, mesh_in_process
from tests.integration.memory.tour import (
    LAST,
    STEPS,
    Visitor,
    as_json,
    ids_in,
    message,
    methods,
    packed,
    print_of,
    text,
    uncovered,
)

ABOUT_ALL = {"SealingService.RewrapDataKeys"}
"""The operator's, over every organisation: it tells counts."""
ANSWERS_OF_PROGRESS = {"SealingService.GetSealStatus", "SealingService.RotateDataKey"}
"""Of the organisation as a whole: two users of one are told the same key."""


@pytest.fixture(scope="module", params=["plain", "sealed"])
async def memory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TestProcess]:
    """Memory with the switch off and on."""
    config = f"memory: {{encrypt_text: {str(request.param == 'sealed').lower()}, encrypt_key_check_s: 0.2}}\n"
    async with mesh_in_process(tmp_path_factory.mktemp(request.param), config=config, targets=("memory",)) as process:
        yield process


def test_every_rpc_is_tried() -> None:
    assert uncovered() == set(), "give each new RPC a step in tests/integration/memory/tour.py"
    assert len(methods()) > 40 and set(methods()) >= ABOUT_ALL | ANSWERS_OF_PROGRESS


async def holds(one: Visitor, other: Visitor, *, same_organisation: bool) -> None:
    """Nothing that was made for `other` is told to `one`: neither in its own tour, nor asked for by name."""
    spared = ANSWERS_OF_PROGRESS if same_organisation else set()
    own = {other.org_id} if same_organisation else set()
    made_for_other = other.ids - own
    assert made_for_other, "the tour told no id at all"
    for rpc, said in one.answers.items():
        if rpc not in spared:
            assert not ids_in(said) & made_for_other, f"{rpc} told another's ids"
    before = {rpc: one.answers[rpc] for rpc in one.answers}
    for step in STEPS:
        if step.rpc in ABOUT_ALL | ANSWERS_OF_PROGRESS or step.rpc not in before:
            continue
        body = step.body(other.known)
        if body == step.body(one.known) and not ids_in(str(body)):
            continue
        # Asked with the other's ids: refused, or an answer that tells nothing of the other.
        try:
            said = as_json(await one.ask(step.rpc, body))
        except MeshError:
            continue
        told = ids_in(said) & made_for_other - ids_in(str(body))
        assert not told, f"{step.rpc} told another's ids when it was asked for them: {said[:300]}"
        assert step.rpc not in READS_ONE, f"{step.rpc} found what is another's: {said[:300]}"


READS_ONE = {
    "ConversationService.GetMessage",
    "ConversationService.UpdateMessage",
    "ConversationService.GetBranchStats",
    "ConversationService.ActivateBranch",
    "ConversationService.MergeBranch",
    "ConversationService.DeleteBranch",
    "ConversationService.DeleteMessage",
    "MemoryService.GetMemory",
    "MemoryService.UpdateMemory",
    "MemoryService.DeleteMemory",
}
"""They name one thing: another's is not found, whatever it is called."""


async def unchanged(visitor: Visitor) -> None:
    """What others tried has changed nothing: everything is read as it was."""
    reading: list[tuple[str, dict[str, Any]]] = [
        ("ConversationService.ListMessages", {"thread_id": "t", "all": True}),
        ("ConversationService.ListThreads", {}),
        ("MemoryService.ListMemories", {}),
        ("VectorService.ListCollections", {}),
    ]
    for rpc, body in reading:
        said = as_json(await visitor.ask(rpc, body))
        assert visitor.before.setdefault(rpc, said) == said, rpc  # type: ignore[attr-defined]


async def test_two_organisations(memory: TestProcess) -> None:
    one, other = Visitor(memory), Visitor(memory)
    for visitor in (one, other):
        await visitor.tour()
        visitor.before = {}  # type: ignore[attr-defined]
        await unchanged(visitor)
    await holds(one, other, same_organisation=False)
    await unchanged(other)
    await holds(other, one, same_organisation=False)
    # One of them is erased: the other has lost nothing, and finds nothing of it.
    kept = as_json(await other.ask("ConversationService.ListMessages", {"thread_id": "t", "all": True}))
    await one.ask(LAST, {"org_id": one.org_id})
    assert as_json(await other.ask("ConversationService.ListMessages", {"thread_id": "t", "all": True})) == kept
    for rpc in ("ConversationService.ListThreads", "MemoryService.ListMemories", "VectorService.ListCollections"):
        assert as_json(await one.ask(rpc, {})) == "{}", rpc


async def test_two_users_of_one_organisation(memory: TestProcess) -> None:
    ada = Visitor(memory, "", "ada", "chat", "read")
    bob = Visitor(memory, ada.org_id, "bob", "chat", "read")
    for visitor, thread in ((ada, "ada"), (bob, "bob")):
        await visitor.ask("ConversationService.CreateThread", {"thread_id": thread, "title": "mine"})
        opened = await visitor.ask(
            "ConversationService.OpenTurn",
            {"thread_id": thread, "request_id": "r", "messages": [{"role": "user", "text": "the same lamps"}]},
        )
        visitor.known |= {"thread": thread, "message": opened.message_ids[0]}
        remembered = await visitor.ask(
            "MemoryService.Remember",
            {"memories": [{"kind": "MEMORY_KIND_FACT", "text": "the same lamps", "pinned": True}], "request_id": "m"},
        )
        visitor.known["memory"] = remembered.memories[0].memory_id
    for visitor, other in ((ada, bob), (bob, ada)):
        mine = {visitor.known["memory"], visitor.known["message"]}
        theirs = {other.known["memory"], other.known["message"]}
        place = {"thread_id": other.known["thread"]}
        by_name: list[tuple[str, dict[str, Any]]] = [
            ("ConversationService.GetThread", place),
            ("ConversationService.UpdateThread", {**place, "title": "taken"}),
            ("ConversationService.ListMessages", place),
            ("ConversationService.GetMessage", {**place, "message_id": other.known["message"]}),
            (
                "ConversationService.OpenTurn",
                {**place, "request_id": "x", "messages": [{"role": "user", "text": "x"}]},
            ),
            ("ConversationService.AppendMessages", {**place, "messages": [{"role": "assistant", "text": "x"}]}),
            ("ConversationService.ListBranches", place),
            ("ConversationService.DeleteThread", place),
            ("ArchiveService.GetConversationFull", place),
            ("ArchiveService.ExportConversation", {**place, "format": "json"}),
            ("MemoryService.GetMemory", {"memory_id": other.known["memory"]}),
            ("MemoryService.UpdateMemory", {"memory_id": other.known["memory"], "text": "taken"}),
            ("MemoryService.DeleteMemory", {"memory_id": other.known["memory"]}),
            ("MemoryService.GetSummary", place),
        ]
        for rpc, body in by_name:
            with pytest.raises(MeshError):
                await visitor.ask(rpc, body)
                pytest.fail(f"{rpc} let {visitor.user_id} at what is {other.user_id}'s")
        listing: list[tuple[str, dict[str, Any]]] = [
            ("ConversationService.ListThreads", {}),
            ("ArchiveService.SearchMessages", {"query": "the same lamps"}),
            ("MemoryService.Recall", {"query": "the same lamps", "top_k": 20}),
            ("MemoryService.ListMemories", {}),
            ("MemoryService.ExportMemories", {}),
            ("MemoryService.GetProfile", {}),
            (
                "MemoryService.BuildContext",
                {
                    "thread_id": visitor.known["thread"],
                    "messages": [{"role": "user", "text": "lamps"}],
                    "max_tokens": 8000,
                    "recall": {"enabled": True, "across_threads": True, "top_k": 20},
                },
            ),
        ]
        for rpc, body in listing:
            said = as_json(await visitor.ask(rpc, body))
            assert not ids_in(said) & theirs and f'"{other.known["thread"]}"' not in said, rpc
            if rpc in ("ArchiveService.SearchMessages", "MemoryService.Recall", "MemoryService.ListMemories"):
                assert ids_in(said) & mine, f"{rpc} finds one's own"
    # An administrator of the organisation sees both.
    admin = Visitor(memory, ada.org_id, "", "chat", "read", "admin")
    said = as_json(await admin.ask("ConversationService.ListThreads", {}))
    assert '"ada"' in said and '"bob"' in said


async def test_private_answers_go_with_the_memories_of_their_user(memory: TestProcess) -> None:
    ada = Visitor(memory, "", uuid7(), "chat", "read")
    bo = Visitor(memory, ada.org_id, uuid7(), "chat", "read")

    def store(question: str, scoped: bool) -> dict[str, object]:
        answer = {"openai_json": packed("home"), "model": "m", "finish_reason": "stop"}
        return {"scope_key": print_of("a scope"), "prompt": question, "user_scoped": scoped, "answer": answer}

    async def hits(visitor: Visitor, question: str, scoped: bool) -> bool:
        asked = {"scope_key": print_of("a scope"), "prompt": question, "user_scoped": scoped}
        found: bool = (await visitor.ask("CacheService.Lookup", asked)).HasField("answer")
        return found

    ids = {}
    for visitor in (ada, bo):
        told = await visitor.ask("MemoryService.Remember", {"memories": [{"text": text("home")}]})
        ids[visitor] = [one.memory_id for one in told.memories]
        assert (await visitor.ask("CacheService.Store", store("where do I live?", True))).stored
    await ada.ask("CacheService.Store", store("what is the capital?", False))
    assert await hits(ada, "where do I live?", True) and await hits(bo, "where do I live?", True)
    await ada.ask("MemoryService.DeleteMemory", {"memory_id": ids[ada][0]})
    assert not await hits(ada, "where do I live?", True)
    # What is another's or everybody's stays.
    assert await hits(bo, "where do I live?", True) and await hits(ada, "what is the capital?", False)
    await bo.ask("MemoryService.EraseMemories", {"everything": True})
    assert not await hits(bo, "where do I live?", True)
    # A message of a thread is a memory, too.
    await ada.ask("ConversationService.CreateThread", {"thread_id": "t"})
    said = {"thread_id": "t", "messages": [message("user", "said")]}
    turn = await ada.ask("ConversationService.AppendMessages", said)
    await ada.ask("CacheService.Store", store("where do I live?", True))
    gone = {"thread_id": "t", "message_id": turn.message_ids[0]}
    await ada.ask("ConversationService.DeleteMessage", gone)
    assert not await hits(ada, "where do I live?", True)
