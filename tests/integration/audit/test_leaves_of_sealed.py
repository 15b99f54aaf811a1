"""Old leaves go where records are sealed, too; and lists and single records answer as if nothing had gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from mesh.errors import MeshError
from mesh.postgres import Database
from mesh.tlog.packing import WINDOW
from tests.conftest import Migrated
from tests.integration.audit.dropped_world import ORGS, Dropped
from tests.integration.audit.log_world import request
from tests.integration.audit.sealed_world import SealedWorld
from tests.integration.audit.test_log import FOLDER

Make = Callable[..., Awaitable[Migrated]]


async def test_lists_go_on_where_sealed_records_and_their_leaves_are_gone(make_database: Make) -> None:
    made = await make_database({"audit": FOLDER})
    database = Database(made.dsn("audit"), "audit")
    lists = SealedWorld(database, made)
    log = Dropped(database, made, lists.payloads)
    await log.lift(ORGS[0], await log.hold(ORGS[0]))
    gone = await log.fill()
    await log.redact()
    assert [one.action for one in await lists.list_changes(ORGS[0], action="audit.hold")] == ["audit.hold"]
    new = request(ORGS[0])
    await log.store_all([new])
    assert await log.drop() == WINDOW
    assert (await log.verify()).findings == []
    assert await lists.list_changes(ORGS[0], action="audit.hold") == []
    assert await lists.list_changes(ORGS[0], action="audit.prune")
    assert [one.request_id for one in await lists.list(ORGS[0])] == [new.request_id]
    with pytest.raises(MeshError, match="is not recorded"):
        await lists.get(ORGS[2], gone[1].request_id)
    await log.counting.everything()
    assert not (await log.erase(ORGS[1], f"user:{ORGS[2]}")).requests
    await log.sequence(log.leader)
    assert (await log.verify()).findings == []
    await database.close()
