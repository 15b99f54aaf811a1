"""The public gRPC port over a real socket: a key is needed, only annotated RPCs and chat are there, deadlines hold."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.budget.v1 import budget_pb2, budget_pb2_grpc, record_pb2_grpc
from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from dac.provider.v1 import provider_pb2_grpc
from mesh.call import current
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.keyring import Keyring
from mesh.permissions import PERMISSIONS
from mesh.principals import Signer, Verifier
from services.gateway.api import http_forms
from services.gateway.grpc_edge import CHAT, GrpcEdge
from services.gateway.identity.callers import Callers

TOKEN = "the-operators-token"
KEY = (("authorization", f"Bearer {TOKEN}"),)


class Everything(
    budget_pb2_grpc.BudgetServiceServicer,
    record_pb2_grpc.RecordServiceServicer,
    provider_pb2_grpc.ProviderServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
    chat_pb2_grpc.ChatServiceServicer,
):
    """The services behind the edge."""

    def __init__(self):
        self.called, self.stopped = [], asyncio.Event()

    async def ListBudgets(self, request, context):
        self.called.append((current().principal.org_id, context.time_remaining()))
        if request.page_token == "missing":
            raise MeshError(Reason.NOT_FOUND, "no page", metadata={"field": "page_token"}, retry_after_s=1.5)
        if request.page_token == "slow":
            await asyncio.sleep(60)
        return budget_pb2.ListBudgetsResponse(next_page_token=request.page_token)

    async def Reserve(self, request, context):
        raise AssertionError("internal")

    Commit = FetchRecords = Reserve

    async def FollowRequests(self, request, context):
        response = audit_pb2.FollowRequestsResponse()
        response.request.request_id = "1"
        try:
            yield response
            await asyncio.sleep(60)
        finally:
            self.stopped.set()

    async def Chat(self, request, context):
        self.called.append((current().principal.org_id, context.time_remaining()))
        yield chat_pb2.ChatResponse(head=chat_pb2.Head(model="m"))


@pytest.fixture
async def edge():
    async def nobody(_):
        return None

    behind, table = Everything(), MethodTable()
    budget_pb2_grpc.add_BudgetServiceServicer_to_server(behind, table)
    record_pb2_grpc.add_RecordServiceServicer_to_server(behind, table)
    provider_pb2_grpc.add_ProviderServiceServicer_to_server(behind, table)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(behind, table)
    chat_pb2_grpc.add_ChatServiceServicer_to_server(behind, table)
    table.interceptors = server_interceptors(Verifier(nobody))
    callers = Callers(None, Signer("gateway", bytes(range(32))), Keyring(bytes(32)))
    behind.org_id = uuid7()
    callers.set_operator(TOKEN, behind.org_id)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((GrpcEdge(http_forms.bindings(), lambda _: LocalChannel(table), callers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, behind
    await server.stop(None)


def info_of(error):
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status, info = status_pb2.Status.FromString(raw), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info, status


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "MISSING_CREDENTIAL"),
        ((("authorization", "Bearer "),), "MISSING_CREDENTIAL"),
        ((("authorization", "Bearer wrong"),), "INVALID_CREDENTIAL"),
        ((("x-dac-principal-bin", b"forged"),), "MISSING_CREDENTIAL"),
        ((("authorization", "Bearer wrong"), *KEY), "INVALID_CREDENTIAL"),
    ],
)
async def test_without_a_key_a_call_is_unauthenticated_and_says_so(edge, metadata, reason):
    channel, behind = edge
    for call in (
        budget_pb2_grpc.BudgetServiceStub(channel).ListBudgets(budget_pb2.ListBudgetsRequest(), metadata=metadata),
        chat_pb2_grpc.ChatServiceStub(channel).Chat(chat_pb2.ChatRequest(), metadata=metadata).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        info, _ = info_of(caught.value)
        assert (info.domain, info.reason) == ("dac", reason)
    assert behind.called == []


async def test_internal_methods_are_not_on_the_public_port(edge):
    channel, _ = edge
    public = {binding.rpc for binding in http_forms.bindings()} | {CHAT}
    internal = {path for path in PERMISSIONS if path.startswith("/dac.")} - public
    assert {path.rsplit("/", 1)[1] for path in internal} >= {"Commit", "Reserve", "Release", "FetchRecords", "Generate"}
    for path in sorted(internal):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", metadata=KEY)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, path
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_stream(path)(b"", metadata=KEY).read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, path


async def test_a_call_carries_its_principal_and_the_callers_deadline(edge):
    channel, behind = edge
    stub = budget_pb2_grpc.BudgetServiceStub(channel)
    answer = await stub.ListBudgets(budget_pb2.ListBudgetsRequest(page_token="t"), metadata=KEY, timeout=5)
    await stub.ListBudgets(budget_pb2.ListBudgetsRequest(), metadata=KEY)
    assert answer.next_page_token == "t"
    (org_id, left), (_, longest) = behind.called
    assert org_id == behind.org_id and 4 < left < 5 and 25 < longest <= 30


async def test_a_call_that_takes_longer_than_its_deadline_ends(edge):
    channel, _ = edge
    stub = budget_pb2_grpc.BudgetServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListBudgets(budget_pb2.ListBudgetsRequest(page_token="slow"), metadata=KEY, timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_failure_keeps_its_reason_and_metadata(edge):
    channel, _ = edge
    stub = budget_pb2_grpc.BudgetServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListBudgets(budget_pb2.ListBudgetsRequest(page_token="missing"), metadata=KEY)
    info, status = info_of(caught.value)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND and caught.value.details() == "no page"
    assert (info.reason, dict(info.metadata)) == ("NOT_FOUND", {"field": "page_token"})
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry) and retry.retry_delay.nanos == 500_000_000


async def test_chat_streams_and_a_stream_left_early_is_stopped(edge):
    channel, behind = edge
    chat = chat_pb2_grpc.ChatServiceStub(channel).Chat(chat_pb2.ChatRequest(), metadata=KEY)
    assert [one.head.model async for one in chat] == ["m"]
    follow = audit_pb2_grpc.AuditServiceStub(channel).FollowRequests(audit_pb2.FollowRequestsRequest(), metadata=KEY)
    assert (await follow.read()).request.request_id == "1"
    follow.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await follow.read()
    await asyncio.wait_for(behind.stopped.wait(), 5)
