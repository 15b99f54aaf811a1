"""A process that reads a log as audit's service hands it out, to standard output: the other end of verification."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from dac.audit.v1 import log_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.postgres import Database
from services.audit.follower import Arrivals
from services.audit.log.server import LogServicer
from services.audit.log.store import LogStore


async def main(dsn: str) -> None:
    """Writes the whole stream, beside the event loop: the database goes on meanwhile, as under a server."""
    database = Database(dsn, "audit")
    await database.open()
    servicer = LogServicer(LogStore(database), Arrivals())
    with serving(Call(principal=Principal(kind=Principal.KIND_OPERATOR, scopes=["operator"]))):
        async for part in servicer.ReadLog(log_pb2.ReadLogRequest(), None):
            await asyncio.to_thread(sys.stdout.buffer.write, part.data)
    sys.stdout.buffer.flush()
    await database.close()


if __name__ == "__main__":
    uvloop.run(main(sys.stdin.readline().strip()))
