"""OpenAI requests said in Gemini's words."""

from typing import Any

import pytest

from services.provider.adapters.gemini_request import NO_SIGNATURE, to_contents
from services.provider.errors import ProviderFault
from tests.upstream.gemini import check

USER = {"role": "user", "content": "hi"}
MODEL = "gemini-2.5-flash"


def said(cap: int = 0, model: str = MODEL, **body: Any) -> dict[str, Any]:
    made = to_contents({"messages": [USER], **body}, model, cap)
    assert check(made) is None
    return made


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def call(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def result(name: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": name, "content": content}


def test_the_smallest() -> None:
    assert said() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_everything() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}
    pdf = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}
    got = said(
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, image("data:image/png;base64,QUJD")]},
            {"role": "user", "content": [image("https://example.com/a.jpg?sig=1"), audio, pdf]},
            {"role": "assistant", "content": "hm", "tool_calls": [call("1", '{"a": 1}'), call("2", "")]},
            result("1", '{"c": 20}'),
            result("2", [{"type": "text", "text": "two"}]),
            {"role": "developer", "content": "really"},
            {"role": "user", "content": "go on"},
        ],
        stop="END",
        temperature=1.7,
        top_p=0.5,
        seed=1,
        presence_penalty=0.5,
        frequency_penalty=0,
        user="u1",
        logit_bias={"1": 2},
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        tool_choice="required",
    )
    assert got == {
        "systemInstruction": {"parts": [{"text": "be brief"}, {"text": "really"}], "role": "user"},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "look"},
                    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                    {"fileData": {"fileUri": "https://example.com/a.jpg?sig=1", "mimeType": "image/jpeg"}},
                    {"inlineData": {"mimeType": "audio/mp3", "data": "QUJD"}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm"},
                    {"functionCall": {"id": "1", "args": {"a": 1}, "name": "f"}},
                    {"functionCall": {"id": "2", "args": {}, "name": "f"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "1", "name": "f", "response": {"c": 20}}},
                    {"functionResponse": {"id": "2", "name": "f", "response": {"output": "two"}}},
                    {"text": "go on"},
                ],
            },
        ],
        "generationConfig": {
            "temperature": 1.7,
            "topP": 0.5,
            "presencePenalty": 0.5,
            "stopSequences": ["END"],
            "seed": 1,
        },
        "tools": [
            {"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: Any, config: Any) -> None:
    got = said(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice=choice)
    assert got["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert (got.get("toolConfig") or {}).get("functionCallingConfig") == config


@pytest.mark.parametrize(
    ("asked", "cap", "limit"),
    [
        ({}, 0, None),
        ({}, 9, 9),
        ({"max_tokens": 5}, 9, 5),
        ({"max_completion_tokens": 50}, 9, 9),
        ({"max_tokens": 5}, 0, 5),
        ({"max_tokens": 100_000, "max_completion_tokens": 99_999}, 9, 9),
    ],
)
def test_the_limit(asked: dict[str, Any], cap: int, limit: int | None) -> None:
    assert said(cap, **asked).get("generationConfig", {}).get("maxOutputTokens") == limit


def test_json() -> None:
    assert said(response_format={"type": "text"}) == said()
    plain = said(response_format={"type": "json_object"})["generationConfig"]
    assert plain == {"responseMimeType": "application/json"}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    schema = said(response_format=wanted)["generationConfig"]
    assert schema == {"responseMimeType": "application/json", "responseJsonSchema": {"type": "integer"}}


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-pro", "minimal", {"thinkingBudget": 1024}),
        ("models/gemini-2.5-flash", "medium", {"thinkingBudget": 8192}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576}),
        ("gemini-3.1-pro-preview", "none", {"thinkingLevel": "LOW"}),
        ("gemini-3.7-flash", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.7-flash", "minimal", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.7-flash", "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.1-pro-preview", "xhigh", {"thinkingLevel": "HIGH"}),
        ("gemini-2.0-flash", "high", None),
        ("gemini-3.7-flash", None, None),
    ],
)
def test_thinking(model: str, effort: Any, config: Any) -> None:
    assert said(model=model, reasoning_effort=effort).get("generationConfig", {}).get("thinkingConfig") == config


def test_a_large_seed_stays_the_same_one() -> None:
    first = said(seed=2**40 + 3)["generationConfig"]["seed"]
    assert first == said(seed=2**40 + 3)["generationConfig"]["seed"] == 3
    assert said(seed=-5)["generationConfig"]["seed"] == -5


def test_signatures() -> None:
    signed = call("1", "{}", extra_content={"google": {"thought_signature": "c2ln"}})
    for model, first, expected in (
        ("gemini-3.7-flash", signed, ["c2ln", None]),
        ("gemini-3.7-flash", call("1", "{}"), [NO_SIGNATURE, None]),
        ("gemini-2.5-pro", signed, ["c2ln", None]),
        ("gemini-2.5-pro", call("1", "{}"), [None, None]),
    ):
        turn = {"role": "assistant", "tool_calls": [first, call("2", "{}")]}
        got = said(model=model, messages=[USER, turn, result("1", "x"), result("2", "y")])
        assert [part.get("thoughtSignature") for part in got["contents"][1]["parts"]] == expected


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": 2}, "n:"),
        ({"logprobs": True}, "logprobs:"),
        ({"modalities": ["text", "audio"]}, "modalities:"),
        ({"functions": [{"name": "f"}]}, "functions:"),
        ({"web_search_options": {}}, "web_search_options:"),
        ({"parallel_tool_calls": False, "tools": [{"type": "function"}]}, "parallel_tool_calls:"),
        ({"tools": [{"type": "custom"}]}, "tools:"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "some"}, "tool_choice:"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools"}},
            "tool_choice:",
        ),
        ({"max_tokens": 1.5}, "max_completion_tokens:"),
        ({"max_tokens": True}, "max_completion_tokens:"),
        ({"max_completion_tokens": -1}, "max_completion_tokens:"),
        ({"reasoning_effort": "huge"}, "reasoning_effort:"),
        ({"response_format": {"type": "grammar"}}, "response_format:"),
        ({"messages": [{"role": "system", "content": "only"}]}, "messages:"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages:"),
        ({"messages": [{"role": "user", "content": [image("data:text/plain,abc")]}]}, "messages:"),
        ({"messages": [{"role": "user", "content": [image("data:;base64,QUJD")]}]}, "messages:"),
        ({"messages": [{"role": "user", "content": [image("ftp://example.com/a.png")]}]}, "messages:"),
        ({"messages": [{"role": "user", "content": [image("https://example.com/a")]}]}, "messages:"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages:"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "ogg"}}]}]},
            "messages:",
        ),
        ({"messages": [USER, {"role": "assistant", "audio": {"id": "1"}}]}, "messages:"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [call("1", "{no")]}]}, "messages:"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [call("1", "[1]")]}]}, "messages:"),
        ({"messages": [USER, result("9", "x")]}, "messages:"),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "tool_calls": [call("1", "{}")]},
                    result("1", [image("data:image/png;base64,QUJD")]),
                ]
            },
            "messages:",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ProviderFault) as caught:
        said(**body)
    assert caught.value.fall_back and caught.value.message.startswith(field)
