"""What is Gemini's own: its key, its errors, its blocked prompts, its signatures."""

import json
from typing import Any

import pytest

from mesh.errors import Reason
from services.provider.calling.events import UsageSource
from tests.integration.provider.conftest import Bench
from tests.integration.provider.test_generate import TOOL, chunks
from tests.upstream.answers import WORDS


@pytest.mark.parametrize("stream", [False, True])
async def test_the_key_is_in_a_header_and_nowhere_else(bench: Bench, stream: bool) -> None:
    await bench.run("gemini-2.5-pro", provider="gemini", stream=stream)
    seen = bench.upstream.requests[-1]
    verb = "streamGenerateContent" if stream else "generateContent"
    assert seen.path == f"/v1beta/models/gemini-2.5-pro:{verb}"
    assert seen.headers["x-goog-api-key"] == "AIza-test-0123456789abcd" and b"AIza" not in seen.raw
    allowed = {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type", "x-goog-api-key"}
    assert set(seen.headers) <= allowed


@pytest.mark.parametrize(("asked", "cap", "sent"), [(None, 7, 7), (5, 7, 5), (50, 7, 7), (50, 0, 50), (None, 0, None)])
async def test_the_output_cap(bench: Bench, asked: int | None, cap: int, sent: int | None) -> None:
    got = await bench.run("gemini-2.5-pro", provider="gemini", cap=cap, body={"max_completion_tokens": asked})
    assert (bench.upstream.requests[-1].body.get("generationConfig") or {}).get("maxOutputTokens") == sent
    assert got.finish.finish_reason == ("length" if sent else "stop")


async def test_a_key_that_google_refuses_is_dacs_own_fault(bench: Bench) -> None:
    got = await bench.run("gemini-2.5-pro", "gpt-4o-mini@up", provider="badgemini", need_text=True)
    assert got.finish.text == WORDS, "another candidate answers"
    failed = got.finish.attempts[0]
    assert (failed.reason, failed.status_code) == (Reason.PROVIDER_FAILED, 400) and "key" in failed.message


async def test_googles_retry_info_is_heeded(bench: Bench) -> None:
    bench.upstream.script("429", retry_after="33.5")
    got = await bench.run("gemini-2.5-pro", provider="gemini")
    assert (got.failure.status_code, got.failure.retry_after_s) == (429, 33.5)
    assert "RESOURCE_EXHAUSTED" in got.failure.message and len(got.failure.attempts) == 1
    bench.upstream.clear()
    bench.upstream.script("429", retry_after="0.01", times=1)
    again = await bench.run("gemini-2.5-pro", provider="gemini")
    assert len(again.finish.attempts) == 2


async def test_a_prompt_too_long_falls_back_and_is_named(bench: Bench) -> None:
    got = await bench.run("fault:context_length", provider="gemini")
    assert got.failure.reason is Reason.CONTEXT_TOO_LONG
    assert json.loads(got.failure.provider_error_json)["error"]["type"] == "INVALID_ARGUMENT"
    other = await bench.run("fault:context_length@gemini", "gpt-4o-mini", need_text=True)
    assert other.finish.text == WORDS


async def test_a_blocked_prompt_is_a_refusal(bench: Bench) -> None:
    got = await bench.run("fault:content_policy", provider="gemini", need_text=True)
    assert got.finish.finish_reason == "content_filter" and got.finish.usage_source is UsageSource.PROVIDER
    message = json.loads(got.data)["choices"][0]["message"]
    assert message["content"] is None and "SAFETY" in message["refusal"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_signature_goes_out_and_comes_back(bench: Bench, stream: bool) -> None:
    got = await bench.run("g", provider="gemini", stream=stream, need_text=True, body={"tools": [TOOL]})
    (kept,) = json.loads(got.finish.tool_calls_json)
    if stream:
        deltas: list[Any] = [c["choices"][0]["delta"].get("tool_calls") for c in chunks(got.data) if c["choices"]]
        (call,) = next(delta for delta in deltas if delta)
        assert call.pop("index") == 0
    else:
        (call,) = json.loads(got.data)["choices"][0]["message"]["tool_calls"]
    assert call == kept and call["extra_content"] == {"google": {"thought_signature": "c2lnbmVk"}}
    user, result = {"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    turn = [user, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    await bench.run("g", provider="gemini", body={"tools": [TOOL], "messages": turn})
    sent = bench.upstream.requests[-1].body["contents"]
    assert sent[1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"
    assert sent[2]["parts"][0]["functionResponse"]["name"] == "weather"
