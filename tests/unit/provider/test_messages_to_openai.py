"""Anthropic's requests in OpenAI's form: what is said, what is left out, what is refused by its name."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from services.provider.adapters.dialects import dialect_of
from services.provider.adapters.messages_from_openai import MessagesExchange
from services.provider.adapters.messages_to_openai import to_chat
from services.provider.adapters.openai import OpenAIExchange
from services.provider.calling.events import Ask, Candidate, Dialect
from services.provider.errors import ProviderFault

HI = [{"role": "user", "content": "Hi"}]
MESSAGES = Dialect.ANTHROPIC_MESSAGES


def said(official: bool = False, **fields: Any) -> dict[str, Any]:
    return to_chat({"model": "m", "max_tokens": 100, "messages": HI, **fields}, official=official)


def exchange(body: bytes, *, cap: int = 0, stream: bool = False, host: str = "") -> MessagesExchange:
    to = Candidate("p/m", "p", "upstream-name", cap)
    ask = Ask(body, [to], MESSAGES, MESSAGES, stream=stream)
    made = MessagesExchange(
        ask,
        "p",
        lambda said: OpenAIExchange(said, to, "p", "k", dialect=dialect_of("p", host)),
        official=host == "api.openai.com",
    )
    return made


def test_a_plain_request():
    assert said() == {"model": "m", "messages": HI, "max_tokens": 100}
    assert said(official=True)["max_completion_tokens"] == 100


def test_system_as_text_and_as_blocks():
    assert said(system="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}
    blocks = [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "B"}]
    assert said(system=blocks)["messages"][0] == {"role": "system", "content": "A\n\nB"}


def test_options():
    made = said(stop_sequences=["a", "b"], temperature=0.5, top_p=0.9, metadata={"user_id": "u"}, stream=True)
    assert made["stop"] == ["a", "b"] and made["temperature"] == 0.5 and made["top_p"] == 0.9
    assert made["user"] == "u" and made["stream"] is True


def test_images():
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    content = [{"type": "text", "text": "What?"}, {"type": "image", "source": source}]
    parts = said(messages=[{"role": "user", "content": content}])["messages"][0]["content"]
    assert parts[1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content[1]["source"] = {"type": "url", "url": "https://pictures.example/a.png"}  # type: ignore[index]
    parts = said(messages=[{"role": "user", "content": content}])["messages"][0]["content"]
    assert parts[1]["image_url"] == {"url": "https://pictures.example/a.png"}


def test_a_tool_round():
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no city", "is_error": True},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    made = said(messages=messages)["messages"]
    assert [one["role"] for one in made] == ["user", "assistant", "tool", "tool", "user"]
    assert made[1]["content"] == "I look."
    assert made[1]["tool_calls"][0] == {
        "id": "t1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Ulm"}'},
    }
    assert made[2] == {"role": "tool", "tool_call_id": "t1", "content": "sun"}
    assert made[3] == {"role": "tool", "tool_call_id": "t2", "content": "Error: no city"}
    assert made[4] == {"role": "user", "content": "And now?"}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, None),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tools_and_their_choice(choice: dict[str, str], wanted: Any):
    schema = {"type": "object", "properties": {}}
    tools = [{"name": "f", "description": "d", "input_schema": schema, "cache_control": {"type": "ephemeral"}}]
    made = said(tools=tools, tool_choice=choice)
    assert made["tools"] == [{"type": "function", "function": {"name": "f", "parameters": schema, "description": "d"}}]
    assert made.get("tool_choice") == wanted and "parallel_tool_calls" not in made
    assert said(tools=tools, tool_choice={**choice, "disable_parallel_tool_use": True})["parallel_tool_calls"] is False


def test_a_json_schema_is_forced():
    config = {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}
    form = said(output_config=config)["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["schema"] == {"type": "object"}


def test_hints_are_left_out():
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert said(thinking=thinking, service_tier="auto", cache_control={"type": "ephemeral"}) == said()
    assert said(context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}) == said()


def test_instructions_in_the_middle_stay_there():
    middle = {"role": "system", "content": [{"type": "text", "text": "Now", "cache_control": {"type": "ephemeral"}}]}
    made = said(system="First.", messages=[*HI, middle, {"role": "user", "content": "Go"}])["messages"]
    assert [one["role"] for one in made] == ["system", "user", "system", "user"] and made[2]["content"] == "Now"
    assert said(messages=[*HI, {"role": "system", "content": "Now"}])["messages"][-1]["content"] == "Now"


def test_pictures_of_results_are_shown_behind_all_results():
    text = {"type": "text", "text": "read"}
    results = [
        {"type": "tool_result", "tool_use_id": "a", "content": [text, IMAGE]},
        {"type": "tool_result", "tool_use_id": "b", "content": [IMAGE], "is_error": True},
        {"type": "text", "text": "And?"},
    ]
    first, second, shown = said(messages=[{"role": "user", "content": results}])["messages"]
    assert first["content"].startswith("read\n") and second["content"].startswith("Error: What it shows")
    assert [one["tool_call_id"] for one in (first, second)] == ["a", "b"] and shown["role"] == "user"
    kinds = [part["type"] for part in shown["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    assert shown["content"][0]["text"].count("a") and shown["content"][-1]["text"] == "And?"


def test_documents_are_files_or_text():
    (shown,) = said(messages=[{"role": "user", "content": [PDF, NOTE, {**PDF, "title": "a.pdf"}]}])["messages"]
    first, note, named = shown["content"]
    data = "data:application/pdf;base64,JVBERi0="
    assert first == {"type": "file", "file": {"filename": "document.pdf", "file_data": data}}
    assert note["text"] == "Note\n\nx" and named["file"]["filename"] == "a.pdf"
    result = {"type": "tool_result", "tool_use_id": "t", "content": [PDF]}
    _, behind = said(messages=[{"role": "user", "content": [result]}])["messages"]
    assert behind["content"][1] == first


def test_a_long_users_id_is_still_one_users():
    long = '{"device_id":"' + "d" * 64 + '"}'
    (one, again, other) = (said(metadata={"user_id": user})["user"] for user in (long, long, long + "x"))
    assert one == again != other and len(one) == 64


DOCUMENT = {"type": "document", "source": {"type": "url", "url": "https://papers.example/a.pdf"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
NOTE = {"type": "document", "title": "Note", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_k": 3}, "top_k"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
        ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "tools.0.defer_loading"),
        ({"messages": [{"role": "user", "content": [DOCUMENT]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": [{**PDF, "citations": {"enabled": True}}]}]},
            "messages.0.content.0",
        ),
        ({"messages": [*HI, {"role": "assistant", "content": "So"}]}, "messages"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [DOCUMENT]}]}
                ]
            },
            "messages.0.content.0.content.0",
        ),
        ({"messages": [*HI, {"role": "system", "content": [IMAGE]}]}, "messages.1.content.0"),
        ({"messages": [*HI, {"role": "robot", "content": "x"}]}, "messages.1.role"),
        ({"messages": [{"role": "user", "content": [{**IMAGE, "source": {"type": "file"}}]}]}, "messages.0.content.0"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format"),
    ],
)
def test_what_openai_cannot_say_is_refused_by_its_name(fields: dict[str, Any], name: str):
    with pytest.raises(ProviderFault) as refused:
        said(**fields)
    assert refused.value.reason is Reason.INVALID_REQUEST and refused.value.fall_back
    assert refused.value.message.startswith(name)


def test_the_limit_is_the_callers_or_the_reservations():
    body = msgspec.json.encode({"model": "m", "max_tokens": 100, "messages": HI})
    assert json.loads(exchange(body, cap=50).outgoing().body)["max_tokens"] == 50
    sent = json.loads(exchange(body, cap=500, stream=True, host="api.openai.com").outgoing().body)
    assert sent["max_completion_tokens"] == 100 and "max_tokens" not in sent
    assert sent["model"] == "upstream-name" and sent["stream_options"] == {"include_usage": True}


FIELDS = st.sampled_from(
    """model messages system max_tokens tools tool_choice metadata stop_sequences output_config role content type text
    tool_use tool_result source image input_schema name id input format user assistant""".split()  # noqa: SIM905
)
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | FIELDS
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(FIELDS, v, max_size=5), max_leaves=25)


@given(odd | st.fixed_dictionaries({"model": odd, "messages": st.lists(odd, max_size=3)}))
def test_odd_requests_are_named_faults(body: Any):
    try:
        exchange(msgspec.json.encode(body)).outgoing()
    except ProviderFault as fault:
        assert fault.reason is Reason.INVALID_REQUEST


@given(st.binary(max_size=50))
def test_bytes_that_are_no_request_are_named_faults(body: bytes):
    with pytest.raises(ProviderFault):
        exchange(body).outgoing()
