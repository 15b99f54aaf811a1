"""Reading the log while an erasure overtakes the reader: a verification holds, and an export says to ask again."""

from __future__ import annotations

import pytest

from dac.audit.v1 import log_pb2
from mesh.errors import MeshError
from mesh.ids import uuid7
from tests.integration.audit.log_world import KEY, Given
from tests.integration.audit.test_retention import Kept, as_operator, asked, kept
from tests.integration.budget.world import as_key

__all__ = ["kept"]


async def test_a_verification_that_an_erasure_overtakes_still_holds(kept: Kept) -> None:
    org_id, user = uuid7(), uuid7()
    await kept.ask(*[asked(org_id, user=user if number % 2 else uuid7()) for number in range(300)])
    await kept.settled()
    from mesh.tlog.verification import Verification

    checked = Verification(KEY, None)
    with as_operator():
        parts = kept.servicer.ReadLog(log_pb2.ReadLogRequest(), None)
        checked.feed((await anext(parts)).data)
    assert (await kept.erase(org_id, f"user:{user}")).requests == 150
    with as_operator():
        async for part in parts:
            checked.feed(part.data)
    assert checked.finish(), checked.findings
    assert (checked.redacted, checked.entries) == (150, 301)


async def test_stretches_that_an_erasure_overtakes_still_hold(kept: Kept) -> None:
    """What goes behind a stretch that was read is declared by entries behind all stretches."""
    from mesh.tlog.side_by_side import check_stretch
    from mesh.tlog.verification import Verification

    org_id, user = uuid7(), uuid7()
    await kept.ask(*[asked(org_id, user=user if number % 2 else uuid7()) for number in range(600)])
    await kept.settled()
    checked = Verification(KEY, None)

    async def read(first: int, end: int = 0) -> list[bytes]:
        with as_operator():
            parts = kept.servicer.ReadLog(log_pb2.ReadLogRequest(first=first, end=end), None)
            return [part.data async for part in parts]

    before = await read(0, 256)
    assert (await kept.erase(org_id, f"user:{user}")).requests == 300
    after = await read(256, 512)
    for end, parts in ((256, before), (512, after)):
        checked.join(check_stretch(Given(parts), end - 256, end, 0), end)
    checked.feed(b"".join(await read(512)))
    assert checked.finish(), checked.findings
    assert (checked.redacted, checked.pending, checked.entries) == (172, 128, 601)


async def test_an_export_that_an_erasure_overtakes_says_so(kept: Kept) -> None:
    org_id, elsewhere, user = uuid7(), uuid7(), uuid7()
    await kept.ask(*[asked(org_id, user=user) for _ in range(501)], asked(elsewhere, user=user))
    await kept.settled()
    with as_key(org_id, "admin"):
        parts = kept.servicer.Export(log_pb2.ExportRequest(), None)
        await anext(parts)
    await kept.erase(elsewhere, f"user:{user}")
    await kept.erase(org_id, f"user:{user}")
    with as_key(org_id, "admin"), pytest.raises(MeshError, match="ask again"):
        async for _ in parts:
            pass
    with as_key(org_id, "admin"):
        whole = [part.data async for part in kept.servicer.Export(log_pb2.ExportRequest(), None)]
    assert b"".join(whole).count(b'"salt":""') == 501
