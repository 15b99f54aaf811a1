"""Deadlines of one event loop: one timer, each told at its own time."""

import asyncio
import time

from mesh.deadlines import Deadlines, deadlines


class _One:
    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.at = 0.0

    def expire(self) -> None:
        self.at = time.monotonic()
        self.told.set()


async def test_each_is_told_at_its_own_deadline_whatever_the_order_they_came_in():
    watch, now = Deadlines(asyncio.get_running_loop()), time.monotonic()
    late, early, past = _One(), _One(), _One()
    watch.add(now + 0.06, late)
    watch.add(now + 0.02, early)
    watch.add(now - 1, past)
    async with asyncio.timeout(5):
        for one, deadline in ((past, now), (early, now + 0.02), (late, now + 0.06)):
            await one.told.wait()
            assert one.at >= deadline
    assert past.at <= early.at <= late.at


async def test_who_has_ended_is_not_told_and_the_timer_it_had_set_tells_the_next():
    watch, now = Deadlines(asyncio.get_running_loop()), time.monotonic()
    ended, other = _One(), _One()
    watch.add(now + 0.01, ended)
    watch.add(now + 0.05, other)
    watch.discard(ended)
    watch.discard(ended)
    async with asyncio.timeout(5):
        await other.told.wait()
    assert not ended.told.is_set()


async def test_an_event_loop_has_deadlines_of_its_own():
    ours = deadlines()
    assert deadlines() is ours

    async def theirs() -> Deadlines:
        return deadlines()

    assert await asyncio.to_thread(lambda: asyncio.run(theirs())) is not ours
    assert deadlines().loop is asyncio.get_running_loop()
