"""Entries that are packed lose their payloads like others: found, declared, removed, and the log still holds."""

from __future__ import annotations

import datetime as dt

from mesh.ids import uuid7
from mesh.tlog.packing import WINDOW
from mesh.tlog.proofs import Proof
from services.audit.log.packer import Packer
from tests.integration.audit.log_world import KEY, change
from tests.integration.audit.test_log import receipt
from tests.integration.audit.test_retention import NOW, Kept, asked, idle

__all__ = ["idle"]


async def test_packed_entries_are_erased_and_pruned(idle: Kept) -> None:
    org_id, elsewhere, user = uuid7(), uuid7(), uuid7()
    idle.keeper._wait_s = 0
    theirs = [asked(org_id, user=user, days_ago=100) for _ in range(3)]
    for start in range(0, WINDOW + 300, 1000):
        await idle.ask(*[asked(elsewhere, days_ago=100) for _ in range(min(1000, WINDOW + 300 - start))])
    await idle.ask(*theirs[:1])
    made = change(org_id, target=f"user:{user}")
    await idle.administer(made)
    sequencer = idle.sequencer()
    await sequencer.lead()
    await idle.sequence(sequencer)
    await idle.ask(*theirs[1:])
    await idle.sequence(sequencer)
    await idle.counting.everything()
    packer = Packer(idle.store, 90, 3600)
    assert await packer.round(NOW) == 1
    assert (await idle.verify()).findings == []

    done = await idle.erase(org_id, f"user:{user}")
    assert (done.requests, done.changes, done.waiting) == (3, 1, 0)
    await idle.sequence(sequencer)
    assert await idle.keeper.carry_out_all() == 0
    pruned = 0
    for _ in range(3):
        pruned += (await idle.prune(NOW - dt.timedelta(days=90))).requests
        await idle.sequence(sequencer)
        await idle.keeper.carry_out_all()
    assert pruned == WINDOW + 300 and not await idle.ids(elsewhere)
    await packer.round(NOW)
    checked = await idle.verify()
    assert (checked.findings, checked.redacted, checked.pending) == ([], WINDOW + 304, 0)
    found = await receipt(idle.servicer, org_id, made.record_id)
    assert (found.salt, found.record) == (b"", b"")
    assert Proof.parse(found.proof).check(found.leaf.encode(), KEY)
