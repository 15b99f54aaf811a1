"""Places are never lost and never doubled, however their holders and waiters leave."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.provider.calling.bulkhead import Bulkhead
from services.provider.errors import ProviderFault


async def test_a_waiter_that_leaves_as_the_place_comes_free() -> None:
    bulkhead = Bulkhead("p", 1, 4)

    async def hold(done: asyncio.Event) -> None:
        async with bulkhead.place(5):
            await done.wait()

    first_done, other_done = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(hold(first_done))
    await asyncio.sleep(0)
    waiter, other = asyncio.create_task(hold(other_done)), asyncio.create_task(hold(other_done))
    await asyncio.sleep(0)
    first_done.set()
    # First's next step gives its place back; the waiter's next step is its cancellation.
    waiter.cancel()
    (ended,) = await asyncio.gather(waiter, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), repr(ended)
    other_done.set()
    await asyncio.gather(first, other)
    assert bulkhead.free == 1


async def test_the_line_is_bounded_in_length_and_time() -> None:
    bulkhead = Bulkhead("p", 1, 1)
    async with bulkhead.place(5):
        waiting = asyncio.create_task(bulkhead.place(0.01).__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(ProviderFault, match="waiting line"):
            async with bulkhead.place(5):
                pass
        with pytest.raises(ProviderFault, match="waiting line"):
            await waiting
    assert bulkhead.free == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=12))
def test_no_place_is_lost(places: int, visits: list[tuple[int, int]]) -> None:
    async def run() -> None:
        bulkhead, inside = Bulkhead("p", places, 6), 0

        async def visit(steps: int) -> None:
            nonlocal inside
            async with bulkhead.place(5):
                inside += 1
                assert inside <= places
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                finally:
                    inside -= 1

        async def leave(task: asyncio.Task[None], after: int) -> None:
            for _ in range(after):
                await asyncio.sleep(0)
            task.cancel()

        tasks = [asyncio.create_task(visit(steps)) for steps, _ in visits]
        leaving = [asyncio.create_task(leave(task, n)) for task, (_, n) in zip(tasks, visits, strict=True) if n < 8]
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*leaving)
        for end in ends:
            assert end is None or isinstance(end, asyncio.CancelledError | ProviderFault), repr(end)
        assert bulkhead.free == places

    asyncio.run(run())
