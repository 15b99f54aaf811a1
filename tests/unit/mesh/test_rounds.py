"""Background work in rounds: when they come, and that none of them is the last."""

import asyncio
import logging

from mesh.errors import MeshError, Reason
from mesh.rounds import Rounds

LOG = logging.getLogger("test.rounds")


class Work:
    """Counts its rounds; the first ones fail."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.rounds = list(failures), 0
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        self.rounds += 1
        self.done.set()
        if self.failures:
            raise self.failures.pop(0)

    async def again(self) -> int:
        """After the next round, how many there were."""
        await asyncio.wait_for(self.done.wait(), 10)
        self.done.clear()
        return self.rounds


async def test_rounds_come_at_once_when_woken_and_by_the_clock(caplog):
    work = Work(MeshError(Reason.UNAVAILABLE, "no database"), RuntimeError("a fault"))
    woken = Rounds("test", work, None, LOG, meanwhile="nothing is done")
    woken.start()
    woken.start()
    assert await work.again() == 1
    for count in (2, 3):
        woken.wake()
        assert await work.again() == count
    await woken.close()
    woken.wake()
    await asyncio.sleep(0)
    assert work.rounds == 3
    assert "nothing is done: no database" in caplog.text and "the work failed and goes on" in caplog.text
    by_the_clock = Rounds("test", work, 0.001, LOG, meanwhile="", at_once=False)
    by_the_clock.start()
    assert await work.again() == 4
    assert await work.again() >= 5
    await by_the_clock.close()


async def test_what_comes_with_a_call_is_gathered():
    work = Work()
    rounds = Rounds("test", work, None, LOG, meanwhile="", gather_s=0.01, at_once=False)
    rounds.start()
    for _ in range(5):
        rounds.wake()
        await asyncio.sleep(0)
    assert await work.again() == 1
    await rounds.close()
    assert work.rounds == 1
