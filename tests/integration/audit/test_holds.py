"""Legal holds: what they keep from erasure and pruning, who lifts them, and which of two that meet wins."""

from __future__ import annotations

from typing import Any

import pytest

from dac.audit.v1 import retention_pb2 as pb
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.audit.log.store import LogStore
from tests.integration.audit.test_retention import Kept, as_operator, asked, idle, ids, kept
from tests.integration.budget.world import as_key

__all__ = ["idle", "kept"]


async def test_a_hold_refuses_erasure_and_pruning_until_it_is_lifted(kept: Kept) -> None:
    org_id, user = uuid7(), uuid7()
    await kept.ask(asked(org_id, user=user, days_ago=9), asked(org_id, days_ago=9))
    await kept.settled()
    await kept.counting.everything()
    hold_id = await kept.hold(org_id)
    with pytest.raises(MeshError, match=f"legal hold {hold_id} on the whole organisation .Smith v. Jones.") as refusal:
        await kept.erase(org_id, f"user:{user}")
    assert refusal.value.reason is Reason.FAILED_PRECONDITION
    assert (await kept.prune()).requests == 0
    assert len(await kept.ids(org_id)) == 2
    with as_key(org_id, "admin"):
        listed = await kept.rpcs.ListHolds(pb.ListHoldsRequest(), None)
    assert [(one.hold_id, one.subject, one.reason) for one in listed.holds] == [(hold_id, "", "Smith v. Jones")]
    with pytest.raises(MeshError, match="no legal hold"):
        await kept.lift(uuid7(), hold_id)
    await kept.lift(org_id, hold_id)
    with pytest.raises(MeshError, match="no legal hold"):
        await kept.lift(org_id, hold_id)
    assert (await kept.erase(org_id, f"user:{user}")).requests == 1
    assert (await kept.prune()).requests == 1
    told = [
        (one.action, one.target) for action in ("audit.hold", "audit.unhold") for one in await kept.told(org_id, action)
    ]
    assert told == [("audit.hold", f"organisation:{org_id}"), ("audit.unhold", f"organisation:{org_id}")]
    await kept.holds_together(redacted=2)


async def test_a_hold_on_a_key_keeps_its_requests_from_everybody(kept: Kept) -> None:
    org_id, user, key = uuid7(), uuid7(), uuid7()
    held = [asked(org_id, user=user, key=key, days_ago=9) for _ in range(3)]
    free = [asked(org_id, user=user, key=uuid7(), days_ago=9) for _ in range(2)]
    await kept.ask(*held, *free)
    await kept.settled()
    hold_id = await kept.hold(org_id, f"key:{key}")
    for subject in (f"user:{user}", f"key:{key}", f"request:{held[0].request_id}"):
        with pytest.raises(MeshError, match=hold_id):
            await kept.erase(org_id, subject)
    assert not await kept.told(org_id, "audit.erase")
    done = await kept.prune()
    assert (done.requests, done.held) == (2, 3)
    assert await kept.ids(org_id) == ids(held)
    await kept.holds_together(redacted=2)


async def test_an_administrator_does_not_lift_what_the_operator_holds(kept: Kept) -> None:
    org_id = uuid7()
    with as_operator():
        hold = (await kept.rpcs.SetHold(pb.SetHoldRequest(reason="court order", org_id=org_id), None)).hold
    with pytest.raises(MeshError) as refusal:
        await kept.lift(org_id, hold.hold_id)
    assert refusal.value.reason is Reason.PERMISSION_DENIED
    with as_operator():
        await kept.rpcs.LiftHold(pb.LiftHoldRequest(hold_id=hold.hold_id, org_id=org_id), None)
    assert await kept.keeper.holds(org_id) == []


async def test_a_hold_stops_what_was_declared_and_not_carried_out(idle: Kept) -> None:
    org_id, key = uuid7(), uuid7()
    await idle.ask(asked(org_id, key=key))
    await idle.sequence()
    await idle.counting.everything()
    idle.keeper._wait_s = 0
    assert (await idle.erase(org_id, f"key:{key}")).pending == 1
    hold_id = await idle.hold(org_id)
    await idle.sequence()
    assert await idle.keeper.carry_out_all() == 1
    assert len(await idle.ids(org_id)) == 1
    await idle.lift(org_id, hold_id)
    assert await idle.keeper.carry_out_all() == 0
    assert len(await idle.ids(org_id)) == 0
    await idle.sequence()
    await idle.holds_together(redacted=1)


async def test_a_hold_that_is_set_while_records_are_looked_for_wins(kept: Kept, monkeypatch: Any) -> None:
    org_id, user = uuid7(), uuid7()
    await kept.ask(asked(org_id, user=user))
    await kept.settled()
    places = kept.store.places

    async def late(_: LogStore, *given: Any) -> Any:
        await kept.hold(org_id, f"user:{uuid7()}")
        return await places(*given)

    monkeypatch.setattr(LogStore, "places", late)
    with pytest.raises(MeshError, match="set or lifted meanwhile"):
        await kept.erase(org_id, f"user:{user}")
    assert len(await kept.ids(org_id)) == 1
