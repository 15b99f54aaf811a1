"""OpenAI requests said in Anthropic's words."""

from typing import Any

import pytest

from services.provider.adapters.anthropic_request import to_messages
from services.provider.errors import ProviderFault
from tests.upstream.checks import check_anthropic

USER = {"role": "user", "content": "hi"}


def said(cap: int = 0, stream: bool = False, **body: Any) -> dict[str, Any]:
    made = to_messages({"messages": [USER], **body}, "claude", cap, stream=stream)
    assert check_anthropic(made) is None
    return made


def test_the_smallest() -> None:
    assert said() == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


def test_everything() -> None:
    got = said(
        stream=True,
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, image("data:image/png;base64,QUJD")]},
            {"role": "user", "content": [image("https://example.com/a.png")]},
            {"role": "assistant", "content": "hm", "tool_calls": [call("1", '{"a": 1}'), call("2", "")]},
            {"role": "tool", "tool_call_id": "1", "content": "one"},
            {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "two"}]},
            {"role": "developer", "content": "really"},
            {"role": "user", "content": "go on"},
        ],
        stop="END",
        temperature=1.7,
        top_p=0.5,
        user="u1",
        seed=1,
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert got == {
        "model": "claude",
        "max_tokens": 4096,
        "stream": True,
        "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "really"}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "hm"},
                    {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
                    {"type": "tool_use", "id": "2", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "one"}]},
                    {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "two"}]},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        "temperature": 1.0,
        "top_p": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "description": "d"}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("asked", "cap", "limit"),
    [
        ({}, 0, 4096),
        ({}, 9, 9),
        ({"max_tokens": 5}, 9, 5),
        ({"max_completion_tokens": 50}, 9, 9),
        ({"max_tokens": 5}, 0, 5),
    ],
)
def test_the_limit(asked: dict[str, Any], cap: int, limit: int) -> None:
    assert said(cap, **asked)["max_tokens"] == limit


def test_json_is_asked_for_in_words() -> None:
    assert "JSON object" in said(response_format={"type": "json_object"})["system"][0]["text"]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    assert '{"type":"integer"}' in said(response_format=schema)["system"][0]["text"]


@pytest.mark.parametrize(
    "body",
    [
        {"n": 2},
        {"logprobs": True},
        {"modalities": ["audio"]},
        {"functions": [{"name": "f"}]},
        {"tools": [{"type": "custom"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"messages": [{"role": "user", "content": [image("data:text/plain,abc")]}]},
        {"messages": [USER, {"role": "assistant", "tool_calls": [call("1", "{no")]}]},
    ],
)
def test_what_cannot_be_said_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ProviderFault) as caught:
        said(**body)
    assert caught.value.fall_back
