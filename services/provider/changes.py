"""Telling audit of changes: from the outbox, again and again until audit has them."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from mesh.errors import MeshError
from services.provider.store import ProviderStore

RETRY_S = 5.0
_log = logging.getLogger("dac.provider.changes")


class ChangeTeller:
    """Delivers what waits in the outbox. Replicas may deliver twice: audit takes each record id once."""

    def __init__(self, store: ProviderStore, append: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        self._store, self._append = store, append
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins delivering in the background."""
        self._task = asyncio.create_task(self._run(), name="provider-changes")

    async def close(self) -> None:
        """Stops; what was not told yet waits in the outbox."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Something was just written."""
        self._wake.set()

    async def tell(self) -> int:
        """Delivers what waits; returns how many. Raises MeshError."""
        changes = await self._store.untold()
        if changes:
            await self._append([change.record for change in changes])
            await self._store.told(changes)
        return len(changes)

    async def _run(self) -> None:
        while True:
            try:
                while await self.tell():
                    pass
            except MeshError as error:
                _log.debug("audit could not be told yet: %s", error.message)
            except Exception:
                _log.exception("telling audit failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
