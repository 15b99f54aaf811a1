"""kill -9 of writer and sequencer, again and again: nothing that was said to be stored is lost, no gap, no fork."""

from __future__ import annotations

import asyncio
import base64
import pathlib
import random
import subprocess
import sys
import time

import asyncpg

from bench.audit.growing import SIGNER, Stage, audit_database, payloads
from mesh.postgres import Database
from mesh.tlog.leaves import read_leaf
from mesh.tlog.merkle import hash_leaf
from mesh.tlog.notes import open_checkpoint
from mesh.tlog.tiles import Edge
from mesh.tlog.verification import Verification
from services.audit.log.server import LogServicer

MOST_LINES = 30
"""A victim has more than these to say."""


def one_life(dsn: str, name: str, lines: int, then_s: float, *, batch: int = 0, seals: bool = False) -> list[str]:
    """What a victim said before it was killed, a moment after so many lines and, if given, a batch of so many rows."""
    command = [sys.executable, "-m", "bench.audit.victim", name, *(["sealed"] if seals else [])]
    victim = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert victim.stdin is not None and victim.stdout is not None
    victim.stdin.write(dsn + "\n")
    victim.stdin.close()
    said = "".join(victim.stdout.readline() for _ in range(lines))
    while max(map(rows_in, said.split("\n"))) < batch and (line := victim.stdout.readline()):
        said += line
    time.sleep(then_s)
    victim.kill()
    said += victim.stdout.read()
    victim.wait()
    # A line that the kill has cut was not said.
    return said.rpartition("\n")[0].split("\n")


def rows_in(line: str) -> int:
    """How many rows a line of a victim says to be stored."""
    return line.count(" ") if line.startswith("S ") else 0


async def judge(database: Database, said: list[str]) -> dict[str, int]:
    """After the last life: what is missing, what does not verify, and which checkpoints the log has left behind."""
    from dac.audit.v1 import log_pb2
    from dac.type.v1.principal_pb2 import Principal
    from mesh.call import Call, serving

    stage = Stage(database, payloads(database, seals=False))
    await stage.sequencer.lead()
    while await stage.sequencer.step():
        pass
    checked = Verification(SIGNER.verifier, None)
    with serving(Call(principal=Principal(kind=Principal.KIND_OPERATOR, scopes=["operator"]))):
        async for part in LogServicer(stage.store, stage.arrivals).ReadLog(log_pb2.ReadLogRequest(), None):
            checked.feed(part.data)
    checked.finish()
    leaves = await stage.store.leaves(0, checked.entries)
    logged, hashes = {read_leaf(leaf).id for leaf in leaves}, [hash_leaf(leaf) for leaf in leaves]
    stored = {one for line in said if line.startswith("S ") for one in line[2:].split()}
    notes = [base64.b64decode(line[2:]).decode() for line in said if line.startswith("C ")]
    forks, edge = 0, Edge()
    for signed in sorted((open_checkpoint(note, SIGNER.verifier) for note in notes), key=lambda one: one.size):
        edge.extend(hashes[edge.size : signed.size])
        forks += (edge.size, edge.root()) != (signed.size, signed.root)
    return {
        "lost": len(stored - logged),
        "gaps": checked.faults + forks,
        "entries": checked.entries,
        "said": len(stored),
        "sealed": int(await stage.sealed()),
    }


async def measure(
    kills: int,
    seed: int = 9,
    without: str = "",
    *,
    batch: int = 0,
    seals: bool = False,
    postgres: pathlib.Path | None = None,
) -> dict[str, int]:
    """So many kills on one database, each after some lines of who is killed.

    `without`: a statement of the superuser that takes a guard away before. `batch`: nobody is killed before a batch of
    so many rows was said to be stored. `seals`: payloads are sealed.
    """
    rng = random.Random(seed)
    async with audit_database(postgres) as served:
        if without:
            connection = await asyncpg.connect(
                served.superuser_dsn, database="dac", server_settings={"search_path": "audit"}
            )
            await connection.execute(without)
            await connection.close()
        said: list[str] = []
        for number in range(kills):
            lines, then_s = rng.randint(1, MOST_LINES), rng.uniform(0.0, 0.05)
            said += await asyncio.to_thread(one_life, served.dsn, str(number), lines, then_s, batch=batch, seals=seals)
        return {"kills": kills, **await judge(served.database, said)}
