"""A burst of refusals: what it costs those who are not refused."""

from __future__ import annotations

import asyncio
import gc

import pytest

from mesh.errors import MeshError, Reason
from mesh.transport import RpcFailure
from tests.integration.budget.test_session import ask, replica, session, set_budget, world
from tests.integration.budget.world import CENT, principal

__all__ = ["replica", "session", "world"]  # Fixtures.
REFUSED = 40


@pytest.fixture
def garbage():
    """What only the collector could find, as asked; the collector does not run before."""
    gc.collect()
    gc.disable()

    def found():
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        kept = [one for one in gc.garbage if isinstance(one, MeshError)]
        gc.garbage.clear()
        return kept

    yield found
    gc.enable()


async def test_a_refused_call_leaves_nothing_for_the_collector(world, replica, session, org_id, garbage):
    await set_budget(replica, org_id, 10 * CENT)
    with world.calling(principal(org_id, "chat")):
        await session.Reserve(ask())
        told = await asyncio.gather(*(session.Reserve(ask()) for _ in range(REFUSED)), return_exceptions=True)
    assert [type(one) for one in told] == [RpcFailure] * REFUSED
    assert {one.reason for one in told} == {Reason.BUDGET_EXHAUSTED}
    del told
    await asyncio.sleep(0)
    assert garbage() == []
