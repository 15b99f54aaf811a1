"""Rate limits as the official SDKs meet them: refused, told in headers, free again when an answer ends."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import io
import itertools
import re
import time
import wave
from collections.abc import Callable
from typing import Any

import anthropic
import grpc
import httpx
import openai
import pytest
from google.rpc import error_details_pb2, status_pb2

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from tests.edge.conftest import Dac, UpstreamProcess
from tests.edge.test_cli import answered, run

MODEL = "mock/gpt-4o-mini"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
DURATION = re.compile(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s|\d+ms)")
_numbers = itertools.count()

Limited = Callable[..., openai.OpenAI]


def limit(dac: Dac, key_id: str, **most: object) -> None:
    body = {"level": {"kind": "KIND_KEY", "id": key_id}, **most}
    done = httpx.put(f"{dac.url}/v1/rate-limits", headers=dac.headers, json=body)
    assert done.status_code == 200, done.text


@pytest.fixture
def limited(dac: Dac) -> Limited:
    """Factory: a client with a key of its own, of these limits."""

    def make(max_retries: int = 0, **most: object) -> openai.OpenAI:
        made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": f"rates-{next(_numbers)}"}).json()
        if most:
            limit(dac, made["key"]["key_id"], **most)
        return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=made["token"], max_retries=max_retries)

    return make


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    create = client.chat.completions.with_raw_response.create
    return create(**{"model": MODEL, "messages": HELLO, **fields})


def seconds(text: str) -> float:
    assert DURATION.fullmatch(text), text
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))


def test_over_the_limit_the_sdk_raises_and_is_told_when(limited: Limited) -> None:
    client = limited(requests_per_minute=2)
    for left in ("1", "0"):
        headers = ask(client).headers
        assert headers["x-ratelimit-limit-requests"] == "2" and headers["x-ratelimit-remaining-requests"] == left
        assert 55 < seconds(headers["x-ratelimit-reset-requests"]) <= 61
        assert "x-ratelimit-limit-tokens" not in headers
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert refused.value.code == "rate_limit_exceeded" and refused.value.type == "rate_limit_error"
    assert "2 requests a minute" in refused.value.message
    headers = refused.value.response.headers
    wait_ms = int(headers["retry-after-ms"])
    assert 0 < wait_ms <= 61_000 and int(headers["retry-after"]) == -(-wait_ms // 1000)
    assert headers["x-ratelimit-remaining-requests"] == "0" and "x-should-retry" not in headers
    # Another key of the same organisation is not concerned.
    assert "x-ratelimit-limit-requests" not in ask(limited()).headers


def test_tokens_a_minute(limited: Limited) -> None:
    client = limited(tokens_per_minute=1000)
    first = ask(client, max_tokens=100)
    taken = 1000 - int(first.headers["x-ratelimit-remaining-tokens"])
    assert 100 < taken < 150 and first.headers["x-ratelimit-limit-tokens"] == "1000"
    used = first.parse().usage.total_tokens
    deadline = time.monotonic() + 5
    while True:
        # What was taken for the first was corrected to what it used.
        left = int(ask(client, max_tokens=1).headers["x-ratelimit-remaining-tokens"])
        if left >= 1000 - used - 600 and left != 1000 - taken:
            break
        assert time.monotonic() < deadline
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client, max_tokens=5000)
    assert "max_tokens" in refused.value.message and refused.value.response.headers["x-should-retry"] == "false"


def test_the_sdk_waits_and_succeeds(limited: Limited) -> None:
    """With its own retries on: the place of the first is free when the second comes back."""
    client = limited(max_retries=3, concurrent_requests=1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(ask, client) for _ in range(2)]
        assert all(one.result().parse().choices for one in both)


@pytest.mark.parametrize("stream", [True, False])
def test_a_place_is_free_when_the_answer_has_ended(limited: Limited, stream: bool) -> None:
    client = limited(concurrent_requests=1)
    for _ in range(5):
        # One after the other, without a pause.
        if stream:
            assert list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
        else:
            assert ask(client).parse().choices


def test_a_place_is_free_when_the_client_leaves(limited: Limited, upstream_process: UpstreamProcess) -> None:
    client = limited(concurrent_requests=1)
    upstream_process.script("ok", token_delay_s=0.2, text="one two three four five six seven eight nine ten " * 20)
    running = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    next(iter(running))
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert "1 request at once" in refused.value.message and refused.value.response.headers["retry-after"] == "1"
    running.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert ask(client).parse().choices
            break
        except openai.RateLimitError:
            assert time.monotonic() < deadline, "the place was not given back"
            time.sleep(0.02)


def test_a_model_has_a_limit_of_its_own(limited: Limited) -> None:
    client = limited(model="mock/*", requests_per_minute=1)
    ask(client)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert "of mock/*" in refused.value.message
    assert "x-ratelimit-limit-requests" not in ask(client, model="second/small").headers
    # What may end at any model goes to the others.
    for _ in range(3):
        assert not ask(client, model="auto").headers["x-dac-model"].startswith("mock/")


def test_streams_tell_it_before_the_first_token(limited: Limited) -> None:
    raw = ask(limited(requests_per_minute=9, tokens_per_minute=9000), stream=True, max_tokens=50)
    assert raw.headers["x-ratelimit-remaining-requests"] == "8"
    assert 8900 < int(raw.headers["x-ratelimit-remaining-tokens"]) < 9000
    assert list(raw.parse())


def test_an_answer_from_the_cache_is_a_request_and_no_tokens(limited: Limited) -> None:
    client = limited(requests_per_minute=2, tokens_per_minute=100_000, model="mock/*")
    text = f"Once {time.monotonic_ns()}"
    fields = {"messages": [{"role": "user", "content": text}], "extra_body": {"enable_cache": True}, "temperature": 0}
    ask(client, **fields)
    hit = ask(client, **fields)
    assert hit.headers["x-dac-route"] == "cache: exact hit"
    assert hit.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError):
        ask(client, **fields)


def test_embeddings_speech_and_responses_tell_it(limited: Limited) -> None:
    client = limited(requests_per_minute=9, tokens_per_minute=90_000)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    answers = [
        client.embeddings.with_raw_response.create(model="mock/embed", input="Hello"),
        client.responses.with_raw_response.create(model=MODEL, input="Hello"),
        client.audio.speech.with_raw_response.create(model="mock/tts", voice="alloy", input="Hello"),
        client.audio.transcriptions.with_raw_response.create(
            model="mock/whisper", file=("a.wav", sound.getvalue(), "audio/wav")
        ),
    ]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["8", "7", "6", "5"]
    assert all(one.headers["x-ratelimit-limit-tokens"] == "90000" for one in answers)


def test_anthropics_names_at_its_path(dac: Dac, limited: Limited) -> None:
    key = limited(requests_per_minute=1, tokens_per_minute=5000).api_key
    client = anthropic.Anthropic(base_url=dac.url, api_key=key, max_retries=0)
    create = client.messages.with_raw_response.create
    headers = create(model=MODEL, max_tokens=50, messages=HELLO).headers
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert 4900 < int(headers["anthropic-ratelimit-tokens-remaining"]) < 5000
    reset = dt.datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"].replace("Z", "+00:00"))
    assert dt.timedelta(seconds=50) < reset - dt.datetime.now(dt.UTC) < dt.timedelta(seconds=62)
    assert "x-ratelimit-limit-requests" not in headers
    with pytest.raises(anthropic.RateLimitError) as refused:
        create(model=MODEL, max_tokens=50, messages=HELLO)
    assert refused.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
    assert refused.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert int(refused.value.response.headers["retry-after"]) > 0


def test_grpc_callers_are_told_when_to_come_back(dac: Dac, limited: Limited) -> None:
    client = limited(requests_per_minute=1)
    ask(client)
    metadata = (("authorization", f"Bearer {client.api_key}"),)
    request = chat_pb2.ChatRequest(
        openai_json=b'{"model":"%s","messages":[{"role":"user","content":"Hi"}]}' % MODEL.encode()
    )
    with grpc.insecure_channel(dac.grpc_address) as channel, pytest.raises(grpc.RpcError) as refused:
        list(chat_pb2_grpc.ChatServiceStub(channel).Chat(request, metadata=metadata, timeout=10))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(refused.value.trailing_metadata())
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details:
        detail.Unpack(retry) or detail.Unpack(info)
    assert 0 < retry.retry_delay.seconds <= 61 and info.reason.endswith("RATE_LIMITED")
    assert info.metadata["limit"] == "requests_per_minute"


def test_a_refusal_is_recorded_and_costs_nothing(dac: Dac, limited: Limited) -> None:
    client = limited(requests_per_minute=0)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert refused.value.response.headers["x-should-retry"] == "false", "waiting does not help"
    record = dac.record(refused.value.response)
    assert record["outcome"] == "OUTCOME_REFUSED" and record["reason"] == "ERROR_REASON_RATE_LIMITED"
    metrics = httpx.get(f"{dac.url}/metrics", headers=dac.operator_headers).text
    assert re.search(r'rate_limited_total\{limit="requests"\} [1-9]', metrics)


def test_a_team_is_limited_as_one_and_the_one_beside_it_is_not(dac: Dac) -> None:
    def post(path: str, **body: object) -> Any:
        answer = httpx.post(dac.url + path, headers=dac.headers, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    name = f"rates {next(_numbers)} {time.monotonic_ns()}"
    team = post("/v1/teams", name=name)["team"]["team_id"]
    inner = post("/v1/teams", name=f"{name} inner", parent_team_id=team)["team"]["team_id"]
    beside = post("/v1/teams", name=f"{name} beside")["team"]["team_id"]
    level = {"kind": "KIND_TEAM", "id": team}
    body = {"level": level, "requests_per_minute": 2}
    assert httpx.put(f"{dac.url}/v1/rate-limits", headers=dac.headers, json=body).status_code == 200
    one, two, other = (
        openai.OpenAI(
            base_url=f"{dac.url}/v1", api_key=post("/v1/keys", name="k", team_id=where)["token"], max_retries=0
        )
        for where in (team, inner, beside)
    )
    assert [ask(each).headers["x-ratelimit-remaining-requests"] for each in (one, two)] == ["1", "0"]
    for each in (one, two):
        with pytest.raises(openai.RateLimitError) as refused:
            ask(each)
        assert f"team {team}" in refused.value.message
    assert "x-ratelimit-limit-requests" not in ask(other).headers


def test_limits_by_command(dac: Dac, limited: Limited) -> None:
    key_id = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "cli"}).json()["key"]["key_id"]
    words = ("--level", f"key:{key_id}", "--model", "mock/*", "--rpm", "7", "--concurrent", "0")
    made = answered(run(dac, "limit", "set", *words, "--json"))["rate_limit"]
    assert made["requests_per_minute"] == "7" and made["concurrent_requests"] == "0"  # type: ignore[index]
    named = answered(run(dac, "team", "create", f"rates {time.monotonic_ns()}", "--json"))["team"]
    by_name = f"team:{named['name']}"  # type: ignore[index]
    of_team = answered(run(dac, "limit", "set", "--level", by_name, "--rpm", "9", "--json"))["rate_limit"]
    assert of_team["level"] == {"kind": "KIND_TEAM", "id": named["team_id"]}  # type: ignore[index]
    rate_limit_id = str(made["rate_limit_id"])  # type: ignore[index]
    (line,) = [one for one in run(dac, "limit", "list").stdout.splitlines() if rate_limit_id in one]
    assert line.split()[1:] == ["key", key_id, "mock/*", "7", "-", "0"]
    assert run(dac, "limit", "delete", rate_limit_id, "--yes").returncode == 0
    assert rate_limit_id not in run(dac, "limit", "list").stdout
    for wrong in (("--level", "key", "--rpm", "1"), ("--level", "planet:x", "--rpm", "1"), ("--level", "org")):
        assert run(dac, "limit", "set", *wrong).returncode == 2
