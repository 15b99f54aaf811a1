"""Who changes something in the router, and the record of it that audit is told."""

from __future__ import annotations

import datetime as dt

import msgspec

from dac.type.v1 import principal_pb2, record_pb2
from mesh import call
from mesh.admin_changes import actor_of
from mesh.ids import uuid7
from services.router.policies.store import Author, Change


def author(principal: principal_pb2.Principal, action: str, target: str, at: dt.datetime, *, org_id: str) -> Author:
    """Who changes something, with the record of it. Without an organisation nobody could read one: there is none."""
    actor, request_id = actor_of(principal), call.current().request_id

    def seal(before: object, after: object) -> Change | None:
        if not org_id:
            return None
        record = record_pb2.AdminRecord(
            record_id=uuid7(),
            org_id=org_id,
            actor=actor,
            action=action,
            target=target,
            before_json="" if before is None else msgspec.json.encode(before).decode(),
            after_json="" if after is None else msgspec.json.encode(after).decode(),
            request_id=request_id,
        )
        record.at.FromDatetime(at)
        return Change(org_id, record.record_id, record.SerializeToString())

    return Author(actor, org_id, at, seal)
