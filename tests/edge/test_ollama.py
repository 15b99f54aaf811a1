"""Ollama's own API behind the official openai SDK: answers, streams, tools, schemas, thoughts, vectors."""

import json

import httpx
import openai
import pytest

from tests.edge import native
from tests.upstream.answers import WORDS

PROVIDER = """{kind: ollama, base_url: "ORIGIN", allow_private_address: true,
    options: [num_ctx=16384, keep_alive=10m]}"""


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    names = {"name": '"qwen3:4b"', "embed": "nomic-embed-text"}
    yield from native.running(tmp_path_factory, upstream_process, "ollama", PROVIDER, **names)


def ask(dac, **fields):
    return native.ask(dac, "ollama", **fields)


def test_plain_and_stream_are_the_same_answer(dac, upstream_process):
    answer = ask(dac)
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.content == WORDS
    assert native.said(ask(dac, stream=True)) == WORDS
    seen = upstream_process.requests()[-1]
    assert (seen["path"], seen["headers"]["accept"]) == ("/api/chat", "application/x-ndjson")
    assert seen["body"]["options"] == {"num_ctx": 16384} and seen["body"]["keep_alive"] == "10m"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(dac, stream):
    call_id, name, arguments = native.call_of(dac, "ollama", stream=stream)
    assert (call_id, name, arguments) == ("call_mock", "weather", {"city": "Hello"})
    assert native.answered(dac, "ollama", call_id) == WORDS


def test_a_schema_is_kept_to_and_thoughts_are_shown(dac):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": native.SCHEMA}}
    message = ask(dac, response_format=wanted, reasoning_effort="low").choices[0].message
    assert set(json.loads(message.content)) == {"name", "age"} and message.reasoning_content == "hm"


def test_an_image(dac, upstream_process):
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]
    ask(dac, messages=[{"role": "user", "content": parts}])
    assert upstream_process.requests()[-1]["body"]["messages"][0]["images"] == ["QUJD"]


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_on_the_record(dac, stream):
    usage, cost = native.counted(dac, "ollama", stream=stream)
    assert (usage["input"], usage["output"]) == (2, 60) and cost == 2 * 1250 + 60 * 10_000


@pytest.mark.parametrize("stream", [False, True])
def test_callers_of_messages_are_served(dac, stream):
    response = native.in_anthropics_words(dac, "ollama", stream=stream)
    assert response.status_code == 200, response.text
    if stream:
        assert "message_stop" in response.text and "content_block_delta" in response.text
    else:
        assert response.json()["content"][0]["text"] == WORDS


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors(dac, upstream_process, encoding):
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)
    made = client.embeddings.create(model="ollama/embed", input=["a b", "c"], dimensions=4, encoding_format=encoding)
    assert len(made.data) == 2 and made.usage.prompt_tokens == 3
    assert upstream_process.requests()[-1]["body"]["dimensions"] == 4
    if encoding == "float":
        assert [len(one.embedding) for one in made.data] == [4, 4]


def test_ollamas_own_words_reach_the_caller(dac, upstream_process):
    upstream_process.script("400", times=1)
    with pytest.raises(openai.BadRequestError, match="scripted 400"):
        ask(dac)
    with pytest.raises(openai.BadRequestError, match="tool_choice: "):
        ask(dac, tools=[native.TOOL], tool_choice="required")


@pytest.mark.parametrize("fault", ["end_early", "cut", "error_event"])
def test_a_broken_stream_raises(dac, upstream_process, fault):
    upstream_process.script(fault)
    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
        list(ask(dac, stream=True))


@pytest.mark.parametrize("fault", ["end_early", "cut", "error_event"])
def test_a_stream_that_breaks_once_is_taken_up(dac, upstream_process, fault):
    upstream_process.script(fault, times=1)
    said = [chunk.choices[0].delta.content or "" for chunk in ask(dac, stream=True) if chunk.choices]
    assert "".join(said) == WORDS


def test_one_broken_line_is_left_out(dac, upstream_process):
    upstream_process.script("garbage_event", times=1)
    assert len(native.said(ask(dac, stream=True)).split()) == 59
