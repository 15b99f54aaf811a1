"""How the writer takes its queue: what it puts together while the batch before is being written, and what not."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from mesh.ids import uuid7
from services.budget.ledger.operations import Operation, Reserve, Resolve
from services.budget.ledger.rows import State
from services.budget.ledger.writer import AHEAD_FROM, WHOLE_UP_TO, Writer

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


class SlowStore:
    """Ends batches when a test says so."""

    def __init__(self) -> None:
        self.begun: list[Sequence[Operation]] = []
        self.ends: list[asyncio.Event] = []

    async def run(self, operations: Sequence[Operation]) -> list[Any]:
        self.begun.append(operations)
        self.ends.append(asyncio.Event())
        await self.ends[-1].wait()
        return list(operations)

    @property
    def sizes(self) -> list[int]:
        return [len(one) for one in self.begun]


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def writer(store: SlowStore) -> AsyncIterator[Writer]:
    made = Writer(store, 256, lambda: None)
    made.start()
    yield made
    closing = asyncio.ensure_future(made.close())
    while not closing.done():
        await settled(store, *range(len(store.ends)))
    assert not made._queue


async def settled(store: SlowStore, *ended: int) -> None:
    """Those batches end, and everything that can run has run."""
    for one in ended:
        store.ends[one].set()
    for _ in range(20):
        await asyncio.sleep(0)


def reserves(count: int) -> list[Reserve]:
    return [Reserve(uuid7(), "org", uuid7(), (), (), 0, 0, b"", NOW, 60.0) for _ in range(count)]


def submitted(writer: Writer, ops: Sequence[Any]) -> asyncio.Future[list[Any]]:
    return asyncio.gather(*(writer.submit(op) for op in ops))


async def test_a_long_queue_is_put_together_while_the_batch_before_is_written(writer: Writer, store: SlowStore) -> None:
    done = submitted(writer, ops := reserves(100))
    await settled(store)
    assert store.sizes == [50, 50], "the second is begun before the first has ended"
    more = submitted(writer, reserves(100))
    await settled(store)
    assert store.sizes == [50, 50], "a third waits and gathers"
    await settled(store, 0)
    assert store.sizes == [50, 50, 50]
    await settled(store, 1, 2)
    await settled(store, 3)
    assert await done == ops and len(await more) == 100


async def test_a_short_queue_gathers_until_the_batch_before_is_written(writer: Writer, store: SlowStore) -> None:
    submitted(writer, reserves(WHOLE_UP_TO))
    await settled(store)
    submitted(writer, reserves(AHEAD_FROM - 1))
    await settled(store)
    assert store.sizes == [WHOLE_UP_TO]
    await settled(store, 0)
    assert store.sizes == [WHOLE_UP_TO, AHEAD_FROM - 1]


async def test_what_needs_the_batch_before_waits_until_it_is_written(writer: Writer, store: SlowStore) -> None:
    """A batch that cannot be stored is said again piece by piece: whoever frees what it holds must come behind that."""
    submitted(writer, ops := reserves(WHOLE_UP_TO))
    await settled(store)
    submitted(writer, [Resolve("org", op.request_id, "", State.RELEASED, NOW) for op in ops])
    await settled(store)
    assert store.sizes == [WHOLE_UP_TO]
    await settled(store, 0)
    assert store.sizes == [WHOLE_UP_TO, WHOLE_UP_TO]
