"""Anthropic's messages form at the edge: any bytes are read or refused by name; the end of a stream is held back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens
from services.gateway.edge.failures import STATUS
from services.gateway.wire import anthropic_wire as wire
from services.gateway.wire import wires

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    *("model", "messages", "system", "stream", "max_tokens", "temperature", "top_p", "tools", "stop_sequences"),
    *("thread_id", "tool_choice", "metadata", "thinking"),
]
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "document", "tool_result", "tool_use"])},
    optional={"text": JSON, "source": JSON, "content": JSON, "input": JSON},
)
PLAIN = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}


def read(**more):
    return wire.parse_messages(json.dumps({**PLAIN, **more}).encode())


def of(*blocks):
    return read(messages=[{"role": "user", "content": list(blocks)}])


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(body):
    with pytest.raises(MeshError) as caught:
        wire.parse_messages(body)
    assert caught.value.reason is Reason.INVALID_REQUEST


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON, st.booleans())
def test_any_json_is_read_or_refused_by_name(document, counting):
    try:
        wire.parse_messages(json.dumps(document).encode(), counting=counting)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata


@given(st.lists(BLOCK | JSON, max_size=4), JSON)
def test_any_content_is_read_or_refused_by_name(blocks, system):
    try:
        ask = read(messages=[{"role": "user", "content": blocks}], system=system)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata
    else:
        assert ask.input_tokens >= 0 and ask.input_tokens_max >= 0


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"model": ""}, "model"),
        ({"thread_id": "t"}, "thread_id"),
        ({"conversation_id": "t"}, "conversation_id"),
        ({"enable_cache": True}, "enable_cache"),
        ({"message": "t"}, "message"),
    ],
)
def test_what_is_wrong_is_named(more, field):
    with pytest.raises(MeshError) as caught:
        read(**more)
    assert caught.value.metadata["field"].startswith(field)


def test_max_tokens_is_needed_for_an_answer_only():
    body = json.dumps({name: value for name, value in PLAIN.items() if name != "max_tokens"}).encode()
    with pytest.raises(MeshError):
        wire.parse_messages(body)
    assert wire.parse_messages(body, counting=True).input_tokens > 0


def test_depth_is_limited():
    with pytest.raises(MeshError):
        wire.parse_messages(b'{"model":"m","messages":' + b"[" * 100 + b"]" * 100 + b"}")


def test_what_the_request_needs():
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}}
    ask = of({"type": "text", "text": "What?"}, picture)
    assert ask.needs_images and not ask.needs_tools and 1_100 < ask.input_tokens < 1_200
    assert ask.input_tokens_max > 20_000
    inside = of({"type": "tool_result", "tool_use_id": "t", "content": [picture]})
    assert inside.needs_images and inside.input_tokens < 1_200
    assert read(tools=[{"name": "f", "input_schema": {}}]).needs_tools
    assert ask.max_output_tokens == 10 and not ask.stream and read(stream=True).stream


def test_a_documents_bytes_are_not_taken_for_text():
    source = {"type": "base64", "media_type": "application/pdf", "data": "A" * 60_000}
    ask = of({"type": "document", "source": source})
    assert 3_000 <= ask.input_tokens < 3_100 and ask.input_tokens_max >= 60_000


@pytest.mark.parametrize(
    ("more", "unseen"),
    [
        ({"tools": [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]}, False),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, True),
        ({"mcp_servers": [{"type": "url", "url": "https://tools.example.com", "name": "t"}]}, True),
        ({"mcp_servers": []}, False),
        ({"container": "c"}, True),
        ({"messages": [{"role": "system", "content": "x"}]}, False),
    ],
)
def test_what_only_the_provider_sees_is_known(more, unseen):
    assert read(**more).unseen_input is unseen


@pytest.mark.parametrize(("source", "unseen"), [("base64", False), ("text", False), ("url", True), ("file", True)])
def test_documents_from_elsewhere_are_unseen(source, unseen):
    assert of({"type": "document", "source": {"type": source}}).unseen_input is unseen
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": {"type": source}}]}
    assert of(inside).unseen_input is unseen


def test_names_of_betas_are_sent_once_each():
    assert wire.read_beta([]) == "" and wire.read_beta([" , "]) == ""
    assert wire.read_beta(["a-2025-01-01, b", "b,c_1"]) == "a-2025-01-01,b,c_1"


@given(st.lists(st.text(max_size=80), max_size=40))
def test_any_names_of_betas_are_taken_or_refused(headers):
    try:
        taken = wire.read_beta(headers)
    except MeshError as error:
        assert error.metadata["field"] == "anthropic-beta"
    else:
        assert taken.isascii() and taken.count(",") < wire.MOST_BETAS and not set(taken) & set(" \r\n:")


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_estimate_is_of_the_text_that_is_sent(text, system):
    def size(value):
        return len(json.dumps(value).encode())

    messages = [{"role": "user", "content": text}]
    ask = read(messages=messages, system=system)
    assert ask.input_tokens == estimate_tokens(size(messages) + size(system))


TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"%s"}}\n\n'


@pytest.mark.parametrize(
    "end", [wire.STOP, b'data: {"type": "message_stop"}\n\n', wire.STOP.replace(b"\n", b"\r\n"), b""]
)
@pytest.mark.parametrize("before", [b"", TEXT % b"x", TEXT % b"message_stop"])
def test_the_end_is_held_back_as_it_was_sent(before, end):
    assert wire.cut_end(before + end) == (before, end)


def test_the_answer_of_a_stream_is_counted():
    call = b'data: {"type":"content_block_start","content_block":{"type":"tool_use","name":"abc","input":{}}}\n\n'
    piece = b'data: {"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{}"}}\n\n'
    stream = TEXT % "ü2".encode() + call + piece + b"data: nonsense\n\n" + TEXT % b"cut"
    assert wire.answer_bytes([stream[:50], stream[50:-2]]) == 3 + 3 + 2


def test_every_failure_has_anthropics_shape():
    types = {reason: json.loads(wire.error_body(MeshError(reason, "x"), "id"))["error"]["type"] for reason in STATUS}
    assert types[Reason.INVALID_REQUEST] == "invalid_request_error"
    assert types[Reason.INVALID_CREDENTIAL] == "authentication_error"
    assert types[Reason.PERMISSION_DENIED] == "permission_error"
    assert types[Reason.MODEL_NOT_FOUND] == "not_found_error"
    assert types[Reason.TOO_LARGE] == "request_too_large"
    assert types[Reason.BUDGET_EXHAUSTED] == "rate_limit_error"
    assert types[Reason.PROVIDER_BUSY] == "overloaded_error"
    assert types[Reason.PROVIDER_TIMEOUT] == "timeout_error"
    assert types[Reason.PROVIDER_CUT] == types[Reason.INTERNAL] == "api_error"
    event = wire.error_event(MeshError(Reason.PROVIDER_CUT, "cut"), "id")
    assert event.startswith(b"event: error\ndata: ") and event.endswith(b"\n\n")


def test_openais_end_is_cut_off_as_ever():
    assert wires.OPENAI.cut_end(b"data: 1\n\ndata: [DONE]\n\n") == (b"data: 1\n\n", b"data: [DONE]\n\n")
    assert wires.OPENAI.cut_end(b"data: 1\n\n") == (b"data: 1\n\n", b"")
