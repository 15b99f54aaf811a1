"""The gRPC port as a service with stubs of its own sees it: health without a key, and failures that can be followed."""

from collections.abc import Iterator

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from tests.edge.conftest import Dac, UpstreamProcess

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def channel(dac: Dac) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(dac.grpc_address) as opened:
        yield opened


def refused(channel: grpc.Channel, dac: Dac, key: str = "") -> grpc.RpcError:
    """How a chat fails."""
    stub = chat_pb2_grpc.ChatServiceStub(channel)  # type: ignore[no-untyped-call]
    said = [chat_pb2.TypedMessage(role="user", content="Hello")]
    asked = chat_pb2.ChatRequest(typed=chat_pb2.TypedChat(model="mock/gpt-4o-mini", messages=said))
    metadata = [("authorization", f"Bearer {key or dac.key}")]
    with pytest.raises(grpc.RpcError) as failed:
        list(stub.Chat(asked, metadata=metadata, timeout=20))
    return failed.value


@pytest.mark.parametrize("service", ["", "dac.gateway.v1.ChatService", "dac.budget.v1.BudgetService"])
def test_health_is_told_to_whoever_asks(channel: grpc.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == SERVING


def test_health_of_what_is_not_there_is_not_found(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as failed:
        stub.Check(health_pb2.HealthCheckRequest(service="dac.nothing.v1.NothingService"), timeout=5)
    assert failed.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_refusal_is_in_the_providers_words_and_names_its_request(
    channel: grpc.Channel, dac: Dac, upstream_process: UpstreamProcess
) -> None:
    upstream_process.script("400", times=1)
    error = refused(channel, dac)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().endswith("it refused the request as wrong. Its own words: scripted 400")
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    assert (info.reason, info.metadata["provider_status"]) == ("PROVIDER_REFUSED", "400")
    named = {"x-dac-request-id": dict(error.trailing_metadata())["x-dac-request-id"]}
    assert dac.record(httpx.Response(400, headers=named))["outcome"] == "OUTCOME_FAILED"


def test_a_stranger_gets_no_id(channel: grpc.Channel, dac: Dac) -> None:
    error = refused(channel, dac, "dac_test_wrong")
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "x-dac-request-id" not in dict(error.trailing_metadata())
