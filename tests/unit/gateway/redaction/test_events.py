"""Values come back into streams, however a provider cuts them and however the network joins their events."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dac.type.v1 import chat_pb2
from mesh import sse
from services.gateway.redaction.events import StreamRestorer, whole
from services.gateway.redaction.placeholders import Restorer, held_from

VALUES = {"[EMAIL_1]": "a@b.org", "[EMAIL_12]": "c@d.org", "[PRIVATE_KEY_1]": 'A\n"B"', "[PHONE_1]": "+44 20 7946 0958"}
OPENAI, ANTHROPIC, RESPONSES = (
    chat_pb2.DIALECT_OPENAI_CHAT,
    chat_pb2.DIALECT_ANTHROPIC_MESSAGES,
    chat_pb2.DIALECT_OPENAI_RESPONSES,
)


def event(document: dict[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + json.dumps(document).encode() + b"\n\n"


def openai(pieces: Sequence[str], field: str = "content") -> list[bytes]:
    def delta(text: str) -> dict[str, Any]:
        if field == "arguments":
            return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        return {field: text}

    said = [event({"id": "x", "n": 1.0, "choices": [{"index": 0, "delta": delta(one)}]}) for one in pieces]
    end = event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [*said, end, event({"id": "x", "choices": [], "usage": {"total_tokens": 3}})]


def anthropic(pieces: Sequence[str], field: str = "text") -> list[bytes]:
    def said(text: str) -> bytes:
        delta = {"type": "text_delta", "text": text} if field == "text" else {"type": "x", "partial_json": text}
        return event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")

    stop = event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    return [*map(said, pieces), event({"type": "ping"}, "ping"), stop, event({"type": "message_stop"}, "message_stop")]


def responses(pieces: Sequence[str], field: str = "text") -> list[bytes]:
    kind = "response.output_text.delta" if field == "text" else "response.function_call_arguments.delta"
    where = {"output_index": 0, "content_index": 0}
    said = [event({"type": kind, **where, "sequence_number": at, "delta": one}, kind) for at, one in enumerate(pieces)]
    done = {"type": "response.output_text.done", **where, "text": "".join(pieces)}
    return [*said, event(done, "response.output_text.done"), event({"type": "response.completed", "response": {}})]


def restored(dialect: chat_pb2.Dialect, chunks: Sequence[bytes], *, in_json: bool = False) -> bytes:
    stream = StreamRestorer(dialect, Restorer(VALUES), in_json=in_json)
    return b"".join([*map(stream.shown, chunks), stream.rest()])


def text_of(dialect: chat_pb2.Dialect, stream: bytes) -> str:
    text = ""
    for data in sse.events_in(stream):
        document = json.loads(data)
        if dialect == OPENAI:
            for choice in document["choices"]:
                calls = choice["delta"].get("tool_calls") or [{}]
                text += choice["delta"].get("content") or calls[0].get("function", {}).get("arguments", "")
        elif dialect == ANTHROPIC:
            delta = document.get("delta", {})
            text += delta.get("text", "") + delta.get("partial_json", "")
        elif document["type"].endswith(".delta"):
            text += document["delta"]
    return text


def cut(text: str, places: Sequence[int]) -> list[str]:
    at = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in itertools.pairwise(at)] or [""]


MADE = {OPENAI: openai, ANTHROPIC: anthropic, RESPONSES: responses}
TEXTS = st.lists(
    st.sampled_from(
        [*VALUES, "[EMAIL_2]", "[EMAIL", "[", "]", "[[", "[EMAIL_1", "[X_1]", "[1]", "é", "word ", "\n", '"', "[P"]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([OPENAI, ANTHROPIC, RESPONSES]),
    TEXTS,
    st.lists(st.integers(0, 200), max_size=30),
    st.lists(st.integers(1, 5), max_size=40),
)
def test_any_cutting_says_the_same_as_the_whole(
    dialect: chat_pb2.Dialect, text: str, places: list[int], joins: list[int]
) -> None:
    events = MADE[dialect](cut(text, places))
    chunks, at = [], 0
    for count in [*joins, len(events)]:
        chunks.append(b"".join(events[at : at + count]))
        at += count
    out = restored(dialect, [one for one in chunks if one])
    assert text_of(dialect, out) == Restorer(VALUES).text(text)
    assert len(list(sse.events_in(out))) == len(events)
    if Restorer(VALUES).text(text) == text:
        assert out == b"".join(events)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([OPENAI, ANTHROPIC, RESPONSES]), st.lists(st.integers(0, 80), max_size=20))
def test_arguments_of_calls_stay_json(dialect: chat_pb2.Dialect, places: list[int]) -> None:
    said = '{"to": "[EMAIL_1]", "key": "[PRIVATE_KEY_1]", "list": ["x"]}'
    field = "arguments" if dialect == OPENAI else "partial_json"
    out = restored(dialect, MADE[dialect](cut(said, places), field))
    assert json.loads(text_of(dialect, out)) == {"to": "a@b.org", "key": 'A\n"B"', "list": ["x"]}


def test_text_is_held_only_within_a_possible_placeholder() -> None:
    stream = StreamRestorer(OPENAI, Restorer(VALUES), in_json=False)
    first, second, third, *_ = openai(["Hello [", "EMA", "n!", "."])
    assert stream.shown(first) == b"" and stream.shown(second) == b""
    assert stream.shown(third) == first + second + third


def test_the_event_before_is_not_held_with_it() -> None:
    stream = StreamRestorer(OPENAI, Restorer(VALUES), in_json=False)
    first, second, *_ = openai(["Hello", " [EM"])
    assert stream.shown(first + second) == first


def test_the_end_of_a_block_ends_the_waiting() -> None:
    stream = StreamRestorer(ANTHROPIC, Restorer(VALUES), in_json=False)
    first, ping, stop, end = anthropic(["see [EMAIL"])
    assert stream.shown(first) == stream.shown(ping) == b""
    assert stream.shown(stop) == first + ping + stop
    assert stream.shown(end) == end


def test_choices_and_calls_are_told_apart() -> None:
    def say(index: int, text: str) -> bytes:
        return event({"choices": [{"index": index, "delta": {"content": text}}]})

    out = restored(OPENAI, [say(0, "[EMA"), say(1, "[PHO"), say(0, "IL_1]"), say(1, "NE_1]")])
    said = {0: "", 1: ""}
    for data in sse.events_in(out):
        choice = json.loads(data)["choices"][0]
        said[choice["index"]] += choice["delta"]["content"]
    assert said == {0: "a@b.org", 1: "+44 20 7946 0958"}


def test_the_last_event_of_a_response_says_values_too() -> None:
    done = {"type": "response.completed", "response": {"output": [{"content": [{"text": "to [EMAIL_1]"}]}], "id": "r"}}
    document = json.loads(next(sse.events_in(restored(RESPONSES, [event(done, "response.completed")]))))
    assert document["response"] == {"output": [{"content": [{"text": "to a@b.org"}]}], "id": "r"}


def test_a_stream_that_waits_for_ever_is_let_go() -> None:
    stream = StreamRestorer(OPENAI, Restorer(VALUES), in_json=False)
    first, *_ = openai(["see ["])
    ping = b": keep-alive " + b"x" * 60_000 + b"\n\n"
    out = stream.shown(first) + b"".join(stream.shown(ping) for _ in range(8))
    assert out.startswith(first)


@pytest.mark.parametrize(
    "raw", [b"data: [DONE]\n\n", b": comment [E\n\n", b'data: {"choices": [broken\n\n', b"data: 1\n\n"]
)
def test_what_is_no_event_of_the_form_goes_through(raw: bytes) -> None:
    assert restored(OPENAI, [raw]) == raw


def test_a_whole_answer_gets_values_in_texts_and_in_arguments() -> None:
    message = {
        "content": "to [EMAIL_1] and [EMAIL_2]",
        "tool_calls": [{"function": {"name": "f", "arguments": '{"k": "[PRIVATE_KEY_1]"}'}}],
    }
    body = json.dumps({"id": "x", "choices": [{"message": message}], "n": 1.0}).encode()
    made = json.loads(whole(body, Restorer(VALUES), in_json=False))["choices"][0]["message"]
    assert made["content"] == "to a@b.org and [EMAIL_2]"
    assert json.loads(made["tool_calls"][0]["function"]["arguments"]) == {"k": 'A\n"B"'}
    use = json.dumps({"content": [{"type": "tool_use", "input": {"k": "[PRIVATE_KEY_1]"}}]}).encode()
    assert json.loads(whole(use, Restorer(VALUES), in_json=False))["content"][0]["input"] == {"k": 'A\n"B"'}
    said = json.dumps({"choices": [{"message": {"content": '{"k": "[PRIVATE_KEY_1]"}'}}]}).encode()
    content = json.loads(whole(said, Restorer(VALUES), in_json=True))["choices"][0]["message"]["content"]
    assert json.loads(content) == {"k": 'A\n"B"'}


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_what_is_held_is_short_and_whole(text: str) -> None:
    at = held_from(text)
    assert 0 <= len(text) - at <= 20
    assert "]" not in text[at:]
