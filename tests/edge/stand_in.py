"""A gateway replica of raw bytes: it answers /ready, and everything else as a test says, down to the last byte."""

import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Callable
from typing import BinaryIO

READY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclasses.dataclass(frozen=True)
class Request:
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request, socket.socket], None]


def reply(status: int, *headers: str, body: bytes = b"{}") -> Answer:
    """The same whole answer to everything."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} x", f"content-length: {len(body)}", *headers))
    return lambda _, connection: connection.sendall(head.encode() + b"\r\n" + body)


def finish(connection: socket.socket) -> None:
    """Ends a connection in order, in the middle of whatever was sent."""
    connection.shutdown(socket.SHUT_RDWR)


def reset(connection: socket.socket) -> None:
    """Ends a connection as a machine that died does: `_serve` closes it when this is raised."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError


class StandIn:
    """Listens until it is closed; `answer` may be changed while it runs."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer or reply(200)
        self.requests: list[Request] = []
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening and ends every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                finish(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            while request := self._read(stream):
                if request.path == "/ready":
                    connection.sendall(READY)
                    continue
                self.requests.append(request)
                self.answer(request, connection)
        self._connections.discard(connection)

    def _read(self, stream: BinaryIO) -> Request | None:
        first = stream.readline().decode().split()
        if not first:
            return None
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        while headers.get("transfer-encoding") == "chunked" and (size := int(stream.readline(), 16)):
            body += stream.read(size)
            stream.readline()
        if headers.get("transfer-encoding") == "chunked":
            stream.readline()
        return Request(first[0], first[1], headers, body)
