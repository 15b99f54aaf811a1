"""One HTTP/1.1 connection to a provider: a request goes out, its answer comes in by httptools' callbacks.

One request at a time, used again after it. There is no reader task and no timer for each piece: what comes is kept
until it is read, and one timer looks after all waits of the connection. docs/decisions/0018-own-http-client.md.
"""

import asyncio
import time
from collections.abc import Callable

import httptools

MAX_HEAD_BYTES = 64 * 1024
"""Status line, headers and trailers of one answer."""
HELD_BYTES = 1 << 18
"""More than this unread, and nothing more is taken from the network."""
DRAIN_S = 0.25
"""How long an answered connection may take to end its body before it is dropped instead of reused."""


Sink = Callable[[bytes], float]
"""Takes a piece of a body; until when (time.monotonic) the next may take, 0 = it takes no more."""


class Broken(Exception):
    """The connection ended inside an answer, or before it."""


class Malformed(Exception):
    """What came is no HTTP."""


class Wire(asyncio.Protocol):
    """One connection. `free` is told when it can be used again, `lost` when it is gone."""

    def __init__(self, free: Callable[["Wire"], None], lost: Callable[["Wire"], None]) -> None:
        self._free, self._lost = free, lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        """See httptools, which asks for it once: the list stays the same one."""
        self._parser = httptools.HttpResponseParser(self)
        # As aiohttp reads answers: header values with odd bytes, blanks behind a chunk's size.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._timer: asyncio.TimerHandle | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._rings_at = self.until = self.idle_since = 0.0
        """`until`: until when the next piece may take; time.monotonic."""
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._busy = False
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        """0 until the headers are there."""
        self.headers: dict[bytes, bytes] = {}
        """By names in lower case."""
        self.complete = False
        """The whole answer came; what of it was not read yet is still there."""
        self._head_bytes = self._held = 0
        self._pieces.clear()
        self._fault: Exception | None = None
        self._keep = self._interim = self._paused = self._drains = False

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and not self._busy

    def send(self, request: bytes) -> None:
        """Puts a request on its way."""
        self._begin()
        self._busy = True
        assert self._transport is not None
        self._transport.write(request)

    async def head(self, until: float) -> None:
        """Waits for status and headers until then (time.monotonic). Raises TimeoutError, Broken or Malformed."""
        while not self.status:
            if self._fault is not None:
                raise self._fault
            await self._news(until)

    async def read(self, until: float) -> bytes:
        """What came since the last time, at least a byte; empty at the end. Raises as `head` does, when everything
        before the fault was read."""
        while not self._pieces:
            if self._fault is not None:
                raise self._fault
            if self.complete:
                return b""
            await self._news(until)
        return self._taken()

    def _taken(self) -> bytes:
        """What was not read yet."""
        pieces, self._held = self._pieces, 0
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return taken

    async def pour(self, sink: Sink, until: float) -> None:
        """Gives `sink` what comes, in the moment it comes: nobody is woken for it. Ends when that takes no more, and
        when the answer ended or broke, which `read` tells. Raises TimeoutError, and what `sink` raises."""
        if self._pieces:
            until = sink(self._taken())
        if not until or self.complete or self._fault is not None:
            return
        self._sink = sink
        try:
            await self._news(until)
        finally:
            self._sink = None

    def _pour(self, sink: Sink, waiter: "asyncio.Future[None]") -> None:
        """What just came, while somebody waits and has it poured."""
        if self._pieces:
            try:
                self.until = until = sink(self._taken())
            except Exception as error:
                self._waiter = None
                waiter.set_exception(error)
                return
            if not until:
                self._wake()
            elif until < self._rings_at - 0.001:
                self._set(until)
        if self.complete or self._fault is not None:
            self._wake()

    def leave(self) -> None:
        """Nobody reads on: the connection is used again when its answer is whole, and dropped when not."""
        if self.complete:
            self._end()
        else:
            self.drop()

    def leave_soon(self) -> None:
        """Nobody reads on, but the answer is whole but for the end of its body: that may still come."""
        if self.complete or self._fault is not None:
            self.leave()
            return
        self._drains = True
        self._drain = self._loop.call_later(DRAIN_S, self.drop)
        if self._paused and self._transport is not None:
            self._transport.resume_reading()

    def drop(self) -> None:
        """Closes the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        """The answer is over for both sides."""
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        self._busy = False
        self._pieces.clear()
        # A provider that answers before it has read everything will not read the next request.
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        if self._keep and self._fault is None and self.usable and not self._unsent():
            self.idle_since = time.monotonic()
            self._free(self)
        else:
            self.drop()

    def _unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _news(self, until: float) -> "asyncio.Future[None]":
        """Done when something came; a TimeoutError when nothing did until then. One timer, set anew only when it
        rings."""
        self.until = until
        if self._timer is None or until < self._rings_at - 0.001:
            self._set(until)
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._ring)

    def _ring(self) -> None:
        self._timer, waiter = None, self._waiter
        if waiter is None or waiter.done():
            return
        if self.until - time.monotonic() > 0.001:
            self._set(self.until)
        else:
            self._waiter = None
            waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol. An answer that says no length ends here."""
        self._transport = None
        for timer in (self._timer, self._drain):
            if timer is not None:
                timer.cancel()
        self._timer = self._drain = None
        if not self.complete and self._fault is None:
            if self.status and exc is None and self._lasts_until_closed():
                self.complete = True
            else:
                self._fault = Broken()
        self._lost(self)
        self._wake()

    def _lasts_until_closed(self) -> bool:
        return b"content-length" not in self.headers and b"transfer-encoding" not in self.headers

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self._busy:
            # Nothing was asked.
            self.drop()
            return
        try:
            self._parser.feed_data(data)
            if not self.status:
                # A header that never ends is shown by nobody else.
                self._count(len(data))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, Malformed):
            self._keep = False
            if not self.complete:
                self._fault = Malformed()
        if self._sink is not None and (waiter := self._waiter) is not None and not waiter.done():
            self._pour(self._sink, waiter)
            return
        if self._drains:
            self._pieces.clear()
        elif self._pieces:
            self._held += len(data)
        if self._held > HELD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if not self._drains:
            if self._pieces or self.complete or self.status or self._fault is not None:
                self._wake()
        elif self.complete:
            self._end()
        elif self._fault is not None:
            self.drop()

    def on_message_begin(self) -> None:
        """See httptools: an answer begins. Raises Malformed for a second one."""
        if self.complete:
            raise Malformed

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Raises Malformed for too many of them."""
        self._count(len(name) + len(value) + 4)
        if not self.status:
            self.headers[name.lower()] = value

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            raise Malformed

    def on_headers_complete(self) -> None:
        """See httptools. Raises Malformed for an answer in another protocol."""
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise Malformed
            # "100 Continue" and hints come before the answer.
            self._interim, self.headers = True, {}
            return
        self.status, self._keep = status, self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._interim:
            self._interim = False
        else:
            self.complete = True
