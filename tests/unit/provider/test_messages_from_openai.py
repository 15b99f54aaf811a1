"""OpenAI's answers in Anthropic's form: whole, as events, cut anywhere, odd."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mesh import sse
from services.provider.adapters.messages_from_openai import MessagesExchange
from services.provider.calling.events import UsageSource
from services.provider.errors import ProviderFault, reading
from tests.unit.provider.test_messages_to_openai import exchange

BODY = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hello there"}],"stream":true}'
USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    made = {"id": "chatcmpl-abc.1", "object": "chat.completion.chunk", "model": "up", "choices": choices, **more}
    return b"data: " + json.dumps(made).encode() + b"\n\n"


def piece(index: int, arguments: str, name: str = "", call_id: str = "") -> dict[str, Any]:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name:
        call["function"]["name"] = name
    return {"tool_calls": [{**call, "id": call_id} if call_id else call]}


def begun(body: bytes = BODY, *, stream: bool = True) -> MessagesExchange:
    made = exchange(body, stream=stream)
    made.outgoing()
    return made


def run(pieces: Sequence[bytes]) -> bytes:
    """What a caller gets for a stream that is cut into these pieces."""
    made, splitter, out = begun(), sse.Splitter(), b""
    for one in pieces:
        for event in splitter.feed(one):
            out += made.event(event)
    return out + made.end()


def read(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in sse.events_in(stream)]


def message_of(stream: bytes) -> Any:
    """The message as the SDK puts it together."""
    snapshot, buffers = None, dict[int, bytes]()
    for data in sse.events_in(stream):
        event = EVENT.validate_json(data)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    return snapshot


TEXT = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo ü"}),
    chunk({}, "stop"),
    chunk(None, usage=USAGE),
    sse.DONE,
]
CALLS = [
    chunk({"role": "assistant", "content": "I look."}),
    chunk(piece(0, "", "weather", "call_1")),
    chunk(piece(0, '{"city":')),
    chunk(piece(0, '"Ulm"}')),
    chunk(piece(1, "{}", "time", "call_2")),
    chunk({}, "tool_calls"),
    chunk(None, usage=USAGE),
    sse.DONE,
]


def test_a_stream_of_text():
    out = run(TEXT)
    assert [event["type"] for event in read(out)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert out.count(b"event: ") == 7 and out.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    message = message_of(out)
    assert message.id == "msg_abc1" and message.model == "up" and message.role == "assistant"
    assert message.content[0].text == "Hello ü" and message.stop_reason == "end_turn"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (20, 10, 12)


def test_a_stream_of_calls():
    message = message_of(run(CALLS))
    text, weather, clock = message.content
    assert text.text == "I look." and message.stop_reason == "tool_use"
    assert (weather.id, weather.name, weather.input) == ("call_1", "weather", {"city": "Ulm"})
    assert (clock.id, clock.name, clock.input) == ("call_2", "time", {})


def test_calls_that_all_have_index_0():
    stream = [
        chunk(piece(0, '{"a":1}', "f", "x")),
        chunk(piece(0, '{"b":2}', "f", "y")),
        chunk({}, "stop"),
        sse.DONE,
    ]
    message = message_of(run(stream))
    assert [call.input for call in message.content] == [{"a": 1}, {"b": 2}] and message.stop_reason == "tool_use"


def test_pieces_of_calls_in_no_order_are_a_fault():
    made = begun()
    made.event(chunk(piece(0, "{", "f", "x")))
    made.event(chunk(piece(1, "{", "g", "y")))
    with pytest.raises(ProviderFault):
        made.event(chunk(piece(0, "}")))


@pytest.mark.parametrize(
    ("finish", "wanted"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("odd", "end_turn")],
)
def test_why_it_stopped(finish: str, wanted: str):
    assert message_of(run([chunk({"content": "x"}), chunk({}, finish), sse.DONE])).stop_reason == wanted


def test_a_refusal():
    message = message_of(run([chunk({"refusal": "I cannot."}), chunk({}, "stop"), sse.DONE]))
    assert message.content[0].text == "I cannot." and message.stop_reason == "refusal"


def test_a_cut_stream_has_no_message_stop():
    made = begun()
    out = b"".join(made.event(event) for event in TEXT[:4])
    assert b"message_stop" not in out and b"message_delta" not in out
    with pytest.raises(ProviderFault):
        made.end()
    assert made.result(need_text=True).usage_source is UsageSource.COUNTED


def test_an_error_event_is_a_fault():
    made = begun()
    made.event(TEXT[2])
    with pytest.raises(ProviderFault):
        made.event(b'data: {"error":{"message":"no","type":"server_error"}}\n\n')


@given(st.sampled_from([TEXT, CALLS]), st.lists(st.integers(1, 2000), max_size=12), st.booleans())
def test_the_stream_is_the_same_however_it_is_cut(events: list[bytes], cuts: list[int], crlf: bool):
    whole = b"".join(events)
    wanted = run([whole])
    assert run(events) == wanted
    sent = whole.replace(b"\n", b"\r\n") if crlf else whole
    places = sorted({0, *[cut % len(sent) for cut in cuts], len(sent)})
    assert run([sent[start:end] for start, end in itertools.pairwise(places)]) == wanted


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6), st.integers(0, 5000), st.integers(0, 5000))
def test_text_and_usage_arrive_exactly(texts: list[str], prompt: int, completion: int):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    stream = [*(chunk({"content": text}) for text in texts), chunk({}, "stop"), chunk(None, usage=usage), sse.DONE]
    message = message_of(run(stream))
    assert message.content[0].text == "".join(texts)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (prompt, completion)


def test_a_whole_answer():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}
    message = {"role": "assistant", "content": "See:", "tool_calls": [call]}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    raw = json.dumps({"id": "chatcmpl-7", "model": "up", "choices": choices, "usage": USAGE}).encode()
    made = begun(stream=False)
    answer = json.loads(made.plain(raw))
    assert answer["id"] == "msg_7" and answer["type"] == "message" and answer["stop_reason"] == "tool_use"
    assert answer["content"] == [
        {"type": "text", "text": "See:", "citations": None},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": [1]}, "caller": {"type": "direct"}},
    ]
    assert answer["usage"]["input_tokens"] == 20 and answer["usage"]["output_tokens"] == 12
    result = made.result(need_text=True)
    assert result.text == "See:" and result.usage.reasoning_tokens == 5 and made.finished


def test_arguments_that_are_no_object_are_a_fault():
    call = {"id": "c", "function": {"name": "f", "arguments": "[1]"}}
    choices = [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]
    with pytest.raises(ProviderFault):
        begun(stream=False).plain(json.dumps({"choices": choices}).encode())


def test_the_providers_error_in_anthropics_shape():
    made = begun()
    error = {"message": "too hot", "type": "invalid_request_error", "param": "temperature", "code": None}
    assert json.loads(made.error_body(json.dumps({"error": error}).encode())) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "too hot"},
    }
    assert made.error_body(b"<html>") == b"" and made.error_body(b'{"error": 1}') != b""


KEYS = st.sampled_from(
    "choices delta index finish_reason usage error message content tool_calls function arguments name id type".split()  # noqa: SIM905
)
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["stop", "x", "{", "[]"])
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=5), max_leaves=20)
likely = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": odd, "message": odd, "finish_reason": leaves}), max_size=2)}
)


@given(st.lists(odd | likely, max_size=6))
def test_odd_streams_are_named_faults(events: list[Any]):
    made = begun()
    try:
        with reading("p"):
            for event in events:
                made.event(b"data: " + json.dumps(event).encode() + b"\n\n")
            made.end()
    except ProviderFault:
        pass
    usage = made.result(need_text=True).usage
    assert min(usage.input_tokens, usage.output_tokens) >= 0


@given(odd | likely)
def test_odd_answers_are_named_faults(body: Any):
    made = begun(stream=False)
    try:
        with reading("p"):
            made.plain(json.dumps(body).encode())
    except ProviderFault:
        pass
    made.result(need_text=True)


@given(st.binary(max_size=60))
def test_odd_error_bodies_never_raise(body: bytes):
    begun().error_body(body)
