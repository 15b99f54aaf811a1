"""Ends what streams for a key that is good no more. Until then a stream costs one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from mesh.errors import MeshError, Reason

CHECK_AGAIN_S = 30.0
"""How often an open stream's key is checked: it ends within a minute of a revocation."""


class KeyWatch:
    """Around what streams: leaves the block with INVALID_CREDENTIAL when `check` raises that.

    Keys that cannot be checked end nothing: only new requests are refused while the database is away.
    """

    def __init__(self, check: Callable[[], Awaitable[object]]) -> None:
        self._check, self._limit = check, asyncio.timeout(None)
        self._refused: MeshError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            if self._refused is None:
                raise
            raise self._refused from None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(CHECK_AGAIN_S, self._look)

    def _look(self) -> None:
        self._task = asyncio.create_task(self._look_now(), name="key-watch")

    async def _look_now(self) -> None:
        try:
            await self._check()
        except MeshError as error:
            if error.reason is Reason.INVALID_CREDENTIAL:
                self._refused = error
                self._limit.reschedule(asyncio.get_running_loop().time())
                return
        self._wait()
