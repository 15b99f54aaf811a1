"""Budgets on every level, narrowed, soft, in windows and zones; what a charge does to each of them."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from dac.type.v1.usage_pb2 import Usage
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.budget import server
from services.budget.server import BudgetService
from tests.integration.budget.test_money_flow import asking, commit, in_balance, record
from tests.integration.budget.world import CENT, USD, MakeBudget, as_key

TEAM, PROJECT, USER, KEY = Level.KIND_TEAM, Level.KIND_PROJECT, Level.KIND_USER, Level.KIND_KEY


def caller(org_id: str, *levels: tuple[Any, str]) -> Any:
    made = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, scopes=["chat", "admin"])
    made.path.add(kind=Level.KIND_ORG, id=org_id)
    for kind, level_id in levels:
        made.path.add(kind=kind, id=level_id)
    return serving(Call(request_id=uuid7(), principal=made))


async def put(budget: BudgetService, org_id: str, kind: Any = Level.KIND_ORG, level_id: str = "", **fields: Any) -> str:
    fields.setdefault("window", pb.WINDOW_NONE)
    with as_key(org_id):
        request = pb.SetBudgetRequest(level=Level(kind=kind, id=level_id), **fields)
        return (await budget.budget.SetBudget(request, None)).budget.budget_id


async def get(budget: BudgetService, org_id: str, budget_id: str) -> pb.Budget:
    with as_key(org_id):
        return (await budget.budget.GetBudget(pb.GetBudgetRequest(budget_id=budget_id), None)).budget


async def hold(budget: BudgetService, org_id: str, request: pb.ReserveRequest, *levels: tuple[Any, str]) -> Any:
    with caller(org_id, *levels):
        return await budget.budget.Reserve(request, None)


def refusal(error: Any) -> tuple[Reason, str]:
    return error.value.reason, error.value.metadata.get("level", "")


async def test_every_level_of_the_path_holds_and_the_tightest_refuses(budget: BudgetService, org_id: str) -> None:
    outer, inner, project, user, key = (uuid7() for _ in range(5))
    path = ((TEAM, outer), (TEAM, inner), (PROJECT, project), (USER, user), (KEY, key))
    ids = [await put(budget, org_id, limit_nano_usd=USD)]
    for kind, level_id in path:
        ids.append(await put(budget, org_id, kind, level_id, limit_nano_usd=USD))
    await put(budget, org_id, TEAM, inner, limit_nano_usd=20 * CENT, window=pb.WINDOW_DAY)
    asks = [asking(), asking()]
    held = [await hold(budget, org_id, ask, *path) for ask in asks]
    assert await commit(budget, held[0], record(org_id, asks[0].request_id, "dime")) == 10 * CENT
    for budget_id in ids:
        state = await get(budget, org_id, budget_id)
        assert (state.spent_nano_usd, state.reserved_nano_usd) == (10 * CENT, 10 * CENT)
    with pytest.raises(MeshError) as error:
        await hold(budget, org_id, asking(), *path)
    assert refusal(error) == (Reason.BUDGET_EXHAUSTED, "team") and error.value.metadata["level_id"] == inner
    await hold(budget, org_id, asking(), (TEAM, outer), (USER, user))
    await in_balance(budget, org_id)


async def test_a_budget_for_a_model_counts_only_its_attempts(budget: BudgetService, org_id: str) -> None:
    dimes = await put(budget, org_id, limit_nano_usd=USD, model="test/dime")
    every = await put(budget, org_id, limit_nano_usd=USD, model="test/*")
    other = await put(budget, org_id, limit_nano_usd=0, model="other/*")
    ask = asking("dime")
    ask.candidates.add(provider="test", model="test/metered")
    held = await hold(budget, org_id, ask)
    assert {(await get(budget, org_id, one)).reserved_nano_usd for one in (dimes, every)} == {held.reserved_nano_usd}
    what = record(org_id, ask.request_id, "metered", input_tokens=5)
    what.attempts.add(attempt_id=uuid7(), provider="test", model="test/dime", usage=Usage())
    assert await commit(budget, held, what) == 5000 + 10 * CENT
    spent = [(await get(budget, org_id, one)).spent_nano_usd for one in (dimes, every, other)]
    assert spent == [10 * CENT, 10 * CENT + 5000, 0]
    await in_balance(budget, org_id)


@pytest.mark.parametrize("simple", [True, False])
async def test_a_model_without_means_left_is_refused_and_others_are_not(
    budget: BudgetService, org_id: str, simple: bool
) -> None:
    await put(budget, org_id, limit_nano_usd=25 * CENT, model="test/dime")
    await put(budget, org_id, limit_nano_usd=5 * USD)
    requests = [asking("dime") for _ in range(5)]
    if simple:
        outcomes = [await asyncio.gather(hold(budget, org_id, one), return_exceptions=True) for one in requests]
        admitted = [o[0] for o in outcomes if not isinstance(o[0], BaseException)]
    else:
        gathered = await asyncio.gather(*(hold(budget, org_id, one) for one in requests), return_exceptions=True)
        admitted = [o for o in gathered if not isinstance(o, BaseException)]
    assert len(admitted) == 2
    await hold(budget, org_id, asking("metered", input_tokens_max=10, max_output_tokens=10))
    await in_balance(budget, org_id)


async def test_a_budget_for_a_tag_counts_only_requests_with_it(budget: BudgetService, org_id: str) -> None:
    budget_id = await put(budget, org_id, limit_nano_usd=10 * CENT, tag="app=search, \"q\" and 'more'".replace(",", ""))
    tags = {"app": "search \"q\" and 'more'", "trimmed": "not a tag of the caller"}
    marked = asking(draft=record_pb2.RequestRecord(tags=tags))
    held = await hold(budget, org_id, marked)
    await hold(budget, org_id, asking())
    with pytest.raises(MeshError) as error:
        await hold(budget, org_id, asking(draft=record_pb2.RequestRecord(tags=tags)))
    assert error.value.metadata["tag"] == "app=search \"q\" and 'more'"
    what = record(org_id, marked.request_id, "dime")
    what.tags.update(tags)
    await commit(budget, held, what)
    assert (await get(budget, org_id, budget_id)).spent_nano_usd == 10 * CENT
    await in_balance(budget, org_id)


async def test_a_soft_budget_lets_through_and_says_by_how_much(budget: BudgetService, org_id: str) -> None:
    budget_id = await put(budget, org_id, limit_nano_usd=15 * CENT, enforcement=pb.ENFORCEMENT_SOFT)
    first, second = [await hold(budget, org_id, asking()) for _ in range(2)]
    assert not first.soft_excess and first.output_cap_tokens == 0
    (excess,) = second.soft_excess
    assert (excess.budget_id, excess.limit_nano_usd, excess.used_nano_usd) == (budget_id, 15 * CENT, 20 * CENT)
    assert not (await hold(budget, org_id, asking("mystery"))).uncovered, "only hard limits need a price"
    await in_balance(budget, org_id)


async def test_unlimited_counts_and_zero_blocks_free_models_too(budget: BudgetService, org_id: str) -> None:
    team = uuid7()
    counted = await put(budget, org_id, unlimited=True)
    await put(budget, org_id, TEAM, team, limit_nano_usd=0)
    held = await hold(budget, org_id, asking())
    assert held.output_cap_tokens == 0
    assert (await get(budget, org_id, counted)).reserved_nano_usd == 10 * CENT
    with pytest.raises(MeshError) as error:
        await hold(budget, org_id, asking("free"), (TEAM, team))
    assert refusal(error) == (Reason.BUDGET_EXHAUSTED, "team")


async def test_a_new_budget_without_a_limit_is_unlimited_and_one_of_0_blocks(
    budget: BudgetService, org_id: str
) -> None:
    fields: dict[str, Any] = {"level": Level(kind=Level.KIND_ORG), "window": pb.WINDOW_WEEK}
    with as_key(org_id):
        free = (await budget.budget.CreateBudget(pb.CreateBudgetRequest(**fields), None)).budget
        assert free.unlimited and free.limit_nano_usd == 0
        fields["window"] = pb.WINDOW_HOUR
        shut = (await budget.budget.CreateBudget(pb.CreateBudgetRequest(**fields, limit_nano_usd=0), None)).budget
        assert not shut.unlimited
    with pytest.raises(MeshError) as error:
        await hold(budget, org_id, asking())
    assert error.value.reason is Reason.BUDGET_EXHAUSTED


async def test_windows_begin_in_their_zone(
    make_budget: MakeBudget, org_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [dt.datetime(2026, 3, 28, 22, 30, tzinfo=dt.UTC)]
    monkeypatch.setattr(server, "utc_now", lambda: now[0])
    budget = await make_budget()
    berlin = await put(budget, org_id, limit_nano_usd=10 * CENT, window=pb.WINDOW_DAY, time_zone="Europe/Berlin")
    team = uuid7()
    hourly = await put(budget, org_id, TEAM, team, limit_nano_usd=10 * CENT, window=pb.WINDOW_HOUR)
    weekly = await put(budget, org_id, limit_nano_usd=30 * CENT, window=pb.WINDOW_WEEK, time_zone="Asia/Kolkata")
    await hold(budget, org_id, asking(), (TEAM, team))
    with pytest.raises(MeshError) as error:
        await hold(budget, org_id, asking())
    assert error.value.metadata["resets_at"] == "2026-03-28T23:00:00Z", "midnight in Berlin, in winter"
    now[0] = dt.datetime(2026, 3, 28, 23, 0, tzinfo=dt.UTC)
    await hold(budget, org_id, asking(), (TEAM, team))
    state = await get(budget, org_id, berlin)
    assert state.resets_at.ToDatetime() == dt.datetime(2026, 3, 29, 22), "a day of 23 hours: the clock is set forward"
    assert (await get(budget, org_id, hourly)).reserved_nano_usd == 10 * CENT
    state = await get(budget, org_id, weekly)
    assert state.reserved_nano_usd == 20 * CENT
    assert state.resets_at.ToDatetime() == dt.datetime(2026, 3, 29, 18, 30), "Monday in Kolkata"
    await in_balance(budget, org_id)


async def test_a_place_has_one_budget_and_its_zone_stays(budget: BudgetService, org_id: str) -> None:
    fields: dict[str, Any] = {"level": Level(kind=Level.KIND_ORG), "window": pb.WINDOW_DAY, "limit_nano_usd": USD}
    with as_key(org_id):
        made = (await budget.budget.CreateBudget(pb.CreateBudgetRequest(**fields), None)).budget
        with pytest.raises(MeshError) as error:
            await budget.budget.CreateBudget(pb.CreateBudgetRequest(**fields), None)
        assert error.value.reason is Reason.ALREADY_EXISTS
        with pytest.raises(MeshError) as error:
            await budget.budget.SetBudget(pb.SetBudgetRequest(**fields, time_zone="Asia/Tokyo"), None)
        assert error.value.reason is Reason.FAILED_PRECONDITION
        changed = pb.UpdateBudgetRequest(budget_id=made.budget_id, enforcement=pb.ENFORCEMENT_SOFT)
        now = (await budget.budget.UpdateBudget(changed, None)).budget
        assert (now.limit_nano_usd, now.enforcement) == (USD, pb.ENFORCEMENT_SOFT)
        changed = pb.UpdateBudgetRequest(budget_id=made.budget_id, unlimited=True, thresholds=pb.Thresholds())
        now = (await budget.budget.UpdateBudget(changed, None)).budget
        assert now.unlimited and not now.thresholds_percent and now.enforcement == pb.ENFORCEMENT_SOFT
        with pytest.raises(MeshError, match="say the limit"):
            await budget.budget.UpdateBudget(pb.UpdateBudgetRequest(budget_id=made.budget_id, unlimited=False), None)
    with as_key(uuid7()):
        with pytest.raises(MeshError) as error:
            await budget.budget.GetBudget(pb.GetBudgetRequest(budget_id=made.budget_id), None)
        assert error.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"model": "a", "tag": "b=c"}, "tag"),
        ({"model": "a,b"}, "model"),
        ({"tag": "no value"}, "tag"),
        ({"thresholds": pb.Thresholds(percent=[0])}, "thresholds.percent"),
        ({"alert_emails": ["x@y\r\nBcc: z@w"]}, "alert_emails"),
        ({"unlimited": True, "limit_nano_usd": 1}, "unlimited"),
        ({"limit_nano_usd": -1}, "limit_nano_usd"),
        ({"window": 99}, "window"),
        ({"enforcement": 99}, "enforcement"),
    ],
)
async def test_a_budget_that_makes_no_sense_is_refused(
    budget: BudgetService, org_id: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(MeshError) as error:
        await put(budget, org_id, **fields)
    assert (error.value.reason, error.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)


@pytest.mark.parametrize("warm", [True, False])
async def test_the_emergency_stop_refuses_everything_until_it_is_resumed(
    budget: BudgetService, org_id: str, warm: bool
) -> None:
    if warm:
        await put(budget, org_id, limit_nano_usd=USD)
        await hold(budget, org_id, asking())
    ask = asking()
    running = await hold(budget, org_id, ask)
    with as_key(org_id):
        await budget.budget.StopSpending(pb.StopSpendingRequest(reason="leaked key"), None)
        await budget.budget.StopSpending(pb.StopSpendingRequest(reason="leaked key"), None)
    for name in ("dime", "free"):
        with pytest.raises(MeshError, match="leaked key") as error:
            await hold(budget, org_id, asking(name))
        assert error.value.reason is Reason.SPENDING_STOPPED
    await hold(budget, uuid7(), asking("free"))
    assert await commit(budget, running, record(org_id, ask.request_id, "dime")) == 10 * CENT
    with as_key(org_id):
        assert len((await budget.budget.ListBudgets(pb.ListBudgetsRequest(), None)).budgets) == int(warm)
        assert (await budget.budget.ResumeSpending(pb.ResumeSpendingRequest(), None)).was_stopped
        assert not (await budget.budget.ResumeSpending(pb.ResumeSpendingRequest(), None)).was_stopped
    await hold(budget, org_id, asking())
    await in_balance(budget, org_id)


async def alerts_of(budget: BudgetService, org_id: str) -> list[tuple[int, int]]:
    query = "SELECT threshold_percent, spent_nano_usd FROM alerts WHERE org_id = $1 ORDER BY 1"
    async with budget._database.transaction(org_id) as connection:
        return [tuple(row) for row in await connection.fetch(query, org_id)]


async def test_each_threshold_is_crossed_once_in_a_window(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(), await make_budget()]
    budget_id = await put(replicas[0], org_id, limit_nano_usd=USD)

    async def spend(number: int) -> None:
        budget = replicas[number % 2]
        ask = asking()
        held = await hold(budget, org_id, ask)
        await commit(budget, held, record(org_id, ask.request_id, "dime"))

    for number in range(4):
        await spend(number)
    assert await alerts_of(replicas[0], org_id) == []
    await asyncio.gather(*(spend(number) for number in range(6)))
    crossed = dict(await alerts_of(replicas[0], org_id))
    assert list(crossed) == [50, 80, 95, 100] and crossed[100] == USD
    assert list((await get(replicas[1], org_id, budget_id)).reached_percent) == [50, 80, 95, 100]
    with as_key(org_id):
        changed = pb.UpdateBudgetRequest(budget_id=budget_id, limit_nano_usd=4 * USD)
        await replicas[0].budget.UpdateBudget(changed, None)
    for number in range(11):
        await spend(number)
    assert dict(await alerts_of(replicas[0], org_id)) == crossed, "50 % of the new limit was warned of already"
    await in_balance(replicas[0], org_id)
