"""Budget's jobs end when they are told to, whatever wakes them at that moment."""

from __future__ import annotations

import asyncio

from services.budget.background import repeat


async def test_a_job_that_is_woken_and_cancelled_at_once_ends() -> None:
    wake, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        done.set()

    job = asyncio.create_task(repeat("working", 3600, work, wake))
    await done.wait()
    await asyncio.sleep(0)
    wake.set()
    await asyncio.sleep(0)  # What waits for the event is done now, and the job has not seen it yet.
    job.cancel()
    ended, _ = await asyncio.wait([job], timeout=5)
    assert ended and job.cancelled()


async def test_a_job_that_is_woken_works_at_once() -> None:
    wake, turns = asyncio.Event(), asyncio.Queue[int]()

    async def work() -> None:
        turns.put_nowait(turns.qsize())
        if turns.qsize() == 1:
            raise ValueError("once")

    job = asyncio.create_task(repeat("working", 3600, work, wake))
    for _ in range(3):
        await asyncio.wait_for(turns.get(), 5)
        wake.set()
    job.cancel()
    await asyncio.wait([job])
