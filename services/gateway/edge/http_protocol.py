"""uvicorn's HTTP/1.1 protocol with a limit on headers: their size, and the time they may take.

Three things besides, which cost less this way: an answer's head leaves with the first of its body, a piece of a stream
is written without the way through ASGI, and who wants to know that a client left is called instead of waiting.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024
HEADER_TIMEOUT_S = 15.0
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


WATCH, PIECE = "dac.watch", "dac.piece"
"""Where a request's scope has `BoundedProtocol.watch` and `_piece`, among its extensions."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose headers grow or drip without end: httptools itself keeps what comes."""

    _header_bytes = 0
    _in_headers = True
    _header_timer: asyncio.TimerHandle | None = None
    _gone = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watchers: set[Callable[[], None]] = set()

    def watch(self, left: Callable[[], None]) -> Callable[[], None]:
        """Calls `left` when the client goes away; what comes back stops that. For a request whose body was read."""
        # Its end may have stopped reading, and then nobody would see the connection's.
        self.flow.resume_reading()
        if self._gone:
            self.loop.call_soon(left)
        else:
            self._watchers.add(left)
        return lambda: self._watchers.discard(left)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells those who wanted to know."""
        super().connection_lost(exc)
        self._gone = True
        watchers, self._watchers = self._watchers, set()
        for left in watchers:
            left()

    def connection_made(self, transport: Any) -> None:
        """Begins the time for the first headers."""
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._late)

    def _late(self) -> None:
        if self._in_headers and not self.transport.is_closing():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to headers."""
        if self._in_headers:
            self._header_bytes += len(data)
            # A first piece may hold a body as well; only headers that do not end are refused.
            if self._header_bytes > MAX_HEADER_BYTES and b"\r\n\r\n" not in data[:MAX_HEADER_BYTES]:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Headers of the next request begin."""
        super().on_message_begin()
        self._in_headers, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        """The body, if any, is the application's to limit."""
        self._in_headers = False
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        extensions: dict[str, Any] = {WATCH: self.watch}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        cycle: Any = self.cycle
        cycle.transport = _HeadFirst(self.transport, cycle, self.loop)
        extensions[PIECE] = functools.partial(_piece, cycle)


def _piece(cycle: Any, data: bytes) -> bool:
    """Writes a piece of a chunked body, not its end; False when that is to be sent the usual way: the client does not
    read or is gone, or there is nothing to write."""
    if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete or not cycle.chunked_encoding:
        return False
    if not data or cycle.scope["method"] == "HEAD":
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
    return True


class _HeadFirst:
    """A request's transport until its answer has begun: keeps the head for what is written next, in one system call
    with it. Nothing is kept longer than until the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, cycle: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._cycle, self._loop = transport, cycle, loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keeps the first piece, sends it with the second and steps aside."""
        if not self._head:
            self._head = data
            self._loop.call_soon(self._send)
            return
        head, self._head = self._head, b""
        self._cycle.transport = self._transport
        self._transport.write(head + data)

    def close(self) -> None:
        """Sends what is kept first."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._head and not self._transport.is_closing():
            self._cycle.transport = self._transport
            self._transport.write(self._head)
        self._head = b""
