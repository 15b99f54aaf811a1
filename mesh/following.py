"""Keeping what is in memory current: read again when somebody says that it changed, and now and then anyway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from mesh.errors import MeshError


class Follower:
    """Calls `refresh` in the background: soon after each `wake`, and every `every_s` seconds, as news can be lost."""

    def __init__(self, name: str, refresh: Callable[[], Awaitable[None]], every_s: float, log: logging.Logger) -> None:
        """`name` is the task's, and what the log calls it."""
        self._name, self._refresh, self._every_s, self._log = name, refresh, every_s, log
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something may have changed."""
        self._wake.set()

    def start(self) -> None:
        """Begins to follow."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stops following."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._refresh()
            except MeshError as error:
                # What is known stays in force without the database; it is asked again at the next turn.
                self._log.debug("%s: what is new could not be read: %s", self._name, error.message)
            except Exception:
                # A follower that died would leave old news in force for good.
                self._log.exception("%s: following failed, going on", self._name)
