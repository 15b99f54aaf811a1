"""Every provider is over its own limit: callers get 429 and when to come back, told apart from DAC's limits."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import grpc
import httpx
import openai
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

MORE = """
  - {id: mock/chain, provider: mock, name: first, context_tokens: 8000, quality: 0.6, fallbacks: [second/other],
     price: free}
  - {id: second/other, provider: second, name: other, context_tokens: 8000, quality: 0.6, price: free}
router: {breaker_failures: 1000, breaker_min_outcomes: 1000}
provider: {failing_after: 1000}
"""
QUESTION = [{"role": "user", "content": "Say hello."}]
PATHS = {
    "/v1/chat/completions": {"messages": QUESTION},
    "/v1/messages": {"messages": QUESTION, "max_tokens": 20},
    "/v1/responses": {"input": "Say hello."},
}


@pytest.fixture(scope="module")
def limited(upstream_process: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("limited"), upstream_process, more=MORE)  # type: ignore[arg-type]
    running.start()
    yield running
    running.stop()


def limit_both(upstream: UpstreamProcess) -> None:
    """Both models of the chain are over their limit."""
    upstream.script("429", model="first", retry_after="30")
    upstream.script("429", model="other", retry_after="7")


def metric(dac: Dac, name: str) -> float:
    """A counter's value."""
    found = [line for line in httpx.get(dac.url + "/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_the_caller_is_told_when_to_come_back(
    limited: Dac, upstream_process: UpstreamProcess, path: str, stream: bool
) -> None:
    limit_both(upstream_process)
    counted = 'errors_total{reason="provider_rate_limited"}'
    before = metric(limited, counted)
    body = {"model": "mock/chain", "stream": stream, **PATHS[path]}
    answer = httpx.post(limited.url + path, json=body, headers=limited.headers, timeout=30)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7"), answer.text
    assert "x-should-retry" not in answer.headers and "x-ratelimit-limit-requests" not in answer.headers
    error = answer.json()["error"]
    assert error["type"] == "rate_limit_error" and "rate limit is reached" in error["message"]
    if path == "/v1/messages":
        assert answer.json()["type"] == "error" and "code" not in error
    else:
        assert error["code"] == "provider_rate_limited"
    record = limited.record(answer)
    assert (record["outcome"], record["reason"]) == ("OUTCOME_FAILED", "ERROR_REASON_PROVIDER_RATE_LIMITED")
    assert record["cost_nano_usd"] == "0" and record["http_status"] == 429
    attempts = {(one["provider"], one["status_code"], one["reason"]) for one in record["attempts"]}
    assert attempts == {(name, 429, "ERROR_REASON_PROVIDER_RATE_LIMITED") for name in ("mock", "second")}
    assert metric(limited, counted) == before + 1


def test_without_a_hint_no_time_is_made_up(limited: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("429", model="other")
    answer = limited.chat(model="second/other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "provider_rate_limited")
    assert "retry-after" not in answer.headers and "x-should-retry" not in answer.headers


def test_when_another_failed_otherwise_it_is_a_502(limited: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("429", model="first", retry_after="30")
    upstream_process.script("401", model="other")
    answer = limited.chat(model="mock/chain")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_failed")
    assert limited.record(answer)["reason"] == "ERROR_REASON_PROVIDER_FAILED"


def test_by_grpc_it_is_resource_exhausted_with_retry_info(limited: Dac, upstream_process: UpstreamProcess) -> None:
    limit_both(upstream_process)
    with grpc.insecure_channel(limited.grpc_address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)  # type: ignore[no-untyped-call]
        said = [chat_pb2.TypedMessage(role="user", content="Hello")]
        asked = chat_pb2.ChatRequest(typed=chat_pb2.TypedChat(model="mock/chain", messages=said))
        with pytest.raises(grpc.RpcError) as failed:
            list(stub.Chat(asked, metadata=[("authorization", f"Bearer {limited.key}")], timeout=20))
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = rpc_status.from_call(failed.value).details
    assert details[0].Unpack(info) and details[1].Unpack(retry)
    assert (info.reason, retry.retry_delay.seconds) == ("PROVIDER_RATE_LIMITED", 7)


def test_the_official_sdks_take_it_for_a_limit(limited: Dac, upstream_process: UpstreamProcess) -> None:
    limit_both(upstream_process)
    ours = openai.OpenAI(base_url=f"{limited.url}/v1", api_key=limited.key, max_retries=0)
    with pytest.raises(openai.RateLimitError) as refused:
        ours.chat.completions.create(model="mock/chain", messages=QUESTION)  # type: ignore[arg-type]
    assert refused.value.code == "provider_rate_limited"
    theirs = anthropic.Anthropic(base_url=limited.url, api_key=limited.key, max_retries=0)
    with pytest.raises(anthropic.RateLimitError) as told:
        theirs.messages.create(model="mock/chain", max_tokens=20, messages=QUESTION)  # type: ignore[arg-type]
    assert told.value.response.headers["retry-after"] == "7"


def test_the_sdk_comes_back_when_it_was_told(limited: Dac, upstream_process: UpstreamProcess) -> None:
    # Longer than DAC itself waits (provider.max_retry_after_s is 2), so that it is the SDK that waits.
    upstream_process.script("429", model="other", retry_after="2.1", times=1)
    client = openai.OpenAI(base_url=f"{limited.url}/v1", api_key=limited.key, max_retries=1)
    answer = client.chat.completions.create(model="second/other", messages=QUESTION)  # type: ignore[arg-type]
    assert answer.choices[0].message.content
