"""Durable reserve-and-commit cycles of one organisation against one budget process: unary calls and one session.

`python -m bench.session [--seconds 5] [--rounds 2] [--callers 16 256]`. The budget process, its PostgreSQL (usual
fsync) and the mesh around them are a `dac up --split`; this process plays the gateway: it signs with the gateway's key
and calls budget over its unix socket. Both ways are measured in turn in one run; CPU is told for each side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from bench import governance
from bench.load import percentile
from bench.systems import ROOT, System, running
from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.type.v1 import record_pb2, usage_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, enter, install_service_principals
from mesh.ids import uuid7
from mesh.principals import Signer
from mesh.transport import RemoteChannel
from services.gateway.chat.budget_session import BudgetSession, Ledger

MODEL = ("mock", "mock/gpt-4o-mini")


@dataclass(frozen=True)
class Measured:
    """One way at one number of callers."""

    way: str
    callers: int
    cycles_per_s: float
    p50_ms: float
    p99_ms: float
    client_cpu_ms: float
    budget_cpu_ms: float
    postgres_cpu_ms: float


class Organisation:
    """One organisation's caller, as the gateway knows it."""

    def __init__(self, org_id: str, signer: Signer) -> None:
        path = [Level(kind=Level.KIND_ORG, id=org_id)]
        self._principal = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, scopes=["chat"], path=path)
        self._signer, self._signed_at, self._signed = signer, float("-inf"), b""

    def call(self, request_id: str) -> Call:
        """A request of this caller."""
        if time.monotonic() - self._signed_at > 60:
            self._signed, self._signed_at = self._signer.sign(self._principal), time.monotonic()
        return Call(request_id, self._principal, self._signed)

    async def cycle(self, budget: Ledger) -> None:
        """One reservation and its commit, with records such as a chat has."""
        call = self.call(uuid7())
        enter(call)
        record = record_pb2.RequestRecord(
            request_id=call.request_id,
            org_id=self._principal.org_id,
            path=self._principal.path,
            asked_model=MODEL[1],
            operation="chat",
        )
        record.started_at.GetCurrentTime()
        held = await budget.Reserve(
            budget_pb2.ReserveRequest(
                request_id=call.request_id,
                candidates=[budget_pb2.PricedCandidate(provider=MODEL[0], model=MODEL[1])],
                input_tokens=100,
                input_tokens_max=400,
                max_output_tokens=200,
                body_hash=bytes(32),
                draft=record,
            )
        )
        attempt = record.attempts.add(attempt_id=uuid7(), provider=MODEL[0], model=MODEL[1])
        attempt.usage.CopyFrom(usage_pb2.Usage(input_tokens=100, output_tokens=50))
        record.outcome = record_pb2.OUTCOME_OK
        record.ended_at.GetCurrentTime()
        await budget.Commit(
            budget_pb2.CommitRequest(
                reservation_id=held.reservation_id, reservation_secret=held.reservation_secret, record=record
            )
        )


def _own_cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1000


async def _load(organisation: Organisation, budget: Ledger, callers: int, seconds: float) -> list[float]:
    """A closed loop of `callers`; the duration of every cycle in ms."""
    until, times_ms = time.monotonic() + seconds, []

    async def call_on() -> None:
        while (begun := time.monotonic()) < until:
            await organisation.cycle(budget)
            times_ms.append((time.monotonic() - begun) * 1000)

    await asyncio.gather(*(call_on() for _ in range(callers)))
    return times_ms


async def measure(
    system: System, organisation: Organisation, target: str, callers: list[int], seconds: float, rounds: int
) -> list[Measured]:
    """Both ways in turn, `rounds` times at each number of callers."""
    measured = []
    async with RemoteChannel(target, "budget") as channel:
        session = BudgetSession(channel)
        ways: dict[str, Any] = {"unary": budget_pb2_grpc.BudgetServiceStub(channel), "session": session}
        for budget in ways.values():
            await _load(organisation, budget, 16, 1.0)
        for count in callers:
            for _ in range(rounds):
                for way, budget in ways.items():
                    before, own = system.tree.usage(memory=False), _own_cpu_ms()
                    begun = time.monotonic()
                    times_ms = await _load(organisation, budget, count, seconds)
                    took_s = time.monotonic() - begun
                    own, after = _own_cpu_ms() - own, system.tree.usage(memory=False)
                    spent = {part: ms - before.parts_cpu_ms.get(part, 0.0) for part, ms in after.parts_cpu_ms.items()}
                    cycles = len(times_ms)
                    measured.append(
                        Measured(
                            way,
                            count,
                            cycles / took_s,
                            percentile(times_ms, 0.5),
                            percentile(times_ms, 0.99),
                            own / cycles,
                            spent.get("budget", 0.0) / cycles,
                            spent.get("postgres", 0.0) / cycles,
                        )
                    )
        await session.close()
    return measured


def show(measured: list[Measured]) -> None:
    """Medians over the rounds."""
    table = Table(title="Reserve + commit, one organisation, durable; CPU-ms a cycle")
    for heading in ("callers", "way", "cycles/s", "p50 ms", "p99 ms", "client", "budget", "postgres"):
        table.add_column(heading, justify="right")
    for callers, way in dict.fromkeys((one.callers, one.way) for one in measured):
        rows = [one for one in measured if (one.callers, one.way) == (callers, way)]

        def median(name: str, rows: list[Measured] = rows) -> float:
            return statistics.median(float(getattr(one, name)) for one in rows)

        table.add_row(
            str(callers),
            way,
            f"{median('cycles_per_s'):.0f}",
            *(f"{median(name):.2f}" for name in ("p50_ms", "p99_ms")),
            *(f"{median(name):.3f}" for name in ("client_cpu_ms", "budget_cpu_ms", "postgres_cpu_ms")),
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def main() -> None:
    """Starts the mesh, measures, checks the ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 256])
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dac-session-") as scratch,
        running("direct", pathlib.Path(scratch)) as mock,
        running("dac-split", pathlib.Path(scratch), upstream=f"http://127.0.0.1:{mock.port}") as system,
    ):
        data_dir = next(pathlib.Path(scratch).glob("dac-split-*/data"))
        command = [sys.executable, "-m", "mesh", "status", "--json", "--data-dir", str(data_dir)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
        rows = json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)["services"]
        pid = next(row["pid"] for row in rows if row["name"] == "budget")
        target = psutil.Process(pid).environ()["DAC_MESH_LISTEN"]
        signer = Signer.from_file("gateway", data_dir / "secrets", create=False)
        service = Principal(kind=Principal.KIND_SERVICE, service="gateway")
        install_service_principals(lambda _: (service, signer.sign(service)))
        organisation = Organisation(governance.set_budget(system), signer)
        show(uvloop.run(measure(system, organisation, target, options.callers, options.seconds, options.rounds)))
        verified = system.get_json("/v1/budgets:verify")
        print(f"ledger: {verified['ledger_rows']} rows, differences: {verified['differences']}")


if __name__ == "__main__":
    main()
