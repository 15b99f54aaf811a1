"""The record of an administrative change: who changed what, before and after, as audit is told of it."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec

from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import AdminRecord
from mesh import call
from mesh.ids import uuid7


class Change(NamedTuple):
    """An administrative change on its way to audit."""

    record_id: str
    record: bytes
    """A serialised AdminRecord."""


def actor_of(principal: Principal) -> str:
    """The actor of an administrative record."""
    if principal.kind == Principal.KIND_SERVICE:
        return f"service:{principal.service}"
    if principal.kind == Principal.KIND_OPERATOR:
        return "operator"
    return f"key:{principal.key_id}" if principal.key_id else f"user:{principal.user_id}"


def admin_change(
    action: str,
    target: str,
    at: dt.datetime,
    *,
    org_id: str,
    before: object = None,
    after: object = None,
    actor: str = "",
    request_id: str = "",
) -> Change:
    """A change `noun.verb` of `kind:id`; `before` and `after` are put down as JSON, None as nothing.

    Without `actor` and `request_id` they are those of the call being served. Raises PRINCIPAL_REQUIRED outside of any.
    """
    record = AdminRecord(
        record_id=uuid7(),
        org_id=org_id,
        actor=actor or actor_of(call.require_principal()),
        action=action,
        target=target,
        before_json=_json(before),
        after_json=_json(after),
        request_id=request_id or call.current().request_id,
    )
    record.at.FromDatetime(at)
    return Change(record.record_id, record.SerializeToString())


def _json(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()
