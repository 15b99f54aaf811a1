"""Streams that are covered in steps, and charges that are corrected."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.type.v1.principal_pb2 import Level
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.budget.server import BudgetService
from tests.integration.budget.test_hierarchy import get, hold, put
from tests.integration.budget.test_money_flow import asking, commit, in_balance, record
from tests.integration.budget.world import CENT, USD, MakeBudget, as_key

STEPS: dict[str, Any] = {"reservation_mode": "balanced", "default_output_tokens": 100, "extend_output_tokens": 50}
INPUT, OUTPUT = 1000, 2000
"""Nano-USD per token of test/metered."""


async def extend(
    budget: BudgetService, org_id: str, request_id: str, held: Any, output_tokens: int, **more: Any
) -> Any:
    request = pb.ExtendRequest(
        org_id=org_id,
        request_id=request_id,
        reservation_id=held.reservation_id,
        reservation_secret=more.pop("secret", held.reservation_secret),
        provider="test",
        model="test/metered",
        output_tokens=output_tokens,
        **more,
    )
    with serving(Call()):
        return await budget.budget.Extend(request, None)


def stream(**fields: Any) -> pb.ReserveRequest:
    return asking("metered", input_tokens=10, input_tokens_max=100, stream=True, **fields)


async def test_another_whole_answer_is_held_where_it_fits(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget()
    one = 100 * INPUT + 50 * OUTPUT
    budget_id = await put(budget, org_id, limit_nano_usd=2 * one)
    ask = asking("metered", input_tokens=10, input_tokens_max=100, max_output_tokens=50)
    held = await hold(budget, org_id, ask)
    assert held.reserved_nano_usd == one
    again: dict[str, Any] = {
        "again": [pb.PricedCandidate(provider="test", model="test/metered")],
        "input_tokens_max": 100,
        "max_output_tokens": 50,
    }
    assert (await extend(budget, org_id, ask.request_id, held, 0, **again)).reserved_nano_usd == 2 * one
    with pytest.raises(MeshError) as error:
        await extend(budget, org_id, ask.request_id, held, 0, **again)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED
    assert (await get(budget, org_id, budget_id)).reserved_nano_usd == 2 * one


async def test_a_stream_is_covered_in_steps_up_to_what_is_left(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget(**STEPS)
    budget_id = await put(budget, org_id, limit_nano_usd=11 * INPUT + 220 * OUTPUT)
    ask = stream()
    held = await hold(budget, org_id, ask)
    assert (held.covered_output_tokens, held.output_cap_tokens) == (100, 0)
    assert held.reserved_nano_usd == 11 * INPUT + 100 * OUTPUT, "the estimate and a tenth"
    for asked, covered in ((101, 150), (101, 150), (151, 200), (201, 220)):
        answer = await extend(budget, org_id, ask.request_id, held, asked)
        assert answer.covered_output_tokens == covered
        assert answer.reserved_nano_usd == 11 * INPUT + covered * OUTPUT
    with pytest.raises(MeshError) as error:
        await extend(budget, org_id, ask.request_id, held, 221)
    assert error.value.reason is Reason.BUDGET_EXHAUSTED and error.value.metadata["level"] == "org"
    assert (await get(budget, org_id, budget_id)).reserved_nano_usd == 11 * INPUT + 220 * OUTPUT
    cost = await commit(budget, held, record(org_id, ask.request_id, "metered", input_tokens=10, output_tokens=200))
    assert cost == 10 * INPUT + 200 * OUTPUT
    assert (await get(budget, org_id, budget_id)).reserved_nano_usd == 0
    with pytest.raises(MeshError) as error:
        await extend(budget, org_id, ask.request_id, held, 500)
    assert error.value.reason is Reason.RESERVATION_INVALID
    await in_balance(budget, org_id)


async def test_what_is_not_a_stream_or_is_small_is_held_whole(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget(**STEPS)
    await put(budget, org_id, limit_nano_usd=USD)
    whole = await hold(budget, org_id, asking("metered", input_tokens=10, input_tokens_max=100))
    assert (whole.covered_output_tokens, whole.output_cap_tokens) == (0, 100)
    small = await hold(budget, org_id, stream(max_output_tokens=70))
    assert (small.covered_output_tokens, small.output_cap_tokens) == (0, 70)
    large = await hold(budget, org_id, stream(max_output_tokens=5000))
    assert (large.covered_output_tokens, large.output_cap_tokens) == (100, 0)
    await put(budget, org_id, Level.KIND_ORG, "", limit_nano_usd=11 * INPUT + 40 * OUTPUT, window=pb.WINDOW_DAY)
    poor = await hold(budget, org_id, stream())
    assert (poor.covered_output_tokens, poor.output_cap_tokens) == (0, 40), "no more than that can ever be paid"


async def test_an_extension_on_another_replica_is_settled_whole(make_budget: MakeBudget, org_id: str) -> None:
    first, second = await make_budget(**STEPS), await make_budget(**STEPS)
    budget_id = await put(first, org_id, limit_nano_usd=USD)
    ask = stream()
    held = await hold(first, org_id, ask)
    await extend(second, org_id, ask.request_id, held, 120)
    await commit(first, held, record(org_id, ask.request_id, "metered", input_tokens=10, output_tokens=120))
    state = await get(first, org_id, budget_id)
    assert (state.spent_nano_usd, state.reserved_nano_usd) == (10 * INPUT + 120 * OUTPUT, 0)
    await in_balance(first, org_id)


async def test_extensions_race_for_what_is_left(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(**STEPS) for _ in range(2)]
    limit = 4 * (11 * INPUT + 100 * OUTPUT) + 3 * 50 * OUTPUT
    budget_id = await put(replicas[0], org_id, limit_nano_usd=limit)
    asks = [stream() for _ in range(4)]
    held = [await hold(replicas[n % 2], org_id, ask) for n, ask in enumerate(asks)]
    answers = await asyncio.gather(
        *(extend(replicas[n % 2], org_id, asks[n].request_id, one, 101) for n, one in enumerate(held)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, MeshError) for answer in answers) == 1
    assert (await get(replicas[0], org_id, budget_id)).reserved_nano_usd == limit
    await in_balance(replicas[1], org_id)


async def test_only_who_holds_the_secret_extends(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget(**STEPS)
    await put(budget, org_id, limit_nano_usd=USD)
    ask = stream()
    held = await hold(budget, org_id, ask)
    for wrong in ({"secret": b"x" * 32}, {"ttl_s": -1.0}, {"ttl_s": float("nan")}):
        with pytest.raises(MeshError):
            await extend(budget, org_id, ask.request_id, held, 101, **wrong)
    with pytest.raises(MeshError):
        await extend(budget, org_id, uuid7(), held, 101)
    before = held.expires_at.ToDatetime()
    answer = await extend(budget, org_id, ask.request_id, held, 1, ttl_s=5000.0)
    assert answer.covered_output_tokens == 100 and answer.expires_at.ToDatetime() > before


async def test_the_emergency_stop_ends_a_stream_at_its_next_step(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget(**STEPS)
    await put(budget, org_id, limit_nano_usd=USD)
    ask = stream()
    held = await hold(budget, org_id, ask)
    with as_key(org_id):
        await budget.budget.StopSpending(pb.StopSpendingRequest(), None)
    with pytest.raises(MeshError) as error:
        await extend(budget, org_id, ask.request_id, held, 101)
    assert error.value.reason is Reason.SPENDING_STOPPED


async def adjust(budget: BudgetService, org_id: str, request_id: str, amount: int, **fields: Any) -> int:
    request = pb.AdjustRequest(
        adjustment_id=fields.pop("adjustment_id", uuid7()),
        request_id=request_id,
        amount_nano_usd=amount,
        reason="invoice",
        **fields,
    )
    with as_key(org_id):
        return (await budget.budget.Adjust(request, None)).cost_nano_usd


async def test_a_charge_is_corrected_once_and_never_below_nothing(budget: BudgetService, org_id: str) -> None:
    budget_id = await put(budget, org_id, limit_nano_usd=USD)
    ask = asking()
    held = await hold(budget, org_id, ask)
    with pytest.raises(MeshError) as error:
        await adjust(budget, org_id, ask.request_id, -1)
    assert error.value.reason is Reason.NOT_FOUND, "it still runs"
    await commit(budget, held, record(org_id, ask.request_id, "dime"))
    adjustment_id = uuid7()
    for _ in range(2):
        assert await adjust(budget, org_id, ask.request_id, -4 * CENT, adjustment_id=adjustment_id) == 6 * CENT
    with pytest.raises(MeshError) as error:
        await adjust(budget, org_id, ask.request_id, -3 * CENT, adjustment_id=adjustment_id)
    assert error.value.reason is Reason.REQUEST_ID_CONFLICT
    both = await asyncio.gather(
        *(adjust(budget, org_id, ask.request_id, -4 * CENT) for _ in range(2)), return_exceptions=True
    )
    assert sorted(isinstance(one, MeshError) for one in both) == [False, True], "6 cents are left to give back"
    assert await adjust(budget, org_id, ask.request_id, 5 * CENT) == 7 * CENT
    assert (await get(budget, org_id, budget_id)).spent_nano_usd == 7 * CENT
    with pytest.raises(MeshError) as error:
        await adjust(budget, uuid7(), ask.request_id, -1)
    assert error.value.reason is Reason.NOT_FOUND, "another organisation's request"
    await in_balance(budget, org_id)
    async with budget._database.transaction(org_id) as connection:
        changes = await connection.fetchval("SELECT count(*) FROM admin_outbox WHERE org_id = $1", org_id)
    assert changes >= 1 + 3


async def test_a_correction_names_its_attempt_and_stays_with_its_model(budget: BudgetService, org_id: str) -> None:
    dimes = await put(budget, org_id, limit_nano_usd=USD, model="test/dime")
    ask = asking()
    ask.candidates.add(provider="test", model="test/metered")
    held = await hold(budget, org_id, ask)
    what = record(org_id, ask.request_id, "dime")
    what.attempts.add(attempt_id=uuid7(), provider="test", model="test/metered")
    what.attempts[1].usage.input_tokens = 7
    await commit(budget, held, what)
    with pytest.raises(MeshError) as error:
        await adjust(budget, org_id, ask.request_id, -1)
    assert error.value.metadata["field"] == "attempt_id"
    with pytest.raises(MeshError) as error:
        await adjust(budget, org_id, ask.request_id, -7001, attempt_id=what.attempts[1].attempt_id)
    assert error.value.metadata["field"] == "amount_nano_usd"
    await adjust(budget, org_id, ask.request_id, -7000, attempt_id=what.attempts[1].attempt_id)
    assert (await get(budget, org_id, dimes)).spent_nano_usd == 10 * CENT
    await adjust(budget, org_id, ask.request_id, -CENT, attempt_id=what.attempts[0].attempt_id)
    assert (await get(budget, org_id, dimes)).spent_nano_usd == 9 * CENT
    await in_balance(budget, org_id)


@pytest.mark.parametrize(
    "wrong",
    [{"amount": 0}, {"adjustment_id": "x"}, {"reason": ""}, {"reason": "a\nb"}, {"amount": -(2**63) + 1}],
)
async def test_a_correction_that_makes_no_sense_is_refused(
    budget: BudgetService, org_id: str, wrong: dict[str, Any]
) -> None:
    fields = {"adjustment_id": uuid7(), "request_id": uuid7(), "reason": "r", "amount": 1, **wrong}
    with as_key(org_id), pytest.raises(MeshError) as error:
        amount = fields.pop("amount")
        await budget.budget.Adjust(pb.AdjustRequest(**fields, amount_nano_usd=amount), None)
    assert error.value.reason is Reason.INVALID_REQUEST


async def test_a_reservation_that_was_extended_since_it_was_looked_for_is_not_swept(
    make_budget: MakeBudget, org_id: str
) -> None:
    first, second = await make_budget(**STEPS), await make_budget(**STEPS)
    budget_id = await put(first, org_id, limit_nano_usd=USD)
    ask = stream(ttl_s=30.0)
    held = await hold(first, org_id, ask)
    at = held.expires_at.ToDatetime(tzinfo=dt.UTC)
    await extend(second, org_id, ask.request_id, held, 1, ttl_s=600.0)
    for budget in (first, second):
        late = budget.sweeper._resolution(org_id, held.reservation_id, ask.request_id, b"", at)
        assert (await budget.writer.submit(late)).is_repeat
    assert (await get(first, org_id, budget_id)).reserved_nano_usd == held.reserved_nano_usd
    await commit(first, held, record(org_id, ask.request_id, "metered", input_tokens=1))
    assert (await get(first, org_id, budget_id)).spent_nano_usd == INPUT
    await in_balance(first, org_id)
