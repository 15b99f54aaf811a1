"""kill -9 of who erases and prunes, again and again: nothing undeclared is missing, nothing declared stays.

`python -m bench.audit.retention_kills [KILLS]`. The log is verified where each kill left it, before anybody mends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO

import asyncpg

from bench.audit.growing import SIGNER, Served, Stage, audit_database
from bench.audit.retention_victim import CONFIG, now
from dac.audit.v1 import log_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.ids import uuid7
from mesh.tlog.leaves import read_leaf
from mesh.tlog.verification import Verification
from services.audit.analytics.rollups import Counting, Rollups
from services.audit.log.server import LogServicer
from services.audit.log.store import LogStore
from services.audit.retention.keeper import Order
from services.audit.retention.server import Retention

FEWEST_LINES, MOST_LINES = 4, 24
"""A life says so many before it is killed."""
MOST_LAG_S = 0.15
"""The log is taken up a little late, so that kills come between a declaration and its entry in the log."""
FAULTS = "lost", "faults", "held_lost", "erased_left"
"""Of what is measured: what must be nothing."""
MOST_HEADS = 3
"""Who reads on so often reads a log that declares less than is gone."""


class Judge:
    """What is left in the database, against what was said."""

    def __init__(self, served: Served, org_id: str) -> None:
        self._database, self._org_id = served.database, org_id
        self._stage = Stage(served.database)
        counting = Counting(served.database, Rollups(CONFIG, now))
        arrivals = self._stage.arrivals
        self.retention = Retention(served.database, self._stage.store, counting, arrivals, CONFIG, now)
        self.halfway = self.faults = 0

    async def verified(self) -> Verification | None:
        """The log as it is now; None when it lacks more than it declares."""
        if not (await self._stage.store.head()).size:
            return None
        servicer, heads = LogServicer(LogStore(self._database), self._stage.arrivals), 0
        checked = Verification(SIGNER.verifier, None)
        with serving(Call(principal=Principal(kind=Principal.KIND_OPERATOR, scopes=["operator"]))):
            async for part in servicer.ReadLog(log_pb2.ReadLogRequest(), None):
                heads += part.data[:1] == b"C"
                if heads > MOST_HEADS:
                    self.faults += 1
                    return None
                checked.feed(part.data)
        self.faults += not checked.finish()
        return checked

    async def after_a_kill(self) -> None:
        """Looks at what the kill has left."""
        await self.verified()
        self.halfway += len(await self.retention.store.open())

    async def at_the_end(self, said: list[str]) -> dict[str, int]:
        """After the next leader has done what it finds: what is missing, and what is there that should be gone."""
        await self._stage.sequencer.lead()
        while await self._stage.sequencer.step():
            pass
        left = await self.retention.keeper.carry_out_all()
        checked = await self.verified()
        assert checked is not None, "the log lacks what it does not declare"
        async with self._database.transaction(self._org_id) as connection:
            there = {str(row[0]) for row in await connection.fetch("SELECT request_id FROM requests")}
        logged = {read_leaf(leaf).id for leaf in await self._stage.store.leaves(0, checked.entries)}
        held, stored, erased = (set(_ids(said, what)) for what in "HSE")
        return {
            "lost": len((held | stored) - logged),
            "faults": self.faults,
            "held_lost": len(held - there),
            "erased_left": len(erased & there) + checked.pending + left,
            "halfway": self.halfway,
            "entries": checked.entries,
            "redacted": checked.redacted,
            "held": len(held),
            "erased": len(erased),
        }


def _ids(said: list[str], what: str) -> Iterator[str]:
    for line in said:
        if line.startswith(f"{what} "):
            yield from line.split()[1:]


def victims_of(dsn: str, org_id: str, held: str, most_lag_s: float) -> subprocess.Popen[str]:
    """The process whose children are killed."""
    command = [sys.executable, "-m", "bench.audit.retention_victim", org_id, held, str(most_lag_s)]
    victims = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert victims.stdin is not None
    victims.stdin.write(dsn + "\n")
    return victims


def one_life(begin: IO[str], told: IO[str], lines: int, then_s: float, what: str) -> list[str]:
    """What a victim said before it was killed, a moment after so many lines that begin with `what`."""
    begin.write("\n")
    begin.flush()
    process, said, left = int(told.readline().split()[1]), list[str](), lines
    for line in told:
        if line == "X\n":
            break
        said.append(line.strip())
        left -= line.startswith(what)
        if not left:
            time.sleep(then_s)
            os.kill(process, signal.SIGKILL)
    assert left <= 0, "a victim ended by itself"
    return said


async def measure(
    kills: int,
    seed: int = 9,
    *,
    as_erased: bool = False,
    most_lag_s: float = MOST_LAG_S,
    without: str = "",
    postgres: pathlib.Path | None = None,
) -> dict[str, int]:
    """So many kills on one database. `without`: a statement of the superuser that takes a guard away before.

    `as_erased`: each kill comes as soon as something was erased, not after some lines of any kind.
    """
    rng, org_id, held = random.Random(seed), uuid7(), uuid7()
    async with audit_database(postgres) as served:
        if without:
            connection = await asyncpg.connect(
                served.superuser_dsn, database="dac", server_settings={"search_path": "audit"}
            )
            await connection.execute(without)
            await connection.close()
        judge = Judge(served, org_id)
        await judge.retention.keeper.set_hold(org_id, f"user:{held}", Order("operator", "Smith v. Jones"))
        victims = victims_of(served.dsn, org_id, held, most_lag_s)
        assert victims.stdin is not None and victims.stdout is not None
        said: list[str] = []
        try:
            for _ in range(kills):
                when = (
                    (1, 0.0, "E") if as_erased else (rng.randint(FEWEST_LINES, MOST_LINES), rng.uniform(0.0, 0.1), "")
                )
                said += await asyncio.to_thread(one_life, victims.stdin, victims.stdout, *when)
                await judge.after_a_kill()
        finally:
            victims.stdin.close()
            victims.kill()
            victims.wait()
        return {"kills": kills, **await judge.at_the_end(said)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 12))))
