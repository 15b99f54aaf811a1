"""Old entries end to end: records pruned, held and erased while leaves are packed; the log and exports hold on."""

from __future__ import annotations

import datetime as dt
import pathlib
from typing import Any

import pytest

from mesh.ids import uuid7
from mesh.tlog.packing import WINDOW
from mesh.tlog.standalone import check
from mesh.tlog.tiles import WIDTH
from services.audit.log.packer import Packer
from tests.integration.audit.log_world import KEY, request
from tests.integration.audit.test_heads import exported
from tests.integration.audit.test_retention import NOW, Kept, kept

__all__ = ["kept"]


async def rows(kept: Kept, org_id: str) -> int:
    """The entries of an organisation that still have a row."""
    async with kept.database.transaction(org_id) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM log_entries WHERE kind = 1"))


async def pack(kept: Kept) -> int:
    """Packs what is older than 90 days."""
    return await Packer(kept.store, 90, 3600).round(NOW)


@pytest.mark.timeout(180)
async def test_records_go_before_and_after_their_leaves_are_packed(kept: Kept, tmp_path: pathlib.Path) -> None:
    gone, held = uuid7(), uuid7()
    made: list[Any] = [request(held if number % 2 else gone) for number in range(WINDOW + 2 * WIDTH)]
    for one in made:
        one.started_at.seconds -= 100 * 86_400
    for start in range(0, len(made), 1000):
        await kept.ask(*made[start : start + 1000])
    await kept.settled()
    await kept.counting.everything()
    hold_id = await kept.hold(held)
    await kept.prune(NOW - dt.timedelta(days=90))
    redacted = len(made) // 2
    await kept.holds_together(redacted)

    assert await pack(kept) == 1
    # Without a record an entry has its pack alone; what is held keeps its row, and is found.
    assert await rows(kept, gone) == WIDTH and await rows(kept, held) == len(made) // 2
    await kept.holds_together(redacted)
    entries, missing, _ = check(await exported(kept, gone, tmp_path / "gone"), str(KEY))
    assert (entries, missing) == (redacted + 1, redacted)

    await kept.lift(held, hold_id)
    await kept.erase(held, f"request:{made[1].request_id}")
    await kept.holds_together(redacted + 1)
    await kept.prune(NOW - dt.timedelta(days=90))
    await kept.holds_together(2 * redacted)
    assert await pack(kept) == 0
    assert await rows(kept, held) == WIDTH
    await kept.holds_together(2 * redacted)
    entries, missing, _ = check(await exported(kept, held, tmp_path / "held"), str(KEY))
    assert missing == redacted and entries > redacted
