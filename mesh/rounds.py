"""Background work that is done over and over: at once, then now and then, and soon after somebody says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from mesh.errors import MeshError


class Rounds:
    """One task that calls `work` in rounds. What fails is told to the log, and the next round comes all the same."""

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        every_s: float | None,
        log: logging.Logger,
        *,
        meanwhile: str,
        level: int = logging.WARNING,
        gather_s: float = 0.0,
        at_once: bool = True,
    ) -> None:
        """`name` is the task's. `every_s`: None = only when woken. `meanwhile`: what the log says, at `level`, when a
        round could not be made. `gather_s`: waited after a `wake`, for what comes with it. `at_once`: whether the first
        round waits for nothing.
        """
        self._name, self._work, self._every_s, self._log = name, work, every_s, log
        self._meanwhile, self._level, self._gather_s, self._at_once = meanwhile, level, gather_s, at_once
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stops, in the middle of a round too."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def wake(self) -> None:
        """There is, or will be in a moment, something to do."""
        self._wake.set()

    async def round(self) -> None:
        """One round; raises nothing."""
        try:
            await self._work()
        except MeshError as error:
            self._log.log(self._level, "%s: %s", self._meanwhile, error.message)
        except Exception:
            self._log.exception("%s: the work failed and goes on", self._name)

    async def _run(self) -> None:
        if self._at_once:
            await self.round()
        while True:
            await self._woken()
            self._wake.clear()
            await self.round()

    async def _woken(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every_s):
                await self._wake.wait()
            await asyncio.sleep(self._gather_s)
