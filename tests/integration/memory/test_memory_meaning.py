"""Memories with the embedded model, and what is kept of them: meanings, vectors, tombstones, sealed texts."""

import datetime as dt
import time
from collections.abc import Awaitable, Callable

import pytest

from dac.memory.v1 import memory_pb2
from mesh.envelope_keys import Wrapper
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import Embedder, open_embedder
from services.memory.recall.store import PostgresMemoryStore
from services.memory.sealing.data_keys import DataKeys, KeyedSealer
from services.memory.sealing.sealing import PlainSealer
from tests.integration.memory.memory_house import FACT, TURN, MemoryHouse

Open = Callable[..., Awaitable[Database]]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    found = open_embedder(MemoryConfig())
    if not found.semantic:
        pytest.skip(found.note)
    return found


@pytest.fixture
async def house(database_for: Open, embedder: Embedder) -> MemoryHouse:
    return MemoryHouse(await database_for("memory"), embedder=embedder)


async def test_turns_are_found_by_their_meaning_once_they_have_vectors(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "We adopted a puppy last week.", "The tax form is due.", kind=TURN, thread_id="t")
    request = memory_pb2.RecallRequest(query="Do they have a dog?", top_k=1)
    assert (await house.ask(org_id, "Recall", request)).not_embedded == 2
    assert await house.part.vector_maker.make(org_id) == 2
    answer = await house.ask(org_id, "Recall", request)
    assert (answer.memories[0].memory.text, answer.not_embedded) == ("We adopted a puppy last week.", 0)
    assert answer.embedder_id == house.embedder.embedder_id and answer.memories[0].cosine > 0.2
    assert await house.part.vector_maker.make(org_id) == 0


async def test_the_same_meaning_is_kept_once_and_what_only_looks_alike_twice(house: MemoryHouse, org_id: str) -> None:
    (first,) = await house.remember(org_id, "Anna lives in Paris", kind=FACT)
    request = memory_pb2.RememberRequest(
        memories=[
            memory_pb2.NewMemory(text=text, kind=FACT)
            for text in ("Anna lives in Paris.", "Anna lives in Rome", "Anna does not live in Paris")
        ]
    )
    same, rome, negated = (await house.ask(org_id, "Remember", request)).memories
    assert (same.memory_id, same.stored, same.why) == (first, False, "same_meaning")
    assert rome.stored and negated.stored


async def test_erasing_a_turn_takes_the_vector_that_its_neighbour_has_of_both(house: MemoryHouse, org_id: str) -> None:
    (turn, after) = await house.remember(org_id, "I bought a canary.", "How nice!", kind=TURN, thread_id="t")
    await house.part.vector_maker.make(org_id)
    async with house.database.transaction(org_id) as connection:
        windowed = "SELECT window_vector IS NOT NULL FROM memories WHERE memory_id = $1"
        assert await connection.fetchval(windowed, after)
    erase = memory_pb2.EraseMemoriesRequest(filter=memory_pb2.MemoryFilter(memory_ids=[turn]))
    await house.ask(org_id, "EraseMemories", erase)
    async with house.database.transaction(org_id) as connection:
        assert not await connection.fetchval(windowed, after)
        assert await connection.fetchval("SELECT vector IS NULL FROM memories WHERE memory_id = $1", turn)
    request = memory_pb2.RecallRequest(query="a pet bird")
    found = (await house.ask(org_id, "Recall", request)).memories
    assert [one.memory.text for one in found] == ["How nice!"] and found[0].cosine < 0.2


async def test_vectors_of_another_embedder_are_not_compared_and_are_made_anew(house: MemoryHouse, org_id: str) -> None:
    await house.remember(org_id, "We adopted a puppy.", kind=TURN)
    await house.part.vector_maker.make(org_id)
    async with house.database.transaction(org_id) as connection:
        await connection.execute("UPDATE memories SET embedder_id = 'other:1', seq = seq + 1")
        await connection.execute("UPDATE memory_changes SET seq = seq + 1")
    request = memory_pb2.RecallRequest(query="puppy")
    assert (await house.ask(org_id, "Recall", request)).not_embedded == 1
    assert await house.part.vector_maker.make(org_id) == 1
    assert (await house.ask(org_id, "Recall", request)).not_embedded == 0


async def test_a_mirror_older_than_the_swept_tombstones_is_made_anew(database_for: Open, org_id: str) -> None:
    database = await database_for("memory")
    house, late = MemoryHouse(database), MemoryHouse(database)
    (gone, _) = await house.remember(org_id, "walnut cake", "walnut tree")
    assert len(await late.recall(org_id, "walnut")) == 2
    await house.ask(org_id, "DeleteMemory", memory_pb2.DeleteMemoryRequest(memory_id=gone))
    store = PostgresMemoryStore(database, PlainSealer())
    for days, rows in ((-1, 2), (1, 1)):
        await store.sweep(dt.datetime.now(dt.UTC) + dt.timedelta(days=days), 100)
        async with database.transaction(org_id) as connection:
            assert await connection.fetchval("SELECT count(*) FROM memories") == rows
    assert await late.recall(org_id, "walnut") == ["walnut tree"]


async def test_sealed_memories_are_found_and_stand_nowhere_in_the_open(database_for: Open, org_id: str) -> None:
    database = await database_for("memory")
    keys = DataKeys(database, Wrapper(b"n" * 32, "now"), clock=lambda: dt.datetime.now(dt.UTC))
    house = MemoryHouse(database, sealer=KeyedSealer(keys, enabled=True, check_s=5, monotonic=time.monotonic))
    (kept,) = await house.remember(
        org_id, "The canary sings", kind=FACT, speaker="Zoe Canary", metadata={"canary": "canary"}
    )
    change = memory_pb2.UpdateMemoryRequest(memory_id=kept, text="The canary sings at noon")
    await house.ask(org_id, "UpdateMemory", change)
    assert await house.recall(org_id, "canary noon", metadata={"canary": "canary"}) == ["The canary sings at noon"]
    history = await house.ask(org_id, "GetMemoryHistory", memory_pb2.GetMemoryHistoryRequest(memory_id=kept))
    assert [one.memory.text for one in history.changes] == ["The canary sings", "The canary sings at noon"]
    async with house.database.transaction(org_id) as connection:
        for statement in ("SELECT m::text FROM memories m", "SELECT h::text FROM memory_history h"):
            rows = [row[0] for row in await connection.fetch(statement)]
            assert rows and not any("canary" in row.lower() for row in rows)
