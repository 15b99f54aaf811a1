"""Two attempts side by side when the first is slow to begin: whoever shows a token first answers, the other is stopped.

After Dean and Barroso, "The Tail at Scale" (Communications of the ACM, 2013): a hedged request waits for a while
before the second copy is sent, so that few requests are sent twice.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from services.provider.calling.events import Attempt, Event, Frames, Started


class Racer(Protocol):
    """One attempt that can take part."""

    sent: bool
    """It has shown something to the caller."""

    def events(self) -> AsyncGenerator[Event, None]:
        """Its events; ends when it has answered or failed."""

    def started(self) -> Started:
        """That it begins, with the accounts of those before it."""

    def stopped(self) -> Attempt:
        """Its account if it were stopped now."""

    def lost(self) -> None:
        """Another one answered: writes its account."""


R = TypeVar("R", bound=Racer)


class Race(Generic[R]):
    """Runs `first`, and `second()` beside it when nothing was shown after `after_s`."""

    def __init__(self, first: R, second: Callable[[], R | None], after_s: float) -> None:
        self._first, self._second, self._after_s = first, second, after_s
        self._queue: asyncio.Queue[tuple[R, Event | Exception | None]] = asyncio.Queue(maxsize=64)
        self._tasks: dict[R, asyncio.Task[None]] = {}
        self.last: R = first
        """Who answered; when nobody did, who failed last."""
        self.racers: list[R] = []
        """All that took part."""

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events of whoever is ahead. The attempt that is named last before the first frames is the one that
        answers. Ends when that one ends, or when nobody is left."""
        try:
            async with aclosing(self._run()) as events:
                async for event in events:
                    yield event
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self) -> AsyncGenerator[Event, None]:
        self._start(self._first)
        hedge_at: float | None = asyncio.get_running_loop().time() + self._after_s
        shown = False
        while True:
            try:
                async with asyncio.timeout_at(hedge_at):
                    racer, event = await self._queue.get()
            except TimeoutError:
                hedge_at = None
                other = self._second()
                if other is not None:
                    self._start(other)
                continue
            if isinstance(event, Exception):
                raise event
            if event is None:
                self.last = racer
                del self._tasks[racer]
                if racer.sent or not self._tasks:
                    return
                # Alone now: a second one beside it is no hedge but a fallback, which is the loop's to decide.
                hedge_at = None
                continue
            if isinstance(event, Started):
                # A caller that leaves now has had both sent.
                known = {one.attempt_id for one in event.before}
                beside = [one.stopped() for one in self._tasks if one is not racer]
                beside = [one for one in beside if one.attempt_id not in known]
                event = dataclasses.replace(event, before=[*event.before, *beside])
            elif isinstance(event, Frames) and not shown:
                shown, hedge_at = True, None
                await self._stop_others(racer)
                if len(self.racers) > 1:
                    # With what the others came to: its caller may leave before the end.
                    yield racer.started()
            yield event

    def _start(self, racer: R) -> None:
        self.racers.append(racer)
        self._tasks[racer] = asyncio.create_task(self._read(racer), name="attempt")

    async def _read(self, racer: R) -> None:
        ended: Exception | None = None
        try:
            async with aclosing(racer.events()) as events:
                async for event in events:
                    await self._queue.put((racer, event))
        except Exception as error:
            ended = error
        await self._queue.put((racer, ended))

    async def _stop_others(self, winner: R) -> None:
        losers = [racer for racer in self._tasks if racer is not winner]
        for racer in losers:
            task = self._tasks.pop(racer)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            racer.lost()
        kept = []
        while not self._queue.empty():
            kept.append(self._queue.get_nowait())
        for racer, event in kept:
            if racer is winner:
                self._queue.put_nowait((racer, event))
