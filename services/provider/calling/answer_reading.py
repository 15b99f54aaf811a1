"""An answer as it comes from the network, made into what its caller is shown: whole, or piece by piece."""

import contextvars
import functools
import time
from collections.abc import Callable

from services.provider.adapters import Exchange
from services.provider.adapters.framing import Framing
from services.provider.calling.calls import Reply
from services.provider.calling.events import Frames
from services.provider.calling.wire import Sink
from services.provider.errors import UNREADABLE, ProviderFault, garbage, reading, unreadable

AFTER_FINISH_S = 3.0
"""How long usage and the end mark may take after the finish reason."""
MAX_HELD_BYTES = 1 << 20
"""How much of a stream may come before its first token."""
Outlet = Callable[[bytes], bool]
"""Takes whole events in the moment they come; False = not now: then they go the usual way."""


class WholeAnswer:
    """An answer in one piece."""

    def __init__(self, reply: Reply, exchange: Exchange, provider: str) -> None:
        self._reply, self._exchange, self._provider = reply, exchange, provider
        self._read = False
        self.given_bytes = 0
        """How much was given."""

    async def next(self) -> Frames | None:
        """All of it, then None. Raises ProviderFault."""
        if self._read:
            return None
        self._read = True
        raw = await self._reply.whole()
        with reading(self._provider):
            body = self._exchange.plain(raw)
        # Again: a translation may be larger than what it was made of.
        self._reply.check_size(len(body))
        self.given_bytes = len(body)
        return Frames(body, 1)


class StreamedAnswer:
    """A stream: one Frames for every network read, held back until the first token.

    (No generator: every event would pass one layer more.)
    """

    def __init__(
        self, reply: Reply, exchange: Exchange, provider: str, framing: Framing, *, max_event_bytes: int
    ) -> None:
        self._reply, self._exchange, self._provider = reply, exchange, provider
        self._tail, self._splitter = framing.tail, framing.splitter(max_event_bytes)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._fault: ProviderFault | None = None
        self._refused: Frames | None = None
        self._read = self._ended = False
        self.given_bytes = 0
        """How much was given, by `next` and by `pour`."""

    async def next(self) -> Frames | None:
        """What came next; None at the end. Raises ProviderFault, when everything before the fault was given."""
        if self._refused is not None:
            refused, self._refused = self._refused, None
            return refused
        while not self._read:
            if self._fault is not None:
                raise self._fault
            await self._take()
            if self._held and self._exchange.first:
                return self._frames()
            if self._fault is None and self._held_bytes > MAX_HELD_BYTES:
                raise garbage(self._provider, "more than 1 MiB came before the first token")
        if self._fault is not None:
            raise self._fault
        if self._ended:
            return None
        self._ended, tail = True, self._exchange.end()
        return self._frames(tail) if self._held or tail else None

    async def pour(self, outlet: Outlet) -> None:
        """Gives `outlet` what comes, as long as that takes it, without waking who asked; `next` goes on behind it.
        Raises ProviderFault."""
        if not self._read and self._fault is None:
            await self._pour(outlet)
        if self._read and not self._ended and self._fault is None and self._refused is None:
            self._ended, tail = True, self._exchange.end()
            if tail and outlet(tail):
                self.given_bytes += len(tail)
            elif tail:
                self._refused = self._frames(tail)

    async def _pour(self, outlet: Outlet) -> None:
        reply, exchange, held, feed = self._reply, self._exchange, self._held, self._feed
        idle_s, end, now = reply.idle_s, reply.end, time.monotonic

        def poured(piece: bytes) -> float:
            feed(piece)
            if held:
                data = held[0] if len(held) == 1 else b"".join(held)
                if not outlet(data):
                    self._refused = self._frames()
                    return 0.0
                self.given_bytes += len(data)
                self._held_bytes = 0
                held.clear()
            if self._read or self._fault is not None:
                return 0.0
            until = now() + (AFTER_FINISH_S if exchange.finished and idle_s > AFTER_FINISH_S else idle_s)
            return until if until < end else end

        until = now() + (min(idle_s, AFTER_FINISH_S) if exchange.finished else idle_s)
        try:
            # What comes is told in the context of whoever opened the connection, which was another request.
            here: Sink = functools.partial(contextvars.copy_context().run, poured)  # type: ignore[call-arg]
            await reply.pour(here, min(until, end))
        except ProviderFault:
            self._end_if_whole()

    def _end_if_whole(self) -> None:
        """Inside a ProviderFault of the network: everything but the end mark came, or it is raised again."""
        if not self._exchange.finished:
            raise
        self._read = True

    async def _take(self) -> None:
        """One network read."""
        exchange = self._exchange
        try:
            piece = await self._reply.pieces(
                started=exchange.first, short=AFTER_FINISH_S if exchange.finished else None
            )
        except ProviderFault:
            self._end_if_whole()
            return
        self._feed(piece)

    def _feed(self, piece: bytes) -> None:
        """Takes in what came; nothing = the end."""
        exchange = self._exchange
        try:
            for event in self._splitter.feed(piece or self._tail):
                if out := exchange.event(event):
                    self._held.append(out)
                    self._held_bytes += len(out)
                if exchange.done:
                    break
        except ProviderFault as error:
            self._fault = error
        except UNREADABLE as error:
            self._fault = unreadable(self._provider, error)
        self._read = not piece or exchange.done

    def _frames(self, tail: bytes = b"") -> Frames:
        """What is held, and what ends it."""
        made = Frames(b"".join(self._held) + tail, len(self._held) + tail.count(b"\n\n"))
        self._held.clear()
        self._held_bytes = 0
        self.given_bytes += len(made.data)
        return made
