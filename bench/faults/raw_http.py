"""HTTP/1.1 as bytes over asyncio, because a framework cannot reset a connection, stall it, or end a body wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object; empty for anything else."""
        try:
            decoded = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return decoded if isinstance(decoded, dict) else {}


class Connection:
    """A client's connection, written to by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def request(self) -> Request | None:
        """The next request; None when the client has left or wrote nonsense."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, ConnectionError):
            return None
        return Request(method, path.partition("?")[0], headers, body)

    async def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Status line and headers."""
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def answer(
        self, status: int, body: bytes, *, kind: str = "application/json", more: Mapping[str, str] | None = None
    ) -> None:
        """A whole answer."""
        await self.head(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(more or {})})
        await self.write(body)

    async def begin_chunks(self, *, kind: str = "text/event-stream", more: Mapping[str, str] | None = None) -> None:
        """The head of a chunked answer with status 200."""
        await self.head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked", **(more or {})})

    async def chunk(self, data: bytes) -> None:
        """One chunk of the body."""
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_chunks(self) -> None:
        """The last chunk: the body is complete."""
        await self.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Closes with a TCP reset instead of an orderly end."""
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def close(self) -> None:
        """An orderly end of the connection, whatever was promised about the body."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def left_within(self, seconds: float) -> bool:
        """Waits that long; True as soon as the client has left."""
        try:
            async with asyncio.timeout(seconds):
                return not await self._reader.read(1)
        except TimeoutError:
            return False
        except ConnectionError:
            return True


Serve = Callable[[Request, Connection], Awaitable[bool]]
"""Answers one request; True when the connection may be used again."""


class Server:
    """`async with Server(serve) as server`: server.origin."""

    def __init__(self, serve: Serve, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._serve, self._host, self._port = serve, host, port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def origin(self) -> str:
        """http://host:port."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._accept, self._host, self._port, limit=1 << 24, backlog=512)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        connection = Connection(reader, writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while (request := await connection.request()) is not None:
                if not await self._serve(request, connection):
                    break
        with contextlib.suppress(asyncio.CancelledError):
            await connection.close()
