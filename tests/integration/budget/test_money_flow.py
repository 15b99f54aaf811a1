"""Reserve, Commit and Release against a real database: what is held, charged and refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.type.v1 import error_pb2, record_pb2
from dac.type.v1.principal_pb2 import Level
from dac.type.v1.usage_pb2 import Usage
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.budget.server import BudgetService
from tests.integration.budget.world import CENT, MODELS, USD, MakeBudget, as_key, model


def asking(name: str = "dime", **fields: Any) -> pb.ReserveRequest:
    fields.setdefault("request_id", uuid7())
    fields.setdefault("body_hash", b"h" * 32)
    return pb.ReserveRequest(candidates=[pb.PricedCandidate(provider="test", model=f"test/{name}")], **fields)


def record(org_id: str, request_id: str, name: str = "", **usage: int) -> record_pb2.RequestRecord:
    made = record_pb2.RequestRecord(org_id=org_id, request_id=request_id, outcome=record_pb2.OUTCOME_OK)
    if name:
        made.attempts.add(attempt_id=uuid7(), provider="test", model=f"test/{name}", usage=Usage(**usage))
    return made


async def limit(budget: BudgetService, org_id: str, nano_usd: int, *, key_id: str = "", window: Any = 1) -> pb.Budget:
    kind, level_id = (Level.KIND_KEY, key_id) if key_id else (Level.KIND_ORG, org_id)
    with as_key(org_id):
        request = pb.SetBudgetRequest(level=Level(kind=kind, id=level_id), window=window, limit_nano_usd=nano_usd)
        return (await budget.budget.SetBudget(request, None)).budget


async def only_budget(budget: BudgetService, org_id: str) -> pb.Budget:
    with as_key(org_id):
        (found,) = (await budget.budget.ListBudgets(pb.ListBudgetsRequest(), None)).budgets
    return found


async def reserve(budget: BudgetService, org_id: str, request: pb.ReserveRequest, key_id: str = "") -> Any:
    with as_key(org_id, key_id=key_id):
        return await budget.budget.Reserve(request, None)


async def commit(budget: BudgetService, held: pb.ReserveResponse, what: record_pb2.RequestRecord) -> int:
    request = pb.CommitRequest(
        reservation_id=held.reservation_id, reservation_secret=held.reservation_secret, record=what
    )
    with serving(Call()):  # No principal: it may have expired.
        return (await budget.budget.Commit(request, None)).cost_nano_usd


async def in_balance(budget: BudgetService, org_id: str) -> pb.VerifyLedgerResponse:
    with as_key(org_id):
        found = await budget.budget.VerifyLedger(pb.VerifyLedgerRequest(), None)
    assert list(found.differences) == []
    return found


async def race(replicas: list[BudgetService], org_id: str, count: int) -> int:
    outcomes = await asyncio.gather(
        *(reserve(replicas[n % len(replicas)], org_id, asking()) for n in range(count)), return_exceptions=True
    )
    refused = [o for o in outcomes if isinstance(o, BaseException)]
    assert all(isinstance(o, MeshError) and o.reason is Reason.BUDGET_EXHAUSTED for o in refused), refused[:1]
    return count - len(refused)


async def test_two_hundred_requests_race_for_fifty_places(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, 5 * USD)
    assert await race([budget], org_id, 200) == 50
    assert (await only_budget(budget, org_id)).reserved_nano_usd == 5 * USD
    await in_balance(budget, org_id)


async def test_two_replicas_admit_no_more_than_one(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(max_batch_operations=7), await make_budget(max_batch_operations=5)]
    await limit(replicas[0], org_id, 5 * USD)
    assert await race(replicas, org_id, 200) == 50
    await in_balance(replicas[1], org_id)


async def test_a_commit_charges_the_use_and_frees_the_rest(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, USD)
    ask = asking("metered", input_tokens_max=1000, max_output_tokens=100)
    held = await reserve(budget, org_id, ask)
    assert held.reserved_nano_usd == 1000 * 1000 + 100 * 2000
    assert held.output_cap_tokens == 100
    what = record(org_id, ask.request_id, "metered", input_tokens=10, output_tokens=7)
    assert await commit(budget, held, what) == 10 * 1000 + 7 * 2000
    state = await only_budget(budget, org_id)
    assert (state.spent_nano_usd, state.reserved_nano_usd) == (24_000, 0)
    assert (await in_balance(budget, org_id)).open_reservations == 0


async def test_a_second_commit_answers_the_first_cost_and_writes_nothing(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, USD)
    ask = asking("metered", input_tokens_max=1000, max_output_tokens=100)
    held = await reserve(budget, org_id, ask)
    first = await commit(budget, held, record(org_id, ask.request_id, "metered", input_tokens=10))
    second = await commit(budget, held, record(org_id, ask.request_id, "metered", input_tokens=999))
    assert first == second == 10_000
    assert (await only_budget(budget, org_id)).spent_nano_usd == 10_000
    assert (await in_balance(budget, org_id)).ledger_rows == 1


async def test_racing_commits_of_one_request_charge_once(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(), await make_budget()]
    await limit(replicas[0], org_id, USD)
    ask = asking("metered", input_tokens_max=1000, max_output_tokens=100)
    held = await reserve(replicas[0], org_id, ask)
    costs = await asyncio.gather(
        *(
            commit(replicas[n % 2], held, record(org_id, ask.request_id, "metered", input_tokens=n + 1))
            for n in range(8)
        )
    )
    assert len(set(costs)) == 1
    assert (await only_budget(replicas[0], org_id)).spent_nano_usd == costs[0]
    await in_balance(replicas[0], org_id)


async def test_the_same_request_is_held_once_and_another_body_conflicts(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(), await make_budget()]
    await limit(replicas[0], org_id, USD)
    ask = asking()
    answers = await asyncio.gather(*(reserve(replicas[n % 2], org_id, ask) for n in range(6)))
    assert len({answer.reservation_id for answer in answers}) == 1
    assert (await only_budget(replicas[0], org_id)).reserved_nano_usd == 10 * CENT
    ask.body_hash = b"x" * 32
    with pytest.raises(MeshError) as refusal:
        await reserve(replicas[0], org_id, ask)
    assert refusal.value.reason is Reason.REQUEST_ID_CONFLICT


async def test_the_smallest_remaining_budget_caps_the_answer(budget: BudgetService, org_id: str) -> None:
    key_id = uuid7()
    await limit(budget, org_id, USD)
    await limit(budget, org_id, 50_000, key_id=key_id)
    ask = asking("metered", input_tokens_max=10)
    held = await reserve(budget, org_id, ask, key_id)
    assert held.output_cap_tokens == 20  # (50 000 − 10·1000) / 2000
    assert held.reserved_nano_usd == 50_000
    with pytest.raises(MeshError) as refusal:
        await reserve(budget, org_id, asking("metered", input_tokens_max=10), key_id)
    assert refusal.value.reason is Reason.BUDGET_EXHAUSTED
    assert refusal.value.metadata["level"] == "key"
    assert refusal.value.metadata["level_id"] == key_id
    assert refusal.value.metadata["remaining_nano_usd"] == "0"
    assert (await reserve(budget, org_id, asking("metered", input_tokens_max=10))).output_cap_tokens == 4096


async def test_without_a_budget_the_amount_is_recorded_and_nothing_is_capped(
    budget: BudgetService, org_id: str
) -> None:
    held = await reserve(budget, org_id, asking("metered", input_tokens_max=10))
    assert (held.output_cap_tokens, held.reserved_nano_usd) == (0, 10 * 1000 + 4096 * 2000)
    assert (await in_balance(budget, org_id)).open_reservations == 1


async def test_an_unknown_price_is_refused_only_where_a_budget_applies(budget: BudgetService, org_id: str) -> None:
    held = await reserve(budget, org_id, asking("mystery"))
    assert (held.reserved_nano_usd, held.price_version) == (0, 0)
    await limit(budget, org_id, USD)
    with pytest.raises(MeshError, match="price: free") as refusal:
        await reserve(budget, org_id, asking("mystery"))
    assert refusal.value.reason is Reason.PRICE_UNKNOWN


async def test_a_free_model_passes_a_spent_budget_but_not_a_limit_of_zero(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, 10 * CENT)
    await reserve(budget, org_id, asking())
    assert (await reserve(budget, org_id, asking("free"))).output_cap_tokens == 0
    await limit(budget, org_id, 0)
    with pytest.raises(MeshError) as refusal:
        await reserve(budget, org_id, asking("free"))
    assert refusal.value.reason is Reason.BUDGET_EXHAUSTED


async def test_lowering_a_limit_below_what_is_spent_blocks_and_keeps_the_books(
    budget: BudgetService, org_id: str
) -> None:
    await limit(budget, org_id, USD)
    ask = asking()
    held = await reserve(budget, org_id, ask)
    await limit(budget, org_id, 1)
    assert await commit(budget, held, record(org_id, ask.request_id, "dime")) == 10 * CENT
    with pytest.raises(MeshError):
        await reserve(budget, org_id, asking())
    await in_balance(budget, org_id)


async def test_an_overrun_is_charged_in_full(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, USD)
    ask = asking("metered", input_tokens_max=1, max_output_tokens=1)
    held = await reserve(budget, org_id, ask)
    assert await commit(budget, held, record(org_id, ask.request_id, "metered", output_tokens=50)) == 100_000
    assert (await only_budget(budget, org_id)).spent_nano_usd == 100_000
    assert (await in_balance(budget, org_id)).ledger_rows == 2


async def test_a_release_frees_and_refuses_what_was_used(budget: BudgetService, org_id: str) -> None:
    await limit(budget, org_id, USD)
    ask = asking("metered", input_tokens_max=10)
    held = await reserve(budget, org_id, ask)
    release = pb.ReleaseRequest(
        reservation_id=held.reservation_id,
        reservation_secret=held.reservation_secret,
        record=record(org_id, ask.request_id, "metered", input_tokens=10),
    )
    with pytest.raises(MeshError) as refusal:
        await budget.budget.Release(release, None)
    assert refusal.value.reason is Reason.FAILED_PRECONDITION
    del release.record.attempts[:]
    await budget.budget.Release(release, None)
    state = await only_budget(budget, org_id)
    assert (state.spent_nano_usd, state.reserved_nano_usd) == (0, 0)
    await in_balance(budget, org_id)


async def test_only_the_secret_and_the_own_organisation_resolve_a_reservation(
    budget: BudgetService, org_id: str
) -> None:
    ask = asking()
    held = await reserve(budget, org_id, ask)
    wrong = pb.ReserveResponse(reservation_id=held.reservation_id, reservation_secret=b"x" * 32)
    for holder, what in (
        (wrong, record(org_id, ask.request_id, "dime")),
        (held, record(uuid7(), ask.request_id, "dime")),
        (held, record(org_id, uuid7(), "dime")),
    ):
        with pytest.raises(MeshError) as refusal:
            await commit(budget, holder, what)
        assert refusal.value.reason is Reason.RESERVATION_INVALID
    assert (await in_balance(budget, org_id)).open_reservations == 1


async def test_a_record_without_a_reservation_needs_its_own_organisation(budget: BudgetService, org_id: str) -> None:
    with as_key(org_id):
        await budget.budget.Commit(pb.CommitRequest(record=record(org_id, uuid7())), None)
        with pytest.raises(MeshError):
            await budget.budget.Commit(pb.CommitRequest(record=record(uuid7(), uuid7())), None)
    with serving(Call()), pytest.raises(MeshError) as refusal:
        await budget.budget.Commit(pb.CommitRequest(record=record(org_id, uuid7())), None)
    assert refusal.value.reason is Reason.PRINCIPAL_REQUIRED


async def test_a_failed_attempt_is_priced_by_its_use_and_without_the_request_fee(
    budget: BudgetService, org_id: str
) -> None:
    ask = asking()
    held = await reserve(budget, org_id, ask)
    what = record(org_id, ask.request_id, "dime")
    what.attempts[0].reason = error_pb2.ERROR_REASON_PROVIDER_TIMEOUT
    assert await commit(budget, held, what) == 0


async def test_one_bad_operation_does_not_take_its_batch_with_it(budget: BudgetService, org_id: str) -> None:
    good, bad = asking(), asking()
    bad.draft.tags["x"] = "y"
    held = await reserve(budget, org_id, good)
    what = record(org_id, good.request_id, "dime")
    outcomes = await asyncio.gather(
        commit(budget, held, what),
        reserve(budget, org_id, pb.ReserveRequest(request_id=uuid7())),
        reserve(budget, org_id, bad),
        return_exceptions=True,
    )
    assert outcomes[0] == 10 * CENT
    assert isinstance(outcomes[1], MeshError)
    assert not isinstance(outcomes[2], BaseException)


async def test_audio_is_held_and_charged_by_seconds_and_characters(make_budget: MakeBudget, org_id: str) -> None:
    models = (
        *MODELS,
        model("whisper", audio_second=100_000 * 10**6),
        model("tts", input_character=15_000 * 10**6),
    )
    budget = await make_budget(models=models)
    await limit(budget, org_id, 10 * 100_000)
    ask = asking("whisper", input_tokens_max=4000, audio_seconds_max=8)
    held = await reserve(budget, org_id, ask)
    assert held.reserved_nano_usd == 800_000 and held.rates[0].audio_second == 100_000 * 10**6
    with pytest.raises(MeshError) as caught:
        await reserve(budget, org_id, asking("whisper", audio_seconds_max=3))
    assert caught.value.reason is Reason.BUDGET_EXHAUSTED
    with pytest.raises(MeshError) as caught:
        await reserve(budget, org_id, asking("tts", input_characters_max=14))
    assert caught.value.reason is Reason.BUDGET_EXHAUSTED
    # The provider says more than was held: all of it is charged, and the ledger says so.
    used = record(org_id, ask.request_id, "whisper", input_tokens=90, audio_seconds=9)
    assert await commit(budget, held, used) == 900_000
    ask = asking("tts", input_characters_max=5)
    spoken = await reserve(budget, org_id, ask)
    assert await commit(budget, spoken, record(org_id, ask.request_id, "tts", input_characters=5)) == 75_000
    assert (await only_budget(budget, org_id)).spent_nano_usd == 975_000
    await in_balance(budget, org_id)
    for field in ("audio_seconds_max", "input_characters_max"):
        with pytest.raises(MeshError) as caught:
            await reserve(budget, org_id, asking("tts", **{field: 2 * 10**9}))
        assert caught.value.metadata["field"] == field
