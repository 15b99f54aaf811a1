"""Experiments on a real PostgreSQL behind a real budget: sticky on every replica, and nobody else's."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from dac.router.v1 import (
    policy_pb2,
)
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from tests.conftest import Migrated
from tests.integration.budget.conftest import budget, make_budget
from tests.integration.router.trying import (
    KIND,
    STATE,
    STEP,
    MakeReplica,
    Replica,
    make_replica,
    migrated,
    reason_of,
    replica,
)

__all__ = ["budget", "make_budget", "make_replica", "migrated", "replica"]


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
    # Without a thread whom the body names stays in an arm, else a user, else a key.
    for who in ({"end_user": "eve", "user": ""}, {"user": "one"}, {"key": "k7"}):
        assert len({(await one.route(org_id, **who)).route.experiment.arm for one in (first, second) * 5}) == 1
    # One key may speak for many: each of them is in an arm, whatever thread or user they have besides.
    served = {
        name: {(await first.route(org_id, end_user=name, user=f"u{n}")).route.experiment.arm for n in range(3)}
        for name in (f"customer-{number}" for number in range(40))
    }
    assert all(len(one) == 1 for one in served.values()) and {"a", "b"} == set().union(*served.values())
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
        assert told.latency_ms == pytest.approx(told.chosen_latency_ms + 200) and told.chosen_latency_ms > 1_000
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
    assert {"quality", "errors", "latency", "cost"} == {one.metric for one in figures.comparisons}
    assert figures.arms[0].errors == 0 and found.state == STATE.STATE_RUNNING and found.agreement == 0


async def test_a_shadow_beside_an_experiment_looks_at_the_policy_in_force_alone(replica: Replica, org_id: str) -> None:
    await replica.begin(org_id, KIND.KIND_AB, sticky_by="request")
    fields = {"name": "beside", "kind": KIND.KIND_SHADOW, "policy": "speed"}
    await replica.do("CreateExperiment", org_id, **fields)
    routes = [(await replica.route(org_id)).route for _ in range(40)]
    assert {(one.experiment.arm, one.HasField("shadow")) for one in routes} == {("a", True), ("b", False)}


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
