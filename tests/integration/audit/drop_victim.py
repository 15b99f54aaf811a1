"""A process that drops old leaves and kills itself at a step: `python -m tests.integration.audit.drop_victim`.

The first line on standard input is the database; each further one a step, at which a child kills itself: the n-th time
that it has an answer of the database, or a transaction has ended. It says "killed", or "dropped" when there was no such
step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from mesh.postgres import Database
from mesh.tlog.packing import WINDOW
from services.audit.log.store import LogStore
from tests.integration.audit.log_world import World


class Doomed(Database):
    """Kills the process at a step, once `left` is set."""

    left = 0

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.asynccontextmanager
    async def transaction(self, *org_ids: str) -> AsyncIterator[Any]:
        async with super().transaction(*org_ids) as connection:
            yield Watched(connection, self)
        self.step()


class Watched:
    """A connection whose answers are steps."""

    def __init__(self, connection: Any, database: Doomed) -> None:
        self._connection, self._database = connection, database

    def __getattr__(self, name: str) -> Any:
        async def asked(*values: Any, **options: Any) -> Any:
            answer = await getattr(self._connection, name)(*values, **options)
            self._database.step()
            return answer

        return asked


async def live(dsn: str, step: int) -> None:
    """Leads and drops the first window."""
    database = Doomed(dsn, "audit")
    world = World(database)
    world.store = LogStore(database)
    leader = world.sequencer(heads_every_s=3600)
    await leader.lead()
    database.left = step
    done = await leader.begin_at(WINDOW, needs_archive=False)
    os.write(1, b"dropped\n" if done == "appended" else done.encode() + b"\n")


def main() -> None:
    """A life for each line."""
    dsn = sys.stdin.readline().strip()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(live(dsn, int(line)))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            os.write(1, b"killed\n")


if __name__ == "__main__":
    main()
