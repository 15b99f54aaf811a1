"""A chat's answers as responses: whole, as events, over every kind of chat exchange, cut anywhere, odd."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import construct_type_unchecked
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from mesh import sse
from services.provider.adapters import responses_output
from services.provider.adapters.responses_from_chat import ResponsesExchange
from services.provider.calling.events import Ask, Candidate, Dialect, UsageSource
from services.provider.errors import ProviderFault, reading
from services.provider.kinds import Account, exchange_of
from tests.unit.provider.test_messages_from_openai import CALLS, TEXT, USAGE, chunk, likely, odd, piece
from tests.unit.provider.test_responses_to_chat import exchange

BODY = b'{"model":"m","input":"hello there","stream":true,"metadata":{"a":"b"}}'
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PLACES = ("item_id", "output_index", "content_index", "summary_index")


def begun(body: bytes = BODY, *, stream: bool = True) -> ResponsesExchange:
    made = exchange(body, stream=stream)
    made.outgoing()
    return made


def run(pieces: Sequence[bytes], made: Any = None) -> bytes:
    """What a caller gets for a stream that is cut into these pieces."""
    made, splitter, out = made or begun(), sse.Splitter(), b""
    for one in pieces:
        for event in splitter.feed(one):
            out += made.event(event)
    return out + made.end()


def read(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(data) for data in sse.events_in(stream)]


def response_of(stream: bytes) -> Any:
    """The response as the SDK puts it together; every event is checked against its type."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Any = None
    for number, event in enumerate(read(stream)):
        EVENT.validate_python(event)
        assert event["sequence_number"] == number
        state.handle_event(construct_type_unchecked(value=event, type_=ResponseStreamEvent))  # type: ignore[arg-type]
        last = event
    return Response.model_validate(last["response"])


def test_a_stream_of_text():
    events = read(run(TEXT))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    response = response_of(run(TEXT))
    thought, message = response.output
    assert response.id == "resp_abc1" and response.model == "up" and response.created_at == 1_700_000_000
    assert thought.summary[0].text == "hm" and message.content[0].text == "Hello ü" and message.status == "completed"
    assert response.status == "completed" and response.completed_at == 1_700_000_000
    usage = response.usage
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (30, 10)
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens, usage.total_tokens) == (12, 5, 42)
    assert response.metadata == {"a": "b"} and response.store is False


def test_pieces_stand_where_their_item_is():
    for stream in (TEXT, CALLS):
        items: dict[str, int] = {}
        for event in read(run(stream)):
            if event["type"] == "response.output_item.added":
                items[event["item"]["id"]] = event["output_index"]
            elif "item_id" in event:
                assert items[event["item_id"]] == event["output_index"] == len(items) - 1
        assert list(items.values()) == list(range(len(items)))


def test_a_stream_of_calls():
    response = response_of(run(CALLS))
    text, weather, clock = response.output
    assert text.content[0].text == "I look." and response.status == "completed"
    assert (weather.call_id, weather.name, weather.arguments) == ("call_1", "weather", '{"city":"Ulm"}')
    assert (clock.call_id, clock.name, clock.arguments) == ("call_2", "time", "{}")
    assert weather.id != clock.id and weather.status == "completed"


FORMS = json.dumps(
    {
        "model": "m",
        "input": "Hi",
        "tools": [
            {"type": "custom", "name": "patch"},
            {
                "type": "namespace",
                "name": "agents",
                "description": "",
                "tools": [{"type": "function", "name": "close"}],
            },
        ],
    }
).encode()


def test_calls_are_of_the_tools_the_caller_knows():
    pieces = [
        piece(0, '{"inp', "patch", "x"),
        piece(0, 'ut":"a \\"b\\""}'),
        piece(1, "{}", "agents__close", "y"),
        piece(2, "no json", "patch", "z"),
    ]
    stream = run([*(chunk(one) for one in pieces), chunk({}, "tool_calls"), sse.DONE], begun(FORMS))
    patch, close, odd = response_of(stream).output
    assert (patch.type, patch.name, patch.call_id, patch.input) == ("custom_tool_call", "patch", "x", 'a "b"')
    assert (close.type, close.name, close.namespace) == ("function_call", "close", "agents")
    assert odd.input == "no json"
    told = [event for event in read(stream) if "custom_tool_call_input" in event["type"]]
    assert [event.get("delta") or event["input"] for event in told] == ['a "b"'] * 2 + ["no json"] * 2


def test_calls_that_all_have_index_0():
    stream = [chunk(piece(0, '{"a":1}', "f", "x")), chunk(piece(0, '{"b":2}', "f", "y")), chunk({}, "stop"), sse.DONE]
    assert [call.arguments for call in response_of(run(stream)).output] == ['{"a":1}', '{"b":2}']


def test_pieces_of_calls_in_no_order_are_a_fault():
    for other in (chunk(piece(1, "{", "g", "y")), chunk({"content": "text"})):
        made = begun()
        made.event(chunk(piece(0, "{", "f", "x")))
        made.event(other)
        with pytest.raises(ProviderFault):
            made.event(chunk(piece(0, "}")))


@pytest.mark.parametrize(
    ("finish", "why"), [("stop", None), ("odd", None), ("length", "max_output_tokens"), ("content_filter",) * 2]
)
def test_why_it_stopped(finish: str, why: str | None):
    out = run([chunk({"content": "x"}), chunk({}, finish), sse.DONE])
    response = response_of(out)
    assert response.status == ("incomplete" if why else "completed") == response.output[0].status
    assert (response.incomplete_details.reason if response.incomplete_details else None) == why
    assert read(out)[-1]["type"] == f"response.{response.status}"


def test_a_refusal_is_a_part_of_its_own():
    stream = [chunk({"content": "Hm."}), chunk({"refusal": "I cannot."}), chunk({}, "stop"), sse.DONE]
    (message,) = response_of(run(stream)).output
    assert message.content[0].text == "Hm." and message.content[1].refusal == "I cannot."


def test_an_answer_without_a_word_is_an_empty_message():
    assert response_of(run([chunk({}, "stop"), sse.DONE])).output[0].content[0].text == ""


def test_a_cut_stream_has_no_last_event():
    made = begun()
    out = b"".join(made.event(event) for event in TEXT[:4])
    assert b"response.completed" not in out and b"output_item.done" not in out.split(b'"type":"message"')[-1]
    with pytest.raises(ProviderFault):
        made.end()
    assert made.result(need_text=True).usage_source is UsageSource.COUNTED


def test_another_exchange_may_go_on_in_mid_stream():
    """What was told stays told: ids, items and sequence numbers are the translator's own."""
    made, other = begun(), begun()
    out = b"".join(made.event(event) for event in TEXT[:3])
    made._inner = other._inner
    out += made.event(chunk({"content": "p"})) + made.event(chunk({}, "stop")) + made.end()
    response = response_of(out)
    assert response.output[-1].content[0].text == "Help" and response.id == "resp_abc1"


def test_a_stream_larger_than_can_be_repeated_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(responses_output, "MOST_BYTES", 100)
    made = begun()
    made.event(chunk({"content": "x" * 90}))
    with pytest.raises(ProviderFault):
        made.event(chunk({"content": "\x00" * 2}))


def test_what_an_answer_cannot_repeat_is_refused():
    body = json.dumps({"model": "m", "input": "Hi", "instructions": "x" * (2 << 20)}).encode()
    with pytest.raises(ProviderFault, match=r"^instructions: "):
        exchange(body).outgoing()


@given(st.sampled_from([TEXT, CALLS]), st.lists(st.integers(1, 2000), max_size=12), st.booleans())
def test_the_stream_is_the_same_however_it_is_cut(events: list[bytes], cuts: list[int], crlf: bool):
    whole = b"".join(events)
    wanted = run([whole])
    assert run(events) == wanted
    sent = whole.replace(b"\n", b"\r\n") if crlf else whole
    places = sorted({0, *[cut % len(sent) for cut in cuts], len(sent)})
    assert run([sent[start:end] for start, end in itertools.pairwise(places)]) == wanted


PIECE = st.tuples(st.sampled_from(["content", "refusal", "reasoning_content"]), st.text(min_size=1, max_size=8))


@given(st.lists(PIECE, min_size=1, max_size=8), st.integers(0, 5000), st.integers(0, 5000))
def test_texts_and_usage_arrive_exactly(pieces: list[tuple[str, str]], prompt: int, completion: int):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    stream = [*(chunk({kind: text}) for kind, text in pieces), chunk({}, "stop"), chunk(None, usage=usage), sse.DONE]
    response = response_of(run(stream))
    parts = [part for item in response.output for part in (getattr(item, "content", None) or item.summary)]
    assert "".join(getattr(part, "text", None) or getattr(part, "refusal", "") for part in parts) == "".join(
        text for _, text in pieces
    )
    assert (response.usage.input_tokens, response.usage.output_tokens) == (prompt, completion)


def test_a_whole_answer():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}
    message = {
        "role": "assistant",
        "content": "See:",
        "reasoning_content": "hm",
        "tool_calls": [call, {**call, "id": "c2"}],
    }
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    raw = json.dumps({"id": "chatcmpl-7", "model": "up", "choices": choices, "usage": USAGE}).encode()
    made = begun(stream=False)
    answer = json.loads(made.plain(raw))
    response = Response.model_validate(answer)
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert response.id == "resp_7" and response.output[2].arguments == '{"a":[1]}'
    assert len({item.id for item in response.output}) == 4 and answer["status"] == "completed"
    result = made.result(need_text=True)
    assert result.text == "See:" and result.usage.reasoning_tokens == 5 and made.finished


ANTHROPIC = [
    {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
GEMINI = [
    {"candidates": [{"content": {"parts": [{"text": "Hel"}]}}], "responseId": "1", "modelVersion": "g"},
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
    },
]
OPENAI = [{"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}]
OPENAI += [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}]


@pytest.mark.parametrize(
    ("kind", "events"), [("anthropic", ANTHROPIC), ("gemini", GEMINI), ("openai", OPENAI), ("local", OPENAI)]
)
def test_every_kind_of_provider_answers(kind: str, events: list[dict[str, Any]]):
    """Also with what an exchange says only at the end, such as its usage."""
    to = Candidate("p/m", "p", "name")
    for dialect, body in (
        (Dialect.OPENAI_RESPONSES, BODY),
        (Dialect.ANTHROPIC_MESSAGES, b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'),
    ):
        if kind == "anthropic" and dialect is Dialect.ANTHROPIC_MESSAGES:
            continue
        made = exchange_of(Ask(body, [to], dialect, dialect, stream=True), to, Account("p", kind))
        made.outgoing()
        out = run([b"data: " + json.dumps(event).encode() + b"\n\n" for event in events], made)
        if dialect is Dialect.OPENAI_RESPONSES:
            response = response_of(out)
            assert response.output_text == "Hello" and response.status == "completed"
            assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)
        else:
            told = [event for event in read(out) if event["type"] == "message_delta"]
            assert b'"text":"Hel' in out and told[0]["usage"]["output_tokens"] == 2
            assert out.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_the_providers_error_is_in_openais_shape():
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "too hot"}}
    to = Candidate("p/m", "p", "name")
    ask = Ask(BODY, [to], Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES)
    made = exchange_of(ask, to, Account("p", "anthropic"))
    made.outgoing()
    assert json.loads(made.error_body(json.dumps(error).encode()))["error"]["message"] == "too hot"


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
