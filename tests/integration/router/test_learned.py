"""Learning on a real PostgreSQL behind a real budget: nothing counts twice, replicas converge, tenants stay apart."""

from __future__ import annotations

import asyncio
import pathlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dac.budget.v1 import budget_pb2
from dac.router.v1 import learning_pb2
from dac.type.v1 import principal_pb2, record_pb2
from mesh import call as calls
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.service import Context
from services.budget.server import BudgetService
from services.router.config import RouterConfig
from services.router.learning.learning import Key, Learned, LearningRules, Observation, Sums
from services.router.learning.outcomes import lesson
from services.router.learning.server import LearningDesk
from services.router.learning.store import START, Answer, Batch, PostgresLearnedStore
from tests.conftest import Migrated
from tests.integration.budget.conftest import budget, make_budget
from tests.integration.budget.world import as_key

__all__ = ["budget", "make_budget"]

CATALOG = {"p/good": 0.8, "p/poor": 0.4}
MakeDesk = Callable[..., Awaitable[LearningDesk]]
DatabaseFor = Callable[..., Awaitable[Database]]
StoreFor = Callable[..., PostgresLearnedStore]


@pytest.fixture(scope="session")
async def migrated(
    make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path]
) -> Migrated:
    """A database of its own: the learner reads the records of every organisation."""
    return await make_database({name: all_services[name] for name in ("audit", "budget", "router")})


@pytest.fixture(scope="session")
async def alone(make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path]) -> Migrated:
    """A database without a learner: tests move the cursor by hand."""
    return await make_database({"router": all_services["router"]})


@pytest.fixture
async def store_for(alone: Migrated) -> AsyncIterator[Callable[..., PostgresLearnedStore]]:
    """Factory: the store there, under rules."""
    database = Database(alone.dsn("router"), "router")
    yield lambda rules=None: PostgresLearnedStore(database, rules or LearningRules())
    await database.close()


@contextmanager
def _acting_as(service: str) -> Iterator[calls.Call]:
    principal = principal_pb2.Principal(kind=principal_pb2.Principal.KIND_SERVICE, service=service)
    with calls.serving(calls.Call(principal=principal)) as made:
        yield made


@pytest.fixture
async def make_desk(
    budget: BudgetService, database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MakeDesk]:
    """Factory: a started replica."""
    monkeypatch.setattr(calls, "acting_as", _acting_as)
    made: list[LearningDesk] = []

    async def make(**options: Any) -> LearningDesk:
        table = MethodTable()
        budget.register(table)  # type: ignore[arg-type]
        channel: Any = LocalChannel(table)
        context = Context(
            name="router",
            config=RouterConfig(
                **{"learn_every_s": 0.01, "learned_refresh_s": 0.05, "feedback_wait_s": 0.5, **options}
            ),
            providers=(),
            models=(),
            data_dir=pathlib.Path(),
            keyring=Keyring(b"m" * 32),
            signer=None,  # type: ignore[arg-type]
            database=await database_for("router"),
            channel_to=lambda service: channel,
        )
        desk = LearningDesk(context, lambda org_id, model: CATALOG.get(model, 0.5))
        await desk.start()
        made.append(desk)
        return desk

    yield make
    for desk in made:
        await desk.close()


def asked(org_id: str, model: str = "p/good", **fields: Any) -> record_pb2.RequestRecord:
    """The record of a chat that one model answered."""
    made = record_pb2.RequestRecord(
        **{"org_id": org_id, "request_id": uuid7(), "asked_model": "auto", "outcome": record_pb2.OUTCOME_OK, **fields}
    )
    made.features.intent = made.features.intent or "coding_help"
    if not made.route.candidates:
        made.route.candidates.add(model=model, provider="p", quality_score=CATALOG.get(model, 0.5))
    if not made.attempts:
        attempt = made.attempts.add(attempt_id=uuid7(), model=model, provider="p")
        attempt.started_at.FromMilliseconds(1_000)
        attempt.ended_at.FromMilliseconds(3_000)
    made.started_at.GetCurrentTime()
    return made


def graded(org_id: str, quality: float, model: str = "p/good", **fields: Any) -> record_pb2.RequestRecord:
    made = asked(org_id, model, **fields)
    made.validation.scores["quality"] = quality
    return made


async def happened(budget: BudgetService, *records: record_pb2.RequestRecord) -> None:
    """The records are in budget's outbox."""
    for record in records:
        with as_key(record.org_id):
            await budget.budget.Commit(budget_pb2.CommitRequest(record=record), None)


async def ask(desk: LearningDesk, method: str, org_id: str, *scopes: str, **fields: Any) -> Any:
    """Calls as a key of an organisation."""
    principal = principal_pb2.Principal(kind=1, org_id=org_id, key_id="k1", scopes=scopes or ("admin", "chat", "read"))
    with calls.serving(calls.Call(principal=principal)):
        return await getattr(desk.servicer, method)(getattr(learning_pb2, f"{method}Request")(**fields), None)


async def known(desk: LearningDesk, org_id: str, **fields: Any) -> dict[str, learning_pb2.LearnedModel]:
    return {one.model: one for one in (await ask(desk, "GetLearned", org_id, **fields)).models}


async def until(desk: LearningDesk, org_id: str, outcomes: float, timeout_s: float = 15) -> dict[str, Any]:
    """What is known once so many outcomes are."""
    ends_at = time.monotonic() + timeout_s
    while True:
        found = await known(desk, org_id)
        if sum(one.n for one in found.values()) >= outcomes * 0.98:
            return found
        assert time.monotonic() < ends_at, f"{outcomes} outcomes never came: {found}"
        await asyncio.sleep(0.02)


async def test_outcomes_are_learned_from_the_outbox(budget: BudgetService, make_desk: MakeDesk, org_id: str) -> None:
    desk = await make_desk()
    await happened(
        budget, *(graded(org_id, 0.9) for _ in range(20)), *(graded(org_id, 0.1, "p/poor") for _ in range(5))
    )
    found = await until(desk, org_id, 25)
    good, poor = found["p/good"], found["p/poor"]
    assert good.task_type == "coding_help" and good.n == pytest.approx(20, rel=0.01)
    assert good.catalog_quality == 0.8 and 0.8 < good.expected_quality < 0.9
    assert poor.expected_quality < 0.4 and poor.confidence < good.confidence < 1
    assert good.latency_ms == pytest.approx(2000, rel=0.01)
    assert good.efficiency_score == pytest.approx(good.expected_quality - 0.02, abs=1e-3)
    values = desk.learned.adjust(org_id, "coding_help", ["p/poor", "p/good"], [0.9, 0.8], 1, 0.0).qualities
    assert values[1] > values[0]
    assert not await known(desk, org_id, task_type="math") and len(await known(desk, org_id, task_type="code")) == 2
    assert not await known(desk, uuid7())


async def test_two_replicas_converge_and_another_learns_on_when_the_leader_stops(
    budget: BudgetService, make_desk: MakeDesk, org_id: str
) -> None:
    replicas = [await make_desk(), await make_desk()]
    await happened(budget, *(graded(org_id, 0.9) for _ in range(30)))
    found = [await until(desk, org_id, 30) for desk in replicas]
    assert found[0] == found[1]
    arguments = (org_id, "coding_help", ["p/good", "p/poor"], [0.8, 0.4], 7, 0.1)
    assert replicas[0].learned.adjust(*arguments) == replicas[1].learned.adjust(*arguments)
    await replicas[0].close()
    await happened(budget, *(graded(org_id, 0.2, "p/poor") for _ in range(10)))
    assert (await until(replicas[1], org_id, 40))["p/good"] != found[1]["p/good"]


async def test_replicas_hear_of_each_other_without_being_asked(
    budget: BudgetService, make_desk: MakeDesk, org_id: str
) -> None:
    replicas = [await make_desk(), await make_desk()]
    await happened(budget, *(graded(org_id, 0.9) for _ in range(10)))
    ends_at = time.monotonic() + 15
    while not all(desk.learned.known(Key(org_id, "coding_help", "p/good")).outcomes > 9 for desk in replicas):
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.02)


async def test_a_restart_loses_nothing_and_counts_nothing_twice(
    budget: BudgetService, make_desk: MakeDesk, org_id: str
) -> None:
    first = await make_desk()
    await happened(budget, *(graded(org_id, 0.9) for _ in range(10)))
    before = await until(first, org_id, 10)
    await first.close()
    await happened(budget, *(graded(org_id, 0.9) for _ in range(10)))
    again = await make_desk()
    after = await until(again, org_id, 20)
    await asyncio.sleep(0.2)
    assert (await known(again, org_id))["p/good"] == after["p/good"]
    assert after["p/good"].n == pytest.approx(20, rel=0.01) and before["p/good"].n == pytest.approx(10, rel=0.01)


def some(org_id: str, count: int, quality: float = 1.0) -> Batch:
    return Batch([Observation(Key(org_id, "coding_help", "p/good"), quality, 0.5)] * count)


async def stored(store: PostgresLearnedStore, org_id: str) -> Sums:
    learned = Learned(LearningRules())
    _, found = await store.changed(START)
    if org_id in found:
        learned.put(org_id, found[org_id].clocks, found[org_id].rows)
    return learned.known(Key(org_id, "coding_help", "p/good"))


async def test_who_reads_from_where_the_cursor_no_longer_stands_adds_nothing(store_for: StoreFor, org_id: str) -> None:
    store = store_for()
    here = await store.cursor()
    assert await store.add(some(org_id, 5), here, "10:1")
    assert not await store.add(some(org_id, 5), here, "10:1")
    assert not await store.add(some(org_id, 5), "9:9", "11:1")
    assert (await stored(store, org_id)).outcomes == pytest.approx(5, abs=0.01)
    assert await store.cursor() == "10:1"
    assert sum(await asyncio.gather(*(store.add(some(org_id, 1), "10:1", "10:2") for _ in range(4)))) == 1
    assert (await stored(store, org_id)).outcomes == pytest.approx(6, abs=0.01)


async def test_a_batch_that_fails_leaves_the_cursor_where_it_was(store_for: StoreFor, org_id: str) -> None:
    store = store_for()
    here = await store.cursor()
    with pytest.raises(MeshError):
        await store.add(Batch([Observation(Key(org_id, "a\x00b", "p/good"), 1, 0.5)]), here, "12:1")
    assert await store.cursor() == here
    assert await store.add(some(org_id, 1), here, "12:1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.floats(0.9, 1), st.integers(0, 1000))
async def test_postgresql_fades_as_memory_does(
    store_for: StoreFor, batches: list[int], discount: float, seed: int
) -> None:
    rules, org, chance = LearningRules(discount=discount), uuid7(), random.Random(seed)
    store, memory, replica = store_for(rules), Learned(rules), Learned(rules)
    for count in batches:
        seen = [
            Observation(
                Key(org, chance.choice(("coding_help", "")), chance.choice(("p/good", "p/poor"))),
                chance.random(), 0.5, chance.random(), chance.random(), chance.random() < 0.2,
            )
            for _ in range(count)
        ]  # fmt: skip
        forward = [chance.choice((0.0, 0.0, 30.0)) for _ in seen]
        for one, more in zip(seen, forward, strict=True):
            memory.add([one], more)
        here = await store.cursor()
        assert await store.add(Batch(seen, forward), here, uuid7())
    _, found = await store.changed(START)
    replica.put(org, found[org].clocks, found[org].rows)
    for one, other in zip(memory.standings(org), replica.standings(org), strict=True):
        assert one[:2] == other[:2]
        for name in Sums.__dataclass_fields__:
            assert getattr(one.sums, name) == pytest.approx(getattr(other.sums, name), rel=1e-6, abs=1e-9)


async def test_sums_that_fade_to_nothing_are_no_failure(store_for: StoreFor, org_id: str) -> None:
    store = store_for()
    for step in range(4):
        one = Observation(Key(org_id, "coding_help", "p/good"), 1.0, 0.5, cost_usd=0.0 if step else 1e-9)
        assert await store.add(Batch([one], [1e6]), await store.cursor(), uuid7())
    assert (await stored(store, org_id)).outcomes == pytest.approx(1, abs=0.01)


async def test_feedback_counts_once_and_can_be_changed(budget: BudgetService, make_desk: MakeDesk, org_id: str) -> None:
    desk = await make_desk()
    records = [asked(org_id, "p/poor") for _ in range(10)]
    await happened(budget, *records)
    before = (await until(desk, org_id, 10))["p/poor"]
    assert before.expected_quality == pytest.approx(0.4)
    for record in records:
        for _ in range(2):
            rated = await ask(desk, "SubmitFeedback", org_id, "chat", request_id=record.request_id, rating=1)
    assert (rated.model, rated.task_type) == ("p/poor", "coding_help")
    liked = (await known(desk, org_id))["p/poor"]
    assert liked.n == before.n
    assert liked.expected_quality == pytest.approx(0.4 + (1 - 0.4) * 10 / 25, abs=0.01)
    for record in records:
        await ask(desk, "SubmitFeedback", org_id, request_id=record.request_id, rating=1, scale="stars")
    assert (await known(desk, org_id))["p/poor"].expected_quality == pytest.approx(0.4 - 0.4 * 10 / 25, abs=0.01)


async def test_a_rating_stands_beside_the_grade_of_validation(
    budget: BudgetService, make_desk: MakeDesk, org_id: str
) -> None:
    desk = await make_desk()
    record = graded(org_id, 0.8)
    await happened(budget, record)
    await until(desk, org_id, 1)
    await ask(desk, "SubmitFeedback", org_id, request_id=record.request_id, rating=0)
    assert desk.learned.known(Key(org_id, "coding_help", "p/good")).quality == pytest.approx(0.65)


async def test_feedback_on_nothing_is_refused(budget: BudgetService, make_desk: MakeDesk, org_id: str) -> None:
    desk = await make_desk()
    record = asked(org_id)
    await happened(budget, record)
    await until(desk, org_id, 1)
    for wrong in ({"rating": 7}, {"rating": -2}, {"rating": float("nan")}, {"rating": 0, "scale": "stars"},
                  {"rating": 1, "scale": "points"}):  # fmt: skip
        with pytest.raises(MeshError) as refusal:
            await ask(desk, "SubmitFeedback", org_id, request_id=record.request_id, **wrong)
        assert refusal.value.reason is Reason.INVALID_REQUEST
    for caller, request_id in ((uuid7(), record.request_id), (org_id, uuid7()), (org_id, "no-id")):
        with pytest.raises(MeshError) as refusal:
            await ask(desk, "SubmitFeedback", caller, request_id=request_id, rating=1)
        assert refusal.value.reason is Reason.NOT_FOUND
    with pytest.raises(MeshError) as refusal:
        await ask(desk, "SubmitFeedback", org_id, "read", request_id=record.request_id, rating=1)
    assert refusal.value.reason is Reason.PERMISSION_DENIED
    with pytest.raises(MeshError) as refusal:
        await ask(desk, "GetLearned", org_id, task_type="cooking")
    assert refusal.value.reason is Reason.INVALID_REQUEST


async def test_feedback_may_come_before_the_record(budget: BudgetService, make_desk: MakeDesk, org_id: str) -> None:
    desk = await make_desk(feedback_wait_s=20.0)
    record = asked(org_id)
    rating = asyncio.ensure_future(ask(desk, "SubmitFeedback", org_id, request_id=record.request_id, rating=1))
    await asyncio.sleep(0.1)
    assert not rating.done()
    await happened(budget, record)
    assert (await rating).model == "p/good"


async def test_resetting_forgets_everywhere_and_is_told_to_audit(
    budget: BudgetService, make_desk: MakeDesk, database_for: DatabaseFor, org_id: str
) -> None:
    replicas = [await make_desk(), await make_desk()]
    other, record = uuid7(), graded(org_id, 0.9)
    await happened(budget, record, graded(org_id, 0.1, "p/poor"), graded(other, 0.9))
    await until(replicas[0], org_id, 2)
    await until(replicas[0], other, 1)
    with pytest.raises(MeshError) as refusal:
        await ask(replicas[0], "ResetLearned", org_id, "chat")
    assert refusal.value.reason is Reason.PERMISSION_DENIED
    assert (await ask(replicas[0], "ResetLearned", org_id, model="p/good")).forgotten == 1
    assert set(await known(replicas[1], org_id)) == {"p/poor"}
    with pytest.raises(MeshError):
        await ask(replicas[1], "SubmitFeedback", org_id, request_id=record.request_id, rating=1)
    assert (await ask(replicas[0], "ResetLearned", org_id)).forgotten == 1
    assert not await known(replicas[1], org_id) and await known(replicas[1], other)
    database = await database_for("router")
    async with database.transaction(org_id) as connection:
        rows = await connection.fetch("SELECT record FROM admin_outbox WHERE org_id = $1 ORDER BY record_id", org_id)
    told = [record_pb2.AdminRecord.FromString(row[0]) for row in rows]
    assert [(one.action, one.target) for one in told] == [
        ("learned.reset", "learned:*:p/good"), ("learned.reset", "learned:*:*"),
    ]  # fmt: skip


async def test_old_answers_are_forgotten(
    budget: BudgetService, make_desk: MakeDesk, database_for: DatabaseFor, org_id: str
) -> None:
    desk = await make_desk()
    record = asked(org_id)
    await happened(budget, record)
    await until(desk, org_id, 1)
    await desk.close()
    hasty = await make_desk(feedback_window_s=0.001)
    await happened(budget, asked(org_id))
    await until(hasty, org_id, 2)
    database, ends_at = await database_for("router"), time.monotonic() + 15
    left = 1
    while left:
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.02)
        async with database.transaction(org_id) as connection:
            left = await connection.fetchval("SELECT count(*) FROM answers")
    with pytest.raises(MeshError) as refusal:
        await ask(hasty, "SubmitFeedback", org_id, request_id=record.request_id, rating=1)
    assert refusal.value.reason is Reason.NOT_FOUND


async def test_rows_of_other_organisations_are_out_of_reach(alone: Migrated, org_id: str) -> None:
    database = Database(alone.dsn("router"), "router")
    store = PostgresLearnedStore(database, LearningRules())
    answer = Answer(org_id, uuid7(), "coding_help", "p/good", None, 0.5)
    batch = Batch(some(org_id, 1).observations, answers=[answer])
    assert await store.add(batch, await store.cursor(), uuid7())
    async with database.transaction(uuid7()) as connection:
        for table in ("learned", "learned_clocks", "answers"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    connection = await asyncpg.connect(alone.dsn("router"))
    try:
        assert await connection.fetchval("SELECT count(*) FROM router.learned") == 0
    finally:
        await connection.close()
    assert await store.rate(uuid7(), answer.request_id, 1.0) is None
    await database.close()


def test_what_a_record_teaches(org_id: str) -> None:
    failed = asked(org_id)
    failed.attempts[0].reason = Reason.PROVIDER_TIMEOUT
    failed.attempts.add(attempt_id=uuid7(), model="p/poor", provider="p")
    failed.route.candidates.add(model="p/poor", provider="p", quality_score=0.4)
    failed.route.explored = True
    taught = lesson(failed)
    assert taught is not None and taught.answer is not None and taught.answer.model == "p/poor"
    assert [(one.key.model, one.quality, one.expected) for one in taught.observations] == [
        ("p/good", 0.0, 0.8), ("p/poor", 0.4, 0.4),
    ]  # fmt: skip
    assert [one.explored for one in taught.observations] == [True, False]
    elsewhere = asked(org_id)
    elsewhere.attempts[0].reason = Reason.PROVIDER_TIMEOUT
    elsewhere.attempts.add(attempt_id=uuid7(), model="p/good", provider="q")
    taught = lesson(elsewhere)
    assert taught is not None and [one.quality for one in taught.observations] == [0.8], "another place failed, not it"
    refused, busy = asked(org_id), asked(org_id)
    refused.attempts[0].reason, busy.attempts[0].reason = Reason.PROVIDER_REFUSED, Reason.PROVIDER_BUSY
    nothing = [
        refused,
        busy,
        asked(org_id, operation="embeddings"),
        asked(org_id, outcome=record_pb2.OUTCOME_INDETERMINATE),
        asked("no-organisation"),
        # A shared call teaches once, by its leader's record.
        asked(org_id, cache=record_pb2.CacheRecord(status=record_pb2.CacheRecord.STATUS_COALESCED)),
    ]
    assert not any(lesson(record) for record in nothing)


def test_every_answer_that_was_checked_teaches_of_its_own_model(org_id: str) -> None:
    retried = asked(org_id)
    retried.attempts.add(attempt_id=uuid7(), model="p/poor", provider="p")
    retried.validation.quality = 0.9
    for attempt, quality, is_given in zip(retried.attempts, (0.1, 0.9), (False, True), strict=True):
        retried.validation.answers.add(attempt_id=attempt.attempt_id, quality=quality, given=is_given)
    taught = lesson(retried)
    assert taught is not None and taught.graded == [True, True]
    assert [(one.key.model, one.quality) for one in taught.observations] == [("p/good", 0.1), ("p/poor", 0.9)]
    blocked = asked(org_id, outcome=record_pb2.OUTCOME_FAILED, reason=Reason.ANSWER_BLOCKED)
    blocked.validation.answers.add(attempt_id=blocked.attempts[0].attempt_id, quality=0.2)
    taught = lesson(blocked)
    assert taught is not None and [one.quality for one in taught.observations] == [0.2]
    unjudged = asked(org_id)
    unjudged.validation.status = "not_checked"
    unjudged.validation.scores["toxicity"] = 0.0
    taught = lesson(unjudged)
    assert taught is not None and taught.graded == [False], "what could not be judged is no grade"
