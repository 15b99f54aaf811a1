"""A thousand requests at once race for fifty places, on five levels, through three replicas on one PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.budget.ledger.single_trip import SingleTripStore
from services.budget.ledger.store import PostgresLedgerStore
from services.budget.server import BudgetService
from tests.integration.budget.test_lost_replies import WAITS_FOR_ME
from tests.integration.budget.test_money_flow import asking, commit, in_balance, limit, only_budget, record, reserve
from tests.integration.budget.world import CENT, USD, MakeBudget, as_key

REQUESTS, PLACES = 1000, 50
KINDS = (Level.KIND_ORG, Level.KIND_TEAM, Level.KIND_PROJECT, Level.KIND_USER, Level.KIND_KEY)
WINDOWS = (pb.WINDOW_NONE, pb.WINDOW_MONTH, pb.WINDOW_WEEK, pb.WINDOW_NONE, pb.WINDOW_DAY)


def path_in(org_id: str) -> list[Level]:
    return [Level(kind=kind, id=org_id if kind == Level.KIND_ORG else uuid7()) for kind in KINDS]


async def limit_all(budget: BudgetService, org_id: str, path: Sequence[Level], model: str) -> None:
    with as_key(org_id):
        for level, window in zip(path, WINDOWS, strict=True):
            request = pb.SetBudgetRequest(level=level, window=window, limit_nano_usd=5 * USD, model=model)
            await budget.budget.SetBudget(request, None)


async def race(replicas: Sequence[BudgetService], org_id: str, path: Sequence[Level]) -> dict[str, Any]:
    """The reservations that were admitted, by request id."""
    principal = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, key_id=path[-1].id, path=path, scopes=["chat"])
    admitted: dict[str, Any] = {}

    async def one(number: int) -> None:
        ask = asking()
        with serving(Call(request_id=ask.request_id, principal=principal)):
            try:
                admitted[ask.request_id] = await replicas[number % len(replicas)].budget.Reserve(ask, None)
            except MeshError as refusal:
                assert refusal.reason is Reason.BUDGET_EXHAUSTED, refusal

    await asyncio.gather(*(one(number) for number in range(REQUESTS)))
    return admitted


async def states(budget: BudgetService, org_id: str) -> list[tuple[int, int]]:
    with as_key(org_id):
        found = (await budget.budget.ListBudgets(pb.ListBudgetsRequest(), None)).budgets
    return [(one.spent_nano_usd, one.reserved_nano_usd) for one in found]


async def three_replicas(make_budget: MakeBudget, *, single_trip: bool) -> list[BudgetService]:
    replicas = [await make_budget(max_batch_operations=size) for size in (256, 64, 7)]
    for replica in replicas:
        store = replica.writer._store
        assert isinstance(store, SingleTripStore) and isinstance(store._general, PostgresLedgerStore)
        if not single_trip:
            replica.writer._store = store._general
    return replicas


async def race_for_places(replicas: Sequence[BudgetService], model: str) -> float:
    """One race with everything that must hold after it; returns how long it took."""
    org_id = uuid7()
    path = path_in(org_id)
    await limit_all(replicas[0], org_id, path, model)
    began = time.perf_counter()
    admitted = await race(replicas, org_id, path)
    took_s = time.perf_counter() - began
    assert len(admitted) == PLACES
    assert await states(replicas[1], org_id) == [(0, 5 * USD)] * len(KINDS)
    ends = [
        commit(replicas[n % 3], held, record(org_id, request_id, "dime"))
        for request_id, held in admitted.items()
        for n in range(2)  # Each is told to two replicas at once.
    ]
    assert set(await asyncio.gather(*ends)) == {10 * CENT}
    assert await states(replicas[2], org_id) == [(5 * USD, 0)] * len(KINDS)
    found = await in_balance(replicas[0], org_id)
    assert (found.ledger_rows, found.open_reservations) == (PLACES, 0)
    return took_s


@pytest.mark.parametrize("model", ["", "test/*"], ids=["of_everything", "of_one_model"])
@pytest.mark.parametrize("single_trip", [True, False], ids=["one_trip", "general"])
async def test_exactly_as_many_are_admitted_as_there_are_places(
    make_budget: MakeBudget, single_trip: bool, model: str
) -> None:
    replicas = await three_replicas(make_budget, single_trip=single_trip)
    for _ in range(3 if not model else 1):
        await race_for_places(replicas, model)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", ["", "test/dime"], ids=["of_everything", "of_one_model"])
@pytest.mark.parametrize("single_trip", [True, False], ids=["one_trip", "general"])
async def test_a_hundred_races(make_budget: MakeBudget, single_trip: bool, model: str) -> None:
    replicas = await three_replicas(make_budget, single_trip=single_trip)
    took_s = sorted([await race_for_places(replicas, model) for _ in range(100)])
    print(f"{REQUESTS} reservations: median {took_s[50]:.3f} s, slowest {took_s[-1]:.3f} s")


async def test_the_race_finds_a_check_without_locks(make_budget: MakeBudget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the counters are read without their locks."""
    from services.budget.ledger import store

    monkeypatch.setattr(store, "LOCK_COUNTERS", store.LOCK_COUNTERS.replace("FOR NO KEY UPDATE", ""))
    replicas = await three_replicas(make_budget, single_trip=False)
    with pytest.raises(AssertionError):
        for _ in range(5):
            await race_for_places(replicas, "")


async def test_a_limit_that_is_lowered_while_a_charge_waits_tells_its_thresholds(
    make_budget: MakeBudget, org_id: str
) -> None:
    """The charge has read the old limit when it gets the counter's lock; the new one's thresholds count."""
    replicas = [await make_budget(), await make_budget()]
    await limit(replicas[0], org_id, 10 * USD)
    ask = asking()
    held = await reserve(replicas[0], org_id, ask)
    async with replicas[0]._database.transaction(org_id) as connection:
        await connection.execute("UPDATE budgets SET limit_nano_usd = $1", 20 * CENT)
        await connection.execute("UPDATE counters SET next_alert = 0")
        charge = asyncio.create_task(commit(replicas[1], held, record(org_id, ask.request_id, "dime")))
        while not await connection.fetchval(WAITS_FOR_ME):
            await asyncio.sleep(0.01)
    assert await charge == 10 * CENT
    assert list((await only_budget(replicas[0], org_id)).reached_percent) == [50]
