"""Heavy work beside the event loop: one piece at a time for each organisation.

Threads share one interpreter, so whoever had five at work would have five shares of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mesh.call import current

P = ParamSpec("P")
T = TypeVar("T")
_lines: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()


async def in_turn(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What `work` returns, done in a thread when what the caller's organisation asked for before is done.

    A thread cannot be stopped: when its caller goes away the next one waits for it all the same.
    """
    principal = current().principal
    whose = principal.org_id if principal is not None else ""
    line = _lines.get(whose)
    if line is None:
        line = _lines[whose] = asyncio.Lock()
    await line.acquire()
    try:
        context = contextvars.copy_context()
        doing = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(work, *given, **named))
    except BaseException:
        line.release()
        raise
    doing.add_done_callback(lambda done: _next(line, done))
    return await asyncio.shield(doing)


def _next(line: asyncio.Lock, done: asyncio.Future[T]) -> None:
    line.release()
    if not done.cancelled():
        # Its caller may have gone: then nobody else would look at its failure.
        done.exception()
