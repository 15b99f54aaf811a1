"""Memories against a real PostgreSQL: keeping, finding, changing, forgetting; whose they are."""

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable

import pytest

from dac.memory.v1 import memory_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.recall.form import stamp
from tests.integration.memory.memory_house import FACT, NOTE, TURN, MemoryHouse

Open = Callable[..., Awaitable[Database]]
ADMIN = ("admin", "chat")


@pytest.fixture
async def house(database_for: Open) -> MemoryHouse:
    return MemoryHouse(await database_for("memory"))


async def refused(work: Awaitable[object]) -> Reason:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value.reason


async def test_what_was_kept_is_found_at_once_the_best_first(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "The bicycle is blue", "The car is red and the roof is red", "Nothing of that kind")
    assert await house.recall(org_id, "which one is red?") == ["The car is red and the roof is red"]
    assert (await house.recall(org_id, "bicycle or car"))[0].startswith("The bicycle")
    assert await house.recall(org_id, "submarine") == []


async def test_a_turn_is_found_by_the_words_of_the_turn_before_it_within_its_thread(
    house: MemoryHouse, org_id: str
) -> None:
    await house.remember(org_id, "What is your favourite dessert?", "Tiramisu, always.", kind=TURN, thread_id="a")
    await house.remember(org_id, "Something else entirely.", kind=TURN, thread_id="b")
    found = await house.recall(org_id, "favourite dessert")
    assert found == ["What is your favourite dessert?", "Tiramisu, always."]


async def test_turns_are_always_kept_and_facts_only_once(house: MemoryHouse, org_id: str) -> None:
    first = await house.remember(org_id, "Yes.", "Yes.", kind=TURN, thread_id="a")
    assert len(set(first)) == 2
    (fact,) = await house.remember(org_id, "Anna lives in Paris", kind=FACT)
    request = memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text="anna  lives in paris", kind=FACT)])
    told = (await house.ask(org_id, "Remember", request)).memories[0]
    assert (told.memory_id, told.stored, told.why) == (fact, False, "same_text")
    assert await house.remember(org_id, "anna lives in paris", kind=FACT, agent_id="other") != [fact]
    assert await house.remember(org_id, "anna lives in paris", kind=FACT, user="u1") != [fact]


async def test_a_retry_keeps_nothing_twice(house: MemoryHouse, org_id: str) -> None:
    request = memory_pb2.RememberRequest(
        request_id="r1", memories=[memory_pb2.NewMemory(text=text, kind=TURN) for text in "ab"]
    )
    first = await house.ask(org_id, "Remember", request)
    assert await house.ask(org_id, "Remember", request) == first
    assert await house.texts(org_id) == {"a", "b"}
    other = await house.ask(org_id, "Remember", request, user="u1")
    assert {one.memory_id for one in other.memories}.isdisjoint(one.memory_id for one in first.memories)


async def test_nothing_is_seen_across_users_agents_and_organisations(house: MemoryHouse, org_id: str) -> None:
    secret = "The safe opens with seven turns"
    (kept,) = await house.remember(org_id, secret, user="u1", agent_id="a1")
    for org, user, scopes in ((org_id, "u2", ("chat", "read")), (org_id, "", ("chat", "read")), (uuid7(), "u1", ADMIN)):
        assert await house.recall(org, "safe opens", user=user, scopes=scopes, all_agents=True) == []
        assert await house.texts(org, user=user, scopes=scopes) == set()
        assert await house.texts(org, user=user, scopes=scopes, user_id="u1") == set()
        for method, request in (
            ("GetMemory", memory_pb2.GetMemoryRequest(memory_id=kept)),
            ("UpdateMemory", memory_pb2.UpdateMemoryRequest(memory_id=kept, text="x")),
            ("DeleteMemory", memory_pb2.DeleteMemoryRequest(memory_id=kept)),
            ("GetMemoryHistory", memory_pb2.GetMemoryHistoryRequest(memory_id=kept)),
        ):
            assert await refused(house.ask(org, method, request, user=user, scopes=scopes)) is Reason.NOT_FOUND
        forget = memory_pb2.DeleteMemoriesRequest(filter=memory_pb2.MemoryFilter(memory_ids=[kept]))
        assert (await house.ask(org, "DeleteMemories", forget, user=user, scopes=scopes)).deleted == 0
        erase = memory_pb2.EraseMemoriesRequest(everything=True)
        assert (await house.ask(org, "EraseMemories", erase, user=user, scopes=scopes)).erased == 0
        export = await house.ask(org, "ExportMemories", memory_pb2.ExportMemoriesRequest(), user=user, scopes=scopes)
        assert export.jsonl == ""
    assert await house.recall(org_id, "safe opens", user="u1") == [], "another agent of the same user"
    assert await house.recall(org_id, "safe opens", user="u1", agent_id="a2") == []
    assert await house.recall(org_id, "safe opens", user="u1", agent_id="a1") == [secret]
    assert await house.recall(org_id, "safe opens", user="u1", all_agents=True) == [secret]
    assert await house.recall(org_id, "safe opens", scopes=ADMIN, all_agents=True) == [secret]


async def test_others_memories_do_not_move_ones_scores(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "red red car", "blue bicycle", "green boat", user="u1")
    request = memory_pb2.RecallRequest(query="red boat")
    before = (await house.ask(org_id, "Recall", request, user="u1")).memories
    await house.remember(org_id, *(f"red number {one}" for one in range(20)), user="u2")
    after = (await house.ask(org_id, "Recall", request, user="u1")).memories
    assert [(one.memory.text, one.score) for one in before] == [(one.memory.text, one.score) for one in after]


async def test_only_administrators_keep_for_others(house: MemoryHouse, org_id: str) -> None:
    request = memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text="hers", user_id="u2")])
    assert await refused(house.ask(org_id, "Remember", request, user="u1")) is Reason.PERMISSION_DENIED
    await house.ask(org_id, "Remember", request, scopes=ADMIN)
    assert await house.texts(org_id, user="u2") == {"hers"}


async def test_facts_hold_for_a_time_and_are_replaced_without_being_lost(house: MemoryHouse, org_id: str) -> None:
    moved = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
    (paris,) = await house.remember(org_id, "Anna lives in Paris", kind=FACT, pinned=True, source_ids=["m1"])
    (rome,) = await house.remember(
        org_id, "Anna lives in Rome", kind=FACT, valid_from=stamp(moved), supersedes=[paris], confidence=0.9
    )
    assert await house.recall(org_id, "where does Anna live") == ["Anna lives in Rome"]
    both = await house.recall(org_id, "where does Anna live", include_superseded=True)
    assert set(both) == {"Anna lives in Paris", "Anna lives in Rome"}
    before = stamp(moved - dt.timedelta(days=1))
    assert await house.recall(org_id, "where does Anna live", valid_at=before) == ["Anna lives in Paris"]
    old = (await house.ask(org_id, "GetMemory", memory_pb2.GetMemoryRequest(memory_id=paris))).memory
    assert (old.superseded_by, old.valid_to.ToDatetime(dt.UTC), list(old.source_ids)) == (rome, moved, ["m1"])
    profile = await house.ask(org_id, "GetProfile", memory_pb2.GetProfileRequest())
    assert [fact.text for fact in profile.facts] == ["Anna lives in Rome"]
    assert dict(profile.counts) == {"MEMORY_KIND_FACT": 2}
    (again,) = await house.remember(org_id, "Anna lives in Paris", kind=FACT)
    assert again != paris, "what holds no longer is no reason not to keep it anew"


async def test_history_tells_every_change(house: MemoryHouse, org_id: str) -> None:
    (kept,) = await house.remember(org_id, "The meeting is on Monday")
    change = memory_pb2.UpdateMemoryRequest(memory_id=kept, text="The meeting is on Tuesday", pinned=True)
    assert (await house.ask(org_id, "UpdateMemory", change)).memory.pinned
    assert await house.recall(org_id, "monday") == []
    assert await house.recall(org_id, "tuesday") == ["The meeting is on Tuesday"]
    request = memory_pb2.GetMemoryHistoryRequest(memory_id=kept)
    changes = (await house.ask(org_id, "GetMemoryHistory", request)).changes
    assert [(one.action, one.memory.text, one.key_id) for one in changes] == [
        ("created", "The meeting is on Monday", "key-1"),
        ("updated", "The meeting is on Tuesday", "key-1"),
    ]
    await house.ask(org_id, "DeleteMemory", memory_pb2.DeleteMemoryRequest(memory_id=kept))
    changes = (await house.ask(org_id, "GetMemoryHistory", request)).changes
    assert [(one.action, one.HasField("memory")) for one in changes] == [
        ("created", False),
        ("updated", False),
        ("deleted", False),
    ]


async def test_turns_keep_their_text(house: MemoryHouse, org_id: str) -> None:
    (turn,) = await house.remember(org_id, "As it was said", kind=TURN)
    change = memory_pb2.UpdateMemoryRequest(memory_id=turn, text="Otherwise")
    assert await refused(house.ask(org_id, "UpdateMemory", change)) is Reason.INVALID_REQUEST


async def test_deleting_needs_a_filter_and_takes_only_what_fits(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "one", "two", metadata={"topic": "a"})
    await house.remember(org_id, "three", metadata={"topic": "b"})
    nothing = memory_pb2.DeleteMemoriesRequest()
    assert await refused(house.ask(org_id, "DeleteMemories", nothing)) is Reason.INVALID_REQUEST
    neither = memory_pb2.EraseMemoriesRequest()
    assert await refused(house.ask(org_id, "EraseMemories", neither)) is Reason.INVALID_REQUEST
    some = memory_pb2.DeleteMemoriesRequest(filter=memory_pb2.MemoryFilter(metadata={"topic": "a"}))
    assert (await house.ask(org_id, "DeleteMemories", some)).deleted == 2
    assert await house.texts(org_id) == {"three"}
    assert await house.recall(org_id, "one two three", metadata={"topic": "b"}) == ["three"]


async def test_another_replica_sees_writes_and_deletes_at_once(house: MemoryHouse, org_id: str) -> None:
    other = MemoryHouse(house.database)
    assert await other.recall(org_id, "walnut") == []
    (kept, stays) = await house.remember(org_id, "walnut cake", "walnut tree")
    assert set(await other.recall(org_id, "walnut")) == {"walnut cake", "walnut tree"}
    await house.ask(org_id, "DeleteMemory", memory_pb2.DeleteMemoryRequest(memory_id=kept))
    assert await other.recall(org_id, "walnut") == ["walnut tree"]
    change = memory_pb2.UpdateMemoryRequest(memory_id=stays, text="chestnut tree")
    await other.ask(org_id, "UpdateMemory", change)
    assert await house.recall(org_id, "walnut") == []
    assert await house.recall(org_id, "chestnut") == ["chestnut tree"]


async def test_concurrent_writers_lose_nothing_for_a_mirror(house: MemoryHouse, org_id: str) -> None:
    other = MemoryHouse(house.database)
    found: list[int] = []

    async def look() -> None:
        for _ in range(10):
            found.append(len(await other.recall(org_id, "pebble", top_k=200)))

    writers = [house.remember(org_id, f"pebble {one}", kind=TURN, thread_id=f"t{one % 3}") for one in range(40)]
    await asyncio.gather(look(), *writers)
    assert found == sorted(found), "what was found once stays found"
    assert len(await other.recall(org_id, "pebble", top_k=200)) == 40


async def test_who_asked_may_go_away_while_the_index_is_filled(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, *(f"pebble {one}" for one in range(300)), kind=TURN)
    other = MemoryHouse(house.database)
    for _ in range(3):
        impatient = asyncio.ensure_future(other.recall(org_id, "pebble", top_k=200))
        await asyncio.sleep(0.001)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
    assert await other.recall(org_id, "299") == ["pebble 299"]
    assert len(await other.recall(org_id, "pebble", top_k=200)) == 200


async def test_nothing_erased_is_left_in_any_table(house: MemoryHouse, org_id: str) -> None:
    (turn, after) = await house.remember(
        org_id, "zanzibar canary", "and then?", kind=TURN, thread_id="t", speaker="Zoe"
    )
    (fact,) = await house.remember(org_id, "zanzibar fact", kind=FACT, metadata={"zanzibar": "yes"}, user="u1")
    change = memory_pb2.UpdateMemoryRequest(memory_id=fact, text="zanzibar other fact")
    await house.ask(org_id, "UpdateMemory", change, user="u1")
    assert len(await house.recall(org_id, "zanzibar", scopes=ADMIN)) == 3, "the turn, the one after it, the fact"
    for user, ids in (("", [turn]), ("u1", [fact])):
        erase = memory_pb2.EraseMemoriesRequest(filter=memory_pb2.MemoryFilter(memory_ids=ids))
        assert (await house.ask(org_id, "EraseMemories", erase, user=user)).erased == 1
    assert await house.recall(org_id, "zanzibar", scopes=ADMIN) == []
    assert await house.recall(org_id, "Zoe", scopes=ADMIN) == ["and then?"]
    async with house.database.transaction(org_id) as connection:
        rows = await connection.fetch("SELECT * FROM memories WHERE memory_id <> $1", after)
        assert len(rows) == 2
        for row in rows:
            assert (row["text"], row["speaker"], row["metadata"], row["terms"]) == ("", "", "", [])
            assert row["vector"] is row["window_vector"] is row["sealed"] is None
        assert await connection.fetchval("SELECT count(*) FROM memory_history") == 0
        assert await connection.fetchval("SELECT previous_id FROM memories WHERE memory_id = $1", after) is None


async def test_everything_of_one_caller_goes_and_nothing_of_another(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "mine", user="u1")
    await house.remember(org_id, "yours", user="u2")
    erase = memory_pb2.EraseMemoriesRequest(everything=True)
    assert (await house.ask(org_id, "EraseMemories", erase, user="u1")).erased == 1
    assert await house.texts(org_id, scopes=ADMIN) == {"yours"}
    assert (await house.ask(org_id, "EraseMemories", erase, scopes=ADMIN)).erased == 1


async def test_what_was_recalled_is_never_kept_as_new(house: MemoryHouse, org_id: str) -> None:
    block = "<dac_memory>\nWhat is known\n- pineapple\n</dac_memory>"
    request = memory_pb2.RememberRequest(
        memories=[memory_pb2.NewMemory(text=block), memory_pb2.NewMemory(text=f"{block}\nI like plums")]
    )
    first, second = (await house.ask(org_id, "Remember", request)).memories
    assert (first.stored, first.why, first.memory_id, second.stored) == (False, "recalled", "", True)
    assert await house.texts(org_id) == {"I like plums"}
    assert await house.recall(org_id, "pineapple") == []


async def test_an_export_holds_every_memory_page_by_page(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "one", "two", "three", kind=NOTE, metadata={"a": "b"})
    lines, token = [], ""
    while True:
        request = memory_pb2.ExportMemoriesRequest(page_size=2, page_token=token)
        page = await house.ask(org_id, "ExportMemories", request)
        lines += [json.loads(line) for line in page.jsonl.splitlines()]
        if not (token := page.next_page_token):
            break
    assert [one["text"] for one in lines] == ["one", "two", "three"]
    assert lines[0]["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    "request_of",
    [
        memory_pb2.RememberRequest(),
        memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text=" ")]),
        memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text="x", thread_id="t" * 200)]),
        memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text="x", confidence=0.5)]),
        memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text="x", kind=FACT, confidence=2)]),
        memory_pb2.RememberRequest(memories=[memory_pb2.NewMemory(text="x", kind=FACT, supersedes=["no id"])]),
        memory_pb2.RecallRequest(query=" "),
        memory_pb2.RecallRequest(query="x", top_k=-1),
        memory_pb2.RecallRequest(query="x", filter=memory_pb2.MemoryFilter(memory_ids=["no id"])),
        memory_pb2.ListMemoriesRequest(page_token="none"),
    ],
)
async def test_what_breaks_the_contract_is_named(house: MemoryHouse, org_id: str, request_of: object) -> None:
    method = {"RememberRequest": "Remember", "RecallRequest": "Recall"}.get(type(request_of).__name__, "ListMemories")
    assert await refused(house.ask(org_id, method, request_of)) is Reason.INVALID_REQUEST
