"""Google's own SDK as oracle: it sends what the adapter sends, and reads in an answer what the adapter reads."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from services.provider.adapters.gemini import GeminiExchange
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource

PNG = b"\x89PNG\xff\xfe\xfd"
SCHEMA = {"type": "object", "properties": {"mime_type": {"type": "string"}}, "additionalProperties": False}
CAMEL = {
    "mime_type": "mimeType",
    "file_uri": "fileUri",
    "parameters_json_schema": "parametersJsonSchema",
    "thinking_level": "thinkingLevel",
    "thinking_budget": "thinkingBudget",
    "allowed_function_names": "allowedFunctionNames",
}
FREE = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema"})
"""What the caller fills: nothing in it is renamed."""
ANSWER = b'{"candidates":[{"content":{"parts":[{"text":"ok"}],"role":"model"},"finishReason":"STOP"}]}'

Part, Content = types.Part, types.Content


def normal(value: Any) -> Any:
    """Proto JSON takes snake_case for camelCase, and base64 in both alphabets: one form of each."""
    if isinstance(value, list):
        return [normal(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, one in value.items():
        name = CAMEL.get(name, name)
        if name in ("data", "thoughtSignature"):
            made[name] = base64.urlsafe_b64decode(one.replace("+", "-").replace("/", "_"))
        else:
            made[name] = one if name in FREE else normal(one)
    return made


@pytest.fixture(scope="module")
def google() -> Iterator[Any]:
    """(client, what it sent): the SDK in front of a server that only listens."""
    sent: list[tuple[str, dict[str, str], Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            stream = "alt=sse" in self.path
            answer = b"data: " + ANSWER + b"\r\n\r\n" if stream else ANSWER
            self.send_response(200)
            self.send_header("content-type", "text/event-stream" if stream else "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = types.HttpOptions(base_url=f"http://127.0.0.1:{server.server_port}", api_version="v1beta")
    with genai.Client(api_key="key", http_options=options) as client:
        yield client, sent
    server.shutdown()
    server.server_close()


def user(*parts: Part) -> Content:
    return Content(role="user", parts=list(parts))


def text(said: str) -> Part:
    return Part(text=said)


FUNCTION = {"name": "weather", "description": "now", "parameters": SCHEMA}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Köln","days":2}'},
    "extra_content": {"google": {"thought_signature": base64.b64encode(b"\xfb\xff\xfe").decode()}},
}
CASES: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "plain": ({"messages": [{"role": "user", "content": "hi"}]}, "hi", {}),
    "system": (
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]},
        "hi",
        {"system_instruction": "be brief"},
    ),
    "several turns": (
        {
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
            ]
        },
        [user(text("one")), Content(role="model", parts=[text("two")]), user(text("three"))],
        {},
    ),
    "images": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()},
                        },
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
                    ],
                }
            ]
        },
        [
            user(
                text("what?"),
                Part.from_bytes(data=PNG, mime_type="image/png"),
                Part.from_uri(file_uri="https://example.com/a.jpg"),
            )
        ],
        {},
    ),
    "audio": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "input_audio",
                            "input_audio": {"format": "wav", "data": base64.b64encode(PNG).decode()},
                        }
                    ],
                }
            ]
        },
        [user(Part.from_bytes(data=PNG, mime_type="audio/wav"))],
        {},
    ),
    "tools": (
        {
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": '{"sky":"grey"}'},
            ],
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
        [
            user(text("weather?")),
            Content(
                role="model",
                parts=[
                    Part(
                        function_call=types.FunctionCall(id="call_1", name="weather", args={"city": "Köln", "days": 2}),
                        thought_signature=b"\xfb\xff\xfe",
                    )
                ],
            ),
            user(Part(function_response=types.FunctionResponse(id="call_1", name="weather", response={"sky": "grey"}))),
        ],
        {
            "tools": [
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(name="weather", description="now", parameters_json_schema=SCHEMA)
                    ]
                )
            ],
            "tool_config": types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["weather"]
                )
            ),
        },
    ),
    "a schema": (
        {
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        },
        "hi",
        {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
    ),
    "numbers": (
        {
            "messages": [{"role": "user", "content": "hi"}],
            "stop": ["A", "B"],
            "temperature": 0.25,
            "top_p": 0.5,
            "max_completion_tokens": 77,
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
        },
        "hi",
        {
            "stop_sequences": ["A", "B"],
            "temperature": 0.25,
            "top_p": 0.5,
            "max_output_tokens": 77,
            "seed": 7,
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
        },
    ),
    "thinking by level": (
        {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "low"},
        "hi",
        {"thinking_config": types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW)},
    ),
}


def sent_by_dac(body: dict[str, Any], model: str, *, stream: bool) -> tuple[str, dict[str, str], Any]:
    ask = Ask(json.dumps(body).encode(), [], stream=stream)
    out = GeminiExchange(ask, Candidate("m", "google", model), "google", "key").outgoing()
    return out.path, dict(out.headers), json.loads(out.body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_sdks(google: Any, case: str, stream: bool) -> None:
    body, contents, config = CASES[case]
    client, sent = google
    asked = {"model": "gemini-3.5-flash", "contents": contents, "config": types.GenerateContentConfig(**config)}
    if stream:
        list(client.models.generate_content_stream(**asked))
    else:
        client.models.generate_content(**asked)
    path, headers, wanted = sent[-1]
    ours, our_headers, made = sent_by_dac(body, "gemini-3.5-flash", stream=stream)
    # The SDK sends an empty generationConfig or none, as its version likes.
    assert normal(made) == {name: value for name, value in normal(wanted).items() if value != {}}
    assert "/v1beta" + ours == path and our_headers["x-goog-api-key"] == headers["x-goog-api-key"]


def test_a_thinking_budget_is_the_sdks(google: Any) -> None:
    client, sent = google
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(thinking_budget=8192))
    client.models.generate_content(model="gemini-2.5-flash", contents="hi", config=config)
    body = {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "medium"}
    assert normal(sent[-1][2]) == sent_by_dac(body, "gemini-2.5-flash", stream=False)[2]


def answer(parts: list[Any], finish: str, **usage: int) -> dict[str, Any]:
    choice = {"content": {"parts": parts, "role": "model"}, "finishReason": finish, "index": 0}
    return {"candidates": [choice], "usageMetadata": usage, "modelVersion": "gemini-x", "responseId": "r1"}


TOLD = {"promptTokenCount": 40, "candidatesTokenCount": 7}
ANSWERS = {
    "text": (answer([{"text": "Hal"}, {"text": "lo ü"}], "STOP", **TOLD, totalTokenCount=47), "stop"),
    "thoughts": (
        answer(
            [{"text": "hm", "thought": True}, {"text": "so"}],
            "STOP",
            **TOLD,
            thoughtsTokenCount=90,
            cachedContentTokenCount=30,
            toolUsePromptTokenCount=5,
            totalTokenCount=142,
        ),
        "stop",
    ),
    "calls": (
        answer(
            [
                {"text": "wait"},
                {"functionCall": {"id": "a1", "name": "f", "args": {"x": [1, 2.5, None, "ü"]}}},
                {"functionCall": {"name": "g"}},
            ],
            "STOP",
            **TOLD,
            totalTokenCount=47,
        ),
        "tool_calls",
    ),
    "the limit": (answer([], "MAX_TOKENS", promptTokenCount=4, thoughtsTokenCount=9, totalTokenCount=13), "length"),
    **{
        reason: (answer([{"text": "no"}], reason, **TOLD, totalTokenCount=47), "content_filter")
        for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY")
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_is_read_as_the_sdk_reads_it(case: str, stream: bool) -> None:
    raw, finish = ANSWERS[case]
    theirs = types.GenerateContentResponse.model_validate(raw)
    assert theirs.candidates and theirs.usage_metadata
    ask = Ask(b'{"messages":[{"role":"user","content":"hi"}]}', [], stream=stream)
    ours = GeminiExchange(ask, Candidate("m", "google", "g"), "google", "")
    data = json.dumps(raw).encode()
    if stream:
        ours.event(b"data: " + data + b"\r\n\r\n")
        ours.end()
    else:
        ours.plain(data)
    got = ours.result(need_text=True)
    assert (got.text or None) == (theirs.text or None)
    calls = [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in json_of(got)]
    assert calls == [(one.name, one.args or {}) for one in theirs.function_calls or []]
    assert got.finish_reason == finish and theirs.candidates[0].finish_reason.name in raw["candidates"][0].values()
    told = theirs.usage_metadata
    cached, tools = told.cached_content_token_count or 0, told.tool_use_prompt_token_count or 0
    assert got.usage_source is UsageSource.PROVIDER
    assert got.usage == Usage(
        (told.prompt_token_count or 0) - cached + tools,
        cached,
        0,
        told.candidates_token_count or 0,
        told.thoughts_token_count or 0,
    )
    usage = got.usage
    total = usage.input_tokens + usage.input_cached_tokens + usage.output_tokens + usage.reasoning_tokens
    assert total == told.total_token_count, "the buckets are disjoint and nothing is lost"


def json_of(got: Any) -> list[Any]:
    return json.loads(got.tool_calls_json) if got.tool_calls_json else []
