"""An answer as it comes from the network, made into what its caller is shown: whole, or piece by piece."""

from services.provider.adapters import Exchange
from services.provider.adapters.framing import Framing
from services.provider.calling.calls import Reply
from services.provider.calling.events import Frames
from services.provider.errors import UNREADABLE, ProviderFault, garbage, reading, unreadable

AFTER_FINISH_S = 3.0
"""How long usage and the end mark may take after the finish reason."""
MAX_HELD_BYTES = 1 << 20
"""How much of a stream may come before its first token."""


class WholeAnswer:
    """An answer in one piece."""

    def __init__(self, reply: Reply, exchange: Exchange, provider: str) -> None:
        self._reply, self._exchange, self._provider = reply, exchange, provider
        self._read = False

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
        self._read = self._ended = False

    async def next(self) -> Frames | None:
        """What came next; None at the end. Raises ProviderFault, when everything before the fault was given."""
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

    async def _take(self) -> None:
        """One network read."""
        exchange = self._exchange
        try:
            piece = await self._reply.pieces(
                started=exchange.first, short=AFTER_FINISH_S if exchange.finished else None
            )
        except ProviderFault:
            if not exchange.finished:
                raise
            # Everything but the end mark came: the answer is whole.
            self._read = True
            return
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
        self._held, self._held_bytes = [], 0
        return made
