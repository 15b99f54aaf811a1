"""Bedrock's Converse behind the official openai SDK: answers, binary streams, tools, schemas, thoughts, signatures."""

import json

import httpx
import openai
import pytest

from tests.edge import native
from tests.upstream.answers import WORDS

PROVIDER = """{kind: bedrock, base_url: "ORIGIN", api_key: {env: AWS_KEY}, allow_private_address: true,
    options: [region=eu-west-1]}"""
MODEL = '"eu.anthropic.claude-sonnet-4-5-v1:0"'


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    env = {"AWS_KEY": "AKIAIOSFODNN7EXAMPLE:secret/+"}
    yield from native.running(tmp_path_factory, upstream_process, "bedrock", PROVIDER, name=MODEL, env=env)


def ask(dac, **fields):
    return native.ask(dac, "bedrock", **fields)


def test_plain_and_stream_are_the_same_answer(dac, upstream_process):
    answer = ask(dac)
    assert answer.choices[0].message.content == WORDS and answer.choices[0].finish_reason == "stop"
    assert native.said(ask(dac, stream=True)) == WORDS
    seen = upstream_process.requests()[-1]
    assert seen["path"] == "/model/eu.anthropic.claude-sonnet-4-5-v1:0/converse-stream"
    assert seen["headers"]["accept"] == "application/vnd.amazon.eventstream"
    said = seen["headers"]["authorization"]
    assert "Credential=AKIAIOSFODNN7EXAMPLE/" in said and "/eu-west-1/bedrock/aws4_request" in said
    assert "secret/+" not in json.dumps(upstream_process.requests())


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(dac, stream):
    call_id, name, arguments = native.call_of(dac, "bedrock", stream=stream, tool_choice="required")
    assert (call_id, name, arguments) == ("tooluse_mock", "weather", {"city": "Hello"})
    assert native.answered(dac, "bedrock", call_id) == WORDS


def test_a_schema_is_kept_to_and_thoughts_are_shown(dac):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": native.SCHEMA}}
    message = ask(dac, response_format=wanted, reasoning_effort="low", max_tokens=4000).choices[0].message
    assert set(json.loads(message.content)) == {"name", "age"} and message.reasoning_content == "hm"
    assert message.extra_content["bedrock"]["reasoning"][0]["reasoningText"]["signature"] == "c2ln"


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_on_the_record(dac, upstream_process, stream):
    upstream_process.script(times=1, cached_tokens=30, cache_write_tokens=7)
    usage, cost = native.counted(dac, "bedrock", stream=stream)
    assert (usage["input"], usage["input_cached"], usage["cache_write"], usage["output"]) == (2, 30, 7, 60)
    assert cost == 2 * 1250 + 30 * 125 + 7 * 2000 + 60 * 10_000


@pytest.mark.parametrize("stream", [False, True])
def test_callers_of_messages_are_served(dac, stream):
    response = native.in_anthropics_words(dac, "bedrock", stream=stream)
    assert response.status_code == 200, response.text
    assert "autumn" in response.text


def test_amazons_own_words_reach_the_caller(dac, upstream_process):
    upstream_process.script("400", times=1)
    with pytest.raises(openai.BadRequestError, match="scripted 400"):
        ask(dac)


def test_it_makes_no_embeddings(dac):
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="has no embeddings"):
        client.embeddings.create(model="bedrock/embed", input="x")


@pytest.mark.parametrize("fault", ["end_early", "cut", "error_event", "garbage_event"])
def test_a_broken_stream_raises(dac, upstream_process, fault):
    upstream_process.script(fault)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
        list(ask(dac, stream=True))
