"""Events come out whole wherever the network cut the stream; counting what they carry stands anything."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.sse import DONE, EventTooLarge, Splitter, answer_bytes, data_of

texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)


@given(st.lists(st.tuples(texts, st.sampled_from(["\n", "\r\n"])), max_size=8), st.data())
def test_any_chunking_gives_the_same_events(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    wanted = [f"event: e{end}data: {text}{end}{end}".encode() for text, end in parts]
    stream = b"".join(wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    splitter, got = Splitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert got == wanted and splitter.rest() == b""


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_nothing_is_lost_of_any_bytes(stream: bytes, cuts: list[int]) -> None:
    splitter, got = Splitter(), []
    places = sorted(min(cut, len(stream)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert b"".join(got) + splitter.rest() == stream
    assert all(event.endswith((b"\n\n", b"\r\n\r\n")) for event in got)


def test_an_event_has_a_largest_size() -> None:
    splitter = Splitter(max_event_bytes=100)
    splitter.feed(b"x" * 90)
    with pytest.raises(EventTooLarge, match="larger than 100"):
        splitter.feed(b"x" * 20)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"data:{}\r\n\r\n", b"{}"),
        (b": ping\n\n", b""),
        (b"event: x\ndata: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"\n\n", b""),
    ],
)
def test_the_data_of_an_event(event: bytes, data: bytes) -> None:
    assert data_of(event) == data


def event(*choices: Any, space: str = " ", end: str = "\n") -> bytes:
    return f"data:{space}{json.dumps({'choices': choices}, ensure_ascii=False)}{end}{end}".encode()


def said(**delta: Any) -> dict[str, Any]:
    return {"index": 0, "delta": delta}


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (DONE, 0),
        (event(said(content="née")), 4),
        (event(said(content="abc"), space=""), 3),
        (event(said(content="abc"), end="\r\n"), 3),
        (event(said(content="abc")).rstrip(), 3),
        (b": ping\nevent: x\n" + event(said(content="abc")), 3),
        (b'data: {"choices":[{"delta":\ndata: {"content":"abc"}}]}\n\n', 3),
        (event(said(refusal="no")), 2),
        (event(said(reasoning_content="hmm"), {"index": 1, "delta": {"content": "ab"}}), 5),
        (event(said(reasoning="hmm", reasoning_content="hmm")), 3),
        (event(said(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}, None, {"function": None}])), 3),
        (event(said(function_call={"name": "f", "arguments": "{}"})), 3),
        (event(said(content=[{"type": "text", "text": "abc"}, 5])), 3),
        (event(said(content=None, tool_calls=None), None, 7, {"delta": 3}), 0),
        (b'data: {"choices":null}\n\ndata: [1]\n\ndata: {no\n\n' + event(said(content="abc")), 3),
        (b'data: {"choices":[{"delta":{"content":"a\xffb"}}]}\n\n', 5),
        (b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n', 2),
        (b'data: {"choices":[{"delta":{"content":"abc"},"logprobs":1e999}]}\n\n', 3),
        (b"data: " + b"[" * 100_000 + b"\n\n" + event(said(content="abc")), 3),
    ],
)
def test_the_answer_in_events_is_counted(data: bytes, count: int) -> None:
    assert answer_bytes([data]) == count
    assert answer_bytes([data[:7], data[7:]]) == count, "frames may be cut anywhere"


keys = st.sampled_from(
    ["choices", "delta", "message", "content", "tool_calls", "function", "function_call", "arguments", "reasoning"]
)
leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4)
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4), max_leaves=20)


@given(st.lists(st.binary(max_size=40) | odd.map(lambda v: b"data:" + json.dumps(v).encode() + b"\n\n"), max_size=6))
def test_counting_stands_anything(frames: list[bytes]) -> None:
    assert 0 <= answer_bytes(frames) <= 3 * len(b"".join(frames))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6))
def test_nothing_that_was_said_is_missed(texts: list[str]) -> None:
    stream = b"".join(event(said(content=text)) for text in texts)
    assert answer_bytes([stream, DONE]) == len("".join(texts).encode())


def test_it_is_importable_without_grpc() -> None:
    code = "import sys, mesh.sse; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
