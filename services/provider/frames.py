"""Gathering stream events into fewer messages across a process border: joined, never split, the first one at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.provider.events import Event, Frames


async def coalesce(
    events: AsyncGenerator[Event, None], *, interval_s: float, max_bytes: int
) -> AsyncGenerator[Event, None]:
    """The same events with neighbouring Frames joined: at most `interval_s` late, at most about `max_bytes` large."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue(maxsize=64)

    async def read() -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    await queue.put(event)
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    reader = asyncio.create_task(read())
    held: list[Frames] = []
    size = 0
    due: float | None = None
    first = True
    try:
        while True:
            try:
                async with asyncio.timeout_at(due):
                    event = await queue.get()
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
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _joined(held: list[Frames]) -> Frames:
    if len(held) == 1:
        return held[0]
    return Frames(b"".join([one.data for one in held]), sum(one.events for one in held))
