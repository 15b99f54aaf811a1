"""Gathering stream events into fewer messages across a process border: joined, never split, the first one at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.provider.calling.events import Event, Frames


async def coalesce(
    events: AsyncGenerator[Event, None], *, interval_s: float, max_bytes: int
) -> AsyncGenerator[Event, None]:
    """The same events with neighbouring Frames joined: at most `interval_s` late, at most about `max_bytes` large."""
    loop = asyncio.get_running_loop()
    ahead = _Ahead(events)
    held: list[Frames] = []
    size = 0
    due: float | None = None
    first = True
    try:
        while True:
            try:
                async with asyncio.timeout_at(due):
                    event = await ahead.queue.get()
            except TimeoutError:
                yield _joined(held)
                held, size, due = [], 0, None
                continue
            if isinstance(event, Frames) and not first:
                held.append(event)
                size += len(event.data)
                due = due if due is not None else loop.time() + interval_s
                if size >= max_bytes:
                    yield _joined(held)
                    held, size, due = [], 0, None
                continue
            if held:
                yield _joined(held)
                held, size, due = [], 0, None
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            first = first and not isinstance(event, Frames)
            yield event
    finally:
        await ahead.close()


class _Ahead:
    """Reads ahead in a task of its own, a bounded way."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        self.queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue(maxsize=64)
        self._leaving = False
        self._task = asyncio.create_task(self._read(events), name="frames-ahead")

    async def close(self) -> None:
        """Nobody takes from the queue any more."""
        self._leaving = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, events: AsyncGenerator[Event, None]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    await self.queue.put(event)
            await self.queue.put(None)
        except asyncio.CancelledError as error:
            # By somebody else than whoever takes from the queue: that one must not wait for ever.
            if not self._leaving:
                await self.queue.put(error)
            raise
        except Exception as error:
            await self.queue.put(error)


def _joined(held: list[Frames]) -> Frames:
    if len(held) == 1:
        return held[0]
    return Frames(b"".join([one.data for one in held]), sum(one.events for one in held))
