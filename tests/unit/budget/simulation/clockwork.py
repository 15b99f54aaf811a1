"""An event loop whose clock jumps to the next thing to do: a run takes no time, and the same run again is the same."""

from __future__ import annotations

import asyncio
import selectors


class _NeverWaits(selectors.SelectSelector):
    """Nothing comes from outside; waiting is a jump of the clock."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The clock goes on by what would have been waited."""
        if timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        self.waited_s += max(0.0, timeout)
        return []


class ClockworkLoop(asyncio.SelectorEventLoop):
    """asyncio without a world around it."""

    def __init__(self) -> None:
        self._never = _NeverWaits()
        super().__init__(self._never)

    def time(self) -> float:
        """Seconds that were waited so far; a bit more than due, so that rounding never makes it come back for less."""
        return self._never.waited_s + 1e-9
