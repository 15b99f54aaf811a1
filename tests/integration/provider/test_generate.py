"""Good answers: bytes, usage, translation, and the official SDK's readings as oracle."""

import json
from typing import Any

import pytest

from mesh.sse import events_in
from services.provider.calling.events import Dialect, Frames, Usage, UsageSource
from tests.integration.provider.conftest import ANTHROPIC, Bench
from tests.upstream.answers import WORDS

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


def chunks(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(event) for event in events_in(data) if event != b"[DONE]"]


def text_of(data: bytes) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks(data) for c in chunk["choices"])


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_good_answer(bench: Bench, provider: str, stream: bool) -> None:
    got = await bench.run("gpt-4o-mini", provider=provider, stream=stream, need_text=True)
    assert got.finish.text == WORDS
    assert (got.finish.finish_reason, got.finish.usage_source) == ("stop", UsageSource.PROVIDER)
    assert got.finish.usage == Usage(input_tokens=2, output_tokens=60)
    if stream:
        assert text_of(got.data) == WORDS
        assert got.data.endswith(b"data: [DONE]\n\n") and got.data.count(b"[DONE]") == 1
        assert all("usage" not in c or c["usage"] is None for c in chunks(got.data)), "nobody asked for usage"
        assert chunks(got.data)[0]["choices"][0]["delta"]["role"] == "assistant"
        frames = [event for event in got.events if isinstance(event, Frames)]
        assert sum(f.events for f in frames) == sum(1 for _ in events_in(got.data))
    else:
        assert json.loads(got.data)["choices"][0]["message"]["content"] == WORDS
    attempt = got.finish.attempts[-1]
    assert attempt.status_code == 200 and attempt.first_token_ms > 0 and attempt.ended_at_s >= attempt.started_at_s


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
async def test_the_usage_event_is_for_those_who_asked(bench: Bench, provider: str) -> None:
    body = {"stream_options": {"include_usage": True}}
    got = await bench.run("gpt-4o-mini", provider=provider, stream=True, include_usage=True, body=body)
    last = chunks(got.data)[-1]
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 62


async def test_an_answer_passes_byte_for_byte(bench: Bench) -> None:
    got = await bench.run("gpt-4o-mini")
    answer = json.loads(got.data)
    assert got.data == json.dumps(answer).encode(), "the mock's own spacing"
    assert answer["model"] == "gpt-4o-mini"
    renamed = await bench.run("gpt-4o-mini", answer_model="dac/x")
    assert json.loads(renamed.data)["model"] == "dac/x"
    streamed = await bench.run("gpt-4o-mini", stream=True, answer_model="dac/x")
    assert {c["model"] for c in chunks(streamed.data)} == {"dac/x"}


@pytest.mark.parametrize(("asked", "cap", "sent"), [(None, 7, 7), (5, 7, 5), (50, 7, 7), (50, 0, 50), (None, 0, None)])
async def test_the_output_cap(bench: Bench, asked: int | None, cap: int, sent: int | None) -> None:
    body = {} if asked is None else {"max_completion_tokens": asked}
    await bench.run("gpt-4o-mini", cap=cap, body=body)
    seen = bench.upstream.requests[-1].body
    assert (seen.get("max_completion_tokens") or seen.get("max_tokens")) == sent
    assert not ("max_completion_tokens" in seen and "max_tokens" in seen)


@pytest.mark.parametrize("provider", ["up", "claude"])
@pytest.mark.parametrize("fields", [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")])
async def test_no_field_gets_past_the_output_cap(bench: Bench, provider: str, fields: tuple[str, str]) -> None:
    await bench.run("gpt-4o-mini", provider=provider, cap=10, body={fields[0]: 1, fields[1]: 100_000})
    seen = bench.upstream.requests[-1].body
    assert max(seen.get("max_tokens") or 0, seen.get("max_completion_tokens") or 0) <= 10


async def test_only_the_providers_own_headers_go_out(bench: Bench) -> None:
    await bench.run("gpt-4o-mini")
    headers = bench.upstream.requests[-1].headers
    assert headers["authorization"] == "Bearer sk-test-0123456789abcd"
    allowed = {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type", "authorization"}
    assert set(headers) <= allowed


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
@pytest.mark.parametrize("stream", [False, True])
async def test_tools(bench: Bench, provider: str, stream: bool) -> None:
    got = await bench.run("m", provider=provider, stream=stream, need_text=True, body={"tools": [TOOL]})
    assert got.finish.finish_reason == "tool_calls"
    (call,) = json.loads(got.finish.tool_calls_json)
    assert call["type"] == "function" and call["id"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "hello there", "days": 1}
    messages = [
        {"role": "user", "content": "hello there"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    body = {"tools": [TOOL], "messages": messages}
    after = await bench.run("m", provider=provider, stream=stream, need_text=True, body=body)
    assert after.finish.text == WORDS


async def test_usage_buckets_are_disjoint(bench: Bench) -> None:
    openai = await bench.run("fault:ok,cached_tokens=30,reasoning_tokens=9")
    assert openai.finish.usage == Usage(2, 30, 0, 60, 9)
    claude = await bench.run("fault:ok,cached_tokens=30,cache_write_tokens=11", provider="claude", stream=True)
    assert claude.finish.usage == Usage(2, 30, 11, 60, 0)
    for stream in (False, True):
        spec = "fault:ok,cached_tokens=30,reasoning_tokens=9"
        gemini = await bench.run(spec, provider="gemini", stream=stream)
        assert gemini.finish.usage == Usage(2, 30, 0, 60, 9)


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
@pytest.mark.parametrize("stream", [False, True])
async def test_zero_is_zero_and_missing_is_counted(bench: Bench, provider: str, stream: bool) -> None:
    zero = await bench.run("fault:usage_zero", provider=provider, stream=stream)
    assert (zero.finish.usage, zero.finish.usage_source) == (Usage(), UsageSource.PROVIDER)
    missing = await bench.run("fault:usage_missing", provider=provider, stream=stream)
    assert missing.finish.usage_source is UsageSource.COUNTED
    assert missing.finish.usage.input_tokens == 3
    assert missing.finish.usage.output_tokens == round(len(WORDS) / 4)


@pytest.mark.parametrize("fault", ["gzip", "crlf", "no_done"])
async def test_forms_of_good_streams(bench: Bench, fault: str) -> None:
    got = await bench.run(f"fault:{fault}", stream=True, need_text=True)
    assert got.finish.text == WORDS and got.data.endswith(b"data: [DONE]\n\n")
    assert got.finish.usage_source is UsageSource.PROVIDER


async def test_a_broken_event_among_good_ones_is_left_out(bench: Bench) -> None:
    got = await bench.run("fault:garbage_event", stream=True, need_text=True)
    assert len(got.finish.text.split()) == 59 and b"not json" not in got.data


async def test_a_chunk_that_is_not_utf8_spoils_neither_the_answer_nor_its_count(bench: Bench) -> None:
    got = await bench.run("fault:bad_utf8,usage=missing", stream=True, need_text=True)
    assert "\ufffd" in got.finish.text and got.finish.text.replace("\ufffd", "") == WORDS
    assert got.data.endswith(b"data: [DONE]\n\n")
    assert got.finish.usage_source is UsageSource.COUNTED
    assert abs(got.finish.usage.output_tokens - len(WORDS) / 4) < 2


async def test_every_choice_of_a_whole_answer_is_counted(bench: Bench) -> None:
    got = await bench.run("fault:usage_missing", body={"n": 3})
    assert got.finish.usage.output_tokens == round(3 * len(WORDS) / 4)


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_callers_pass_through(bench: Bench, stream: bool) -> None:
    body = {"max_tokens": 100}
    got = await bench.run("claude-haiku-4-5", provider="claude", stream=stream, need_text=True, body=body, **ANTHROPIC)
    assert got.finish.text == WORDS and bench.upstream.requests[-1].body["max_tokens"] == 100
    if stream:
        assert got.data.startswith(b"event: message_start") and b"message_stop" in got.data
    else:
        assert json.loads(got.data)["type"] == "message"


async def test_a_question_in_one_dialect_and_an_answer_in_another(bench: Bench) -> None:
    ways = {"dialect_in": Dialect.ANTHROPIC_MESSAGES, "dialect_out": Dialect.OPENAI_CHAT}
    got = await bench.run("gpt-4o-mini", body={"max_tokens": 9}, **ways)
    assert got.failure.attempts[0].reason.name == "INVALID_REQUEST"
    assert Dialect(2) is Dialect.ANTHROPIC_MESSAGES


async def test_an_anthropic_question_for_an_openai_provider(bench: Bench) -> None:
    got = await bench.run("gpt-4o-mini", body={"max_tokens": 9}, **ANTHROPIC)
    answer = json.loads(got.data)
    assert answer["type"] == "message" and answer["stop_reason"] == "max_tokens"
    assert got.finish.usage.output_tokens == answer["usage"]["output_tokens"] == 9


async def test_what_one_candidate_cannot_be_asked_the_next_one_can(bench: Bench) -> None:
    got = await bench.run("gpt-4o-mini", "claude-haiku-4-5@claude", body={"max_tokens": 9, "top_k": 3}, **ANTHROPIC)
    assert [one.reason.name for one in got.finish.attempts] == ["INVALID_REQUEST", "UNSPECIFIED"]
    assert "top_k" in got.finish.attempts[0].message


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
async def test_the_official_sdk_reads_it(bench: Bench, provider: str) -> None:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    plain = await bench.run("m", provider=provider, body={"tools": [TOOL]})
    ChatCompletion.model_validate_json(plain.data, strict=True)
    body = {"tools": [TOOL], "stream_options": {"include_usage": True}}
    streamed = await bench.run("m", provider=provider, stream=True, include_usage=True, body=body)
    for chunk in chunks(streamed.data):
        ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True)


async def test_connections_are_reused(bench: Bench) -> None:
    for _ in range(5):
        await bench.run("gpt-4o-mini", stream=True)
    pool = bench.registry.find("up").endpoint.pool
    assert pool.idle == 1 and len(pool._all) == 1
