"""OpenAI's responses form at the edge: any bytes are read or refused by name; the end of a stream is held back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens, upper_bound_tokens
from services.gateway.wire import responses_wire as wire

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    *("model", "input", "instructions", "stream", "max_output_tokens", "temperature", "top_p", "tools", "text"),
    *("thread_id", "reasoning", "previous_response_id", "conversation", "background"),
]
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "input_image", "input_file", "output_text"])},
    optional={"text": JSON, "image_url": JSON, "file_data": JSON},
)


def read(**more):
    return wire.parse_responses(json.dumps({"model": "m", "input": "Hi", **more}).encode())


def of(*parts):
    return read(input=[{"role": "user", "content": list(parts)}])


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(body):
    with pytest.raises(MeshError) as caught:
        wire.parse_responses(body)
    assert caught.value.reason is Reason.INVALID_REQUEST


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_any_json_is_read_or_refused_by_name(document):
    try:
        wire.parse_responses(json.dumps(document).encode())
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata


@given(st.lists(PART | JSON, max_size=4))
def test_any_content_is_read_or_refused_by_name(parts):
    try:
        ask = of(*parts)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata
    else:
        assert 0 <= ask.input_tokens <= ask.input_tokens_max


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"instructions": ["x"]}, "instructions"),
        ({"background": True}, "background"),
        ({"model": "auto", "previous_response_id": "r"}, "previous_response_id"),
        ({"model": "auto:speed", "conversation": "c"}, "conversation"),
        ({"model": "auto", "prompt": {"id": "p"}}, "prompt"),
        ({"thread_id": "t"}, "thread_id"),
        ({"enable_cache": True}, "enable_cache"),
        ({"routing_profile": "speed"}, "routing_profile"),
    ],
)
def test_what_is_wrong_is_named(more, field):
    with pytest.raises(MeshError) as caught:
        read(**more)
    assert caught.value.metadata["field"] == field


def test_input_may_lie_at_the_provider():
    ask = read(input=None, previous_response_id="resp_1")
    assert ask.unseen_input and ask.input_tokens_max >= 0


def test_depth_is_limited():
    with pytest.raises(MeshError):
        wire.parse_responses(b'{"model":"m","input":' + b"[" * 100 + b"]" * 100 + b"}")


def test_what_the_request_needs():
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 100_000}
    ask = of({"type": "input_text", "text": "What?"}, picture)
    assert ask.needs_images and not ask.needs_tools and 1_100 < ask.input_tokens < 1_200
    assert ask.input_tokens_max > 20_000 and not ask.unseen_input
    output = read(input=[{"type": "function_call_output", "call_id": "c", "output": [picture]}])
    assert output.needs_images and output.input_tokens < 1_200
    assert read(tools=[{"type": "function", "name": "f"}]).needs_tools
    assert read(text={"format": {"type": "json_schema", "name": "n", "schema": {}}}).needs_json
    assert read(max_output_tokens=10, stream=True).max_output_tokens == 10 and read(stream=True).stream


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "r"},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "i"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ],
)
def test_what_only_the_provider_has_is_known_to_be_unseen(more):
    assert read(**more).unseen_input and not read().unseen_input
    assert not read(tools=[{"type": kind, "name": "f"} for kind in ("function", "custom", "namespace")]).unseen_input


@pytest.mark.parametrize(("kind", "unseen"), [("function", False), ("web_search", True)])
def test_tools_may_stand_in_the_input(kind, unseen):
    given = {"type": "additional_tools", "role": "developer", "tools": [{"type": kind}]}
    ask = read(input=[given, {"role": "user", "content": "Hi"}])
    assert ask.needs_tools and ask.unseen_input is unseen
    for odd in (None, "x", [1]):
        with pytest.raises(MeshError) as caught:
            read(input=[{**given, "tools": odd}])
        assert caught.value.metadata["field"] == "input[0].tools"


def test_a_files_bytes_are_not_taken_for_text():
    ask = of({"type": "input_file", "filename": "a.pdf", "file_data": "A" * 60_000})
    assert 3_000 <= ask.input_tokens < 3_100 and ask.input_tokens_max >= 60_000


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_estimate_is_of_the_text_that_is_sent(text, instructions):
    size = sum(len(json.dumps(value).encode()) for value in (text, instructions))
    ask = read(input=text, instructions=instructions)
    assert ask.input_tokens == estimate_tokens(size) and ask.input_tokens_max == upper_bound_tokens(size)


LAST = b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'
DELTA = b'{"type":"response.output_text.delta","sequence_number":7,"delta":"%s"}'
TEXT = b"event: response.output_text.delta\ndata: " + DELTA + b"\n\n"


@pytest.mark.parametrize(
    "end",
    [
        LAST,
        LAST.replace(b"completed", b"incomplete"),
        LAST.replace(b"\n", b"\r\n"),
        b'data: {"type": "response.completed"}\n\n',
        b"",
    ],
)
@pytest.mark.parametrize("before", [b"", TEXT % b"x", TEXT % b"response.completed"])
def test_the_end_is_held_back_as_it_was_sent(before, end):
    assert wire.cut_end(before + end) == (before, end)


def test_the_answer_of_a_stream_is_counted():
    call = b'data: {"type":"response.output_item.added","item":{"type":"function_call","name":"abc"}}\n\n'
    piece = b'data: {"type":"response.function_call_arguments.delta","delta":"{}"}\n\n'
    done = b'data: {"type":"response.output_text.done","text":"twice"}\n\n'
    stream = TEXT % "ü2".encode() + call + piece + done + b"data: nonsense\n\n" + TEXT % b"cut"
    assert wire.answer_bytes([stream[:50], stream[50:-2]]) == 3 + 3 + 2


def test_a_failure_goes_on_counting():
    event = wire.error_event(MeshError(Reason.PROVIDER_CUT, "cut"), TEXT % b"a" + TEXT.replace(b":7", b":8") % b"b")
    assert event.startswith(b"event: error\ndata: ") and event.endswith(b"\n\n")
    told = json.loads(event.split(b"data: ")[1])
    assert told["type"] == "error" and told["sequence_number"] == 9
    assert told["message"] == told["error"]["message"] == "cut" and told["code"] == "provider_cut"
    assert (
        json.loads(wire.error_event(MeshError(Reason.INTERNAL, "x"), b"").split(b"data: ")[1])["sequence_number"] == 0
    )
