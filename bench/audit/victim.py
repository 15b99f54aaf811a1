"""A process that stores records and takes them up, and says what is stored and signed, until somebody kills it."""

from __future__ import annotations

import asyncio
import base64
import sys

from bench.audit.growing import Stage, payloads, rows
from mesh.postgres import Database

BATCHES = 150, 20, 1
"""Rows at once of writers beside each other: short ones overtake long ones that got their positions before."""


async def main(dsn: str, name: str, *, seals: bool) -> None:
    """Never returns. `S id…`: stored; `C note`: signed, in base64."""
    database = Database(dsn, "audit")
    await database.open()
    stage = Stage(database, payloads(database, seals=seals))
    waiting = rows(2000)

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async def store(size: int) -> None:
        while waiting:
            batch = [waiting.pop() for _ in range(min(size, len(waiting)))]
            await stage.records.insert_requests(batch, f"{name}-{len(waiting)}")
            say("S " + " ".join(row.request_id for row in batch))
            stage.arrivals.announce()

    async def take_up() -> None:
        await stage.sequencer.lead()
        while True:
            news = stage.arrivals.next()
            if await stage.sequencer.step():
                note = (await stage.store.head()).checkpoint
                say("C " + base64.b64encode(note.encode()).decode())
            else:
                await news.wait()

    await asyncio.gather(*map(store, BATCHES), take_up())


if __name__ == "__main__":
    asyncio.run(main(sys.stdin.readline().strip(), sys.argv[1], seals="sealed" in sys.argv[2:]))
