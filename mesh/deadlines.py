"""Deadlines of what runs in this process: one timer of the event loop for all of them.

Nearly every call ends long before its deadline. A timer of its own would cost each of them more than the look at the
clock that it is: here a call is put into a dictionary and taken out again, and the one timer stands at the earliest
deadline of those that were there when it was set.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Expiring(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """It has come."""


class Deadlines:
    """The deadlines of one event loop, on time.monotonic()'s scale."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: dict[Expiring, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._set_for = float("inf")

    def add(self, deadline: float, one: Expiring) -> None:
        """It is told at its deadline, unless it is discarded before."""
        self._waiting[one] = deadline
        if deadline < self._set_for:
            self._set(deadline)

    def discard(self, one: Expiring) -> None:
        """It is not told any more."""
        self._waiting.pop(one, None)

    def _set(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._set_for = deadline
        self._timer = self.loop.call_later(max(0.0, deadline - time.monotonic()), self._look)

    def _look(self) -> None:
        """Tells those that are due and stands at the earliest of the rest: what set the timer may have ended before."""
        self._timer, self._set_for = None, float("inf")
        now = time.monotonic()
        due = [one for one, deadline in self._waiting.items() if deadline <= now]
        for one in due:
            del self._waiting[one]
        if self._waiting:
            self._set(min(self._waiting.values()))
        for one in due:
            one.expire()


_deadlines: Deadlines | None = None


def deadlines() -> Deadlines:
    """Those of the running event loop."""
    global _deadlines
    loop, found = asyncio.get_running_loop(), _deadlines
    if found is None or found.loop is not loop:
        found = _deadlines = Deadlines(loop)
    return found
