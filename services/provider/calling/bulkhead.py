"""One provider's places: so many at once, so many waiting, the rest refused. One slow provider cannot take all."""

import asyncio
import contextlib
from collections import deque

from services.provider.errors import busy


class Bulkhead:
    """A semaphore with a bounded, first-come waiting line."""

    def __init__(self, provider: str, places: int, max_waiting: int) -> None:
        self._provider = provider
        self._free = places
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """Places free now."""
        return self._free

    def place(self, wait_s: float) -> "Place":
        """Holds one place. Raises ProviderFault (busy) when the line is full or the wait too long."""
        return Place(self, wait_s)

    async def take(self, wait_s: float) -> None:
        """Takes a place, which is to be given back. Raises ProviderFault (busy)."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(wait_s)

    async def _wait(self, wait_s: float) -> None:
        if len(self._waiting) >= self._max_waiting:
            raise busy(self._provider)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The place was handed over in the very moment of giving up.
                self.give_back()
            else:
                # One that was given up may already have been passed over by give_back.
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise busy(self._provider) from None
            raise

    def give_back(self) -> None:
        """To whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Place:
    """A place at a provider while it is held."""

    __slots__ = ("_bulkhead", "_wait_s")

    def __init__(self, bulkhead: Bulkhead, wait_s: float) -> None:
        self._bulkhead, self._wait_s = bulkhead, wait_s

    async def __aenter__(self) -> None:
        await self._bulkhead.take(self._wait_s)

    async def __aexit__(self, *_: object) -> None:
        self._bulkhead.give_back()
