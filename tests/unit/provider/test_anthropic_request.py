"""OpenAI requests said in Anthropic's words."""

from typing import Any

import anthropic
import pytest

from services.provider.adapters.anthropic_request import to_messages
from services.provider.adapters.anthropic_schema import closed
from services.provider.adapters.claude import generation_of
from services.provider.errors import ProviderFault
from tests.upstream.checks import check_anthropic

USER = {"role": "user", "content": "hi"}


def said(cap: int = 0, stream: bool = False, name: str = "claude", **body: Any) -> dict[str, Any]:
    made = to_messages({"messages": [USER], **body}, name, cap, stream=stream)
    assert check_anthropic(made) is None
    return made


def thinking(name: str, effort: str, **body: Any) -> tuple[str, Any]:
    """(the type of thinking and its budget, the effort)."""
    made = said(name=name, reasoning_effort=effort, **body)
    config = made.get("thinking", {})
    budget = config.get("budget_tokens", "")
    return f"{config.get('type', '')}{budget}", made.get("output_config", {}).get("effort")


def schema(inner: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": inner}}


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


def file(media_type: str, data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": f"data:{media_type};base64,{data}"}}


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
        {"web_search_options": {}},
        {"max_tokens": "5"},
        {"reasoning_effort": "most"},
        {"response_format": {"type": "grammar"}},
        {"tool_choice": {"type": "allowed_tools"}, "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBERi0="}}]}]},
        {"messages": [{"role": "user", "content": [file("application/zip", "UEs=")]}]},
        {"messages": [{"role": "user", "content": [file("text/plain", "/w==")]}]},
        {"messages": [{"role": "assistant", "audio": {"id": "a"}}, USER]},
        {"messages": [{"role": "assistant", "content": "x", "thinking_blocks": [{"type": "text"}]}, USER]},
        {"messages": [{"role": "system", "content": "alone"}]},
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


@pytest.mark.parametrize(
    ("name", "family", "version"),
    [
        ("claude-2.1", "", (2, 1)),
        ("claude-3-opus-20240229", "opus", (3, 0)),
        ("claude-3-7-sonnet-latest", "sonnet", (3, 7)),
        ("claude-opus-4-20250514", "opus", (4, 0)),
        ("claude-sonnet-4-5@20250929", "sonnet", (4, 5)),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "haiku", (4, 5)),
        ("anthropic.claude-opus-4-6-v1", "opus", (4, 6)),
        ("claude-4.7-opus", "opus", (4, 7)),
        ("claude-sonnet-5", "sonnet", (5, 0)),
        ("claude-mythos-5-1", "mythos", (5, 1)),
        ("claude-sonnet-5-10", "sonnet", (5, 10)),
    ],
)
def test_a_name_tells_the_generation(name: str, family: str, version: tuple[int, int]) -> None:
    assert generation_of(name) == (family, version)


@pytest.mark.parametrize("name", ["", "claude", "claude-sonnet-latest", "claude-mythos-preview", "minimax-m2"])
def test_a_name_without_a_version_tells_nothing(name: str) -> None:
    assert generation_of(name) is None
    assert thinking(name, "high") == thinking(name, "none") == ("", None)


@pytest.mark.parametrize(
    ("name", "none", "least", "high", "xhigh", "most"),
    [
        ("claude-3-5-haiku-latest", "", "", "", "", ""),
        ("claude-3-7-sonnet-latest", "", "enabled1024", "enabled24576", "enabled24576", "enabled24576"),
        ("claude-haiku-4-5", "", "enabled1024", "enabled24576", "enabled24576", "enabled24576"),
        ("claude-opus-4-6", "", "adaptive low", "adaptive high", "adaptive high", "adaptive max"),
        ("claude-opus-4-8", "", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-opus-5", "disabled", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-sonnet-5", "disabled", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-haiku-5-5", "disabled", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-sonnet-5-5", "between_tools", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-opus-5-5", " low", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-fable-5", " low", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
        ("claude-sonnet-7", " low", "adaptive low", "adaptive high", "adaptive xhigh", "adaptive max"),
    ],
)
def test_how_much_a_generation_is_asked_to_think(
    name: str, none: str, least: str, high: str, xhigh: str, most: str
) -> None:
    for effort, expected in (("none", none), ("minimal", least), ("high", high), ("xhigh", xhigh), ("max", most)):
        kind, level = thinking(name, effort)
        assert kind + (f" {level}" if level else "") == expected, effort
    assert "thinking" not in said(name=name) and "output_config" not in said(name=name)


@pytest.mark.parametrize(
    ("limit", "budget"), [(1024, ""), (1025, "1024"), (2000, "1024"), (10000, "5000"), (64000, "24576")]
)
def test_a_budget_leaves_room_for_the_answer(limit: int, budget: str) -> None:
    kind, _ = thinking("claude-sonnet-4-5", "high", max_tokens=limit)
    assert kind == (f"enabled{budget}" if budget else "")


@pytest.mark.parametrize(
    ("name", "effort", "limit"),
    [
        ("claude-sonnet-4-5", None, 4096),
        ("claude-sonnet-4-5", "medium", 4096 + 8192),
        ("claude-opus-4-8", None, 4096),
        ("claude-opus-4-8", "low", 16384),
        ("claude-opus-5", None, 16384),
        ("claude-opus-5", "none", 4096),
        ("claude-opus-5-5", "none", 16384),
    ],
)
def test_the_limit_that_nobody_set_leaves_room_for_thinking(name: str, effort: str | None, limit: int) -> None:
    assert said(name=name, reasoning_effort=effort)["max_tokens"] == limit
    assert said(7000, name=name, reasoning_effort=effort)["max_tokens"] == 7000


def test_a_turn_that_began_without_thinking_goes_on_without_it() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [call("1", "{}")]}
    result = {"role": "tool", "tool_call_id": "1", "content": "one"}
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    signed = {**turn, "thinking_blocks": blocks}
    assert thinking("claude-sonnet-4-5", "low", messages=[USER, turn, result]) == ("", None)
    assert thinking("claude-sonnet-4-5", "low", messages=[USER, signed, result]) == ("enabled1024", None)
    assert thinking(
        "claude-sonnet-4-5", "low", messages=[USER, turn, result, {"role": "assistant", "content": "x"}, USER]
    )[0]
    assert thinking("claude-opus-4-6", "low", messages=[USER, turn, result]) == ("adaptive", "low")
    begun = [USER, {"role": "assistant", "content": "Well"}]
    assert thinking("claude-sonnet-4-5", "low", messages=begun) == ("", None)


def test_what_was_thought_never_stands_alone_or_last() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s", "index": 7}
    kept = {"extra_content": {"anthropic": {"thinking": [block]}}}
    alone = said(messages=[USER, {"role": "assistant", "content": None, **kept}, USER])
    assert [message["role"] for message in alone["messages"]] == ["user"]
    made = said(messages=[USER, {"role": "assistant", "content": "x", **kept}, USER])["messages"][1]["content"]
    assert made == [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "x"}]


@pytest.mark.parametrize(
    ("name", "body", "sent"),
    [
        ("claude-3-5-haiku-latest", {"temperature": 1, "top_p": 1}, {"temperature": 1.0, "top_p": 1}),
        ("claude-sonnet-4-5", {"temperature": 1.5, "top_p": 0.5}, {"top_p": 0.5}),
        ("claude-sonnet-4-5", {"temperature": 0, "top_p": 1}, {"temperature": 0}),
        ("claude-sonnet-4-5", {"temperature": 0.5, "top_p": 0.5}, "top_p: "),
        ("claude-sonnet-4-5", {"temperature": 0.5, "reasoning_effort": "low"}, "temperature: "),
        ("claude-sonnet-4-5", {"temperature": 1, "top_p": 0.95, "reasoning_effort": "low"}, {"top_p": 0.95}),
        ("claude-sonnet-4-5", {"top_p": 0.9, "reasoning_effort": "low"}, "top_p: "),
        ("claude-opus-4-6", {"temperature": 0.5}, {"temperature": 0.5}),
        ("claude-opus-4-6", {"temperature": 0.5, "reasoning_effort": "low"}, "temperature: "),
        ("claude-opus-4-7", {"temperature": 1, "top_p": 1}, {}),
        ("claude-opus-4-7", {"temperature": 0}, "temperature: "),
        ("claude-haiku-5-5", {"top_p": 0.5}, "top_p: "),
    ],
)
def test_what_a_generation_takes_of_a_temperature(name: str, body: dict[str, Any], sent: Any) -> None:
    if isinstance(sent, dict):
        made = said(name=name, max_tokens=4000, **body)
        assert {one: made[one] for one in ("temperature", "top_p") if one in made} == sent
        return
    with pytest.raises(ProviderFault, match=f"^{sent}") as caught:
        said(name=name, max_tokens=4000, **body)
    assert caught.value.fall_back


@pytest.mark.parametrize(
    ("name", "effort", "forced"),
    [
        ("claude-sonnet-4-5", None, True),
        ("claude-sonnet-4-5", "low", False),
        ("claude-opus-4-6", "low", True),
        ("claude-opus-5", None, True),
        ("claude-haiku-5-5", None, True),
        ("claude-opus-5-5", None, False),
        ("claude-sonnet-5-5", None, False),
        ("claude-fable-5", None, True),
        ("claude-fable-5-1", None, False),
        ("claude-mythos-6", None, False),
    ],
)
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_which_generation_can_be_made_to_call_a_tool(name: str, effort: str | None, forced: bool, choice: Any) -> None:
    body = {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": choice, "max_tokens": 4000}
    if forced:
        assert said(name=name, reasoning_effort=effort, **body)["tool_choice"]["type"] in ("any", "tool")
        return
    with pytest.raises(ProviderFault, match=r"^tool_choice: "):
        said(name=name, reasoning_effort=effort, **body)
    assert "tool_choice" not in said(name=name, reasoning_effort=effort, **{**body, "tool_choice": "auto"})


def test_a_begun_answer_is_only_given_to_a_generation_that_goes_on_with_it() -> None:
    begun = [USER, {"role": "assistant", "content": "Well"}]
    assert said(name="claude-opus-4-5", messages=begun)["messages"][-1]["role"] == "assistant"
    with pytest.raises(ProviderFault, match="begun answer"):
        said(name="claude-opus-4-6", messages=begun)


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("name", "inner", "held"),
    [
        ("claude-sonnet-4-5", OPEN, True),
        ("claude-fable-5-1", OPEN, True),
        ("claude-opus-4-1", OPEN, False),
        ("claude", OPEN, False),
        ("claude-opus-5", {"type": "integer", "minimum": 1}, False),
        ("claude-opus-5", None, False),
    ],
)
def test_who_is_held_to_a_schema_and_who_is_asked_in_words(name: str, inner: Any, held: bool) -> None:
    made = said(name=name, response_format=schema(inner))
    assert ("format" in made.get("output_config", {})) is held and ("system" in made) is not held
    strict = [{"type": "function", "function": {"name": "f", "parameters": inner, "strict": True}}]
    assert ("strict" in said(name=name, tools=strict)["tools"][0]) is held


@pytest.mark.parametrize(
    "inner",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}},
        {"type": "array", "items": {"type": "number"}, "minItems": 2},
        {"type": "string", "format": "regex"},
        {"type": "string", "pattern": "^a"},
        {"allOf": [OPEN, OPEN]},
        {"anyOf": "no"},
        {"description": "anything"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/b", "$defs": {"a": OPEN}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": []},
        True,
    ],
)
def test_schemas_that_need_more_than_there_is(inner: Any) -> None:
    assert closed(inner) is None


def test_a_closed_schema_is_what_the_sdk_makes_of_it() -> None:
    inner = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "when": {"type": "string", "format": "date", "description": "d", "title": "t"},
            "many": {"type": "array", "items": {"$ref": "#/$defs/one"}, "minItems": 1},
            "either": {"anyOf": [{"type": "null"}, OPEN]},
            "which": {"enum": ["a", "b", None]},
        },
        "required": ["when"],
        "$defs": {"one": {**OPEN, "additionalProperties": False}},
    }
    theirs = anthropic.transform_schema({name: value for name, value in inner.items() if name != "$schema"})
    assert closed(inner) == theirs
    assert "additionalProperties" not in OPEN
