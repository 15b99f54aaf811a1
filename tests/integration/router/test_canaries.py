"""Canaries on a real PostgreSQL behind a real budget: rolled back when they do worse, for all when they do not."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from dac.router.v1 import (
    policy_pb2,
    policy_pb2_grpc,
    tenant_rules_pb2,
)
from dac.type.v1 import principal_pb2
from mesh import call as calls
from mesh.errors import MeshError, Reason
from tests.integration.budget.conftest import budget, make_budget
from tests.integration.router.trying import (
    KIND,
    STATE,
    STEP,
    Replica,
    make_replica,
    migrated,
    reason_of,
    replica,
)

__all__ = ["budget", "make_budget", "make_replica", "migrated", "replica"]


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


async def test_a_canary_whose_model_others_stand_in_for_is_rolled_back(replica: Replica, org_id: str) -> None:
    """No caller sees an error, and the tried policy's model is broken all the same."""
    steps = [STEP(share=0.3, min_requests=10_000)]
    canary = await replica.begin(org_id, KIND.KIND_CANARY, sticky_by="request", steps=steps)
    ended = canary
    for _ in range(20):
        for _ in range(10):
            await replica.chat(org_id, falls_back=lambda arm: arm == "b")
        ended = await replica.show(org_id, canary.experiment_id)
        if ended.state != STATE.STATE_RUNNING:
            break
        await asyncio.sleep(0.05)
    assert ended.verdict == "rolled_back" and "fallbacks 100.00% against 0.00%" in ended.reason, ended
    a, b = ended.figures[0].arms
    assert (a.fallbacks, b.fallbacks, b.errors) == (0, b.requests, 0) and b.fallback_rate == 1
