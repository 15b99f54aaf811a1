"""Ollama's answers, good and bad: the same however a stream is cut, and a named fault for whatever is none."""

import base64
import itertools
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from mesh.sse import EventTooLarge, events_in
from services.provider.adapters.framing import NDJSON, Lines
from services.provider.adapters.ollama import OllamaEmbedding, OllamaExchange
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import ProviderFault
from tests.unit.provider.odd import ASK, asked, bears, bears_bytes, odd, says_or_refuses
from tests.upstream.ollama import Ollama

USER = {"role": "user", "content": "hi there"}


def exchange(ask: Ask = ASK, cap: int = 0, **options: str) -> OllamaExchange:
    return OllamaExchange(ask, Candidate("m", "ollama", "q", cap), "ollama", "", now_s=1, options=options)


def said(done: str = "", **message: Any) -> dict[str, Any]:
    made = {"model": "q", "message": {"role": "assistant", "content": "", **message}, "done": bool(done)}
    return {**made, "done_reason": done} if done else made


STREAM = [
    said(thinking="h\nm"),
    said(content="Grüße "),
    said(content="🎈"),
    said(tool_calls=[{"function": {"name": "f", "arguments": {"city": "Köln"}}}]),
    said(tool_calls=[{"id": "own", "function": {"name": "g", "arguments": None}}]),
    {**said("stop"), "prompt_eval_count": 5, "eval_count": 9},
]
BYTES = b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in STREAM)


def read(pieces: list[bytes]) -> tuple[OllamaExchange, bytes]:
    made, splitter = exchange(), NDJSON.splitter(1 << 20)
    out = b"".join(made.event(event) for one in [*pieces, NDJSON.tail] for event in splitter.feed(one))
    return made, out + made.end()


def test_a_stream() -> None:
    made, out = read([BYTES])
    assert out.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(event) for event in events_in(out) if event != b"[DONE]"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0]["role"] == "assistant" and sum("role" in delta for delta in deltas) == 1
    assert "".join(delta.get("content") or "" for delta in deltas) == "Grüße 🎈"
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "h\nm"
    calls = [one for delta in deltas for one in delta.get("tool_calls") or []]
    assert [(one["index"], one["function"]["name"]) for one in calls] == [(0, "f"), (1, "g")]
    assert (
        json.loads(calls[0]["function"]["arguments"]) == {"city": "Köln"} and calls[1]["function"]["arguments"] == "{}"
    )
    assert calls[0]["id"].startswith("call_") and calls[1]["id"] == "own"
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 14
    assert made.done and made.result(need_text=True).text == "Grüße 🎈"


@given(st.lists(st.integers(0, len(BYTES)), max_size=12))
def test_where_the_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(BYTES)]
    assert read([BYTES[a:b] for a, b in itertools.pairwise(marks)])[1] == read([BYTES])[1]


@given(st.integers(0, len(BYTES) - len(json.dumps(STREAM[-1])) - 1))
def test_a_stream_without_its_end_was_cut(kept: int) -> None:
    with pytest.raises(ProviderFault) as caught:
        read([BYTES[:kept]])
    assert caught.value.reason is Reason.PROVIDER_CUT and caught.value.retry


def test_a_last_line_without_its_newline_is_read() -> None:
    assert read([BYTES.rstrip(b"\n")])[1] == read([BYTES])[1]


def test_a_line_too_large() -> None:
    lines = Lines(100)
    with pytest.raises(EventTooLarge):
        lines.feed(b"x" * 60), lines.feed(b"x" * 60)
    with pytest.raises(EventTooLarge):
        Lines(100).feed(b"x" * 200 + b"\n")


def test_a_cut_stream_counts_what_was_seen() -> None:
    made = exchange()
    made.event(json.dumps(said(content="x" * 400, thinking="y" * 400)).encode())
    got = made.result(need_text=False)
    assert got.usage_source is UsageSource.COUNTED and got.usage.output_tokens >= 200


@pytest.mark.parametrize("raw", [{"error": "out of memory"}, said("load"), said("unload"), said("something-new")])
def test_an_error_in_the_stream_or_the_answer(raw: dict[str, Any]) -> None:
    for fail in (
        lambda: exchange().event(json.dumps(raw).encode()),
        lambda: exchange().plain(json.dumps(raw).encode()),
    ):
        with pytest.raises(ProviderFault) as caught:
            fail()
        assert caught.value.reason is Reason.PROVIDER_FAILED and "memory" not in caught.value.message


BAD: list[Any] = [
    *([], "x", None, 5, {}, {"message": 5}, {"message": None}, said(), {"done": "yes"}, said("stop", content=5)),
    said("stop", tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]),
    said("stop", tool_calls=[{"function": {"name": "", "arguments": {}}}]),
    said("stop", tool_calls=[{}]),
]


@pytest.mark.parametrize("body", BAD)
def test_what_is_no_answer_is_a_named_fault(body: Any) -> None:
    with pytest.raises(ProviderFault):
        exchange().plain(json.dumps(body).encode())
    with pytest.raises(ProviderFault):
        read([json.dumps(body).encode()])


def test_a_broken_line_among_good_ones_is_left_out() -> None:
    assert read([b"{no\n", BYTES])[1] == read([BYTES])[1]


@given(st.lists(odd("message content thinking tool_calls function name arguments done done_reason error"), max_size=4))
def test_whatever_comes_ends_in_an_answer_or_a_named_fault(bodies: list[Any]) -> None:
    bears(exchange, bodies, bytes)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    bears_bytes(exchange, raw, bytes)


@given(asked())
def test_whatever_is_asked_is_said_or_refused(body: dict[str, Any]) -> None:
    says_or_refuses(exchange, body)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({}, None),
        ({"prompt_eval_count": 3}, None),
        ({"prompt_eval_count": 0, "eval_count": 0}, Usage()),
        ({"prompt_eval_count": 4, "eval_count": -2}, None),
        ({"prompt_eval_count": 1 << 50, "eval_count": 1}, None),
        ({"prompt_eval_count": "9", "eval_count": 1}, None),
        ({"prompt_eval_count": True, "eval_count": 1}, None),
    ],
)
def test_usage(told: dict[str, Any], usage: Usage | None) -> None:
    made = exchange()
    made.plain(json.dumps({**said("stop", content="x"), **told}).encode())
    got = made.result(need_text=False)
    assert got.usage_source is (UsageSource.COUNTED if usage is None else UsageSource.PROVIDER)
    assert usage is None or got.usage == usage


def test_a_huge_answer_is_kept_only_so_far() -> None:
    made = exchange()
    for _ in range(20):
        made.event(json.dumps(said(content="x" * (1 << 20))).encode())
    assert len(made.result(need_text=True).text) <= 8 << 20
    assert made.result(need_text=False).usage.output_tokens >= (20 << 20) // 5


@pytest.mark.parametrize(("wanted", "cap", "sent"), [(None, 7, 7), (5, 7, 5), (50, 7, 7), (50, 0, 50), (None, 0, None)])
def test_the_output_cap(wanted: int | None, cap: int, sent: int | None) -> None:
    ask = Ask(json.dumps({"messages": [USER], "max_tokens": wanted}).encode(), [])
    body = json.loads(exchange(ask, cap).outgoing().body)
    assert (body.get("options") or {}).get("num_predict") == sent


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("named", "body"),
    [
        ("n:", {"n": 2}),
        ("logprobs:", {"logprobs": True}),
        ("tool_choice:", {"tools": TOOLS, "tool_choice": "required"}),
        ("tool_choice:", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ("tools:", {"tools": [{"type": "custom", "custom": {}}]}),
        ("response_format:", {"response_format": {"type": "grammar"}}),
        ("reasoning_effort:", {"reasoning_effort": "huge"}),
        (
            "image",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}
                ]
            },
        ),
        ("input_audio", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
        ("tool result", {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}),
        ("max_completion_tokens", {"max_tokens": 0.5}),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(named: str, body: dict[str, Any]) -> None:
    ask = Ask(json.dumps({"messages": [USER], **body}).encode(), [])
    with pytest.raises(ProviderFault, match=named) as caught:
        exchange(ask).outgoing()
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_hints_are_left_out_and_the_mock_takes_the_rest() -> None:
    hints = {
        "user": "u",
        "logit_bias": {"1": 2},
        "store": True,
        "metadata": {},
        "options": {"num_ctx": 9},
        "keep_alive": -1,
    }
    ask = Ask(json.dumps({"messages": [USER], **hints, "tools": TOOLS, "tool_choice": "none"}).encode(), [])
    body = json.loads(exchange(ask).outgoing().body)
    assert Ollama().check(body) is None and set(body) == {"model", "messages", "stream"}


def test_vectors_in_openais_form() -> None:
    raw = json.dumps({"model": "nomic", "embeddings": [[0.5, -1.0], [1.0, 2.0]], "prompt_eval_count": 0}).encode()
    for encoding in ("float", "base64"):
        ask = Ask(
            json.dumps({"input": ["a", "b"], "encoding_format": encoding}).encode(), [], vectors=2, input_tokens=9
        )
        made = OllamaEmbedding(ask, Candidate("m", "o", "nomic"), "o", "")
        made.outgoing()
        data = json.loads(made.plain(raw))["data"]
        if encoding == "base64":
            assert struct.unpack("<2f", base64.b64decode(data[1]["embedding"])) == (1.0, 2.0)
        else:
            assert [one["embedding"] for one in data] == [[0.5, -1.0], [1.0, 2.0]]
        assert made.result(need_text=False).usage == Usage() and made.result(need_text=False).usage_source == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"embeddings":[]}',
        b'{"embeddings":[[1]]}',
        b'{"embeddings":[[1],[]]}',
        b'{"embeddings":[[1],["x"]]}',
        b'{"error":"x"}',
    ],
)
def test_vectors_that_are_none(raw: bytes) -> None:
    ask = Ask(b'{"input":["a","b"]}', [], vectors=2)
    with pytest.raises(ProviderFault):
        OllamaEmbedding(ask, Candidate("m", "o", "n"), "o", "").plain(raw)


@pytest.mark.parametrize("body", [{"input": [1, 2]}, {"input": 5}, {}, {"input": "x", "dimensions": "y"}])
def test_inputs_that_cannot_be_embedded(body: dict[str, Any]) -> None:
    with pytest.raises(ProviderFault):
        OllamaEmbedding(Ask(json.dumps(body).encode(), []), Candidate("m", "o", "n"), "o", "").outgoing()


def test_errors_in_openais_shape() -> None:
    shown = json.loads(exchange().error_body(b'{"error":"model not found"}'))
    assert shown["error"]["message"] == "model not found"
    assert exchange().error_body(b"<html>") == b""
