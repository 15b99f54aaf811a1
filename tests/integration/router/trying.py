"""Routers that try policies, on a real PostgreSQL behind a real budget: what the tests of experiments stand on."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from dac.audit.v1 import audit_pb2_grpc
from dac.budget.v1 import budget_pb2
from dac.router.v1 import (
    experiment_pb2,
    experiment_pb2_grpc,
    learning_pb2,
    learning_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
)
from dac.type.v1 import principal_pb2, record_pb2
from mesh import call as calls
from mesh.catalog import ModelEntry, ProviderEntry
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.model_prices import PriceEntry
from mesh.postgres import Database
from mesh.service import Context
from services.budget.server import BudgetService
from services.router.config import RouterConfig
from services.router.server import build
from tests.conftest import Migrated
from tests.integration.budget.conftest import budget, make_budget
from tests.integration.budget.world import as_key
from tests.integration.router.conftest import Audit

__all__ = ["budget", "make_budget"]

USD = 1_000_000_000
KIND, STATE = experiment_pb2.Experiment, experiment_pb2.Experiment
STEP = experiment_pb2.ExperimentStep
FAILED = record_pb2.OUTCOME_FAILED


@pytest.fixture(scope="session")
async def migrated(
    make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path]
) -> Migrated:
    """A database of its own: the learner reads the records of every organisation."""
    return await make_database({name: all_services[name] for name in ("audit", "budget", "router")})


@dataclasses.dataclass
class Replica:
    """A router with its stubs."""

    service: Any
    channel: Any
    audit: Audit
    budget: BudgetService
    plainly: set[str] = dataclasses.field(default_factory=set)

    async def do(self, method: str, org_id: str, *scopes: str, **fields: Any) -> Any:
        """Calls as a key of an organisation."""
        for module, stubs in (
            (experiment_pb2, experiment_pb2_grpc.ExperimentServiceStub),
            (policy_pb2, policy_pb2_grpc.PolicyServiceStub),
            (learning_pb2, learning_pb2_grpc.LearningServiceStub),
        ):
            if hasattr(module, f"{method}Request"):
                principal = principal_pb2.Principal(
                    kind=1, org_id=org_id, key_id="k1", scopes=scopes or ("admin", "chat", "read")
                )
                with calls.serving(calls.Call(principal=principal)):
                    request = getattr(module, f"{method}Request")(**fields)
                    return await getattr(stubs(self.channel), method)(request)
        raise AssertionError(method)

    async def route(self, org_id: str, *, user: str = "", key: str = "k1", **fields: Any) -> Any:
        """A route, as the gateway asks for one."""
        levels = [principal_pb2.Level(kind=1, id=org_id)]  # type: ignore[arg-type]
        principal = principal_pb2.Principal(
            kind=1, org_id=org_id, user_id=user, key_id=key, scopes=["chat"], path=levels
        )
        with calls.serving(calls.Call(principal=principal)):
            request = router_pb2.RouteRequest(**{"model": "auto", "request_id": uuid7(), **fields})
            return await router_pb2_grpc.RouterServiceStub(self.channel).Route(request)

    async def plain(self, org_id: str) -> None:
        """Puts the organisation under a policy that tries no models to learn."""
        if org_id not in self.plainly:
            self.plainly.add(org_id)
            await self.do("CreatePolicy", org_id, name="plain", rules=policy_pb2.PolicyRules(exploration=0))
            await self.do("AssignPolicy", org_id, level=principal_pb2.Level(kind=1), policy="plain")  # type: ignore[arg-type]

    async def begin(self, org_id: str, kind: int, **fields: Any) -> Any:
        """An experiment with the policy that forbids the best model."""
        await self.plain(org_id)
        await self.do("CreatePolicy", org_id, name="tried", rules=policy_pb2.PolicyRules(**TRIED))
        fields = {"name": "a test", "kind": kind, "policy": "tried", **fields}
        return (await self.do("CreateExperiment", org_id, **fields)).experiment

    async def show(self, org_id: str, experiment_id: str) -> Any:
        return (await self.do("GetExperiment", org_id, experiment_id=experiment_id)).experiment

    async def chat(
        self,
        org_id: str,
        fails: Callable[[str], bool] = lambda arm: False,
        falls_back: Callable[[str], bool] = lambda arm: False,
        **fields: Any,
    ) -> Any:
        """A request from its route to its record in budget's outbox."""
        found = await self.route(org_id, **fields)
        made = record_pb2.RequestRecord(
            org_id=org_id, request_id=uuid7(), asked_model="auto", outcome=record_pb2.OUTCOME_OK, route=found.route
        )
        if falls_back(found.route.experiment.arm):
            broken = made.attempts.add(attempt_id=uuid7(), model="p/broken", provider="p")
            broken.reason = int(Reason.PROVIDER_FAILED)  # type: ignore[assignment]
        attempt = made.attempts.add(attempt_id=uuid7(), model=found.candidates[0].model, provider="p")
        for one in (made, attempt):
            one.started_at.FromMilliseconds(1_000)
            one.ended_at.FromMilliseconds(1_500)
        if fails(found.route.experiment.arm):
            made.outcome, attempt.reason = FAILED, int(Reason.PROVIDER_FAILED)  # type: ignore[assignment]
        with as_key(org_id):
            await self.budget.budget.Commit(budget_pb2.CommitRequest(record=made), None)
        return made

    async def until_chosen(self, org_id: str, model: str) -> None:
        """Once the policy in force chooses a model, and nothing is measured any more; in a second at most."""
        ends_at = time.monotonic() + 1
        while (route := (await self.route(org_id)).route).HasField("experiment") or route.candidates[0].model != model:
            assert time.monotonic() < ends_at, route
            await asyncio.sleep(0.01)

    async def until(self, org_id: str, experiment_id: str, true: Callable[[Any], bool]) -> Any:
        """The experiment once something is so."""
        ends_at = time.monotonic() + 15
        while True:
            found = await self.show(org_id, experiment_id)
            if true(found):
                return found
            assert time.monotonic() < ends_at, f"it never came: {found}"
            await asyncio.sleep(0.02)


TRIED = {"denied_models": ["p/best"], "exploration": 0.0, "quality_floor_share": 0.1}
MakeReplica = Callable[..., Awaitable[Replica]]


@pytest.fixture
async def make_replica(
    budget: BudgetService,
    database_for: Callable[..., Awaitable[Database]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> AsyncIterator[MakeReplica]:
    """Factory: a started router, whole."""
    made = principal_pb2.Principal(kind=principal_pb2.Principal.KIND_SERVICE, service="router"), b""
    monkeypatch.setattr(calls, "_service_principal", lambda service: made)
    replicas: list[Replica] = []

    async def make() -> Replica:
        table, audit = MethodTable(), Audit()
        channel: Any = LocalChannel(table)
        context = Context(
            name="router",
            config=RouterConfig(learn_every_s=0.01, feedback_wait_s=3.0, policy_poll_s=0.05, offline=True),
            providers=(ProviderEntry("p", "openai", "http://x"),),
            models=tuple(
                ModelEntry(
                    model=name,
                    provider="p",
                    name=name,
                    context_tokens=100_000,
                    quality=quality,
                    first_token_ms=first_token_ms,
                    speed_tokens_per_s=100,
                    price=PriceEntry(False, {"input": usd * USD, "output": usd * USD}),
                )
                for name, quality, usd, first_token_ms in (("p/best", 0.95, 1, 100), ("p/other", 0.6, 2, 300))
            ),
            data_dir=tmp_path,
            keyring=Keyring(b"m" * 32),
            signer=None,  # type: ignore[arg-type]
            database=await database_for("router"),
            channel_to=lambda service: channel,
        )
        service = build(context)
        service.register(table)  # type: ignore[arg-type]
        budget.register(table)  # type: ignore[arg-type]
        audit_pb2_grpc.add_AuditServiceServicer_to_server(audit, table)  # type: ignore[arg-type]
        await service.start()
        replicas.append(Replica(service, channel, audit, budget))
        return replicas[-1]

    yield make
    for one in replicas:
        await one.service.close()


@pytest.fixture
async def replica(make_replica: MakeReplica) -> Replica:
    return await make_replica()


def reason_of(caught: pytest.ExceptionInfo[MeshError]) -> Reason:
    return caught.value.reason
