"""`python -m bench.audit [--json]`: how fast the log grows and is verified, what tampering is found.

`--vectors FOLDER` checks other people's test vectors instead.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import gc
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import asyncpg
import uvloop

from bench.audit import kills, retention_kills, storage, tamper, vectors
from bench.audit.growing import FILL_BATCH, SIGNER, Stage, append_figures, audit_database, drain_figures
from bench.audit.reader import Socket
from mesh.postgres import Database
from mesh.tlog.side_by_side import MOST_PROCESSES, join_stretches, processors
from mesh.tlog.verification import Verification
from services.audit.log.store import LogStore

BACKLOG = 50_000
"""Records that wait when the sequencer begins: five seconds of 10,000 a second."""


def verified(dsn: str, processes: int) -> tuple[int, float]:
    """Entries, and the seconds from asking for the log to knowing that it holds; a service's process is in it."""
    started = time.perf_counter()
    checked = Verification(SIGNER.verifier, None)
    with tempfile.TemporaryDirectory(prefix="dac-bench-") as folder:
        source = Socket(f"{folder}/s")
        command = [sys.executable, "-m", "bench.audit.reader", source.path]
        service = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert service.stdin is not None and service.stdout is not None
        try:
            service.stdin.write(dsn.encode() + b"\n")
            service.stdin.flush()
            service.stdout.readline()
            if processes > 1:
                size = asyncio.run(log_size(dsn))
                collections.deque(join_stretches(checked, source, size, processes), maxlen=0)
            for part in source(checked.due):
                checked.feed(part)
            if not checked.finish():
                raise SystemExit(f"the log does not verify: {checked.findings}")
        finally:
            service.kill()
            service.wait()
    return checked.entries, time.perf_counter() - started


async def log_size(dsn: str) -> int:
    """How many entries the log has, as its checkpoint says."""
    database = Database(dsn, "audit")
    try:
        return (await LogStore(database).head()).size
    finally:
        await database.close()


async def measure(rate: int, seconds: float, entries: int) -> dict[str, Any]:
    """Growth and verification on one database."""
    async with audit_database() as served:
        stage = Stage(served.database)
        # First what the log has already: its WAL is what a server that has run for a while writes into again.
        await stage.fill(max(entries - int(rate * seconds) - BACKLOG, FILL_BATCH))
        superuser = await asyncpg.connect(served.superuser_dsn, database="dac")
        # And tables as autovacuum leaves them, for which a log that is filled in a minute leaves it no time.
        await superuser.execute("VACUUM (ANALYZE)")
        await superuser.execute("CHECKPOINT")
        await superuser.close()
        figures: dict[str, Any] = {"append": await append_figures(stage, rate, seconds)}
        figures["append"].update(await drain_figures(stage, BACKLOG, served.postmaster))
        print(f"append: {figures['append']}", file=sys.stderr)
        processes = min(processors(), MOST_PROCESSES)
        count, took = await asyncio.to_thread(verified, served.dsn, processes)
        figures["verify"] = {"entries": count, "seconds": round(took, 2), "processes": processes}
        print(f"verify: {figures['verify']}", file=sys.stderr)
    return figures


def tampered(edits: int) -> dict[str, int]:
    """What is found of random edits, half of them in each of two processes."""
    found: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        for half in pool.map(tamper.measure, (edits - edits // 2, edits // 2), (9, 10)):
            found.update(half)
    return dict(found)


def dashboard_p95_ms() -> float | None:
    """Of the bench of the dashboards, when there is one."""
    try:
        measured = importlib.import_module("bench.audit_dashboard").measure()
    except ModuleNotFoundError:
        return None
    return float(measured["p95_ms"] if isinstance(measured, dict) else measured)


def check_vectors(folder: pathlib.Path) -> dict[str, Any]:
    """How many vectors there are, and which are judged otherwise."""
    count, wrong = vectors.merkle_vectors(folder / vectors.MERKLE)
    notes, wrong_notes = vectors.checkpoints(folder / vectors.LOG)
    return {
        "vectors": {"merkle": count, "passed": count - len(wrong), "wrong": wrong},
        "checkpoints": {"count": notes, "passed": notes - len(wrong_notes), "wrong": wrong_notes},
    }


def main() -> int:
    """Measures what was asked for."""
    asked = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    asked.add_argument("--json", action="store_true", help="one JSON value on standard output")
    asked.add_argument("--vectors", type=pathlib.Path, help="a folder with test vectors: check them, measure nothing")
    asked.add_argument("--rate", type=int, default=10_250, help="records a second that arrive")
    asked.add_argument("--seconds", type=float, default=10.0, help="for so long")
    asked.add_argument("--entries", type=int, default=1_000_000, help="of the log that is verified")
    asked.add_argument("--edits", type=int, default=10_000, help="random edits of a stored log")
    asked.add_argument("--stored", type=int, default=41_500, help="requests whose place is measured after 90 days")
    asked.add_argument(
        "--kills",
        type=int,
        default=6,
        help="kill -9 of writer and sequencer, and twice as many of who erases and prunes; at least 1",
    )
    asked.add_argument("--no-dashboard", action="store_true", help="leave the dashboards' bench out")
    given = asked.parse_args()
    if given.vectors is not None:
        figures = check_vectors(given.vectors)
        wrong = [one for part in figures.values() for one in part["wrong"]]
    else:
        # As a service runs (mesh/launcher.py).
        gc.set_threshold(50_000, 20, 50)
        figures = uvloop.run(measure(given.rate, given.seconds, given.entries))
        figures["tamper"] = tampered(given.edits)
        print(f"tamper: {figures['tamper']}", file=sys.stderr)
        figures["kill9"] = asyncio.run(kills.measure(given.kills))
        figures["retention_kill9"] = asyncio.run(retention_kills.measure(2 * given.kills))
        print(f"retention_kill9: {figures['retention_kill9']}", file=sys.stderr)
        figures["storage"] = asyncio.run(storage.measure(given.stored))
        print(f"storage: {figures['storage']}", file=sys.stderr)
        figures["dashboard"] = {"p95_ms": None if given.no_dashboard else dashboard_p95_ms()}
        lost = figures["kill9"]["lost"] + figures["kill9"]["gaps"]
        lost += sum(figures["retention_kill9"][name] for name in retention_kills.FAULTS)
        wrong = [] if figures["tamper"]["detected"] == given.edits and not lost else ["tamper or kill9"]
    print(json.dumps(figures) if given.json else "\n".join(f"{name}: {one}" for name, one in figures.items()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
