"""HTTP/JSON to gRPC and back: every annotated RPC is reachable, and no input does more than name its mistake."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import time

import httpx
import pytest
from google.api import httpbody_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Match

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.budget.v1 import budget_pb2, budget_pb2_grpc, usage_pb2_grpc
from dac.gateway.v1 import identity_pb2
from dac.memory.v1 import conversation_pb2, vector_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.keyring import Keyring
from mesh.permissions import PERMISSIONS
from mesh.principals import Signer, Verifier
from services.gateway.api import http_forms, json_bodies, transcoder
from services.gateway.config import GatewayConfig
from services.gateway.edge.application import Edge
from services.gateway.edge.pages import named_failure, not_found
from services.gateway.identity.callers import Callers

BINDINGS = http_forms.bindings()
REQUESTS = list({one.method.full_name: one for one in BINDINGS}.values())
"""One of each RPC: its other HTTP forms read the same message."""
TOKEN = "the-operators-token"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


class Budgets(budget_pb2_grpc.BudgetServiceServicer):
    """Remembers what it was asked."""

    async def SetBudget(self, request, context):
        self.asked, self.left_s = request, context.time_remaining()
        budget = budget_pb2.Budget(budget_id="b", level=request.level, window=request.window, limit_nano_usd=2**60)
        budget.resets_at.FromDatetime(dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC))
        return budget_pb2.SetBudgetResponse(budget=budget)

    async def DeleteBudget(self, request, context):
        self.asked = request
        raise MeshError(Reason.NOT_FOUND, "There is no such budget.")

    async def ListBudgets(self, request, context):
        raise RuntimeError("password=hunter2")


class Audit(audit_pb2_grpc.AuditServiceServicer):
    """Streams two records, then breaks; or many without a pause, and takes the key back meanwhile."""

    def __init__(self):
        self.take_key_back = None

    async def FollowRequests(self, request, context):
        for number in range(1_000_000 if self.take_key_back else 0):
            if number == 5:
                self.take_key_back()
            yield audit_pb2.FollowRequestsResponse()
            await asyncio.sleep(0)
        for number in "12":
            response = audit_pb2.FollowRequestsResponse()
            response.request.request_id = number
            yield response
        raise MeshError(Reason.UNAVAILABLE, "audit stopped")


class Usage(usage_pb2_grpc.UsageServiceServicer):
    """Answers with a file in two parts; breaks off where it is told to."""

    async def ExportUsage(self, request, context):
        if request.format == "xlsx":
            raise MeshError(Reason.INVALID_REQUEST, "neither csv nor json")
        if request.format == "empty":
            return
        yield httpbody_pb2.HttpBody(content_type="text/csv; charset=utf-8", data=b"a,b\r\n")
        if request.format == "broken":
            raise MeshError(Reason.UNAVAILABLE, "the database is away")
        yield httpbody_pb2.HttpBody(content_type="text/csv; charset=utf-8", data=request.model.encode())


@pytest.fixture
async def edge():
    async def nobody(_):
        return None

    table, budgets = MethodTable(), Budgets()
    budget_pb2_grpc.add_BudgetServiceServicer_to_server(budgets, table)
    audit = Audit()
    audit_pb2_grpc.add_AuditServiceServicer_to_server(audit, table)
    usage_pb2_grpc.add_UsageServiceServicer_to_server(Usage(), table)
    table.interceptors = server_interceptors(Verifier(nobody))
    callers = Callers(None, Signer("gateway", bytes(range(32))), Keyring(bytes(32)))
    callers.set_operator(TOKEN, uuid7())
    routes = transcoder.routes(BINDINGS, lambda _: LocalChannel(table), callers, asyncio.Event())
    handlers = {404: not_found, 405: not_found, MeshError: named_failure}
    app = Edge(GatewayConfig(), callers, None, Starlette(routes=routes, exception_handlers=handlers), asyncio.Event())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dac", headers=headers) as client:
        client.budgets, client.audit, client.callers = budgets, audit, callers
        yield client


def annotated():
    return [method for method in http_forms.methods() if "google.api.http" in str(method.GetOptions())]


def test_every_annotated_rpc_has_a_binding_and_a_permission():
    assert {binding.method.full_name for binding in BINDINGS} == {method.full_name for method in annotated()}
    assert len(BINDINGS) >= 20
    assert {binding.rpc for binding in BINDINGS} <= set(PERMISSIONS)


def test_every_binding_is_the_first_route_that_takes_its_path():
    routes = transcoder.routes(BINDINGS, lambda _: LocalChannel(MethodTable()), None, asyncio.Event())
    for binding, own in zip(BINDINGS, routes, strict=True):
        path = re.sub(r"\{[^}]*\}", "verify-me", binding.template)
        scope = {"type": "http", "path": path, "root_path": "", "method": binding.verb, "headers": []}
        assert next(one for one in routes if one.matches(scope)[0] is Match.FULL) is own, binding


def test_literal_paths_come_before_those_with_parameters():
    counts = [len(binding.parameters) for binding in BINDINGS]
    assert counts == sorted(counts)


@settings(max_examples=10, deadline=None)
@given(st.data())
@pytest.mark.parametrize("binding", REQUESTS, ids=lambda binding: binding.method.name)
def test_any_json_is_read_or_refused_by_name(binding, data):
    names = [field.name for field in binding.method.input_type.fields] + ["other"]
    document = data.draw(JSON | st.dictionaries(st.sampled_from(names), JSON, max_size=3))
    message = binding.request()
    try:
        json_bodies.parse_json(json.dumps(document).encode(), message)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata


@settings(max_examples=10, deadline=None)
@given(st.data())
@pytest.mark.parametrize("binding", REQUESTS, ids=lambda binding: binding.method.name)
def test_any_query_is_read_or_refused_by_name(binding, data):
    names = [field.name for field in binding.method.input_type.fields] + ["other"]
    paths = st.lists(st.sampled_from([*names, "id", "kind", "seconds", ""]), min_size=1, max_size=3).map(".".join)
    message = binding.request()
    for path in data.draw(st.lists(paths, max_size=3)):
        try:
            transcoder.set_field(message, path, data.draw(st.text(max_size=20)))
        except MeshError as error:
            assert error.reason is Reason.INVALID_REQUEST


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(body):
    try:
        json_bodies.parse_json(body, budget_pb2.SetBudgetRequest())
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"level":' * 50_000, b'{"level":' * 200 + b"1" + b"}" * 200])
def test_deep_json_is_refused(body):
    with pytest.raises(MeshError) as caught:
        json_bodies.parse_json(body, budget_pb2.SetBudgetRequest())
    assert caught.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize(
    ("body", "field", "hint"),
    [
        ('{"limit_nano_usdd": 1}', "limit_nano_usdd", '"limit_nano_usd"'),
        ('{"level": {"kinnd": "KIND_ORG"}}', "kinnd", '"kind"'),
        ('{"zzzz": 1}', "zzzz", "Known: alert_emails, enforcement, level, limit_nano_usd"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_known_one(body, field, hint):
    with pytest.raises(MeshError, match=re.escape(hint)) as caught:
        json_bodies.parse_json(body.encode(), budget_pb2.SetBudgetRequest())
    assert caught.value.metadata["field"] == field


@pytest.mark.parametrize(
    "body",
    ['{"window": "WINDOW_YEAR"}', '{"limit_nano_usd": "ten"}', '{"limit_nano_usd": 99999999999999999999}', "[]", "7"],
)
def test_a_value_that_does_not_fit_is_refused(body):
    with pytest.raises(MeshError) as caught:
        json_bodies.parse_json(body.encode(), budget_pb2.SetBudgetRequest())
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_query_fields_fill_nested_messages_and_grow_lists():
    budget = budget_pb2.SetBudgetRequest()
    for path, text in (("level.kind", "KIND_ORG"), ("level.id", "a"), ("limitNanoUsd", str(2**60))):
        transcoder.set_field(budget, path, text)
    assert (budget.level.kind, budget.level.id, budget.limit_nano_usd) == (1, "a", 2**60)
    key = identity_pb2.CreateApiKeyRequest()
    for scope in ("chat", "read", "chat"):
        transcoder.set_field(key, "scopes", scope)
    transcoder.set_field(key, "expires_at", "2026-01-31T12:00:00Z")
    assert list(key.scopes) == ["chat", "read", "chat"] and key.expires_at.seconds == 1769860800


@pytest.mark.parametrize("path", ["name.first", "scopes.0", "namee", "expires_at.hours", ".", ""])
def test_an_unknown_query_field_is_refused(path):
    with pytest.raises(MeshError) as caught:
        transcoder.set_field(identity_pb2.CreateApiKeyRequest(), path, "1")
    assert caught.value.reason is Reason.INVALID_REQUEST


async def test_a_call_reaches_its_service_and_answers_in_proto_json(edge):
    body = {"level": {"kind": "KIND_ORG", "id": "o"}, "window": "WINDOW_DAY", "limit_nano_usd": str(2**60)}
    answer = await edge.put("/v1/budgets", json=body)
    assert answer.status_code == 200
    budget = answer.json()["budget"]
    assert {name: budget[name] for name in budget if budget[name] not in ([], "", False)} == {
        "budget_id": "b",
        "level": {"kind": "KIND_ORG", "id": "o"},
        "window": "WINDOW_DAY",
        "limit_nano_usd": str(2**60),
        "spent_nano_usd": "0",
        "reserved_nano_usd": "0",
        "enforcement": "ENFORCEMENT_UNSPECIFIED",
        "resets_at": "2026-01-31T12:00:00Z",
    }
    assert edge.budgets.asked.limit_nano_usd == 2**60 and 25 < edge.budgets.left_s <= 30


async def test_the_path_wins_over_the_query(edge):
    answer = await edge.delete("/v1/budgets/right", params={"budget_id": "wrong"})
    assert edge.budgets.asked.budget_id == "right"
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_mistake_is_answered_with_the_field(edge):
    answer = await edge.put("/v1/budgets", json={"windoww": "WINDOW_DAY"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "windoww")
    answer = await edge.get("/v1/budgets", params={"page_sise": "1"})
    assert answer.status_code == 400 and '"page_size"' in answer.json()["error"]["message"]
    assert (await edge.put("/v1/budgets", content=b"{")).status_code == 400


async def test_an_unexpected_failure_tells_nothing_of_itself(edge):
    answer = await edge.get("/v1/budgets")
    assert answer.status_code == 500 and "hunter2" not in answer.text


async def test_without_a_key_nothing_is_called(edge):
    answer = await edge.put("/v1/budgets", json={}, headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert not hasattr(edge.budgets, "asked")


async def test_paths_that_nobody_serves_are_named(edge):
    for path in ("/v1/nothing", "/v1/keys/a/b"):
        answer = await edge.get(path)
        assert answer.status_code == 404 and path in answer.json()["error"]["message"]


async def test_a_server_stream_becomes_events_and_ends_with_its_error(edge):
    answer = await edge.get("/v1/requests:follow")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(one)["request"]["request_id"] for one in events[:2]] == ["1", "2"]
    assert json.loads(events[2])["error"]["code"] == "unavailable" and len(events) == 3


async def test_a_stream_that_is_never_quiet_ends_with_its_key(edge, monkeypatch):
    monkeypatch.setattr(transcoder, "CHECK_AGAIN_S", 0.05)
    edge.audit.take_key_back = lambda: edge.callers.set_operator("another-token", uuid7())
    async with asyncio.timeout(20):
        answer = await edge.get("/v1/requests:follow")
    last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "invalid_api_key"


async def test_a_file_comes_as_it_is(edge):
    answer = await edge.get("/v2/usage/export?model=1,2&group_by=DIMENSION_TEAM&level.kind=KIND_TEAM")
    assert answer.status_code == 200 and answer.text == "a,b\r\n1,2"
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    empty = await edge.get("/v2/usage/export?format=empty")
    assert (empty.status_code, empty.content) == (200, b"")


async def test_a_file_that_cannot_be_made_is_an_error_with_its_status(edge):
    answer = await edge.get("/v2/usage/export?format=xlsx")
    assert answer.status_code == 400 and "neither csv" in answer.json()["error"]["message"]
    assert "content-disposition" not in answer.headers
    denied = await edge.get("/v2/usage/export", headers={"Authorization": "Bearer wrong"})
    assert denied.status_code == 401


async def test_a_file_that_breaks_is_not_called_whole(edge):
    # httpx insists that an application ends its answer: this one must not.
    with pytest.raises(AssertionError):
        await edge.get("/v2/usage/export?format=broken")


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (conversation_pb2.CreateThreadRequest, b'{"parameters": {"a": [%s]}}'),
        (conversation_pb2.CreateThreadRequest, b'{"parameters": {"a": {"b": [[%s]]}}}'),
        (vector_pb2.UpsertVectorsRequest, b'{"items": [{"id": "1"}, {"metadata": {"a": [%s]}}]}'),
    ],
)
def test_free_form_fields_hold_only_so_much(form, body):
    """A value in them takes microseconds: ten megabytes held up the whole gateway for half a minute."""
    json_bodies.parse_json(body % b"1,2", form())
    with pytest.raises(MeshError, match="more than 100000 values") as refused:
        json_bodies.parse_json(body % (b"0," * 100_000 + b"0"), form())
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_numbers_of_a_vector_are_no_free_form():
    form = vector_pb2.SearchVectorsRequest()
    json_bodies.parse_json(b'{"vector": [' + b"0.5," * 100_000 + b"0.5]}", form)
    assert len(form.vector) == 100_001


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (conversation_pb2.CreateThreadRequest, b'{"tags": [%s]}'),
        (identity_pb2.CreateApiKeyRequest, b'{"models": [%s]}'),
        (vector_pb2.UpsertVectorsRequest, b'{"items": [{"vector": [%s]}]}'),
    ],
)
def test_short_values_of_lists_buy_no_seconds(form, body):
    """Two million of them took four seconds of a core; nobody's list is as long."""
    started = time.process_time()
    with pytest.raises(MeshError, match="more than 100000 values"):
        json_bodies.parse_json(body % (b'"a",' * 2_000_000 + b'"a"'), form())
    assert time.process_time() - started < 0.8


def test_a_vector_is_put_in_whole_and_what_is_none_is_refused_as_ever():
    form = vector_pb2.UpsertVectorsRequest()
    started = time.process_time()
    items = b'{"id": "a"}, {"id": "b", "vector": [%s]}' % (b"0.5," * 1_000_000 + b"2")
    json_bodies.parse_json(b'{"items": [%s]}' % items, form)
    assert time.process_time() - started < 0.6
    assert not form.items[0].vector and len(form.items[1].vector) == 1_000_001 and form.items[1].vector[-1] == 2.0
    for wrong in (b'"x"', b"null", b"1e300", b"9" * 400):
        with pytest.raises(MeshError, match="does not fit"):
            json_bodies.parse_json(b'{"items": [{"vector": [1, %s]}]}' % wrong, vector_pb2.UpsertVectorsRequest())


def test_an_endless_unknown_name_is_not_compared_letter_by_letter():
    started = time.process_time()
    with pytest.raises(MeshError, match="There is no field"):
        json_bodies.parse_json(b'{"' + b"tag" * 2_000_000 + b'": 1}', conversation_pb2.CreateThreadRequest())
    assert time.process_time() - started < 0.4
