"""How much work one answer may cost: checks ask before each step, and what no longer fits is not checked."""

from __future__ import annotations

from collections.abc import Callable

CPU_S = 0.030
"""After so much of this thread's CPU no check begins another step; the longest single step stays below 20 ms."""


class Effort:
    """The clock of one answer."""

    def __init__(self, clock: Callable[[], float], most_s: float = CPU_S) -> None:
        """`clock` tells the CPU seconds of this thread."""
        self._clock, self._end = clock, clock() + most_s
        self._paused = 0.0

    def pause(self) -> None:
        """While this answer waits, the thread works for others."""
        self._paused = self._clock()

    def go_on(self) -> None:
        """The answer's turn again."""
        self._end += self._clock() - self._paused

    def is_left(self) -> bool:
        """Whether another step may begin."""
        return self._clock() < self._end
