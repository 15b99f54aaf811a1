"""One organisation that everything hangs on: cycles a second through the stream, by unary calls, and naively."""

from __future__ import annotations

import pathlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from bench.budget.stage import USD, Stage
from bench.budget.traffic import Cycles, Halves, closed_loop
from bench.load import percentile
from mesh.ids import uuid7

STREAM_CONCURRENT, UNARY_CONCURRENT, NAIVE_CONNECTIONS = 128, 64, 32
LIMIT_NANO_USD = 1_000_000 * USD
PATH = [1, 2, 3, 4, 5]
NAIVE_SCHEMA = pathlib.Path(__file__).with_name("naive.sql")
NAIVE_TOTALS = """
SELECT (SELECT count(*) FROM naive.ledger) AS rows,
  (SELECT bool_and(reserved = 0 AND committed = (SELECT sum(amount) FROM naive.ledger)) FROM naive.counters) AS adds_up
"""


@dataclass(frozen=True)
class Loop:
    """One closed loop."""

    cycles: int
    seconds: float
    slower_ms: list[float]
    """Of each cycle the slower of its two calls."""
    cpu_ms: dict[str, float]
    """A cycle's, by kind of process."""

    @property
    def cycles_per_s(self) -> float:
        """Whole cycles, each a reserve and a commit."""
        return self.cycles / self.seconds


async def _measure(
    stage: Stage, cycle: Callable[[], Awaitable[Halves]], concurrent: int, seconds: float, warm_s: float
) -> Loop:
    await closed_loop(cycle, concurrent, warm_s)
    before = stage.tree.usage(memory=False).parts_cpu_ms
    own, began = time.process_time(), time.perf_counter()
    done = await closed_loop(cycle, concurrent, seconds)
    took_s, own_ms = time.perf_counter() - began, (time.process_time() - own) * 1000
    after = stage.tree.usage(memory=False).parts_cpu_ms
    cpu_ms = {part: (spent - before.get(part, 0.0)) / len(done) for part, spent in after.items()}
    cpu_ms["caller"] = own_ms / len(done)
    slower = [1000 * max(one) for one in done]
    return Loop(len(done), took_s, slower, {part: round(spent, 4) for part, spent in cpu_ms.items()})


async def through_stream(stage: Stage, seconds: float, concurrent: int, warm_s: float) -> Loop:
    """From this process through one Session stream."""
    (replica,) = await stage.with_replicas(1)
    organisation = await stage.organisation(LIMIT_NANO_USD)
    with organisation.calling():
        return await _measure(stage, Cycles(replica.stream, organisation).one, concurrent, seconds, warm_s)


async def by_unary(stage: Stage, seconds: float, concurrent: int, warm_s: float) -> Loop:
    """From this process with a call of its own for each half."""
    (replica,) = await stage.with_replicas(1)
    organisation = await stage.organisation(LIMIT_NANO_USD)
    with organisation.calling():
        return await _measure(stage, Cycles(replica.stub, organisation).one, concurrent, seconds, warm_s)


async def naively(stage: Stage, seconds: float, connections: int, warm_s: float) -> Loop:
    """A transaction for each half, which locks the five rows; no gRPC, and nothing between here and PostgreSQL."""
    await stage.with_replicas(0)
    administrator = await stage.connect()
    await administrator.execute("DROP SCHEMA IF EXISTS naive CASCADE")
    await administrator.execute(NAIVE_SCHEMA.read_text())
    idle: list[asyncpg.Connection] = [await stage.connect() for _ in range(connections)]
    every = list(idle)

    async def cycle() -> Halves:
        connection, began = idle.pop(), time.perf_counter()
        one = uuid.UUID(uuid7())
        held = await connection.fetchval("SELECT naive.reserve($1, $2, $3)", one, PATH, 400_000)
        between = time.perf_counter()
        done = await connection.fetchval("SELECT naive.commit($1, $2, $3)", one, PATH, 132_000)
        if not (held and done):
            raise RuntimeError("the naive version refused what it has room for")
        idle.append(connection)
        return Halves(between - began, time.perf_counter() - between)

    loop = await _measure(stage, cycle, connections, seconds, warm_s)
    totals = await administrator.fetchrow(NAIVE_TOTALS)
    for connection in (*every, administrator):
        await connection.close()
    if not totals["adds_up"] or totals["rows"] < loop.cycles:
        raise RuntimeError("the naive version lost something: its figure is worth nothing")
    return loop


def figures(stream: Loop, unary: Loop, naive: Loop) -> dict[str, object]:
    """What is published."""
    return {
        "stream_cycles_per_s": round(stream.cycles_per_s, 1),
        "unary_cycles_per_s": round(unary.cycles_per_s, 1),
        "p99_ms": round(percentile(stream.slower_ms, 0.99), 2),
        "naive_cycles_per_s": round(naive.cycles_per_s, 1),
        "p50_ms": round(percentile(stream.slower_ms, 0.5), 2),
        "unary_p99_ms": round(percentile(unary.slower_ms, 0.99), 2),
        "naive_p99_ms": round(percentile(naive.slower_ms, 0.99), 2),
        "stream_seconds": round(stream.seconds, 1),
        "cpu_ms": {"stream": stream.cpu_ms, "unary": unary.cpu_ms, "naive": naive.cpu_ms},
    }
