"""What rate limits cost budget: CPU of Reserve and Commit in one process, 16 callers, a real PostgreSQL and Valkey.

`python -m bench.rate_limits [--requests 2000] [--rounds 5] [--json]`. Four cases in turn, round by round: the engine
taken out, an organisation without limits, three limits (organisation, key, one model; requests, tokens and at once)
counted in memory, and the same over Valkey. CPU is this process's; medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import pathlib
import resource
import secrets
import statistics
import tempfile
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from dac.budget.v1 import budget_pb2, limit_pb2
from dac.type.v1 import record_pb2, usage_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, enter
from mesh.catalog import ModelEntry
from mesh.embedded import EmbeddedPostgres
from mesh.embedded_valkey import EmbeddedValkey
from mesh.ids import uuid7
from mesh.keyring import Keyring
from mesh.migrate import bootstrap, migrate, role_of, with_login
from mesh.model_prices import PriceEntry
from mesh.postgres import Database
from mesh.service import Context
from services.budget.config import BudgetConfig
from services.budget.server import BudgetService, build

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "mock/gpt-4o-mini"
CALLERS = 16


class _Nothing:
    """Stands where the engine was."""

    async def admit(self, *_: Any) -> None:
        """Nothing limits."""

    async def finish(self, *_: Any) -> None:
        """Nothing to free."""

    async def withdraw(self, *_: Any) -> None:
        """Nothing to give back."""


class Case:
    """A budget service and the organisation that asks it."""

    def __init__(self, service: BudgetService, engine: Any) -> None:
        self.service, self.engine, self.org_id, self.key_id = service, engine, uuid7(), uuid7()
        self._held: list[tuple[budget_pb2.ReserveResponse, record_pb2.RequestRecord]] = []

    def enter(self) -> str:
        """Speaks as the organisation's key; returns a new request's id."""
        path = [Level(kind=Level.KIND_ORG, id=self.org_id), Level(kind=Level.KIND_KEY, id=self.key_id)]
        scopes = ["chat", "admin"]
        principal = Principal(
            kind=Principal.KIND_USER_KEY, org_id=self.org_id, key_id=self.key_id, scopes=scopes, path=path
        )
        call = Call(uuid7(), principal)
        enter(call)
        return call.request_id

    async def limit(self) -> None:
        """Sets three limits that nothing reaches."""
        for kind, level_id, model in (
            (Level.KIND_ORG, self.org_id, ""),
            (Level.KIND_KEY, self.key_id, ""),
            (Level.KIND_ORG, self.org_id, "mock/*"),
        ):
            self.enter()
            request = limit_pb2.SetRateLimitRequest(level=Level(kind=kind, id=level_id), model=model)
            request.requests_per_minute = request.tokens_per_minute = request.concurrent_requests = 10**9
            await self.service.limit.SetRateLimit(request, None)

    async def reserve(self) -> None:
        """One reservation."""
        request_id = self.enter()
        record = record_pb2.RequestRecord(
            request_id=request_id, org_id=self.org_id, asked_model=MODEL, operation="chat"
        )
        candidate = budget_pb2.PricedCandidate(provider="mock", model=MODEL)
        request = budget_pb2.ReserveRequest(
            request_id=request_id,
            candidates=[candidate],
            input_tokens=100,
            input_tokens_max=400,
            max_output_tokens=200,
            asked_output_tokens=200,
            body_hash=bytes(32),
            draft=record,
        )
        self._held.append((await self.service.budget.Reserve(request, None), record))

    async def commit(self) -> None:
        """Ends one."""
        held, record = self._held.pop()
        self.enter()
        attempt = record.attempts.add(attempt_id=uuid7(), provider="mock", model=MODEL)
        attempt.usage.CopyFrom(usage_pb2.Usage(input_tokens=100, output_tokens=50))
        commit = budget_pb2.CommitRequest(reservation_id=held.reservation_id, record=record)
        commit.reservation_secret = held.reservation_secret
        await self.service.budget.Commit(commit, None)


def _cpu_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1000


async def _spent(work: Any, requests: int) -> float:
    """CPU-ms of one of `requests`, with CALLERS at a time."""

    async def call_on(times: int) -> None:
        for _ in range(times):
            await work()

    before = _cpu_ms()
    await asyncio.gather(*(call_on(requests // CALLERS) for _ in range(CALLERS)))
    return (_cpu_ms() - before) / (requests // CALLERS * CALLERS)


async def _service(superuser_dsn: str, name: str, redis_url: str | None) -> tuple[BudgetService, Database]:
    """A started budget service on a database of its own."""
    password = secrets.token_hex(16)
    owner_dsn = await bootstrap(superuser_dsn, secrets.token_hex(16), name)
    await migrate(owner_dsn, {"budget": ROOT / "services" / "budget" / "migrations"}, {"budget": password})
    database = Database(with_login(owner_dsn, role_of("budget"), password), "budget")
    await database.open()
    price = PriceEntry(False, {"input": 150_000_000, "output": 600_000_000})
    context = Context(
        name="budget",
        config=BudgetConfig(sweep_interval_s=3600.0, admin_retry_s=3600.0, required_consumers=()),
        providers=(),
        models=(ModelEntry(MODEL, "mock", "gpt-4o-mini", 128_000, price=price),),
        data_dir=pathlib.Path(),
        keyring=Keyring(bytes(32)),
        signer=None,  # type: ignore[arg-type]
        database=database,
        channel_to=lambda service: None,  # type: ignore[arg-type,return-value]
        redis_url=redis_url,
    )
    service = build(context)
    await service.start()
    return service, database


async def measure(superuser_dsn: str, redis_url: str, requests: int, rounds: int) -> dict[str, dict[str, float]]:
    """CPU-ms of Reserve and Commit by case."""
    alone, first = await _service(superuser_dsn, "alone", None)
    shared, second = await _service(superuser_dsn, "shared", redis_url)
    cases = {
        "taken out": Case(alone, _Nothing()),
        "no limits": Case(alone, alone.limits),
        "memory": Case(alone, alone.limits),
        "valkey": Case(shared, shared.limits),
    }
    await cases["memory"].limit()
    await cases["valkey"].limit()
    found: dict[str, dict[str, list[float]]] = {name: {"reserve": [], "commit": []} for name in cases}
    for turn in range(rounds + 1):
        for name, case in cases.items():
            case.service.budget._limits = case.engine
            spent = {"reserve": await _spent(case.reserve, requests), "commit": await _spent(case.commit, requests)}
            for what, cpu_ms in spent.items() if turn else ():  # The first round warms up.
                found[name][what].append(cpu_ms)
    for service, database in ((alone, first), (shared, second)):
        await service.close()
        await database.close()
    return {name: {what: round(statistics.median(ms), 4) for what, ms in by.items()} for name, by in found.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable()  # Nobody takes the changes that wait for audit.
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(pathlib.Path(folder) / "postgres")
        valkey = EmbeddedValkey(pathlib.Path(folder) / "valkey")
        postgres.start()
        valkey.start()
        try:
            measuring = measure(postgres.superuser_dsn, valkey.url, options.requests, options.rounds)
            found = uvloop.run(measuring)
        finally:
            valkey.stop()
            postgres.stop()
    if options.json:
        print(json.dumps(found))
        return
    table = Table("case", "reserve, CPU-ms", "commit, CPU-ms")
    for name, spent in found.items():
        table.add_row(name, f"{spent['reserve']:.3f}", f"{spent['commit']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
