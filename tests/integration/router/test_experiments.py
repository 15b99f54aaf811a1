"""Experiments on a real PostgreSQL behind a real budget: sticky on every replica, rolled back, and nobody else's."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
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
    tenant_rules_pb2,
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
from services.router.experiments.outcomes import outcomes_of
from services.router.learning.outcomes import lesson
from services.router.learning.store import START, Batch, PostgresLearnedStore
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

    async def chat(self, org_id: str, fails: Callable[[str], bool] = lambda arm: False, **fields: Any) -> Any:
        """A request from its route to its record in budget's outbox."""
        found = await self.route(org_id, **fields)
        made = record_pb2.RequestRecord(
            org_id=org_id, request_id=uuid7(), asked_model="auto", outcome=record_pb2.OUTCOME_OK, route=found.route
        )
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
                    price=PriceEntry(False, {"input": usd * USD, "output": usd * USD}),
                )
                for name, quality, usd in (("p/best", 0.95, 1), ("p/other", 0.6, 2))
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


async def test_an_arm_is_the_same_on_every_replica(make_replica: MakeReplica, org_id: str) -> None:
    first, second = await make_replica(), await make_replica()
    experiment = await first.begin(org_id, KIND.KIND_AB)
    ends_at = time.monotonic() + 5
    while not (await second.route(org_id)).route.experiment.experiment_id:
        assert time.monotonic() < ends_at, "the second replica never heard of it"
        await asyncio.sleep(0.02)
    arms: dict[str, set[str]] = {}
    for number in range(120):
        thread, asked = f"thread-{number}", (first, second)[number % 2]
        for one in (asked, first, second):
            found = (await one.route(org_id, thread_id=thread, user=f"u{number % 3}")).route
            assert found.experiment.experiment_id == experiment.experiment_id
            chosen = found.candidates[0].model
            assert chosen == {"a": "p/best", "b": "p/other"}[found.experiment.arm], found
            assert found.policy_version.startswith("tried@1" if found.experiment.arm == "b" else "plain@1")
            arms.setdefault(thread, set()).add(found.experiment.arm)
    assert all(len(one) == 1 for one in arms.values())
    in_b = sum(one == {"b"} for one in arms.values())
    assert 40 <= in_b <= 80, in_b
    # Without a thread a user stays in an arm, and without a user a key does.
    for who in ({"user": "one"}, {"key": "k7"}):
        assert len({(await one.route(org_id, **who)).route.experiment.arm for one in (first, second) * 5}) == 1
    # A model that is named was not the router's to choose.
    assert not (await first.route(org_id, model="p/other")).route.HasField("experiment")


async def test_a_shadow_changes_no_route(replica: Replica, org_id: str) -> None:
    threads = [f"t{number}" for number in range(20)]
    seeds = [uuid7() for _ in threads]

    async def routes() -> list[Any]:
        both = zip(threads, seeds, strict=True)
        return [await replica.route(org_id, thread_id=thread, request_id=seed) for thread, seed in both]

    await replica.plain(org_id)
    before = await routes()
    shadow = await replica.begin(org_id, KIND.KIND_SHADOW)
    after = await routes()
    for one, other in zip(before, after, strict=True):
        told = other.route.shadow
        assert (told.experiment_id, told.model, told.agreed) == (shadow.experiment_id, "p/other", False)
        assert told.chosen_quality > told.quality > 0 and told.cost_nano_usd > told.chosen_cost_nano_usd > 0
        other.route.ClearField("shadow")
        other.route.decision_id = one.route.decision_id
        assert one == other
    # One that would refuse everything harms nobody either.
    await replica.do("UpdatePolicy", org_id, name="tried", rules=policy_pb2.PolicyRules(denied_models=["*"]))
    refused = await replica.route(org_id, thread_id="t0")
    assert refused.candidates[0].model == "p/best" and not refused.route.shadow.model
    for _ in range(4):
        await replica.chat(org_id)
    found = await replica.until(org_id, shadow.experiment_id, lambda one: one.figures and one.figures[0].arms[1].errors)
    (figures,) = found.figures
    assert figures.arms[0].errors == 0 and found.state == STATE.STATE_RUNNING and found.agreement == 0


async def test_a_canary_that_fails_is_rolled_back(replica: Replica, org_id: str) -> None:
    canary = await replica.begin(org_id, KIND.KIND_CANARY, sticky_by="request", steps=[STEP(share=0.3)] * 0)
    assert [round(one.share, 2) for one in canary.steps] == [0.01, 0.05, 0.25, 1.0]
    await replica.do("DeleteExperiment", org_id, experiment_id=canary.experiment_id)
    steps = [STEP(share=0.3, min_requests=10_000), STEP(share=1)]
    fields = {"name": "broken", "kind": KIND.KIND_CANARY, "policy": "tried", "sticky_by": "request", "steps": steps}
    canary = (await replica.do("CreateExperiment", org_id, **fields)).experiment
    asked = 0
    while (await replica.show(org_id, canary.experiment_id)).state == STATE.STATE_RUNNING:
        asked += 10
        assert asked <= 200, "it was not rolled back"
        for _ in range(10):
            await replica.chat(org_id, lambda arm: arm == "b")
        await asyncio.sleep(0.1)
    found = await replica.show(org_id, canary.experiment_id)
    assert (found.state, found.verdict) == (STATE.STATE_ROLLED_BACK, "rolled_back"), found
    assert "errors 100.00% against 0.00%" in found.reason and found.share_now == 0
    errors = next(one for one in found.figures[0].comparisons if one.metric == "errors")
    assert errors.verdict == "worse" and errors.always_valid_p < 0.02
    await replica.until_chosen(org_id, "p/best")
    for _ in range(20):
        route = (await replica.route(org_id)).route
        assert route.candidates[0].model == "p/best" and not route.HasField("experiment")
    ends_at = time.monotonic() + 10
    while "experiment.rollback" not in {one.action for one in replica.audit.records}:
        assert time.monotonic() < ends_at, "audit was not told"
        await asyncio.sleep(0.02)
    told = next(one for one in replica.audit.records if one.action == "experiment.rollback")
    assert (told.actor, told.org_id) == ("service:router", org_id)
    assert msgspec.json.decode(told.after_json)["state"] == "rolled_back"


async def test_a_policy_that_refuses_refuses_nobody_and_is_rolled_back(replica: Replica, org_id: str) -> None:
    steps = [STEP(share=0.5, min_requests=10_000)]
    canary = await replica.begin(org_id, KIND.KIND_CANARY, sticky_by="request", steps=steps)
    await replica.do("UpdatePolicy", org_id, name="tried", rules=policy_pb2.PolicyRules(denied_models=["*"]))
    made = [await replica.chat(org_id) for _ in range(60)]
    assert {one.route.candidates[0].model for one in made} == {"p/best"}
    assert {one.route.experiment.refused for one in made if one.route.experiment.arm == "b"} == {True}
    ended = await replica.until(org_id, canary.experiment_id, lambda one: one.state != STATE.STATE_RUNNING)
    assert ended.verdict == "rolled_back"


async def test_a_canary_that_does_no_worse_grows_until_it_is_for_all(replica: Replica, org_id: str) -> None:
    steps = [STEP(share=0.3, min_requests=5), STEP(share=0.6, min_requests=5)]
    canary = await replica.begin(org_id, KIND.KIND_CANARY, sticky_by="request", steps=steps)
    seen = set()
    ends_at = time.monotonic() + 20
    while (found := await replica.show(org_id, canary.experiment_id)).state == STATE.STATE_RUNNING:
        assert time.monotonic() < ends_at, found
        seen.add(round(found.share_now, 2))
        await replica.chat(org_id)
    assert (found.state, found.verdict, found.share_now) == (STATE.STATE_PROMOTED, "no_difference", 1.0), found
    assert seen == {0.3, 0.6} and [one.step for one in found.figures] == [0, 1]
    # Now it is the policy of all, also of requests that name a model.
    await replica.until_chosen(org_id, "p/other")
    with pytest.raises(MeshError) as caught:
        await replica.route(org_id, model="p/best")
    assert reason_of(caught) is Reason.PERMISSION_DENIED
    stopped = await replica.do(
        "UpdateExperiment", org_id, experiment_id=canary.experiment_id, state=STATE.STATE_STOPPED, etag=found.etag
    )
    assert stopped.experiment.state == STATE.STATE_STOPPED
    assert (await replica.route(org_id)).candidates[0].model == "p/best"


async def test_ratings_count_for_the_arm_once(replica: Replica, org_id: str) -> None:
    experiment = await replica.begin(org_id, KIND.KIND_AB, sticky_by="request")
    made = [await replica.chat(org_id) for _ in range(12)]
    rated = next(one for one in made if one.route.experiment.arm == "b")
    for rating in (1, -1, 0.5):
        await replica.do("SubmitFeedback", org_id, request_id=rated.request_id, rating=rating)
    found = await replica.until(
        org_id, experiment.experiment_id, lambda one: sum(arm.requests for arm in one.figures[0].arms) == 12
    )
    a, b = found.figures[0].arms
    assert (a.graded, b.graded) == (0, 1) and b.quality == pytest.approx(0.75)
    assert b.latency_ms == 500 and 500 <= b.latency_p95_ms <= 600


async def test_outcomes_count_once_whoever_adds_them(
    replica: Replica, database_for: Callable[..., Awaitable[Database]], org_id: str
) -> None:
    experiment = await replica.begin(org_id, KIND.KIND_AB, sticky_by="request")
    await replica.service.learning.close()
    database = await database_for("router")
    store = PostgresLearnedStore(database, replica.service.learning.learned.rules)
    made = [await replica.chat(org_id) for _ in range(6)]
    taught = [lesson(one) for one in made]
    batch = Batch(
        [one for found in taught if found for one in found.observations],
        answers=[found.answer for found in taught if found and found.answer],
        trials=[one for record in made for one in outcomes_of(record, ())],
    )
    before = await store.cursor()
    assert sorted(
        await asyncio.gather(store.add(batch, before, f"{before}x"), store.add(batch, before, f"{before}x"))
    ) == [False, True]
    found = await replica.show(org_id, experiment.experiment_id)
    assert sum(one.requests for one in found.figures[0].arms) == 6
    # Outcomes of an experiment that is gone are no failure.
    await replica.do("DeleteExperiment", org_id, experiment_id=experiment.experiment_id)
    assert await store.add(batch, f"{before}x", before or START)


async def test_a_failure_that_teaches_of_no_model_counts_all_the_same(replica: Replica, org_id: str) -> None:
    experiment = await replica.begin(org_id, KIND.KIND_AB, sticky_by="request")
    made = record_pb2.RequestRecord(org_id=org_id, request_id=uuid7(), outcome=FAILED)
    made.route.experiment.experiment_id, made.route.experiment.arm = experiment.experiment_id, "b"
    assert lesson(made) is None
    with as_key(org_id):
        await replica.budget.budget.Commit(budget_pb2.CommitRequest(record=made), None)
    found = await replica.until(org_id, experiment.experiment_id, lambda one: bool(one.figures))
    assert [(one.requests, one.errors) for one in found.figures[0].arms] == [(0, 0), (1, 1)]


def test_what_a_record_says_of_an_arm(org_id: str) -> None:
    def said(**fields: Any) -> Any:
        made = record_pb2.RequestRecord(
            **{"org_id": org_id, "request_id": uuid7(), "outcome": record_pb2.OUTCOME_OK, **fields}
        )
        made.route.experiment.experiment_id, made.route.experiment.arm = uuid7(), "b"
        made.cost_nano_usd = 5_000
        made.started_at.FromMilliseconds(1_000)
        made.ended_at.FromMilliseconds(1_400)
        return outcomes_of(made, (0.5, 1.0))

    (whole,) = said()
    assert (whole.failed, whole.latency_ms, whole.cost_usd, whole.quality) == (False, 400, 5e-6, 0.75)
    (gone,) = said(outcome=record_pb2.OUTCOME_CLIENT_GONE)
    assert (gone.failed, gone.latency_ms, gone.cost_usd, gone.quality) == (False, None, None, None)
    (failed,) = said(outcome=FAILED)
    assert failed.failed and failed.latency_ms is None
    # Nothing that the policy did: budget refused it, the gateway died, or it was answered before.
    assert not said(outcome=record_pb2.OUTCOME_REFUSED) and not said(outcome=record_pb2.OUTCOME_INDETERMINATE)
    for status in (record_pb2.CacheRecord.STATUS_HIT, record_pb2.CacheRecord.STATUS_COALESCED):
        assert not said(cache=record_pb2.CacheRecord(status=status))


async def test_organisations_stay_apart(replica: Replica, migrated: Migrated, org_id: str) -> None:
    experiment, other = await replica.begin(org_id, KIND.KIND_AB), uuid7()
    await replica.chat(org_id)
    await replica.until(org_id, experiment.experiment_id, lambda one: bool(one.figures))
    assert not (await replica.route(other)).route.HasField("experiment")
    assert not (await replica.do("ListExperiments", other)).experiments
    wanted = {"experiment_id": experiment.experiment_id}
    for method, more in (("GetExperiment", {}), ("UpdateExperiment", {"state": 2}), ("DeleteExperiment", {})):
        with pytest.raises(MeshError) as caught:
            await replica.do(method, other, **wanted, **more)
        assert reason_of(caught) is Reason.NOT_FOUND
        with pytest.raises(MeshError) as caught:
            await replica.do(method, org_id, "chat", **wanted, **more)
        assert reason_of(caught) is Reason.PERMISSION_DENIED
    connection = await asyncpg.connect(migrated.dsn("router"))
    try:
        for table in ("experiments", "experiment_arms", "experiment_answers", "experiment_counts"):
            await connection.execute("SELECT set_config('app.org_ids', $1, false)", other)
            assert not await connection.fetchval(f"SELECT count(*) FROM router.{table}")
            await connection.execute("SELECT set_config('app.org_ids', $1, false)", org_id)
            assert await connection.fetchval(f"SELECT count(*) FROM router.{table}"), table
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO router.experiment_counts VALUES ($1, 1)", other)
    finally:
        await connection.close()


async def test_what_the_operator_allows_bounds_the_tried_policy(replica: Replica, org_id: str) -> None:
    steps = [STEP(share=0.5, min_requests=10_000)]
    await replica.begin(org_id, KIND.KIND_CANARY, sticky_by="request", steps=steps)
    operator = principal_pb2.Principal(kind=4, scopes=["operator"])
    with calls.serving(calls.Call(principal=operator)):
        stub = policy_pb2_grpc.PolicyServiceStub(replica.channel)
        rules = tenant_rules_pb2.TenantRules(org_id=org_id, allowed_models=["p/best"])
        await stub.SetTenantRules(tenant_rules_pb2.SetTenantRulesRequest(rules=rules))
        routes = [(await replica.route(org_id)).route for _ in range(30)]
        assert {one.candidates[0].model for one in routes} == {"p/best"}
        assert any(one.experiment.refused for one in routes)
        # Under a policy that the operator chose for the organisation nothing is tried.
        rules = tenant_rules_pb2.TenantRules(org_id=org_id, policy="quality")
        await stub.SetTenantRules(tenant_rules_pb2.SetTenantRulesRequest(rules=rules))
    assert not any([(await replica.route(org_id)).route.HasField("experiment") for _ in range(20)])


async def test_what_is_wrong_is_refused_by_name(replica: Replica, org_id: str) -> None:
    experiment = await replica.begin(org_id, KIND.KIND_AB, request_id=(again := uuid7()))
    fields = {"name": "a test", "kind": KIND.KIND_AB, "policy": "tried"}
    same = await replica.do("CreateExperiment", org_id, **fields, request_id=again)
    assert same.experiment.experiment_id == experiment.experiment_id
    for reason, change in (
        (Reason.FAILED_PRECONDITION, {}),
        (Reason.NOT_FOUND, {"policy": "nowhere"}),
        (Reason.ALREADY_EXISTS, {"request_id": again, "share": 0.2}),
        (Reason.INVALID_REQUEST, {"kind": 0}),
        (Reason.INVALID_REQUEST, {"name": " "}),
        (Reason.INVALID_REQUEST, {"share": 1.5}),
        (Reason.INVALID_REQUEST, {"share": float("nan")}),
        (Reason.INVALID_REQUEST, {"alpha": 0.9}),
        (Reason.INVALID_REQUEST, {"metric": "luck"}),
        (Reason.INVALID_REQUEST, {"guards": ["luck"]}),
        (Reason.INVALID_REQUEST, {"sticky_by": "luck"}),
        (Reason.INVALID_REQUEST, {"max_requests": 1}),
        (Reason.INVALID_REQUEST, {"control": "tried"}),
        (Reason.INVALID_REQUEST, {"steps": [STEP(share=0.5)]}),
        (Reason.INVALID_REQUEST, {"kind": KIND.KIND_CANARY, "steps": [STEP(share=0.5), STEP(share=0.2)]}),
        (Reason.INVALID_REQUEST, {"kind": KIND.KIND_CANARY, "steps": [STEP(share=0.5)]}),
    ):
        with pytest.raises(MeshError) as caught:
            await replica.do("CreateExperiment", org_id, **{**fields, **change})
        assert reason_of(caught) is reason, (change, caught.value)
    wanted = {"experiment_id": experiment.experiment_id}
    for state, etag, reason in ((1, "", Reason.INVALID_REQUEST), (2, "77", Reason.FAILED_PRECONDITION)):
        with pytest.raises(MeshError) as caught:
            await replica.do("UpdateExperiment", org_id, **wanted, state=state, etag=etag)
        assert reason_of(caught) is reason
    # A policy that goes away takes nobody along.
    await replica.do("DeletePolicy", org_id, name="tried")
    assert (await replica.show(org_id, experiment.experiment_id)).policy_missing
    assert not (await replica.route(org_id)).route.HasField("experiment")
    await replica.do("UpdateExperiment", org_id, **wanted, state=STATE.STATE_STOPPED)
    with pytest.raises(MeshError) as caught:
        await replica.do("UpdateExperiment", org_id, **wanted, state=STATE.STATE_PROMOTED)
    assert reason_of(caught) is Reason.FAILED_PRECONDITION


async def test_one_that_cannot_be_read_holds_nobody_up(replica: Replica, migrated: Migrated, org_id: str) -> None:
    await replica.begin(org_id, KIND.KIND_AB)
    connection = await asyncpg.connect(migrated.superuser_dsn)
    try:
        await connection.execute("UPDATE router.experiments SET document = '{}' WHERE org_id = $1", org_id)
        await connection.execute("UPDATE router.experiment_counts SET changes = changes + 1 WHERE org_id = $1", org_id)
    finally:
        await connection.close()
    await replica.until_chosen(org_id, "p/best")
    await replica.begin(other := uuid7(), KIND.KIND_AB)
    assert (await replica.route(other)).route.HasField("experiment")


async def test_pages_the_latest_first(replica: Replica, org_id: str) -> None:
    made = [(await replica.begin(org_id, KIND.KIND_AB)).experiment_id]
    for number in range(4):
        await replica.do("UpdateExperiment", org_id, experiment_id=made[-1], state=STATE.STATE_STOPPED)
        fields = {"name": f"no. {number}", "kind": KIND.KIND_AB, "policy": "tried"}
        made.append((await replica.do("CreateExperiment", org_id, **fields)).experiment.experiment_id)
    found, token = list[str](), ""
    while True:
        page = await replica.do("ListExperiments", org_id, page_size=2, page_token=token)
        found += [one.experiment_id for one in page.experiments]
        if not (token := page.next_page_token):
            break
    assert found == made[::-1]
