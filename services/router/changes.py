"""Who changes something in the router, and the record of it that audit is told."""

from __future__ import annotations

import datetime as dt

from dac.type.v1 import principal_pb2
from mesh import call
from mesh.admin_record import actor_of, admin_change
from services.router.policies.store import Author, Change


def author(principal: principal_pb2.Principal, action: str, target: str, at: dt.datetime, *, org_id: str) -> Author:
    """Who changes something, with the record of it. Without an organisation nobody could read one: there is none."""
    actor, request_id = actor_of(principal), call.current().request_id

    def seal(before: object, after: object) -> Change | None:
        if not org_id:
            return None
        change = admin_change(
            action, target, at, org_id=org_id, before=before, after=after, actor=actor, request_id=request_id
        )
        return Change(org_id, change.record_id, change.record)

    return Author(actor, org_id, at, seal)
