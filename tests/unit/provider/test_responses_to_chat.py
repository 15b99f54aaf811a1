"""OpenAI's responses requests in chat's form: what is said, what is left out, what is refused by its name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from services.provider.adapters.openai import OpenAIExchange
from services.provider.adapters.responses_from_chat import ResponsesExchange
from services.provider.adapters.responses_to_chat import HINTS, to_chat
from services.provider.adapters.responses_tools import custom_text, function_name, tools_of
from services.provider.calling.events import Ask, Candidate, Dialect
from services.provider.errors import ProviderFault

RESPONSES = Dialect.OPENAI_RESPONSES


def said(**fields: Any) -> dict[str, Any]:
    body = {"model": "m", "input": "Hi", **fields}
    return to_chat(body, tools_of(body))


def exchange(body: bytes, *, cap: int = 0, stream: bool = False) -> ResponsesExchange:
    to = Candidate("p/m", "p", "upstream-name", cap)
    ask = Ask(body, [to], RESPONSES, RESPONSES, stream=stream)
    return ResponsesExchange(ask, "p", lambda said: OpenAIExchange(said, to, "p", "k"), now=lambda: 1_700_000_000.5)


def test_a_text_is_a_users_message():
    assert said() == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_whole_turn_is_one_message_of_the_assistant():
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "role": "assistant",
            "phase": "commentary",
            "content": [{"type": "output_text", "text": "I"}],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}", "extra_content": {"google": {}}},
        {"type": "function_call_output", "call_id": "a", "output": "sun"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "noon"}]},
    ]
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {
            "id": "b",
            "type": "function",
            "function": {"name": "g", "arguments": "{}"},
            "extra_content": {"google": {}},
        },
    ]
    assert said(input=items)["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "I", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
        {"role": "tool", "tool_call_id": "b", "content": "noon"},
    ]


def test_system_messages_that_stand_together_are_one():
    items = [
        {"role": "developer", "content": "B"},
        {"role": "user", "content": "C"},
        {"role": "system", "content": "D"},
    ]
    made = said(instructions="A", input=items)["messages"]
    assert [(one["role"], one["content"]) for one in made] == [("system", "A\n\nB"), ("user", "C"), ("system", "D")]


def test_pictures_and_files():
    content = [
        {"type": "input_image", "image_url": "https://pictures.example/a.png", "detail": "high"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
    ]
    parts = said(input=[{"role": "user", "content": content}])["messages"][0]["content"]
    assert parts[0] == {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png", "detail": "high"}}
    assert parts[1] == {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}}


def test_options():
    made = said(max_output_tokens=9, temperature=0.5, top_p=0.9, reasoning={"effort": "high"}, stream=True, user="u")
    assert made["max_tokens"] == 9 and made["temperature"] == 0.5 and made["reasoning_effort"] == "high"
    assert made["top_p"] == 0.9 and made["stream"] is True and made["user"] == "u"


def test_formats():
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": None}
    assert said(text={"format": schema})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    assert said(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in said(text={"format": {"type": "text"}, "verbosity": "low"})


def test_only_allowed_tools_are_given():
    tools = [{"type": "function", "name": name, "parameters": None} for name in ("f", "g")]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    made = said(tools=tools, tool_choice=allowed)
    assert [tool["function"]["name"] for tool in made["tools"]] == ["g"] and made["tool_choice"] == "required"


PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'},
}
AGENTS = {
    "type": "namespace",
    "name": "agents",
    "description": "Other agents.",
    "tools": [{"type": "function", "name": "close", "parameters": {"type": "object"}}, {**PATCH, "name": "ask"}],
}


def test_tools_of_free_text_are_functions_with_one_text():
    made = said(tools=[PATCH], tool_choice={"type": "custom", "name": "patch"})
    (function,) = (tool["function"] for tool in made["tools"])
    assert function["parameters"]["required"] == ["input"] and 'start: "x"' in function["description"]
    assert function["description"].startswith("Edits files.") and made["tool_choice"]["function"]["name"] == "patch"
    assert said(tools=[{"type": "custom", "name": "patch"}])["tools"][0]["function"]["description"]


def test_tools_of_a_namespace_have_it_in_their_name():
    made = said(tools=[AGENTS, {"type": "function", "name": "close", "parameters": None}])
    assert [tool["function"]["name"] for tool in made["tools"]] == ["agents__close", "agents__ask", "close"]
    choice = {"type": "function", "name": "close", "namespace": "agents"}
    assert said(tools=[AGENTS], tool_choice=choice)["tool_choice"]["function"]["name"] == "agents__close"
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace", "name": "agents"}]}
    assert len(said(tools=[AGENTS, PATCH], tool_choice=allowed)["tools"]) == 2


@given(st.text(max_size=90), st.text(min_size=1, max_size=90))
def test_names_of_a_namespaces_tools_are_taken_by_openai(name: str, namespace: str):
    made = function_name(name, namespace)
    assert 1 <= len(made) <= 64 and made.isascii() and made == function_name(name, namespace)
    assert all(sign.isalnum() or sign in "_-" for sign in made)


def test_long_names_that_begin_alike_stay_apart():
    assert function_name("a", "n" * 70) != function_name("b", "n" * 70)


def test_tools_may_stand_in_the_input():
    added = {"type": "additional_tools", "role": "developer", "tools": [AGENTS]}
    made = said(input=[added, {"role": "user", "content": "Hi"}])
    assert len(made["tools"]) == 2 and made["messages"] == said()["messages"]


def test_a_round_with_tools_of_another_form():
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": 'x "y"\n'},
        {"type": "function_call", "call_id": "b", "name": "close", "namespace": "agents", "arguments": "{}"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "closed"}]},
    ]
    _, turn, first, second = said(input=items, tools=[PATCH, AGENTS])["messages"]
    patch, close = (call["function"] for call in turn["tool_calls"])
    assert patch["name"] == "patch" and json.loads(patch["arguments"]) == {"input": 'x "y"\n'}
    assert close["name"] == "agents__close" and (first["content"], second["content"]) == ("done", "closed")


def test_pictures_of_results_are_shown_behind_all_results():
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    outputs = [
        {"type": "function_call_output", "call_id": "a", "output": [picture]},
        {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "so"}, picture]},
    ]
    for more in ([], [{"role": "assistant", "content": "Well."}]):
        first, second, shown, *rest = said(input=[*outputs, *more])["messages"]
        assert (first["tool_call_id"], second["tool_call_id"]) == ("a", "b") and second["content"].startswith("so\n")
        kinds = [part["type"] for part in shown["content"]]
        assert shown["role"] == "user" and kinds == ["text", "image_url"] * 2 and len(rest) == len(more)


@given(st.text(max_size=50))
def test_free_text_arrives_as_it_is(text: str):
    assert custom_text(json.dumps({"input": text})) == text
    assert isinstance(custom_text(text), str)


def test_hints_are_left_out():
    made = said(
        **{name: {"a": 1} for name in HINTS}, include=["reasoning.encrypted_content"], reasoning={"summary": "auto"}
    )
    assert made == said()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "top_logprobs"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0]"),
        ({"tools": [{"type": "web_search", "external_web_access": False}]}, "tools[0]"),
        ({"tools": [{"type": "tool_search", "execution": "client"}]}, "tools[0]"),
        ({"tools": [{**AGENTS, "tools": [{"type": "namespace", "name": "n", "tools": []}]}]}, "tools[0]"),
        ({"tools": [AGENTS, {"type": "function", "name": "agents__close"}]}, "tools[1]"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "local_shell"}]}]}, "input[0].tools[0]"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"input": []}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0]"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}]},
            "input[0].output[0]",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], named: str):
    with pytest.raises(ProviderFault, match="^" + named.replace("[", r"\[") + ": ") as refused:
        said(**fields)
    assert refused.value.reason is Reason.INVALID_REQUEST and refused.value.fall_back


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["message", "user", "function_call", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "output", "call_id", "name", "arguments", "format", "text"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include"]), JSON))
def test_any_request_is_translated_or_refused(fields: dict[str, Any]):
    try:
        exchange(json.dumps({"model": "m", **fields}).encode()).outgoing()
    except ProviderFault as fault:
        assert fault.reason is Reason.INVALID_REQUEST


def test_the_inner_exchange_makes_it_final():
    body = json.loads(exchange(b'{"model":"m","input":"Hi","stream":true}', cap=7, stream=True).outgoing().body)
    assert body["model"] == "upstream-name" and body["max_tokens"] == 7
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True}
