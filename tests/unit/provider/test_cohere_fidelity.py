"""Cohere's own SDK as oracle: it sends what the adapter sends, and reads in an answer what the adapter reads."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.provider.adapters.cohere import CohereEmbedding, CohereExchange
from services.provider.calling.events import Ask, Candidate, Usage
from tests.unit.provider.listening import Sent, listening
from tests.upstream.cohere import Cohere, event

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "now", "parameters": SCHEMA}
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
PLAIN = {"id": "1", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}}
TOOLS = [{"type": "function", "function": FUNCTION}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}


def reply(sent: Sent) -> tuple[str, bytes]:
    if sent.path.endswith("/embed"):
        return "application/json", b'{"id":"1","embeddings":{"float":[[0.5]]},"response_type":"embeddings_by_type"}'
    if sent.body.get("stream"):
        return "text/event-stream", event("message-end", delta={"finish_reason": "COMPLETE"})
    return "application/json", json.dumps(PLAIN).encode()


@pytest.fixture(scope="module")
def sdk() -> Iterator[tuple[Any, list[Sent]]]:
    import cohere

    with listening(reply) as (address, sent):
        yield cohere.ClientV2(api_key="key", base_url=address), sent


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"messages": [USER]}, {"messages": [USER]}),
    "system": (
        {"messages": [{"role": "developer", "content": "brief"}, USER]},
        {"messages": [{"role": "system", "content": "brief"}, USER]},
    ),
    "images": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE]}]},
    ),
    "tools": (
        {
            "messages": [
                USER,
                {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "grey"},
            ],
            "tools": TOOLS,
            "tool_choice": "required",
        },
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_plan": "hm", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "grey"},
            ],
            "tools": TOOLS,
            "tool_choice": "REQUIRED",
        },
    ),
    "one function": (
        {
            "messages": [USER],
            "tools": [*TOOLS, {"type": "function", "function": {"name": "other"}}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
        {"messages": [USER], "tools": TOOLS, "tool_choice": "REQUIRED"},
    ),
    "strict": (
        {"messages": [USER], "tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
        {"messages": [USER], "tools": TOOLS, "strict_tools": True},
    ),
    "a schema": (
        {
            "messages": [USER],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        },
        {"messages": [USER], "response_format": {"type": "json_object", "json_schema": SCHEMA}},
    ),
    "thinking": (
        {"messages": [USER], "reasoning_effort": "medium"},
        {"messages": [USER], "thinking": {"type": "enabled", "token_budget": 8192}},
    ),
    "no thinking": (
        {"messages": [USER], "reasoning_effort": "none"},
        {"messages": [USER], "thinking": {"type": "disabled"}},
    ),
    "numbers": (
        {
            "messages": [USER],
            "stop": "A",
            "temperature": 0.25,
            "top_p": 0.5,
            "max_completion_tokens": 77,
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": 2,
        },
        {
            "messages": [USER],
            "stop_sequences": ["A"],
            "temperature": 0.25,
            "p": 0.5,
            "max_tokens": 77,
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": 1.0,
        },
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_sdks(sdk: Any, case: str, stream: bool) -> None:
    body, theirs = CASES[case]
    client, sent = sdk
    if stream:
        list(client.chat_stream(model="command-a", **theirs))
    else:
        client.chat(model="command-a", **theirs)
    ask = Ask(json.dumps(body).encode(), [], stream=stream)
    out = CohereExchange(ask, Candidate("m", "c", "command-a"), "c", "key").outgoing()
    assert json.loads(out.body) == sent[-1].body and Cohere().check(sent[-1].body) is None
    assert out.path == sent[-1].path and out.headers["Authorization"] == sent[-1].headers["authorization"]


@pytest.mark.parametrize("kind", [None, "search_query"])
def test_embeddings_are_the_sdks(sdk: Any, kind: str | None) -> None:
    client, sent = sdk
    asked = {"model": "e", "texts": ["one", "two"], "output_dimension": 256, "embedding_types": ["float"]}
    client.embed(input_type=kind or "search_document", **asked)
    body = {"model": "x", "input": ["one", "two"], "dimensions": 256, **({"input_type": kind} if kind else {})}
    out = CohereEmbedding(Ask(json.dumps(body).encode(), []), Candidate("m", "c", "e"), "c", "key").outgoing()
    assert json.loads(out.body) == sent[-1].body and out.path == sent[-1].path


def test_an_answer_is_read_as_the_sdk_reads_it() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "plan",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hallo ü"}],
        "tool_calls": [CALL],
        "citations": [{"start": 0, "end": 5, "text": "Hallo", "sources": []}],
    }
    usage = {"billed_units": {"input_tokens": 11.0, "output_tokens": 0.0}, "tokens": {"input_tokens": 80.0}}
    raw = {"id": "i", "finish_reason": "TOOL_CALL", "message": message, "usage": {**usage, "cached_tokens": 4.0}}
    from cohere import V2ChatResponse

    theirs = V2ChatResponse.model_validate(raw)
    ours = CohereExchange(Ask(json.dumps({"messages": [USER]}).encode(), []), Candidate("m", "c", "q"), "c", "")
    shown = json.loads(ours.plain(json.dumps(raw).encode()))["choices"][0]["message"]
    got = ours.result(need_text=True)
    assert got.text == theirs.message.content[1].text  # type: ignore[index,union-attr]
    assert shown["reasoning_content"] == "plan" + theirs.message.content[0].thinking  # type: ignore[index,union-attr]
    assert shown["citations"] == message["citations"]
    (call,) = theirs.message.tool_calls or []
    assert json.loads(got.tool_calls_json) == [call.model_dump()]
    told = theirs.usage.billed_units  # type: ignore[union-attr]
    assert got.usage == Usage(int(told.input_tokens) - 4, 4, 0, int(told.output_tokens))  # type: ignore[union-attr,arg-type]
    assert got.finish_reason == "tool_calls"
