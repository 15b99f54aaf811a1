"""Equal chats at the same time share one call: who leads, who follows, and what followers are shown of an answer.

Pure: no wire, no store, no service. A flight is one shared call. Its tape holds what the leader was told, once for all
readers; nobody who reads slowly holds anybody else.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

MOST_TAPE_BYTES = 8 * 1024 * 1024
"""How much of an answer is kept for those who have not read it yet."""
MOST_FAILED_CALLS = 2
"""So many calls of one flight after another may fail at their providers; then the failure is everybody's."""


class Overrun(Exception):
    """A reader is so far behind that what comes next is no longer kept."""


class LeaderFailed(Exception):
    """The leader has no answer. Whoever was shown nothing may lead itself, unless the failure is everybody's."""

    def __init__(self, error: BaseException, *, everybodys: bool) -> None:
        super().__init__(str(error))
        self.error, self.everybodys = error, everybodys


class Tape:
    """What one run tells, in its order: added once, read by any number, each at its own pace."""

    def __init__(self, most_bytes: int = MOST_TAPE_BYTES) -> None:
        self._events: deque[tuple[Any, int]] = deque()
        self._dropped = self._bytes = 0
        self._most_bytes = most_bytes
        self._waiting: set[asyncio.Future[None]] = set()
        self.error: BaseException | None = None
        self.ended = False
        self.held = False
        """Readers other than the run's own caller are shown nothing before the end."""

    def add(self, event: Any, size: int = 0) -> None:
        """Shows an event to everybody; never waits."""
        self._events.append((event, size))
        self._bytes += size
        while self._bytes > self._most_bytes and len(self._events) > 1:
            self._bytes -= self._events.popleft()[1]
            self._dropped += 1
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more."""
        if not self.ended:
            self.ended, self.error = True, error
            self._wake()

    @property
    def whole(self) -> bool:
        """Whether everything that was added is still kept."""
        return not self._dropped

    async def read(self, *, own: bool = False) -> AsyncIterator[Any]:
        """Every event from the first on, until the end. Raises Overrun, and what the run ended with."""
        place = 0
        while True:
            if place < self._dropped:
                raise Overrun
            if place < self._dropped + len(self._events) and (own or self.ended or not self.held):
                place += 1
                yield self._events[place - 1 - self._dropped][0]
            elif self.ended:
                if self.error is not None:
                    raise self.error
                return
            else:
                await self._more()

    async def until_ended(self) -> None:
        """Waits for the end, however it is."""
        while not self.ended:
            await self._more()

    async def _more(self) -> None:
        # One future for each reader: a reader that is cancelled takes nobody with it.
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


@dataclasses.dataclass(eq=False, slots=True)
class Flight:
    """One shared call. The leader fills in what it learns; `answer` is there once it has landed well."""

    key: bytes
    leader_id: str
    shape: tuple[Any, ...]
    """How the leader's answer is written; only those who ask for the same can be shown it as it comes."""
    started: float
    tape: Tape
    failed_calls: int = 0
    """Calls that failed at their providers before this one, one leader after another."""
    following: int = 0
    made_by: str = ""
    """The request whose call it was, when that came to another replica."""
    hit: Any = None
    """What the leader found stored, if it did."""
    answer: Any = None
    """The whole answer in its stored form, when there is one."""
    check: Any = None
    """The leader's part in validation, when it has one; everybody's rules are the same."""
    dispatched: bool = False
    """A provider was asked: the failure is not of the leader's own account."""
    own_failure: bool = False
    """It failed for a reason of the leader's own, such as its budget."""
    final: bool = False
    """The failure would be the same for everybody."""
    deserted: Callable[[], None] | None = None
    """Called when the last follower has left and the leader's caller is gone."""

    @property
    def caller_id(self) -> str:
        """The request whose call is shared."""
        return self.made_by or self.leader_id

    @contextmanager
    def followed(self) -> Iterator[None]:
        """While this lasts somebody waits for the answer."""
        self.following += 1
        try:
            yield
        finally:
            self.following -= 1
            if not self.following and self.deserted is not None:
                self.deserted()

    async def shown(self) -> AsyncIterator[Any]:
        """What the leader is told. Raises LeaderFailed or Overrun."""
        try:
            async for event in self.tape.read():
                yield event
        except (Overrun, GeneratorExit):
            raise
        except BaseException as error:
            # What ends the reader itself is not the leader's.
            if error is not self.tape.error:
                raise
            raise self.failure() from None

    def failure(self) -> LeaderFailed:
        """Why there is no answer, and whose failure it is."""
        error = self.tape.error
        assert error is not None
        provider = self.dispatched and not self.own_failure
        return LeaderFailed(error, everybodys=provider and (self.final or self.failed_calls + 1 > MOST_FAILED_CALLS))


class Flights:
    """The shared calls of one replica by key. Nothing here waits."""

    def __init__(self, *, window_s: float, now: Callable[[], float]) -> None:
        self._window_s, self._now = window_s, now
        self._open: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._open)

    def join(
        self, key: bytes, request_id: str, shape: tuple[Any, ...], tape: Tape, after: Flight | None = None
    ) -> Flight:
        """The flight of this key that can still be joined, or a new one that `request_id` leads.

        `after`: the flight that failed the one who asks; what failed there counts on.
        """
        flight = self._open.get(key)
        # One that has landed well can be joined until it is closed: its answer may not be in the cache yet.
        if flight is not None and flight.tape.error is None and self._now() - flight.started <= self._window_s:
            return flight
        failed = 0
        if after is not None:
            failed = after.failed_calls + (1 if after.dispatched and not after.own_failure else 0)
        flight = self._open[key] = Flight(key, request_id, shape, self._now(), tape, failed)
        return flight

    def close(self, flight: Flight) -> None:
        """Nobody joins it any more; those who follow stay."""
        if self._open.get(flight.key) is flight:
            del self._open[flight.key]
