"""An index of memories while it is filled: what is asked meanwhile, what changes meanwhile, and who does it again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.memory.v1 import memory_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.recall import recall
from services.memory.recall.index import Query
from services.memory.recall.recall import Recaller
from services.memory.recall.store import Mirror, PostgresMemoryStore
from services.memory.sealing.sealing import PlainSealer
from tests.integration.memory.memory_house import TURN, MemoryHouse

Open = Callable[..., Awaitable[Database]]
PAGE = 8


class SlowStore(PostgresMemoryStore):
    """The real one; after the first page of everybody's memories it waits until it is let go on."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, PlainSealer())
        self.go_on, self.waits, self.pages, self.fails = asyncio.Event(), asyncio.Event(), 0, 0

    async def changes(self, org_id: str, after_seq: int, *values: Any, **named: Any) -> Mirror:
        everybodys = len(values) < 4
        if everybodys and after_seq > 0 and not self.go_on.is_set():
            self.waits.set()
            await self.go_on.wait()
        if everybodys and self.fails:
            self.fails -= 1
            raise MeshError(Reason.UNAVAILABLE, "not now")
        self.pages += everybodys
        return await super().changes(org_id, after_seq, *values, **named)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "PAGE_ROWS", PAGE)
    monkeypatch.setattr(recall, "PATIENCE_S", 0.01)


@pytest.fixture
async def house(database_for: Open, org_id: str) -> MemoryHouse:
    """With forty memories of Ada, and three of Bo."""
    made = MemoryHouse(await database_for("memory"))
    await made.remember(org_id, *(f"walnut number {at}" for at in range(40)), user="ada", kind=TURN, thread_id="t")
    await made.remember(org_id, "walnut cake", "a canary", "walnut tree", user="bo")
    return made


def filling(house: MemoryHouse, max_bytes: int = 1 << 30) -> tuple[Recaller, SlowStore]:
    """Another replica, which has just begun."""
    store = SlowStore(house.database)
    return Recaller(store, HashedEmbedder("for a test"), PlainSealer(), max_bytes=max_bytes), store


async def found(recaller: Recaller, org_id: str, text: str, user: str | None) -> set[str]:
    query = Query(terms=(), vector=None, k=100, user_id=user)
    return {one.memory_id for one in (await recaller.find(org_id, text, query)).found}


async def test_who_has_few_memories_does_not_wait_for_everybodys(house: MemoryHouse, org_id: str) -> None:
    recaller, store = filling(house)
    everybody = asyncio.create_task(found(recaller, org_id, "walnut", None))
    await store.waits.wait()
    assert len(await found(recaller, org_id, "walnut", "bo")) == 2
    assert await found(recaller, org_id, "walnut", "nobody") == set()
    ada = asyncio.create_task(found(recaller, org_id, "walnut", "ada"))
    (new,) = await house.remember(org_id, "walnut cracker", user="bo")
    assert new in await found(recaller, org_id, "walnut", "bo")
    assert not everybody.done() and not ada.done()
    store.go_on.set()
    assert (len(await everybody), len(await ada)) == (43, 40)
    # It was filled once for all of them.
    assert store.pages <= 44 // PAGE + 4


async def test_what_goes_and_comes_while_it_is_filled_is_gone_and_there(house: MemoryHouse, org_id: str) -> None:
    recaller, store = filling(house)
    ids = sorted(await found(house.part.recaller, org_id, "walnut", "ada"))
    asked = asyncio.create_task(found(recaller, org_id, "walnut", "ada"))
    await store.waits.wait()
    # Of the first page, which has been read, and of the others, which have not.
    for gone in ids[::10]:
        await house.ask(org_id, "DeleteMemory", memory_pb2.DeleteMemoryRequest(memory_id=gone), user="ada")
    (new,) = await house.remember(org_id, "the last walnut", user="ada")
    store.go_on.set()
    assert await asked == {*ids, new} - set(ids[::10])


async def test_what_fails_on_the_way_is_gone_on_with(house: MemoryHouse, org_id: str) -> None:
    recaller, store = filling(house)
    asked = asyncio.create_task(found(recaller, org_id, "walnut", None))
    await store.waits.wait()
    store.fails = 1
    store.go_on.set()
    with pytest.raises(MeshError, match="not now"):
        await asked
    pages = store.pages
    assert len(await found(recaller, org_id, "walnut", None)) == 42
    # The page that had come did not come again.
    assert store.pages - pages <= 43 // PAGE + 1


async def test_who_gives_up_leaves_nothing_half_done(house: MemoryHouse, org_id: str) -> None:
    recaller, store = filling(house)
    asked = asyncio.create_task(found(recaller, org_id, "walnut", None))
    await store.waits.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    recaller.forget(org_id)
    again = asyncio.create_task(found(recaller, org_id, "walnut", None))
    store.go_on.set()
    assert len(await again) == 42


async def test_a_process_that_stops_while_it_fills_leaves_nothing_to_the_next(house: MemoryHouse, org_id: str) -> None:
    stopped, stalled = filling(house)
    waiting = asyncio.create_task(found(stopped, org_id, "walnut", None))
    await stalled.waits.wait()
    await stopped.close()
    await asyncio.gather(waiting, return_exceptions=True)
    recaller, store = filling(house)
    store.go_on.set()
    assert waiting.done() and len(await found(recaller, org_id, "walnut", None)) == 42


async def test_replicas_that_fill_and_catch_up_find_the_same(house: MemoryHouse, org_id: str) -> None:
    recaller, store = filling(house)
    store.go_on.set()
    assert await found(recaller, org_id, "walnut", "ada") == await found(house.part.recaller, org_id, "walnut", "ada")
    await house.remember(org_id, *(f"walnut of now {at}" for at in range(2 * PAGE + 1)), user="ada")
    erase = memory_pb2.EraseMemoriesRequest(filter=memory_pb2.MemoryFilter(thread_id="t"))
    await house.ask(org_id, "EraseMemories", erase, user="ada")
    there = await found(recaller, org_id, "walnut", "ada")
    assert len(there) == 2 * PAGE + 1 and there == await found(house.part.recaller, org_id, "walnut", "ada")


async def test_organisations_that_leave_each_other_no_room_are_answered_all_the_same(
    house: MemoryHouse, org_id: str
) -> None:
    recaller, store = filling(house, max_bytes=1)
    other = uuid7()
    await house.remember(other, *(f"walnut number {at}" for at in range(20)), user="cy")
    asked = [asyncio.create_task(found(recaller, one, "walnut", None)) for one in (org_id, other, org_id)]
    await store.waits.wait()
    store.go_on.set()
    assert [len(await one) for one in asked] == [42, 20, 42]
    pages = store.pages
    assert len(await found(recaller, org_id, "walnut", None)) == 42 and store.pages == pages + 1
    # The other's place was given away: it is filled anew.
    assert len(await found(recaller, other, "walnut", None)) == 20 and store.pages > pages + 2
