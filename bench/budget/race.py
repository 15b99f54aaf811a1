"""A thousand concurrent reservations of $0.10 on a cap of $5, at five levels, through three replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.budget.stage import CENT, DIME, USD, Replica, Stage
from bench.budget.traffic import reservation
from dac.budget.v1 import budget_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7

CALLERS, REPLICAS = 1_000, 3
CAP_NANO_USD, PRICE_NANO_USD = 5 * USD, 10 * CENT
EXPECTED = CAP_NANO_USD // PRICE_NANO_USD
HELD = "SELECT coalesce(max(committed + reserved), 0)::bigint FROM budget.counters WHERE org_id = $1"


@dataclass(frozen=True)
class Race:
    """One repeat."""

    admitted: int
    seconds: float
    held_nano_usd: int
    """The fullest of the five counters afterwards, read from its row."""


async def run(stage: Stage, repeats: int, said: Callable[[str], None]) -> list[Race]:
    """Each repeat on an organisation of its own, all callers at once, spread evenly over the replicas."""
    replicas = await stage.with_replicas(REPLICAS)
    connection = await stage.connect()
    races: list[Race] = []
    try:
        # Connections, plans and code paths are warm when it counts; the first repeat would measure those.
        await _once(stage, replicas, connection)
        for number in range(repeats):
            races.append(await _once(stage, replicas, connection))
            if (number + 1) % 10 == 0 or number + 1 == repeats:
                worst = max(one.seconds for one in races)
                said(f"race {number + 1}/{repeats}: {races[-1].admitted} admitted, slowest {worst:.3f} s")
    finally:
        await connection.close()
    return races


async def _once(stage: Stage, replicas: list[Replica], connection: object) -> Race:
    organisation = await stage.organisation(CAP_NANO_USD)
    requests = []
    for _ in range(CALLERS):
        request = reservation(DIME)
        request.request_id = uuid7()
        requests.append(request)

    async def ask(number: int, request: budget_pb2.ReserveRequest) -> bool:
        try:
            await replicas[number % len(replicas)].stream.Reserve(request)
        except MeshError as error:
            if error.reason is not Reason.BUDGET_EXHAUSTED:
                raise
            return False
        return True

    with organisation.calling():
        began = time.perf_counter()
        answers = await asyncio.gather(*(ask(number, request) for number, request in enumerate(requests)))
        seconds = time.perf_counter() - began
    held = await connection.fetchval(HELD, organisation.org_id)  # type: ignore[attr-defined]
    return Race(sum(answers), seconds, held)


def figures(races: list[Race]) -> dict[str, object]:
    """What is published: a number that differs in any repeat is told instead of the expected one."""
    wrong = [one.admitted for one in races if one.admitted != EXPECTED]
    seconds = sorted(one.seconds for one in races)
    return {
        "admitted": wrong[0] if wrong else EXPECTED,
        "expected": EXPECTED,
        "seconds_max": round(seconds[-1], 4),
        "repeats": len(races),
        "seconds_median": round(seconds[len(seconds) // 2], 4),
        "wrong_repeats": len(wrong),
        "overspend_nano_usd": max(0, *(one.held_nano_usd - CAP_NANO_USD for one in races)),
        "callers": CALLERS,
        "replicas": REPLICAS,
    }
