"""Cohere's own API behind the official openai SDK: answers, streams, tools, schemas, citations, vectors."""

import json

import httpx
import openai
import pytest

from tests.edge import native
from tests.upstream.answers import WORDS

PROVIDER = '{kind: cohere, base_url: "ORIGIN/v2", api_key: {env: MOCK_API_KEY}, allow_private_address: true}'


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    yield from native.running(tmp_path_factory, upstream_process, "cohere", PROVIDER)


def ask(dac, **fields):
    return native.ask(dac, "cohere", **fields)


def test_plain_and_stream_are_the_same_answer(dac, upstream_process):
    answer = ask(dac, reasoning_effort="low")
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == (WORDS, "hm") and message.citations[0]["text"] == "one"
    chunks = list(ask(dac, reasoning_effort="low", stream=True))
    assert native.said(chunks) == WORDS
    assert "".join(getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks if c.choices) == "hm"
    seen = upstream_process.requests()[-1]
    assert (seen["path"], seen["headers"]["authorization"]) == ("/v2/chat", "Bearer mock-secret-canary-5b1f")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(dac, stream):
    call_id, name, arguments = native.call_of(dac, "cohere", stream=stream, tool_choice="required")
    assert (call_id, name, arguments) == ("weather_mock", "weather", {"city": "Hello"})
    assert native.answered(dac, "cohere", call_id) == WORDS


def test_a_schema_is_kept_to(dac):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": native.SCHEMA}}
    assert set(json.loads(ask(dac, response_format=wanted).choices[0].message.content)) == {"name", "age"}


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_on_the_record(dac, upstream_process, stream):
    upstream_process.script(times=1, cached_tokens=30)
    usage, cost = native.counted(dac, "cohere", stream=stream)
    assert (usage["input"], usage["input_cached"], usage["output"]) == (2, 30, 60)
    assert cost == 2 * 1250 + 30 * 125 + 60 * 10_000


@pytest.mark.parametrize("stream", [False, True])
def test_callers_of_messages_are_served(dac, stream):
    response = native.in_anthropics_words(dac, "cohere", stream=stream)
    assert response.status_code == 200, response.text
    assert "autumn" in response.text


def test_vectors(dac, upstream_process):
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)
    made = client.embeddings.create(model="cohere/embed", input=["a b", "c"], dimensions=4)
    assert [len(one.embedding) for one in made.data] == [4, 4] and made.usage.prompt_tokens == 3
    assert upstream_process.requests()[-1]["body"]["input_type"] == "search_document"


def test_coheres_own_words_reach_the_caller(dac, upstream_process):
    upstream_process.script("400", times=1)
    with pytest.raises(openai.BadRequestError, match="scripted 400"):
        ask(dac)
    upstream_process.script("context_length", times=1)
    with pytest.raises(openai.BadRequestError, match="context window"):
        ask(dac)


@pytest.mark.parametrize("fault", ["end_early", "cut", "error_event"])
def test_a_broken_stream_raises(dac, upstream_process, fault):
    upstream_process.script(fault)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
        list(ask(dac, stream=True))
