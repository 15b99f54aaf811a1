"""What is left, what was reached and where the pace leads, with real reservations and charges behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2, usage_pb2
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from dac.type.v1.usage_pb2 import Usage
from mesh.call import Call, serving
from mesh.ids import uuid7
from mesh.postgres import Database
from services.budget.ledger.windows import Window, start_of
from services.budget.server import BudgetService
from tests.integration.budget.ledger_lines import Ledger
from tests.integration.budget.world import CENT, USD, MakeBudget

KINDS = {name: Level.Kind.Value(f"KIND_{name.upper()}") for name in ("org", "team", "project", "user", "key")}


class Company:
    """One organisation with a caller deep in its tree."""

    def __init__(self, budget: BudgetService, org_id: str) -> None:
        self.budget, self.org_id = budget, org_id
        self.ids = {"org": org_id, **{name: uuid7() for name in ("team", "project", "user", "key")}}

    def caller(self, *scopes: str) -> Any:
        made = Principal(kind=Principal.KIND_USER_KEY, org_id=self.org_id, key_id=self.ids["key"], scopes=scopes)
        for name, level_id in self.ids.items():
            made.path.add(kind=KINDS[name], id=level_id)
        return serving(Call(request_id=uuid7(), principal=made))

    async def limit(self, level: str, nano_usd: int, window: str = "month", **fields: Any) -> budget_pb2.Budget:
        level_id = fields.pop("level_id", self.ids[level])
        request = budget_pb2.CreateBudgetRequest(
            level=Level(kind=KINDS[level], id=level_id),
            window=budget_pb2.Window.Value(f"WINDOW_{window.upper()}"),
            limit_nano_usd=nano_usd,
            **fields,
        )
        with self.caller("admin"):
            return (await self.budget.budget.CreateBudget(request, None)).budget

    async def hold(self, model: str = "dime", **fields: Any) -> tuple[str, budget_pb2.ReserveResponse]:
        request = budget_pb2.ReserveRequest(
            request_id=uuid7(),
            body_hash=b"h" * 32,
            candidates=[budget_pb2.PricedCandidate(provider="test", model=f"test/{model}")],
            **fields,
        )
        with self.caller("chat"):
            return request.request_id, await self.budget.budget.Reserve(request, None)

    async def spend(self, times: int = 1, model: str = "dime", **usage: int) -> None:
        for _ in range(times):
            request_id, held = await self.hold(model)
            record = record_pb2.RequestRecord(org_id=self.org_id, request_id=request_id, tags={"app": "shop"})
            record.attempts.add(attempt_id=uuid7(), provider="test", model=f"test/{model}", usage=Usage(**usage))
            for name, level_id in self.ids.items():
                record.path.add(kind=KINDS[name], id=level_id)
            request = budget_pb2.CommitRequest(
                reservation_id=held.reservation_id, reservation_secret=held.reservation_secret, record=record
            )
            with serving(Call()):
                await self.budget.budget.Commit(request, None)

    async def balance(self) -> usage_pb2.GetMyBalanceResponse:
        with self.caller("chat"):
            return await self.budget.usage.GetMyBalance(usage_pb2.GetMyBalanceRequest(), None)

    async def status(self) -> usage_pb2.GetBudgetStatusResponse:
        with self.caller("read"):
            return await self.budget.usage.GetBudgetStatus(usage_pb2.GetBudgetStatusRequest(), None)

    async def only(self) -> budget_pb2.Budget:
        with self.caller("read"):
            (found,) = (await self.budget.budget.ListBudgets(budget_pb2.ListBudgetsRequest(), None)).budgets
        return found


@pytest.fixture
def company(budget: BudgetService, org_id: str) -> Company:
    return Company(budget, org_id)


async def test_real_charges_are_found_by_everything_they_carry(company: Company) -> None:
    await company.spend(3, input_tokens=7, output_tokens=2)
    held_only, _ = await company.hold()
    for name, group in (
        ("team", company.ids["team"]), ("project", company.ids["project"]), ("user", company.ids["user"]),
        ("key", company.ids["key"]), ("model", "test/dime"), ("provider", "test"), ("operation", "chat"),
        ("tag", "app=shop"),
    ):  # fmt: skip
        request = usage_pb2.QueryUsageRequest(tag_key="app" if name == "tag" else "")
        request.group_by.append(usage_pb2.Dimension.Value(f"DIMENSION_{name.upper()}"))
        with company.caller("read"):
            answer = await company.budget.usage.QueryUsage(request, None)
        (row,) = answer.rows
        assert list(row.group) == [group], name
        assert (row.requests, row.input_tokens, row.output_tokens, row.cost_nano_usd) == (3, 21, 6, 30 * CENT), name
    assert held_only
    with company.caller("chat"):
        mine = await company.budget.usage.GetMyUsage(usage_pb2.GetMyUsageRequest(), None)
    assert (mine.total.requests, mine.total.cost_nano_usd) == (3, 30 * CENT)


async def test_a_correction_is_in_the_cost(company: Company) -> None:
    await company.spend(1)
    request = usage_pb2.QueryUsageRequest(group_by=[usage_pb2.DIMENSION_MODEL])
    with company.caller("admin", "read"):
        (row,) = (await company.budget.usage.QueryUsage(request, None)).rows
        async with company.budget._database.transaction(company.org_id) as connection:
            charged = str(await connection.fetchval("SELECT request_id FROM ledger WHERE org_id = $1", company.org_id))
        adjust = budget_pb2.AdjustRequest(
            adjustment_id=uuid7(), request_id=charged, amount_nano_usd=-3 * CENT, reason="invoice"
        )
        await company.budget.budget.Adjust(adjust, None)
        (after,) = (await company.budget.usage.QueryUsage(request, None)).rows
    assert (row.cost_nano_usd, after.cost_nano_usd, after.requests) == (10 * CENT, 7 * CENT, 1)


async def test_the_tightest_budget_comes_first(company: Company) -> None:
    await company.limit("org", 10 * USD)
    key = await company.limit("key", USD, "day")
    await company.limit("team", 0, unlimited=True)
    await company.limit("user", 5 * USD, model="test/*")
    await company.limit("project", 60 * CENT, enforcement=budget_pb2.ENFORCEMENT_SOFT)
    await company.limit("key", 1, level_id=uuid7())
    await company.spend(3)
    await company.hold()
    found = await company.balance()
    names = [(Level.Kind.Name(one.level.kind), one.model) for one in found.balances]
    assert names == [
        ("KIND_PROJECT", ""),
        ("KIND_KEY", ""),
        ("KIND_USER", "test/*"),
        ("KIND_ORG", ""),
        ("KIND_TEAM", ""),
    ]
    tight = found.balances[1]
    assert (tight.budget_id, tight.limit_nano_usd, tight.spent_nano_usd) == (key.budget_id, USD, 30 * CENT)
    assert (tight.reserved_nano_usd, tight.remaining_nano_usd) == (10 * CENT, 60 * CENT)
    assert tight.resets_at.ToDatetime(tzinfo=dt.UTC) == start_of(Window.DAY, dt.datetime.now(dt.UTC)) + dt.timedelta(1)
    assert not found.balances[4].HasField("limit_nano_usd") and not found.balances[4].HasField("remaining_nano_usd")
    assert found.balances[4].spent_nano_usd == 30 * CENT
    # A soft budget and one of a model limit not every request.
    assert found.remaining_nano_usd == 60 * CENT and found.balances[0].remaining_nano_usd == 20 * CENT
    await company.spend(4)
    assert next(one.remaining_nano_usd for one in (await company.balance()).balances) == 0


async def test_without_a_limit_nothing_limits(company: Company) -> None:
    assert not (await company.balance()).HasField("remaining_nano_usd")
    await company.limit("org", 0, unlimited=True)
    assert not (await company.balance()).HasField("remaining_nano_usd")


async def test_the_emergency_stop_leaves_nothing(company: Company) -> None:
    await company.limit("org", USD)
    with company.caller("admin"):
        await company.budget.budget.StopSpending(budget_pb2.StopSpendingRequest(reason="a leaked key"), None)
    balance, status = await company.balance(), await company.status()
    assert balance.remaining_nano_usd == 0 and balance.HasField("stopped_at") and len(balance.balances) == 1
    assert status.stop_reason == "a leaked key" and status.HasField("stopped_at") and len(status.budgets) == 1
    with company.caller("admin"):
        await company.budget.budget.ResumeSpending(budget_pb2.ResumeSpendingRequest(), None)
    assert not (await company.status()).HasField("stopped_at") and (await company.balance()).remaining_nano_usd == USD


async def test_the_status_shows_the_fullest_first(
    company: Company, database_for: Callable[..., Awaitable[Database]]
) -> None:
    await company.limit("org", 10 * USD)
    await company.limit("key", USD)
    await company.limit("team", 0, unlimited=True)
    await company.limit("user", 0, level_id=uuid7())
    await company.spend(6)
    ledger = Ledger(await database_for("budget"), company.org_id)
    now = dt.datetime.now(dt.UTC)
    month = start_of(Window.MONTH, now)
    await ledger.add((month - dt.timedelta(seconds=1)).isoformat(), 10**12)
    status = await company.status()
    assert [one.level.kind for one in status.budgets] == [KINDS["user"], KINDS["key"], KINDS["org"], KINDS["team"]]
    assert list(status.budgets[1].reached_percent) == [50]
    assert (status.today_nano_usd, status.month_nano_usd) == (60 * CENT, 60 * CENT)


async def test_budgets_of_others_are_not_shown(make_budget: MakeBudget, company: Company) -> None:
    await company.limit("org", USD)
    other = Company(await make_budget(), uuid7())
    other.ids = {**company.ids, "org": other.org_id}  # The same keys and teams, by an error or a lie.
    await other.limit("org", 2 * USD)
    await other.spend(1)
    assert [one.limit_nano_usd for one in (await company.balance()).balances] == [USD]
    assert (await company.balance()).balances[0].spent_nano_usd == 0
    assert [one.limit_nano_usd for one in (await company.status()).budgets] == [USD]
    assert (await company.status()).month_nano_usd == 0


async def aged(company: Company, days: float) -> None:
    """The budgets were made some days ago."""
    async with company.budget._database.transaction(company.org_id) as connection:
        made = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
        await connection.execute("UPDATE budgets SET created_at = $2 WHERE org_id = $1", company.org_id, made)


async def test_a_forecast_is_said_once_enough_is_known(company: Company) -> None:
    await company.limit("org", 10 * USD, "none")
    await company.spend(4)
    assert not (await company.only()).HasField("forecast")
    await aged(company, 2)
    # Two days at 20 cents a day, and all of it in the last one: 30 cents a day for 30 days.
    found = (await company.only()).forecast
    assert 9.3 * USD < found.spent_nano_usd < 9.5 * USD and not found.HasField("exhausted_at")
    with company.caller("read"):
        one = await company.budget.budget.GetBudget(
            budget_pb2.GetBudgetRequest(budget_id=(await company.only()).budget_id), None
        )
    assert one.budget.HasField("forecast")
    (shown,) = (await company.status()).budgets
    assert shown.HasField("forecast")


async def test_the_forecast_knows_what_was_spent_recently_and_what_long_ago(
    company: Company, database_for: Callable[..., Awaitable[Database]]
) -> None:
    made = await company.limit("org", 3 * USD, "none")
    await aged(company, 4)
    now = dt.datetime.now(dt.UTC)
    ledger = Ledger(await database_for("budget"), company.org_id)
    for hours, cents in ((90, 100), (3, 20)):
        at = (now - dt.timedelta(hours=hours)).isoformat()
        await ledger.add(at, cents * CENT, counters=(f"{made.budget_id}@0", f"{uuid7()}@0"))
        await ledger.add(at, cents * CENT, kind="overrun", attempt="", counters=(f"{made.budget_id}@0",))
    async with company.budget._database.transaction(company.org_id) as connection:
        await connection.execute(
            "INSERT INTO counters (org_id, budget_id, window_start, committed) VALUES ($1, $2, 'epoch', $3)",
            company.org_id, made.budget_id, 120 * CENT,
        )  # fmt: skip
    found = (await company.only()).forecast
    # 30 cents a day in all, 20 in the last: 25 cents a day.
    assert abs(found.spent_nano_usd - (120 + 30 * 25) * CENT) < CENT
    left_days = (found.exhausted_at.ToDatetime(tzinfo=dt.UTC) - now) / dt.timedelta(days=1)
    assert abs(left_days - 180 / 25) < 0.1
