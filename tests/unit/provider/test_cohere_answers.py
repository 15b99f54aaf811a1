"""Cohere's answers, good and bad: the same however a stream is cut, and a named fault for whatever is none."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from mesh.sse import Splitter, events_in
from services.provider.adapters.cohere import CohereEmbedding, CohereExchange, usage_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import ProviderFault, refused_status
from tests.unit.provider.odd import ASK, asked, bears, bears_bytes, odd, says_or_refuses
from tests.upstream.cohere import event

USER = {"role": "user", "content": "hi there"}


def exchange(ask: Ask = ASK, cap: int = 0) -> CohereExchange:
    return CohereExchange(ask, Candidate("m", "cohere", "q", cap), "cohere", "", now_s=1)


def content(**piece: str) -> bytes:
    return event("content-delta", index=0, delta={"message": {"content": piece}})


def arguments(number: int, piece: str) -> bytes:
    return event("tool-call-delta", index=number, delta={"message": {"tool_calls": {"function": {"arguments": piece}}}})


def opened(number: int, name: str, said: str = "") -> bytes:
    call = {"id": f"i{number}", "type": "function", "function": {"name": name, "arguments": said}}
    return event("tool-call-start", index=number, delta={"message": {"tool_calls": call}})


def ended(reason: str = "TOOL_CALL", **more: Any) -> bytes:
    usage = {"billed_units": {"input_tokens": 5.0, "output_tokens": 9.0}}
    return event("message-end", delta={"finish_reason": reason, "usage": usage, **more})


CITED = {"start": 0, "end": 5, "text": "Grüße", "sources": [{"type": "document"}]}
STREAM = [
    event("message-start", id="r", delta={"message": {"role": "assistant"}}),
    event("content-start", index=0, delta={"message": {"content": {"type": "thinking", "thinking": "h"}}}),
    content(thinking="m"),
    event("content-end", index=0),
    content(text="Grüße "),
    content(text="🎈"),
    event("citation-start", index=0, delta={"message": {"citations": CITED}}),
    event("citation-end", index=0),
    event("tool-plan-delta", delta={"message": {"tool_plan": "!"}}),
    opened(0, "f"),
    arguments(0, '{"city":'),
    arguments(0, ' "Köln"}'),
    event("tool-call-end", index=0),
    opened(1, "g", "{}"),
    event("something-new", delta={}),
    ended(),
]
BYTES = b"".join(STREAM)


def read(pieces: list[bytes]) -> tuple[CohereExchange, bytes]:
    made, splitter = exchange(), Splitter()
    out = b"".join(made.event(one) for piece in [*pieces, b"\n\n"] for one in splitter.feed(piece))
    return made, out + made.end()


def test_a_stream() -> None:
    made, out = read([BYTES])
    chunks = [json.loads(one) for one in events_in(out) if one != b"[DONE]"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Grüße 🎈"
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "hm!"
    assert [delta["citations"] for delta in deltas if "citations" in delta] == [[CITED]]
    (first, second) = json.loads(made.result(need_text=True).tool_calls_json)
    assert first == {"id": "i0", "type": "function", "function": {"name": "f", "arguments": '{"city": "Köln"}'}}
    assert second["function"] == {"name": "g", "arguments": "{}"}
    shown = ["", ""]
    for delta in deltas:
        for call in delta.get("tool_calls") or []:
            shown[call["index"]] += call["function"].get("arguments", "")
    assert shown == ['{"city": "Köln"}', "{}"]
    assert chunks[-1]["usage"]["total_tokens"] == 14 and chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-r"} and made.done


@given(st.lists(st.integers(0, len(BYTES)), max_size=12))
def test_where_the_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(BYTES)]
    assert read([BYTES[a:b] for a, b in itertools.pairwise(marks)])[1] == read([BYTES])[1]


@given(st.integers(0, len(BYTES) - len(STREAM[-1])))
def test_a_stream_without_its_end_was_cut(kept: int) -> None:
    with pytest.raises(ProviderFault) as caught:
        read([BYTES[:kept]])
    assert caught.value.reason is Reason.PROVIDER_CUT and caught.value.retry


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT", "SOMETHING_NEW"])
def test_a_failed_generation_is_no_answer(reason: str) -> None:
    with pytest.raises(ProviderFault, match=reason):
        read([STREAM[0], ended(reason)])
    body = {"id": "1", "finish_reason": reason, "message": {"role": "assistant", "content": []}}
    with pytest.raises(ProviderFault, match=reason):
        exchange().plain(json.dumps(body).encode())


def test_an_error_in_the_end_is_no_answer() -> None:
    with pytest.raises(ProviderFault) as caught:
        read([STREAM[0], ended("COMPLETE", error="the prompt's words")])
    assert "words" not in caught.value.message


BAD: list[Any] = [
    *([], "x", None, 5, {}, {"message": 5}, {"message": {}}, {"message": {}, "finish_reason": None}),
    {"message": {"content": "text"}, "finish_reason": "COMPLETE"},
    {"message": {"content": [{"type": "text", "text": 5}]}, "finish_reason": "COMPLETE"},
    {"message": {"tool_calls": [{}]}, "finish_reason": "COMPLETE"},
    {"message": {"tool_calls": [{"function": {"name": ""}}]}, "finish_reason": "COMPLETE"},
]


@pytest.mark.parametrize("body", BAD)
def test_what_is_no_answer_is_a_named_fault(body: Any) -> None:
    with pytest.raises(ProviderFault):
        exchange().plain(json.dumps(body).encode())


@pytest.mark.parametrize(
    "bad",
    [
        arguments(3, "x"),
        content(text=5),  # type: ignore[arg-type]
        event("tool-call-start", index=0, delta={"message": {}}),
        event("message-end", delta={}),
        event("content-delta", delta=5),
    ],
)
def test_an_event_of_another_shape_is_a_named_fault(bad: bytes) -> None:
    with pytest.raises(ProviderFault) as caught:
        exchange().event(bad)
    assert caught.value.reason is Reason.PROVIDER_FAILED


def test_a_broken_event_among_good_ones_is_left_out() -> None:
    assert read([b"data: {no\n\n", b": ping\n\n", b"data: [1]\n\n", BYTES])[1] == read([BYTES])[1]


NAMES = (
    "message delta type content text thinking tool_plan tool_calls function name arguments finish_reason index usage"
)


@given(st.lists(odd(NAMES), max_size=4))
def test_whatever_comes_ends_in_an_answer_or_a_named_fault(bodies: list[Any]) -> None:
    bears(exchange, bodies, lambda raw: b"data: " + raw + b"\n\n")
    kinds = ("content-delta", "tool-call-start", "message-end")
    typed = [{**one, "type": kind} for one in bodies if isinstance(one, dict) for kind in kinds]
    bears(exchange, typed, lambda raw: b"data: " + raw + b"\n\n")


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    bears_bytes(exchange, raw, lambda one: b"data: " + one + b"\n\n")


@given(asked())
def test_whatever_is_asked_is_said_or_refused(body: dict[str, Any]) -> None:
    says_or_refuses(exchange, body)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"billed_units": {"input_tokens": 0.0, "output_tokens": 0}}, Usage()),
        ({"billed_units": {"input_tokens": 3}}, None),
        ({"tokens": {"input_tokens": 7, "output_tokens": 2}, "cached_tokens": 99}, Usage(0, 7, 0, 2)),
        ({"billed_units": {"input_tokens": 1e30, "output_tokens": 1}}, None),
        ({"billed_units": {"input_tokens": 1.5, "output_tokens": 1}}, None),
        ({"billed_units": {"input_tokens": -1, "output_tokens": True}}, None),
        ({"billed_units": {"input_tokens": -1, "output_tokens": 1}}, None),
    ],
)
def test_usage(raw: Any, usage: Usage | None) -> None:
    assert usage_of(raw) == usage


def test_without_usage_dac_counts() -> None:
    body = {"id": "1", "finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "x" * 40}]}}
    made = exchange()
    made.plain(json.dumps(body).encode())
    got = made.result(need_text=False)
    assert got.usage_source is UsageSource.COUNTED and got.usage.output_tokens >= 8


@pytest.mark.parametrize(("wanted", "cap", "sent"), [(None, 7, 7), (5, 7, 5), (50, 7, 7), (50, 0, 50), (None, 0, None)])
def test_the_output_cap(wanted: int | None, cap: int, sent: int | None) -> None:
    ask = Ask(json.dumps({"messages": [USER], "max_tokens": wanted}).encode(), [])
    assert json.loads(exchange(ask, cap).outgoing().body).get("max_tokens") == sent


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("named", "body"),
    [
        ("n:", {"n": 2}),
        ("logprobs:", {"logprobs": True}),
        ("response_format:", {"tools": TOOLS, "response_format": {"type": "json_object"}}),
        ("no function 'g'", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}),
        ("tools:", {"tools": [{"type": "custom", "custom": {}}]}),
        ("reasoning_effort:", {"reasoning_effort": "huge"}),
        ("parallel_tool_calls:", {"tools": TOOLS, "parallel_tool_calls": False}),
        ("input_audio", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(named: str, body: dict[str, Any]) -> None:
    ask = Ask(json.dumps({"messages": [USER], **body}).encode(), [])
    with pytest.raises(ProviderFault, match=named) as caught:
        exchange(ask).outgoing()
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_errors_in_openais_shape() -> None:
    shown = json.loads(exchange().error_body(b'{"id":"1","message":"invalid model"}'))
    assert shown["error"]["message"] == "invalid model"
    assert exchange().error_body(b"<html>") == b""
    long = b'{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081"}'
    assert refused_status("cohere", 400, {}, long).reason is Reason.CONTEXT_TOO_LONG


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"embeddings":{"int8":[[1]]}}', b'{"embeddings":{"float":[]},"meta":5}'])
def test_vectors_that_are_none(raw: bytes) -> None:
    made = CohereEmbedding(Ask(b'{"input":["a","b"]}', [], vectors=2), Candidate("m", "c", "n"), "c", "")
    with pytest.raises(ProviderFault):
        made.plain(raw)
