"""The official SDKs as oracles: they send what DAC sends for the same call, and read what DAC's answers hold."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from services.provider.adapters.dialects import TABLE
from services.provider.calling.events import Ask, Candidate, Operation
from services.provider.kinds import Account, exchange_of

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CHUNK = {
    "id": "1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
}
VECTORS = {
    "id": "1",
    "object": "list",
    "model": "m",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": SCHEMA}}
HI = [{"role": "user", "content": "hi"}]
Sent = list[tuple[str, dict[str, str], Any]]


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, Sent]]:
    """(address, what was sent to it): a server that answers anything well."""
    sent: Sent = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            stream = body.get("stream") is True
            said = VECTORS if self.path.endswith("/embeddings") else CHUNK if stream else ANSWER
            raw = json.dumps(said).encode()
            raw = b"data: " + raw + b"\n\ndata: [DONE]\n\n" if stream else raw
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if stream else "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()


def by_dac(
    dialect: str, body: dict[str, Any], *, stream: bool = False, embed: bool = False
) -> tuple[str, dict[str, str], Any]:
    """(path, headers, body) of what DAC sends."""
    operation = Operation.EMBEDDINGS if embed else Operation.CHAT
    ask = Ask(json.dumps(body).encode(), [], stream=stream, operation=operation)
    account = Account("p", "openai", "key", said_dialect=dialect)
    out = exchange_of(ask, Candidate("m", "p", "upstream"), account).outgoing()
    return out.path, {name.lower(): value for name, value in out.headers.items()}, json.loads(out.body)


CALL = {"id": "gSIMJiOkT", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
# OpenAI's request → the same call in the words of Mistral's SDK.
MISTRAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"messages": HI}, {"messages": HI}),
    "system, developer": (
        {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}, *HI]},
        {"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, *HI]},
    ),
    "numbers": (
        {
            "messages": HI,
            "max_completion_tokens": 77,
            "seed": 7,
            "temperature": 0.25,
            "top_p": 0.5,
            "stop": ["A", "B"],
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "n": 2,
            "user": "u",
            "store": False,
        },
        {
            "messages": HI,
            "max_tokens": 77,
            "random_seed": 7,
            "temperature": 0.25,
            "top_p": 0.5,
            "stop": ["A", "B"],
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "n": 2,
        },
    ),
    "tools": (
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
                {"role": "tool", "tool_call_id": "gSIMJiOkT", "content": "grey"},
            ],
            "tools": [TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        },
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "gSIMJiOkT", "content": "grey"},
            ],
            "tools": [TOOL],
            "tool_choice": "any",
            "parallel_tool_calls": False,
        },
    ),
    "one tool": (
        {"messages": HI, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"messages": HI, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    ),
    "a schema": (
        {
            "messages": HI,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": SCHEMA, "strict": True},
            },
        },
        {
            "messages": HI,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema_definition": SCHEMA, "strict": True},
            },
        },
    ),
    "parts": (
        {
            "messages": [
                {
                    "role": "user",
                    "name": "ann",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                        {
                            "type": "file",
                            "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
                        },
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        {"type": "input_audio", "input_audio": "UklG"},
                        {
                            "type": "document_url",
                            "document_url": "data:application/pdf;base64,JVBE",
                            "document_name": "a.pdf",
                        },
                    ],
                }
            ]
        },
    ),
    "a begun answer": (
        {"messages": [*HI, {"role": "assistant", "content": "Well", "prefix": True}]},
        {"messages": [*HI, {"role": "assistant", "content": "Well", "prefix": True}]},
    ),
    "reasoning": (
        {
            "messages": [*HI, {"role": "assistant", "content": "a", "reasoning_content": "b"}, *HI],
            "reasoning_effort": "high",
        },
        {"messages": [*HI, {"role": "assistant", "content": "a"}, *HI], "reasoning_effort": "high"},
    ),
}


def without_defaults(value: Any) -> Any:
    """What Mistral's SDK adds although nobody said it: prefix false, a call's index 0, stream false, strict false."""
    if isinstance(value, list):
        return [without_defaults(one) for one in value]
    if not isinstance(value, dict):
        return value
    silent = {"prefix": False, "index": 0, "stream": False, "strict": False, "safe_prompt": False}
    return {
        name: without_defaults(one)
        for name, one in value.items()
        if not (name in silent and one == silent[name] and type(one) is type(silent[name]))
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", MISTRAL)
def test_the_request_is_mistrals_sdks(listener: tuple[str, Sent], case: str, stream: bool) -> None:
    from mistralai.client import Mistral

    address, sent = listener
    body, theirs = MISTRAL[case]
    with Mistral(api_key="key", server_url=address) as client:
        if stream:
            with client.chat.stream(model="upstream", **theirs) as events:
                assert [one.data.choices[0].delta.content for one in events] == ["ok"]
        else:
            client.chat.complete(model="upstream", **theirs)
    path, headers, wanted = sent[-1]
    ours, our_headers, made = by_dac("mistral", {"model": "m", **body}, stream=stream)
    assert without_defaults(made) == without_defaults(wanted)
    assert "/v1" + ours == path and our_headers["authorization"] == headers["authorization"]


def test_an_embedding_is_mistrals_sdks(listener: tuple[str, Sent]) -> None:
    from mistralai.client import Mistral

    address, sent = listener
    with Mistral(api_key="key", server_url=address) as client:
        client.embeddings.create(model="upstream", inputs=["a"], output_dimension=8, encoding_format="float")
    body = {"model": "m", "input": ["a"], "dimensions": 8, "encoding_format": "float", "user": "u"}
    ours, _, made = by_dac("mistral", body, embed=True)
    assert made == sent[-1][2] and "/v1" + ours == sent[-1][0]


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"azure", "mistral"}))
@pytest.mark.parametrize("stream", [False, True])
def test_the_request_is_openais_sdks_at_that_address(listener: tuple[str, Sent], name: str, stream: bool) -> None:
    """Each provider's own page shows the openai SDK with its base_url: limits and options as its entry says them."""
    address, sent = listener
    dialect = TABLE[name]
    told: dict[str, Any] = {"messages": HI, "temperature": 0.5, "stop": ["a"], dialect.limits[0]: 9}
    with openai.OpenAI(base_url=f"{address}/v1", api_key="key") as client:
        if stream:
            extra = {"stream_options": {"include_usage": True}} if dialect.asks_usage else {}
            list(client.chat.completions.create(model="upstream", stream=True, **told, **extra))
        else:
            client.chat.completions.create(model="upstream", **told)
    path, headers, wanted = sent[-1]
    ours, our_headers, made = by_dac(name, {"model": "m", **told}, stream=stream)
    assert made == wanted
    assert "/v1" + ours == path and our_headers["authorization"] == headers["authorization"]


@pytest.mark.parametrize("stream", [False, True])
def test_azures_request_is_the_sdks(listener: tuple[str, Sent], stream: bool) -> None:
    """The v1 API as its page shows it: the plain client, its base_url, and the key in the header api-key."""
    address, sent = listener
    told: dict[str, Any] = {"messages": HI, "max_completion_tokens": 9}
    extra = {"stream_options": {"include_usage": True}} if stream else {}
    with openai.AzureOpenAI(base_url=f"{address}/openai/v1", api_key="key", api_version="preview") as client:
        client.chat.completions.create(model="upstream", stream=stream, **told, **extra)
    path, headers, wanted = sent[-1]
    ours, our_headers, made = by_dac("azure", {"model": "m", **told}, stream=stream)
    assert made == {name: one for name, one in wanted.items() if name != "stream" or one}
    assert path.partition("?")[0].endswith("/chat/completions") and ours == "/chat/completions"
    assert our_headers["api-key"] == headers["api-key"] and "authorization" not in our_headers
