"""What came of the arms of experiments, counted on a real PostgreSQL behind a real budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2
from dac.type.v1 import record_pb2
from mesh.errors import Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.router.experiments.outcomes import outcomes_of
from services.router.learning.outcomes import lesson
from services.router.learning.store import START, Batch, PostgresLearnedStore
from tests.integration.budget.conftest import budget, make_budget
from tests.integration.budget.world import as_key
from tests.integration.router.trying import (
    FAILED,
    KIND,
    Replica,
    make_replica,
    migrated,
    replica,
)

__all__ = ["budget", "make_budget", "make_replica", "migrated", "replica"]


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
    # Another model stood in; the same one at another place, or a second answer that validation asked for, is none.
    attempt = record_pb2.AttemptRecord
    fault = int(Reason.PROVIDER_FAILED)
    for attempts, fell_back in (
        ([attempt(model="p/a", reason=fault), attempt(model="p/b")], True),  # type: ignore[arg-type]
        ([attempt(model="p/a", reason=fault), attempt(model="p/a")], False),  # type: ignore[arg-type]
        ([attempt(model="p/a"), attempt(model="p/b")], False),
        ([attempt(model="p/a")], False),
    ):
        (one,) = said(attempts=attempts)
        assert one.fell_back is fell_back, attempts
    # Nothing that the policy did: budget refused it, the gateway died, or it was answered before.
    assert not said(outcome=record_pb2.OUTCOME_REFUSED) and not said(outcome=record_pb2.OUTCOME_INDETERMINATE)
    for status in (record_pb2.CacheRecord.STATUS_HIT, record_pb2.CacheRecord.STATUS_COALESCED):
        assert not said(cache=record_pb2.CacheRecord(status=status))
