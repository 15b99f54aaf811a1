"""A reservation whose answer was lost, records of any size and text, and how long a reservation may live."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.budget.v1 import record_pb2 as outbox_pb2
from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.budget.ledger.operations import Resolve
from services.budget.ledger.rows import State
from services.budget.record_feed import MAX_ANSWER_BYTES
from services.budget.request_records import MAX_RECORD_BYTES
from services.budget.server import BudgetService
from tests.integration.budget.test_money_flow import asking, commit, in_balance, limit, only_budget, record, reserve
from tests.integration.budget.test_outbox_and_sweeper import fetch, records_of
from tests.integration.budget.world import CENT, USD, MakeBudget, as_key, as_service

WAITS_FOR_ME = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"


async def tell(budget: BudgetService, what: record_pb2.RequestRecord) -> int:
    """Commits a record without a reservation."""
    with as_key(what.org_id):
        return (await budget.budget.Commit(pb.CommitRequest(record=what), None)).cost_nano_usd


async def held(budget: BudgetService, org_id: str) -> tuple[int, int]:
    state = await only_budget(budget, org_id)
    return state.spent_nano_usd, state.reserved_nano_usd


async def test_a_record_frees_the_reservation_whose_answer_was_lost(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(), await make_budget()]
    await limit(replicas[0], org_id, USD)
    lost, other = asking(), asking()
    await reserve(replicas[0], org_id, lost)
    await reserve(replicas[0], org_id, other)
    told = record(org_id, lost.request_id)
    told.outcome = record_pb2.OUTCOME_FAILED
    costs = await asyncio.gather(*(tell(replicas[n % 2], told) for n in range(4)))
    assert costs == [0, 0, 0, 0]
    assert await held(replicas[1], org_id) == (0, 10 * CENT), "only the lost one is freed, and once"
    found = await in_balance(replicas[1], org_id)
    assert (found.ledger_rows, found.open_reservations) == (1, 1)
    assert [r.outcome for r in await records_of(replicas[0], org_id)] == [record_pb2.OUTCOME_FAILED]


async def test_a_record_with_attempts_or_of_another_request_frees_nothing(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, USD)
    ask = asking()
    answer = await reserve(budget, org_id, ask)
    await tell(budget, record(org_id, uuid7()))
    stranger = uuid7()
    await tell(budget, record(stranger, ask.request_id))
    await tell(budget, record(org_id, ask.request_id, "dime"))
    assert await held(budget, org_id) == (0, 10 * CENT)
    assert await commit(budget, answer, record(org_id, ask.request_id, "dime")) == 10 * CENT
    await tell(budget, record(org_id, ask.request_id))
    assert await held(budget, org_id) == (10 * CENT, 0), "what is resolved stays so"
    await in_balance(budget, org_id)


async def test_a_reserve_and_its_record_that_are_queued_together_leave_nothing_held(
    budget: BudgetService, org_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    await limit(budget, org_id, USD)
    ask, plain = asking(), asking()
    outcomes = await asyncio.gather(
        reserve(budget, org_id, ask), tell(budget, record(org_id, ask.request_id)), reserve(budget, org_id, plain)
    )
    assert outcomes[1] == 0
    assert "refused a statement" not in caplog.text, "one statement must not make and resolve a row"
    assert await held(budget, org_id) == (0, 10 * CENT)
    await in_balance(budget, org_id)


@pytest.mark.parametrize("what", ["reserve", "commit", "limited", "used"])
async def test_the_usual_batches_take_one_round_trip(
    budget: BudgetService, org_id: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "limited":
        await limit(budget, org_id, USD)
        await reserve(budget, org_id, asking("metered"))  # Opens the window's counter, the general way.
    ask = asking("metered")
    answer = await reserve(budget, org_id, ask) if what == "commit" else None
    trips: list[str] = []
    call, transaction = budget._database.call, budget._database.transaction

    async def counted(statement: str, *values: Any) -> Any:
        trips.append("one statement")
        return await call(statement, *values)

    @contextlib.asynccontextmanager
    async def noticed(*org_ids: str) -> AsyncIterator[Any]:
        trips.append("a transaction")
        async with transaction(*org_ids) as connection:
            yield connection

    with monkeypatch.context() as patch:
        patch.setattr(budget._database, "call", counted)
        patch.setattr(budget._database, "transaction", noticed)
        if answer is not None:
            await commit(budget, answer, record(org_id, ask.request_id, "metered", input_tokens=1))
        elif what == "used":
            await tell(budget, record(org_id, uuid7(), "metered", input_tokens=1))
        else:
            await reserve(budget, org_id, ask)
    assert trips[:1] == (["a transaction"] if what == "used" else ["one statement"])
    assert trips.count("one statement") == (what != "used")


async def test_a_batch_that_is_not_simple_is_decided_the_general_way(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, 30 * CENT)
    first = await asyncio.gather(*(reserve(budget, org_id, asking()) for _ in range(5)), return_exceptions=True)
    admitted = [one for one in first if not isinstance(one, BaseException)]
    assert len(admitted) == 3 and await held(budget, org_id) == (0, 30 * CENT)
    ask = asking()
    await in_balance(budget, org_id)
    with pytest.raises(MeshError):
        await reserve(budget, org_id, ask)


@pytest.mark.parametrize("what", ["commit", "lost"])
async def test_what_another_replica_resolves_meanwhile_is_not_resolved_again(
    make_budget: MakeBudget, org_id: str, what: str
) -> None:
    first, second = await make_budget(), await make_budget()
    await limit(first, org_id, USD)
    ask = asking()
    answer = await reserve(first, org_id, ask)
    await reserve(first, org_id, asking())
    async with first._database.transaction(org_id) as connection:
        await connection.execute("UPDATE reservations SET state = 2 WHERE request_id = $1", ask.request_id)
        await connection.execute("UPDATE counters SET reserved = $1", 10 * CENT)
        if what == "commit":
            # In one batch with a repeated reserve, which reads the same row without a lock.
            resolving = commit(second, answer, record(org_id, ask.request_id, "dime"))
            both: asyncio.Future[Any] = asyncio.gather(resolving, reserve(second, org_id, ask))
        else:
            both = asyncio.gather(tell(second, record(org_id, ask.request_id)))
        while not await connection.fetchval(WAITS_FOR_ME):
            await asyncio.sleep(0.01)
    cost, *again = await both
    assert cost == 0 and all(one.reservation_id == answer.reservation_id for one in again)
    assert await held(first, org_id) == (0, 10 * CENT)


async def test_large_records_come_in_answers_that_a_channel_carries(budget: BudgetService, org_id: str) -> None:
    wanted = []
    for _ in range(12):
        large = record(org_id, uuid7(), "metered", input_tokens=1)
        large.attempts[0].finish_reason = "x" * (MAX_RECORD_BYTES - 1000)
        await tell(budget, large)
        wanted.append(large.request_id)
    seen: list[str] = []
    cursor, answers = "", 0
    while len(seen) < len(wanted):
        answer = await fetch(budget, cursor)
        assert answer.records, "the feed is stuck"
        assert answer.ByteSize() <= MAX_ANSWER_BYTES + 64 * 1024
        cursor, answers = answer.cursor, answers + 1
        seen += [r.request_id for r in answer.records if r.org_id == org_id]
    assert seen == wanted and answers >= 2


async def test_a_record_larger_than_an_answer_comes_alone(budget: BudgetService, org_id: str) -> None:
    insert = "INSERT INTO record_outbox (org_id, request_id, record) VALUES ($1, $2, $3)"
    large = record_pb2.RequestRecord(org_id=org_id, message="x" * (MAX_ANSWER_BYTES + 1))
    wanted = [uuid7() for _ in range(3)]
    async with budget._database.transaction(org_id) as connection:
        for request_id in wanted:
            large.request_id = request_id
            await connection.execute(insert, org_id, request_id, large.SerializeToString())
    seen: list[str] = []
    cursor = ""
    while len(seen) < len(wanted):
        answer = await fetch(budget, cursor)
        found = [r.request_id for r in answer.records if r.org_id == org_id]
        assert answer.records and len(found) <= 1
        cursor = answer.cursor
        seen += found
    assert seen == wanted
    async with budget._database.transaction(org_id) as connection:
        await connection.execute("DELETE FROM record_outbox WHERE org_id = $1", org_id)


async def test_a_huge_record_is_cut_and_charged_in_full(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, USD)
    ask = asking("metered", input_tokens_max=10, draft=record_pb2.RequestRecord(message="x" * 2 * MAX_RECORD_BYTES))
    answer = await reserve(budget, org_id, ask)
    what = record(org_id, ask.request_id, "metered", input_tokens=10)
    what.attempts[0].message = "x" * 3 * 1024 * 1024
    assert await commit(budget, answer, what) == 10_000
    assert (await held(budget, org_id))[0] == 10_000
    (told,) = await records_of(budget, org_id)
    assert (told.cost_nano_usd, told.attempts[0].cost_nano_usd) == (10_000, 10_000)
    assert told.ByteSize() <= MAX_RECORD_BYTES
    async with budget._database.transaction(org_id) as connection:
        drafts = await connection.fetch("SELECT octet_length(draft) FROM reservations WHERE org_id = $1", org_id)
    assert drafts[0][0] <= MAX_RECORD_BYTES
    await in_balance(budget, org_id)


async def test_a_nul_or_a_long_attempt_id_does_not_lose_the_charge(budget: BudgetService, org_id: str) -> None:
    for attempt_id in ("a\x00b", "x" * 10_000):
        ask = asking()
        answer = await reserve(budget, org_id, ask)
        what = record(org_id, ask.request_id, "dime")
        what.attempts[0].attempt_id = attempt_id
        assert await commit(budget, answer, what) == 10 * CENT
    with as_service("audit"):
        for request in (
            outbox_pb2.FetchRecordsRequest(consumer="a\x00b", cursor="1:1"),
            outbox_pb2.FetchRecordsRequest(consumer="test", cursor=f"{'9' * 5000}:1"),
        ):
            with pytest.raises(MeshError) as refusal:
                await budget.record.FetchRecords(request, None)
            assert refusal.value.reason is Reason.INVALID_REQUEST


async def test_a_reservation_lives_as_long_as_was_asked_up_to_the_longest_life(
    budget: BudgetService, org_id: str
) -> None:
    for asked_s, given_s in ((86_400.0, 86_400.0), (7_320.0, 7_320.0), (10 * 86_400.0, 86_400.0), (0.0, 900.0)):
        before = dt.datetime.now(dt.UTC)
        answer = await reserve(budget, org_id, asking(ttl_s=asked_s))
        lives_s = (answer.expires_at.ToDatetime(tzinfo=dt.UTC) - before).total_seconds()
        assert given_s <= lives_s + 0.001 and lives_s < given_s + 60


async def test_a_wrong_reservation_says_how_to_mend_it(budget: BudgetService, org_id: str) -> None:
    wrong = pb.ReserveResponse(reservation_id=uuid7(), reservation_secret=b"x")
    with pytest.raises(MeshError, match="use the reservation_id and reservation_secret"):
        await commit(budget, wrong, record(org_id, uuid7()))


def test_only_a_record_of_which_nothing_was_sent_may_free() -> None:
    op = Resolve("o", "q", "", State.COMMITTED, dt.datetime.now(dt.UTC))
    assert op.may_free_unanswered
    assert not Resolve("o", "q", "r", State.COMMITTED, op.now).may_free_unanswered
