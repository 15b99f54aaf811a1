"""A process that hands a log out as audit's service does, over a Unix socket: the other end of verification."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import sys
from collections.abc import Iterator

import uvloop

from dac.audit.v1 import log_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.postgres import Database
from services.audit.follower import Arrivals
from services.audit.log.server import LogServicer
from services.audit.log.store import LogStore

PART_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Socket:
    """Where a verification reads."""

    path: str

    def __call__(self, first: int, end: int = 0) -> Iterator[bytes]:
        """The frames of a stretch; of all the rest without an end."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(self.path)
            connection.sendall(f"{first} {end}\n".encode())
            while part := connection.recv(PART_BYTES):
                yield part


async def main(dsn: str, path: str) -> None:
    """Answers each connection with the part of the log that it names, until standard input ends."""
    database = Database(dsn, "audit")
    await database.open()
    servicer = LogServicer(LogStore(database), Arrivals())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, end = map(int, (await reader.readline()).split())
        called = Call(principal=Principal(kind=Principal.KIND_OPERATOR, scopes=["operator"]))
        # Who is killed reads no further.
        with contextlib.suppress(ConnectionError), serving(called):
            async for part in servicer.ReadLog(log_pb2.ReadLogRequest(first=first, end=end), None):
                writer.write(part.data)
                await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await database.close()


if __name__ == "__main__":
    uvloop.run(main(sys.stdin.readline().strip(), sys.argv[1]))
