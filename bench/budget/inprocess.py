"""Budget in the caller's own process, as `dac up` runs it: CPU of a reserve and a commit together.

`python -m bench.budget.inprocess` is started by the bench as a process of its own: it takes one specification on
stdin and answers with one JSON value on stdout.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

import msgspec
import uvloop

from bench.budget.stage import Organisation
from bench.budget.traffic import Cycles, Halves, closed_loop, open_loop
from bench.load import percentile
from bench.processes import postgres_cpu_ms
from dac.budget.v1 import budget_pb2_grpc
from dac.type.v1.principal_pb2 import Principal
from mesh.app import load_settings
from mesh.runtime import Process

CONCURRENT = 16
RATES_PER_S = (50.0, 200.0)


class Spec(msgspec.Struct, kw_only=True):
    """What to measure; settings come from the environment, as a service's do."""

    principal: bytes
    postmaster: int
    seconds: float
    warm_s: float = 1.0


class Result(msgspec.Struct, kw_only=True):
    """CPU-ms of a cycle: of this process, and of PostgreSQL's processes."""

    cycles: int
    cycles_per_s: float
    cpu_ms: float
    postgres_cpu_ms: float
    p50_ms: float
    """Of a cycle's slower half."""
    p99_ms: float


class _Meter:
    """CPU since it was made."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster
        self._postgres, self._own, self._began = postgres_cpu_ms(postmaster), time.process_time(), time.perf_counter()

    def result(self, done: list[Halves]) -> Result:
        own_ms, elapsed_s = (time.process_time() - self._own) * 1000, time.perf_counter() - self._began
        slower = [1000 * max(one) for one in done]
        return Result(
            cycles=len(done),
            cycles_per_s=len(done) / elapsed_s,
            cpu_ms=own_ms / len(done),
            postgres_cpu_ms=(postgres_cpu_ms(self._postmaster) - self._postgres) / len(done),
            p50_ms=percentile(slower, 0.5),
            p99_ms=percentile(slower, 0.99),
        )


async def measure(spec: Spec) -> dict[str, Result]:
    """Sixteen callers at once, then fixed rates."""
    process = Process(load_settings(), ["budget"])
    await process.start()
    results: dict[str, Result] = {}
    try:
        organisation = Organisation(Principal.FromString(spec.principal), b"")
        cycle = Cycles(budget_pb2_grpc.BudgetServiceStub(process.channel_to("budget")), organisation).one
        gc.collect()
        gc.freeze()
        with organisation.calling():
            await closed_loop(cycle, CONCURRENT, spec.warm_s)
            meter = _Meter(spec.postmaster)
            results["busy"] = meter.result(await closed_loop(cycle, CONCURRENT, spec.seconds))
            for rate in RATES_PER_S:
                meter = _Meter(spec.postmaster)
                results[f"at_{rate:.0f}"] = meter.result(await open_loop(cycle, rate, spec.seconds))
    finally:
        await process.stop()
    return results


def main() -> None:
    # As mesh.launcher runs every service.
    gc.set_threshold(50_000, 20, 50)
    spec = msgspec.json.decode(sys.stdin.readline(), type=Spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(measure(spec))
    sys.stdout.write(msgspec.json.encode(results).decode() + "\n")


if __name__ == "__main__":
    main()
