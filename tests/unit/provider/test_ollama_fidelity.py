"""Ollama's own SDK as oracle: it sends what the adapter sends, and reads in an answer what the adapter reads."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.provider.adapters.ollama import OllamaEmbedding, OllamaExchange
from services.provider.calling.events import Ask, Candidate, Usage
from tests.unit.provider.listening import Sent, listening

PNG = base64.b64encode(b"\x89PNG\xff\xfe\xfd").decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "now", "parameters": SCHEMA}
USER = {"role": "user", "content": "hi"}
ANSWER = {"model": "m", "message": {"role": "assistant", "content": "ok"}, "done": True, "done_reason": "stop"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}


def reply(sent: Sent) -> tuple[str, bytes]:
    if sent.path.endswith("/embed"):
        return "application/json", b'{"model":"m","embeddings":[[0.5]],"prompt_eval_count":1}'
    kind = "application/x-ndjson" if sent.body.get("stream") else "application/json"
    return kind, json.dumps(ANSWER).encode() + b"\n"


@pytest.fixture(scope="module")
def sdk() -> Iterator[tuple[Any, list[Sent]]]:
    import ollama

    with listening(reply) as (address, sent):
        yield ollama.Client(host=address, headers={"Authorization": "Bearer key"}), sent


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"messages": [USER]}, {"messages": [USER]}),
    "system": (
        {"messages": [{"role": "developer", "content": "brief"}, USER]},
        {"messages": [{"role": "system", "content": "brief"}, USER]},
    ),
    "images": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    ],
                }
            ]
        },
        {"messages": [{"role": "user", "content": "what?", "images": [PNG]}]},
    ),
    "tools": (
        {
            "messages": [
                USER,
                {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "grey"},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
        },
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "thinking": "hm",
                    "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Köln"}}}],
                },
                {"role": "tool", "content": "grey", "tool_name": "weather"},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
        },
    ),
    "a schema": (
        {
            "messages": [USER],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        },
        {"messages": [USER], "format": SCHEMA},
    ),
    "json": ({"messages": [USER], "response_format": {"type": "json_object"}}, {"messages": [USER], "format": "json"}),
    "thinking": ({"messages": [USER], "reasoning_effort": "high"}, {"messages": [USER], "think": "high"}),
    "no thinking": ({"messages": [USER], "reasoning_effort": "none"}, {"messages": [USER], "think": False}),
    "numbers": (
        {
            "messages": [USER],
            "stop": "A",
            "temperature": 0.25,
            "top_p": 0.5,
            "max_completion_tokens": 77,
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
        },
        {
            "messages": [USER],
            "options": {
                "stop": ["A"],
                "temperature": 0.25,
                "top_p": 0.5,
                "num_predict": 77,
                "seed": 7,
                "presence_penalty": 0.5,
                "frequency_penalty": -0.5,
            },
        },
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_sdks(sdk: Any, case: str, stream: bool) -> None:
    body, theirs = CASES[case]
    client, sent = sdk
    options = {"num_ctx": 16384, **theirs.get("options", {})}
    answer = client.chat(model="qwen3:4b", stream=stream, keep_alive="10m", **{**theirs, "options": options})
    list(answer)
    ask = Ask(json.dumps(body).encode(), [], stream=stream)
    settings = {"num_ctx": "16384", "keep_alive": "10m"}
    out = OllamaExchange(ask, Candidate("m", "o", "qwen3:4b"), "o", "key", options=settings).outgoing()
    made, wanted = json.loads(out.body), sent[-1].body
    assert {**made, "tools": made.get("tools", [])} == {**wanted, "tools": wanted.get("tools", [])}
    assert out.path == sent[-1].path and out.headers["Authorization"] == sent[-1].headers["authorization"]
    assert stream == ("ndjson" in out.framing.content_type and made["stream"])


@pytest.mark.parametrize("given", ["one", ["one", "two"]])
def test_embeddings_are_the_sdks(sdk: Any, given: Any) -> None:
    client, sent = sdk
    client.embed(model="nomic", input=given, dimensions=64, options={"num_ctx": 512}, keep_alive=60)
    ask = Ask(json.dumps({"model": "x", "input": given, "dimensions": 64}).encode(), [])
    settings = {"num_ctx": "512", "keep_alive": "60"}
    out = OllamaEmbedding(ask, Candidate("m", "o", "nomic"), "o", "key", options=settings).outgoing()
    made, wanted = json.loads(out.body), sent[-1].body
    wanted["input"] = [wanted["input"]] if isinstance(wanted["input"], str) else wanted["input"]
    assert made == wanted and out.path == sent[-1].path


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_read_as_the_sdk_reads_it(stream: bool) -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"x": [1, 2.5, None, "ü"]}}},
        {"function": {"name": "g", "arguments": {}}},
    ]
    message = {"role": "assistant", "content": "Hallo ü", "thinking": "hm", "tool_calls": calls}
    raw = {**ANSWER, "message": message, "prompt_eval_count": 11, "eval_count": 0}
    from ollama import ChatResponse

    theirs = ChatResponse.model_validate(raw)
    ask = Ask(json.dumps({"messages": [USER]}).encode(), [], stream=stream)
    ours = OllamaExchange(ask, Candidate("m", "o", "q"), "o", "")
    data = json.dumps(raw).encode()
    if stream:
        ours.event(data)
        ours.end()
    else:
        shown = json.loads(ours.plain(data))["choices"][0]["message"]
        assert shown["reasoning_content"] == theirs.message.thinking
    got = ours.result(need_text=True)
    assert got.text == theirs.message.content
    read = [
        (one["function"]["name"], json.loads(one["function"]["arguments"])) for one in json.loads(got.tool_calls_json)
    ]
    assert read == [(one.function.name, dict(one.function.arguments)) for one in theirs.message.tool_calls or []]
    assert got.usage == Usage(theirs.prompt_eval_count or 0, 0, 0, theirs.eval_count or 0)
    assert got.finish_reason == "tool_calls"
