"""A burst of refusals: what it costs those who are not refused."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dac.budget.v1.budget_pb2 import ReserveRequest
from mesh.errors import MeshError, Reason
from mesh.transport import RpcFailure
from services.budget.server import BudgetService
from tests.integration.budget.session_world import ask, replica, session, set_budget, world
from tests.integration.budget.test_money_flow import asking, commit, in_balance, limit, record, reserve
from tests.integration.budget.world import CENT, MakeBudget, principal

__all__ = ["replica", "session", "world"]  # Fixtures.
REFUSED = 40


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[Any]]]:
    """What only the collector could find, as asked; the collector does not run before."""
    gc.collect()
    gc.disable()

    def found() -> list[Any]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        kept = [one for one in gc.garbage if isinstance(one, MeshError)]
        gc.garbage.clear()
        return kept

    yield found
    gc.enable()


async def test_a_refused_call_leaves_nothing_for_the_collector(  # type: ignore[no-untyped-def]
    world, replica, session, org_id, garbage
) -> None:
    await set_budget(replica, org_id, 10 * CENT)
    with world.calling(principal(org_id, "chat")):
        await session.Reserve(ask())
        told = await asyncio.gather(*(session.Reserve(ask()) for _ in range(REFUSED)), return_exceptions=True)
    assert [type(one) for one in told] == [RpcFailure] * REFUSED
    assert {one.reason for one in told} == {Reason.BUDGET_EXHAUSTED}
    del told
    await asyncio.sleep(0)
    assert garbage() == []


async def full(replica: BudgetService, org_id: str, left: int = 0) -> ReserveRequest:
    """Fills an organisation so that `left` remains, and has it noticed. What it holds."""
    held = asking()
    await limit(replica, org_id, 10 * CENT + left)
    await reserve(replica, org_id, held)
    await refused(replica, org_id)
    return held


async def refused(replica: BudgetService, org_id: str) -> MeshError:
    with pytest.raises(MeshError) as told:
        await reserve(replica, org_id, asking())
    assert told.value.reason is Reason.BUDGET_EXHAUSTED
    return told.value


async def test_who_finds_nothing_left_waits_for_nobody(make_budget: MakeBudget, org_id: str) -> None:
    replica = await make_budget()
    await full(replica, org_id)
    async with replica._database.transaction(org_id) as connection:
        await connection.execute("SELECT 1 FROM counters FOR UPDATE")
        async with asyncio.timeout(10):
            told = await refused(replica, org_id)
    assert told.metadata["remaining_nano_usd"] == "0"
    assert "has $0 of $0.1 left" in told.message


async def test_a_request_that_is_held_is_told_so_again_although_nothing_is_left(
    make_budget: MakeBudget, org_id: str
) -> None:
    replica = await make_budget()
    held = await full(replica, org_id)
    again, other = await asyncio.gather(
        reserve(replica, org_id, held), reserve(replica, org_id, asking()), return_exceptions=True
    )
    assert again.reserved_nano_usd == 10 * CENT and isinstance(other, MeshError)
    await in_balance(replica, org_id)


async def test_what_fits_is_held_beside_what_does_not(make_budget: MakeBudget, org_id: str) -> None:
    replica = await make_budget()
    await full(replica, org_id, left=5 * CENT)
    small = asking("metered", input_tokens_max=10, max_output_tokens=10)
    told = await asyncio.gather(
        reserve(replica, org_id, asking()), reserve(replica, org_id, small), return_exceptions=True
    )
    assert isinstance(told[0], MeshError) and told[1].reserved_nano_usd > 0
    await in_balance(replica, org_id)


async def test_what_ends_elsewhere_makes_room_for_what_comes_behind_it_in_the_same_batch(
    make_budget: MakeBudget, org_id: str
) -> None:
    first, second = await make_budget(), await make_budget()
    await limit(first, org_id, 10 * CENT)
    nearly_all, ask = asking("metered", input_tokens_max=10, max_output_tokens=49_990), asking("metered")
    held = await reserve(first, org_id, nearly_all)
    await refused(second, org_id)
    ask.input_tokens_max, ask.max_output_tokens = 10, 10
    # The second one does not know the reservation, so it ends the general way.
    cost, made = await asyncio.gather(
        commit(second, held, record(org_id, nearly_all.request_id, "metered", input_tokens=1)),
        reserve(second, org_id, ask),
    )
    assert (cost, made.reserved_nano_usd) == (1_000, 30_000)
    await in_balance(first, org_id)


async def test_a_window_that_begins_anew_has_room(make_budget: MakeBudget, org_id: str) -> None:
    replica = await make_budget()
    await full(replica, org_id)
    async with replica._database.transaction(org_id) as connection:
        await connection.execute("DELETE FROM counters")  # As when nobody has asked in the new window.
    assert (await reserve(replica, org_id, asking())).reserved_nano_usd == 10 * CENT
