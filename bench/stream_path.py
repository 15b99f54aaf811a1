"""What provider and gateway alone spend on a request: `python -m bench.stream_path [--seconds 6] [--rounds 3]`.

One process holds the gateway's edge (uvicorn, the wire formats, the pipeline) and the provider service, both as they
are, and in the place of router, budget and memory servicers that answer at once with ready messages; no key is looked
up and there is no PostgreSQL. What is left of those others is one call in process each, and counts. Its CPU is read
around closed loops of 16 connections, streams of 31 events and whole answers in turn; the bare pass-through of
`bench.floor` runs in the same rounds, because a machine's speed changes from day to day.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
from typing import Any

import uvicorn
import uvloop
from rich.console import Console
from rich.table import Table

from bench.load import Spec
from bench.load_process import LoadProcess, load_process
from bench.overhead import Phase, Plan, measure_phase
from bench.processes import machine
from bench.systems import ROOT, Place, Recipe, System, free_port, running
from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.router.v1 import router_pb2, router_pb2_grpc
from dac.router.v1.answers_pb2 import AnswerRules, ValidationRules
from dac.type.v1.principal_pb2 import Level, Principal
from dac.type.v1.record_pb2 import RouteRecord
from mesh.call import install_service_principals
from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.keyring import Keyring
from mesh.principals import Signer, Verifier
from mesh.service import Context
from services.gateway.chat.pipeline import Pipeline, Stubs
from services.gateway.chat.settlement import Settlements
from services.gateway.config import GatewayConfig
from services.gateway.edge.application import Edge
from services.gateway.edge.http_protocol import BoundedProtocol
from services.gateway.gating.judge import Judge
from services.gateway.gating.validation import Validation
from services.gateway.gating.webhooks import Webhooks
from services.gateway.identity.callers import Caller, Callers
from services.provider.config import ProviderConfig
from services.provider.server import build as build_provider

MODEL, UPSTREAM_NAME, PROVIDER = "mock/gpt-4o-mini", "gpt-4o-mini", "mock"
HERE = ("router", "provider", "budget", "memory", "gateway")


class OneModel(router_pb2_grpc.RouterServiceServicer):
    """In router's place."""

    def __init__(self, answers: AnswerRules | None) -> None:
        candidate = router_pb2.Candidate(
            model=MODEL, provider=PROVIDER, upstream_name=UPSTREAM_NAME, context_tokens=128_000
        )
        route = RouteRecord(reason="the only one")
        self._answer = router_pb2.RouteResponse(candidates=[candidate], route=route, answers=answers)

    async def Route(self, request: router_pb2.RouteRequest, context: Any) -> router_pb2.RouteResponse:
        return self._answer

    async def ReportOutcomes(
        self, request: router_pb2.ReportOutcomesRequest, context: Any
    ) -> router_pb2.ReportOutcomesResponse:
        return router_pb2.ReportOutcomesResponse()


class Unlimited(budget_pb2_grpc.BudgetServiceServicer):
    """In budget's place: everything fits, nothing is kept."""

    def __init__(self) -> None:
        rates = budget_pb2.CandidateRates(
            provider=PROVIDER, model=MODEL, price_version=1, input=150_000_000, output=600_000_000
        )
        self._held = budget_pb2.ReserveResponse(
            reservation_id=uuid7(), reservation_secret=bytes(32), reserved_nano_usd=1_000_000, rates=[rates]
        )
        self._charged = budget_pb2.CommitResponse(cost_nano_usd=1)

    async def Reserve(self, request: budget_pb2.ReserveRequest, context: Any) -> budget_pb2.ReserveResponse:
        return self._held

    async def Commit(self, request: budget_pb2.CommitRequest, context: Any) -> budget_pb2.CommitResponse:
        return self._charged


class Everybody(Callers):
    """One caller, whatever the key."""

    def __init__(self, signer: Signer) -> None:
        principal = Principal(kind=Principal.KIND_USER_KEY, org_id=uuid7(), key_id=uuid7(), scopes=["chat"])
        principal.path.add(kind=Level.KIND_ORG, id=principal.org_id)
        principal.path.add(kind=Level.KIND_KEY, id=principal.key_id)
        self._caller = Caller(principal, (), signer)

    async def authenticate_header(self, header: str) -> Caller:
        return self._caller


async def _unsigned(signing_key_id: str) -> None:
    """Nobody calls from another process."""


async def serve(upstream: str, port: int, *, checked: bool) -> None:
    """Gateway and provider, until a signal comes. `checked`: a policy has every answer checked."""
    table = MethodTable()
    table.interceptors = server_interceptors(Verifier(_unsigned))
    channel, signer = LocalChannel(table), Signer("gateway", bytes(range(32)))
    itself = Principal(kind=Principal.KIND_SERVICE, service="gateway")
    install_service_principals(lambda name: (itself, b""))
    entry = ProviderEntry(
        PROVIDER,
        "openai",
        f"{upstream}/v1",
        Secret("sk-bench"),
        allow_private_address=True,
        managed_by="file",
        model_class="standard",
    )
    context = Context(
        name="provider",
        config=ProviderConfig(),
        providers=(entry,),
        models=(),
        data_dir=pathlib.Path(tempfile.gettempdir()),
        keyring=Keyring(bytes(range(32))),
        signer=signer,
        database=None,
        channel_to=lambda name: channel,
        here=HERE,
    )
    provider = build_provider(context)
    provider.register(table)  # type: ignore[arg-type]
    rules = AnswerRules(validation=ValidationRules(enabled=True)) if checked else None
    router_pb2_grpc.add_RouterServiceServicer_to_server(OneModel(rules), table)  # type: ignore[abstract,arg-type]
    budget_pb2_grpc.add_BudgetServiceServicer_to_server(Unlimited(), table)  # type: ignore[abstract,arg-type]
    await provider.start()
    config = GatewayConfig(http_port=port)
    stubs = Stubs(lambda name: channel, HERE)
    settlements = Settlements(stubs.budget, timeout_s=config.commit_timeout_s)
    pipeline = Pipeline(stubs, settlements)
    webhooks = Webhooks({}, None, allow_private=False, timeout_s=1.0)
    pipeline.validation = Validation(stubs.memories, webhooks, judge=Judge(pipeline, timeout_s=1.0))
    edge = Edge(config, Everybody(signer), pipeline, None, asyncio.Event())
    server = uvicorn.Server(
        uvicorn.Config(
            edge,
            port=port,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
    )
    gc.collect()
    gc.freeze()
    await server.serve()
    await settlements.drain(5)
    await provider.close()


def _recipe(place: Place, *more: str) -> Recipe:
    port = free_port()
    command = [sys.executable, "-m", "bench.stream_path", "--serve", place.upstream, "--port", str(port), *more]
    return Recipe(command, port, {}, MODEL, {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}, ready_path=None)


def _checked_recipe(place: Place) -> Recipe:
    return _recipe(place, "--checked")


def measure(
    systems: dict[str, System], load: LoadProcess, plan: Plan, seconds: float, rounds: int
) -> dict[str, dict[str, list[Phase]]]:
    """Each system in turn, streams and whole answers, `rounds` times."""
    found: dict[str, dict[str, list[Phase]]] = {name: {"stream": [], "whole": []} for name in systems}
    for number in range(rounds + 1):
        for name, system in systems.items():
            for kind in ("stream", "whole"):
                spec = Spec(
                    port=system.port,
                    model=system.model,
                    headers=system.headers,
                    connections=plan.connections,
                    seconds=seconds if number else 2.0,
                    stream=kind == "stream",
                )
                phase = measure_phase(system, load, spec, plan)
                if number:
                    found[name][kind].append(phase)
    return found


def _run(options: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    plan = Plan(gap_ms=options.gap_ms)
    facts = machine(folder)
    with (
        load_process() as load,
        running("direct", folder, gap_ms=plan.gap_ms) as mock,
        running("floor", folder, upstream=f"http://127.0.0.1:{mock.port}") as floor,
        running("both", folder, upstream=f"http://127.0.0.1:{mock.port}", recipe_for=_recipe) as both,
        contextlib.ExitStack() as more,
    ):
        systems = {"both": both, "floor": floor}
        if options.checked:
            systems["checked"] = more.enter_context(
                running("checked", folder, upstream=f"http://127.0.0.1:{mock.port}", recipe_for=_checked_recipe)
            )
        found = measure(systems, load, plan, options.seconds, options.rounds)
    figures = {
        f"{name}_{kind}_cpu_ms": round(statistics.median(one.cpu_ms for one in phases), 4)
        for name, kinds in found.items()
        for kind, phases in kinds.items()
    }
    spread = {
        f"{name}_{kind}": [round(one.cpu_ms, 4) for one in phases]
        for name, kinds in found.items()
        for kind, phases in kinds.items()
    }
    return {**figures, "_run": {"machine": facts, "rounds": spread}}


def _show(found: dict[str, Any]) -> None:
    table = Table(title="CPU-ms of the process, 16 connections")
    for heading in ("", "a stream of 31 events", "a whole answer"):
        table.add_column(heading, justify="right")
    titles = {"both": "provider and gateway", "checked": "the same, answers checked", "floor": "bare pass-through"}
    for name, title in titles.items():
        if f"{name}_stream_cpu_ms" not in found:
            continue
        table.add_row(title, *(f"{found[f'{name}_{kind}_cpu_ms']:.3f}" for kind in ("stream", "whole")))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU of provider and gateway alone, beside a bare pass-through.")
    parser.add_argument("--serve", metavar="UPSTREAM", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each closed loop")
    parser.add_argument("--rounds", type=int, default=3, help="the median is shown")
    parser.add_argument("--gap-ms", type=float, default=1.0, help="the mock's pause between stream events")
    parser.add_argument("--checked", action="store_true", help="measure also with a policy that has answers checked")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    options = parser.parse_args()
    if options.serve:
        # As mesh.launcher runs every service.
        gc.set_threshold(50_000, 20, 50)
        uvloop.run(serve(options.serve, options.port, checked=options.checked))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dac-stream-path-"))
    try:
        found = _run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


if __name__ == "__main__":
    main()
