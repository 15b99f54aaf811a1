"""What audit is told of a change: by whom, in which call, what was and what is."""

import datetime as dt

import pytest

from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import AdminRecord
from mesh.admin_record import admin_change
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC)
KEY = Principal(kind=Principal.KIND_USER_KEY, key_id="k", user_id="u")


def told(**fields: object) -> AdminRecord:
    change = admin_change("key.update", "key:k", AT, org_id="o", **fields)  # type: ignore[arg-type]
    record = AdminRecord.FromString(change.record)
    assert (record.record_id, record.org_id, record.at.ToDatetime(dt.UTC)) == (change.record_id, "o", AT)
    return record


@pytest.mark.parametrize(
    ("principal", "actor"),
    [
        (KEY, "key:k"),
        (Principal(kind=Principal.KIND_USER, user_id="u"), "user:u"),
        (Principal(kind=Principal.KIND_OPERATOR), "operator"),
        (Principal(kind=Principal.KIND_SERVICE, service="budget"), "service:budget"),
    ],
)
def test_a_change_is_the_callers_and_its_calls(principal: Principal, actor: str) -> None:
    with serving(Call(request_id="r", principal=principal)):
        record = told(before={"weight": 1, "name": "ä"})
        assert (record.actor, record.request_id) == (actor, "r")
        assert (record.before_json, record.after_json) == ('{"weight":1,"name":"ä"}', "")
        named = told(actor="somebody", request_id="earlier", after=[])
        assert (named.actor, named.request_id, named.after_json) == ("somebody", "earlier", "[]")


def test_a_change_by_nobody_is_not_told() -> None:
    with pytest.raises(MeshError) as caught:
        told()
    assert caught.value.reason is Reason.PRINCIPAL_REQUIRED
