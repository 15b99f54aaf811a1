"""Gemini's own API behind the official openai SDK: answers, streams, tools, schemas, and what they cost."""

import json

import openai
import pytest

from tests.edge.conftest import make_dac

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
COUNTS = {"cached_tokens": 30, "reasoning_tokens": 9}
NANO_USD = {"input": 1250, "input_cached": 125, "output": 10_000, "reasoning": 11_000}


PROVIDER = """providers:
  gemini: {{kind: gemini, base_url: "{origin}/v1beta", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true}}"""
MODEL = """  - {id: gemini/pro, provider: gemini, name: gemini-2.5-pro, context_tokens: 100000, quality: 0.2,
     capabilities: [tools, json], price: {input_usd_per_mtok: "1.25", input_cached_usd_per_mtok: "0.125",
     output_usd_per_mtok: "10", reasoning_usd_per_mtok: "11"}}"""


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    """A `dac up` of its own: the shared configuration is read by older programs, too."""
    running = make_dac(tmp_path_factory.mktemp("dac"), upstream_process, more=MODEL)
    shared = running.config.read_text()
    running.config.write_text(shared.replace("providers:", PROVIDER.format(origin=upstream_process.origin), 1))
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


def ask(client, **fields):
    body = {"model": "gemini/pro", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.chat.completions.create(**body)


def said(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_plain_and_stream_are_the_same_answer(client, upstream_process):
    answer = ask(client)
    assert answer.choices[0].finish_reason == "stop" and answer.model == "gemini-2.5-pro"
    assert said(ask(client, stream=True)) == answer.choices[0].message.content
    seen = upstream_process.requests()[-1]
    assert seen["path"] == "/v1beta/models/gemini-2.5-pro:streamGenerateContent"
    assert seen["headers"]["x-goog-api-key"] == "mock-secret-canary-5b1f"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(client, stream):
    if stream:
        chunks = list(ask(client, tools=[TOOL], tool_choice="required", stream=True))
        call = next(c.choices[0].delta.tool_calls[0] for c in chunks if c.choices and c.choices[0].delta.tool_calls)
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    else:
        choice = ask(client, tools=[TOOL], tool_choice="required").choices[0]
        call = choice.message.tool_calls[0]
        assert choice.finish_reason == "tool_calls"
    assert call.function.name == "weather" and json.loads(call.function.arguments) == {"city": "Hello"}
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": dict(call.function)}]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    assert ask(client, messages=messages, tools=[TOOL]).choices[0].message.content


def test_a_schema_is_kept_to(client, upstream_process):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    content = ask(client, response_format=wanted).choices[0].message.content
    assert set(json.loads(content)) == {"name", "age"}
    sent = upstream_process.requests()[-1]["body"]["generationConfig"]
    assert sent["responseJsonSchema"] == SCHEMA


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_on_the_record(client, dac, upstream_process, stream):
    upstream_process.script(times=1, **COUNTS)
    response = dac.chat(model="gemini/pro", stream=stream, stream_options={"include_usage": True} if stream else None)
    assert response.status_code == 200, response.text
    record = dac.record(response)
    (attempt,) = record["attempts"]
    counted = {name.removesuffix("_tokens"): int(count) for name, count in attempt["usage"].items() if int(count)}
    assert counted == {"input": 2, "input_cached": 30, "output": 60, "reasoning": 9}
    assert int(record["cost_nano_usd"]) == sum(counted[name] * NANO_USD[name] for name in NANO_USD)
    assert attempt["usage_source"] == "USAGE_SOURCE_PROVIDER"


def test_what_cannot_be_said_is_refused_by_name(client):
    with pytest.raises(openai.BadRequestError, match="logprobs: "):
        ask(client, logprobs=True)


def test_googles_own_words_reach_the_caller(client, upstream_process):
    upstream_process.script("400", times=1)
    with pytest.raises(openai.BadRequestError, match="scripted 400") as caught:
        ask(client)
    assert caught.value.type == "INVALID_ARGUMENT"


def test_a_stream_that_is_cut_again_raises(client, upstream_process):
    """One that is cut once is taken up."""
    upstream_process.script("end_early", times=9)
    with pytest.raises(openai.APIError):
        list(ask(client, stream=True))
