"""Work that goes on when whoever asked for it goes away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unstopped(work: Coroutine[Any, Any, T]) -> T:
    """Its result; it goes on when nobody waits any more: a thread that writes an index cannot be stopped, and a second
    one at the same index would be let in before it has ended. What it has read is of use to the next question.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(seen)
    return await asyncio.shield(task)


def seen(task: asyncio.Task[Any]) -> None:
    """A callback for tasks that perhaps nobody waits for: their failure is told to nobody then."""
    if not task.cancelled():
        task.exception()
