"""Claude behind the official openai SDK: thoughts and their signatures, schemas, documents, refusals, counts."""

import base64
import json

import openai
import pytest

from tests.edge import native
from tests.upstream.answers import WORDS

PROVIDER = '{kind: anthropic, base_url: "ORIGIN", api_key: {env: CLAUDE_KEY}, allow_private_address: true}'
SIGNED = {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmVk"}


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    env = {"CLAUDE_KEY": "sk-claude"}
    yield from native.running(tmp_path_factory, upstream_process, "opus", PROVIDER, name="claude-opus-5-5", env=env)


def ask(dac, **fields):
    return native.ask(dac, "opus", **fields)


def thoughtful(dac, *, stream):
    """(the assistant's message of an answer with a call, as a client keeps it)."""
    fields = {"tools": [native.TOOL], "reasoning_effort": "high"}
    if not stream:
        return ask(dac, **fields).choices[0].message.model_dump(exclude_none=True)
    made = {"role": "assistant", "content": "", "reasoning_content": "", "extra_content": None}
    calls = []
    for chunk in ask(dac, stream=True, **fields):
        for choice in chunk.choices:
            said = choice.delta.model_dump(exclude_none=True)
            made["reasoning_content"] += said.get("reasoning_content", "")
            made["extra_content"] = said.get("extra_content") or made["extra_content"]
            calls += said.get("tool_calls", [])
    function = {"name": calls[0]["function"]["name"], "arguments": "".join(c["function"]["arguments"] for c in calls)}
    return {**made, "tool_calls": [{"id": calls[0]["id"], "type": "function", "function": function}]}


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_thought_is_shown_and_goes_back_with_the_tools_result(dac, upstream_process, stream):
    message = thoughtful(dac, stream=stream)
    seen = upstream_process.requests()[-1]["body"]
    assert seen["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert seen["output_config"] == {"effort": "high"}
    assert message["reasoning_content"] == "Let me think."
    (call,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    messages = [{"role": "user", "content": "Hello"}, message, result]
    assert ask(dac, messages=messages, tools=[native.TOOL]).choices[0].message.content == WORDS
    blocks = upstream_process.requests()[-1]["body"]["messages"][1]["content"]
    use = {"type": "tool_use", "id": call["id"], "name": "weather", "input": {"city": "Hello"}}
    assert blocks == [SIGNED, use]


def test_a_schema_is_kept_to(dac):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": native.SCHEMA}}
    message = ask(dac, response_format=wanted).choices[0].message
    assert set(json.loads(message.content)) == {"name", "age"}


def test_a_document_and_a_mark_for_the_cache_reach_it(dac, upstream_process):
    data = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7").decode()
    part = {"type": "file", "file": {"file_data": data, "filename": "a.pdf"}, "cache_control": {"type": "ephemeral"}}
    text = {"type": "text", "text": "What is this?"}
    assert ask(dac, messages=[{"role": "user", "content": [part, text]}]).choices[0].message.content == WORDS
    sent = upstream_process.requests()[-1]["body"]["messages"][0]["content"]
    source = {"type": "base64", "media_type": "application/pdf", "data": data.partition(",")[2]}
    marked = {"title": "a.pdf", "cache_control": {"type": "ephemeral"}}
    assert sent == [{"type": "document", "source": source, **marked}, text]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"tools": [native.TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "messages"),
    ],
)
def test_what_it_does_not_take_is_named(dac, upstream_process, fields, name):
    before = len(upstream_process.requests())
    with pytest.raises(openai.BadRequestError, match=f"{name}: "):
        ask(dac, **fields)
    assert len(upstream_process.requests()) == before


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_has_a_bucket_and_a_price_of_its_own(dac, upstream_process, stream):
    upstream_process.script(times=1, cached_tokens=30, cache_write_tokens=7, reasoning_tokens=20)
    usage, cost = native.counted(dac, "opus", stream=stream)
    tokens = {name: count for name, count in usage.items() if count}
    assert tokens == {"input": 2, "input_cached": 30, "cache_write": 7, "output": 60, "reasoning": 20}
    assert cost == 2 * 1250 + 30 * 125 + 7 * 2000 + 60 * 10_000 + 20 * 11_000
