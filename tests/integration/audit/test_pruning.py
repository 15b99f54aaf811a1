"""Pruning by age: what goes, what stays because it is new, audit's own, not counted yet or not in the log."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from mesh.errors import MeshError
from mesh.ids import uuid7
from tests.integration.audit.log_world import change
from tests.integration.audit.test_retention import NOW, Kept, asked, idle, ids, kept

__all__ = ["idle", "kept"]


async def test_pruning_takes_what_is_old_and_leaves_the_rest(kept: Kept) -> None:
    orgs, held_by = [uuid7(), uuid7()], uuid7()
    old = {org_id: [asked(org_id, days_ago=100 + number) for number in range(7)] for org_id in orgs}
    new = {org_id: [asked(org_id, days_ago=number) for number in range(3)] for org_id in orgs}
    kept.keeper._page = 3
    for org_id in orgs:
        await kept.ask(*old[org_id], *new[org_id])
        late = change(org_id)
        own = change(org_id, action="audit.hold", actor=f"key:{held_by}")
        for one in (late, own):
            one.at.FromDatetime(NOW - dt.timedelta(days=100))
        await kept.administer(late, own, change(org_id))
    await kept.settled()
    await kept.counting.everything()
    before = NOW - dt.timedelta(days=90)
    dry = await kept.prune(before, dry_run=True)
    assert (dry.requests, dry.changes, len(await kept.ids(orgs[0]))) == (14, 0, 10)
    assert (await kept.prune(before, org_id=orgs[0])).requests == 7
    assert (await kept.ids(orgs[0]), len(await kept.ids(orgs[1]))) == (ids(new[orgs[0]]), 10)
    done = await kept.prune(before, with_changes=True)
    assert (done.requests, done.changes) == (7, 2)
    assert len(await kept.told(orgs[0], "key.create")) == 1
    assert len(await kept.told(orgs[0], "audit.prune")) == 4
    # Audit's own word stays, however old it is and whoever is erased.
    assert (await kept.erase(orgs[0], f"key:{held_by}")).changes == 0
    assert len(await kept.told(orgs[0], "audit.hold")) == 1
    await kept.holds_together(redacted=16)
    with pytest.raises(MeshError, match="past"):
        await kept.prune(NOW + dt.timedelta(days=2))


async def test_the_leader_prunes_by_the_clock(kept: Kept) -> None:
    org_id = uuid7()
    old, new = asked(org_id, days_ago=91.5), asked(org_id, days_ago=89)
    aged = change(org_id)
    aged.at.FromDatetime(NOW - dt.timedelta(days=2600))
    await kept.ask(old, new)
    await kept.administer(aged, change(org_id))
    await kept.settled()
    await kept.counting.everything()
    leader = asyncio.create_task(kept.retention.run())
    try:
        async with asyncio.timeout(20):
            while await kept.ids(org_id) != {new.request_id} or len(await kept.told(org_id, "key.create")) != 1:
                await asyncio.sleep(0.05)
    finally:
        leader.cancel()
    assert {one.actor for one in await kept.told(org_id, "audit.prune")} == {"service:audit"}
    await kept.holds_together(redacted=2)


async def test_what_is_not_counted_or_has_no_leaf_stays(idle: Kept) -> None:
    org_id, user = uuid7(), uuid7()
    await idle.ask(asked(org_id, user=user, days_ago=9))
    done = await idle.prune()
    assert (done.requests, done.waiting) == (0, 1)
    await idle.sequence()
    assert ((await idle.prune()).waiting, len(await idle.ids(org_id))) == (1, 1)
    await idle.counting.everything()
    await idle.ask(asked(org_id, user=user, days_ago=9))
    # An erasure counts first; what the log has not taken up is left.
    idle.keeper._wait_s = 0
    done2 = await idle.erase(org_id, f"user:{user}")
    assert (done2.requests, done2.waiting) == (1, 1)
