"""Bedrock's answers, good and bad: the same however a stream is cut, and a named fault for whatever is none."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from mesh.sse import EventTooLarge, events_in
from services.provider.adapters.aws_events import EVENTSTREAM, Frames, read_frame
from services.provider.adapters.bedrock import BedrockExchange, usage_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import ProviderFault, refused_status
from tests.unit.provider.odd import ASK, PLAIN, asked, bears, bears_bytes, odd, says_or_refuses
from tests.upstream.bedrock import event, failed, frame

USER = {"role": "user", "content": "hi there"}


def exchange(ask: Ask = ASK, cap: int = 0, key: str = "") -> BedrockExchange:
    return BedrockExchange(ask, Candidate("m", "bedrock", "q", cap), "bedrock", key, now_s=1)


def delta(index: int, **said: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=said)


def stop(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


def use(index: int, name: str) -> bytes:
    return event(
        "contentBlockStart", contentBlockIndex=index, start={"toolUse": {"toolUseId": f"t{index}", "name": name}}
    )


STREAM = [
    event("messageStart", role="assistant"),
    delta(0, reasoningContent={"text": "h"}),
    delta(0, reasoningContent={"text": "m"}),
    delta(0, reasoningContent={"signature": "s"}),
    stop(0),
    delta(1, text="Grüße "),
    delta(1, text="🎈"),
    stop(1),
    use(2, "f"),
    delta(2, toolUse={"input": '{"city":'}),
    delta(2, toolUse={"input": ' "Köln"}'}),
    stop(2),
    use(3, "g"),
    stop(3),
    event("somethingNew", x=1),
    event("messageStop", stopReason="tool_use"),
    event("metadata", usage={"inputTokens": 5, "outputTokens": 9, "cacheReadInputTokens": 2}),
]
BYTES = b"".join(STREAM)


def read(pieces: list[bytes]) -> tuple[BedrockExchange, bytes]:
    made, splitter = exchange(), EVENTSTREAM.splitter(1 << 20)
    out = b"".join(made.event(one) for piece in [*pieces, EVENTSTREAM.tail] for one in splitter.feed(piece))
    return made, out + made.end()


def test_a_stream() -> None:
    made, out = read([BYTES])
    chunks = [json.loads(one) for one in events_in(out) if one != b"[DONE]"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(one.get("content") or "" for one in deltas) == "Grüße 🎈"
    assert "".join(one.get("reasoning_content") or "" for one in deltas) == "hm"
    kept = [one["extra_content"]["bedrock"]["reasoning"] for one in deltas if "extra_content" in one]
    assert kept == [[{"reasoningText": {"text": "hm", "signature": "s"}}]]
    first, second = json.loads(made.result(need_text=True).tool_calls_json)
    assert first == {"id": "t2", "type": "function", "function": {"name": "f", "arguments": '{"city": "Köln"}'}}
    assert second["function"] == {"name": "g", "arguments": "{}"}
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls" and made.done
    assert made.result(need_text=False).usage == Usage(5, 2, 0, 9)


@given(st.lists(st.integers(0, len(BYTES)), max_size=12))
def test_where_the_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(BYTES)]
    assert read([BYTES[a:b] for a, b in itertools.pairwise(marks)])[1] == read([BYTES])[1]


@given(st.integers(0, len(BYTES) - len(STREAM[-1]) - len(STREAM[-2])))
def test_a_stream_without_its_end_was_cut(kept: int) -> None:
    with pytest.raises(ProviderFault) as caught:
        read([BYTES[:kept]])
    assert caught.value.reason is Reason.PROVIDER_CUT and caught.value.retry


def test_without_its_metadata_a_stream_is_whole_and_counted() -> None:
    got = read(STREAM[:-1])[0].result(need_text=False)
    assert got.usage_source is UsageSource.COUNTED and got.usage.output_tokens > 0


@given(st.integers(0, len(STREAM[5]) - 1), st.integers(1, 255))
def test_a_broken_bit_is_a_named_fault(at: int, flip: int) -> None:
    broken = bytearray(STREAM[5])
    broken[at] ^= flip
    with pytest.raises((ProviderFault, ValueError, EventTooLarge)):
        read([STREAM[0], bytes(broken), *STREAM[6:]])


def test_frames_that_lie_about_their_size() -> None:
    with pytest.raises(EventTooLarge):
        Frames(50).feed(event("x", y="z" * 100))
    with pytest.raises(ValueError, match="checksum"):
        Frames(1 << 20).feed(b"\x00" * 12)
    for raw in (b"", b"\x00" * 12, STREAM[0][:-1], STREAM[0] + b"x"):
        with pytest.raises(ValueError):
            read_frame(raw)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("throttlingException", Reason.PROVIDER_RATE_LIMITED),
        ("modelStreamErrorException", Reason.PROVIDER_FAILED),
        ("validationException", Reason.PROVIDER_FAILED),
    ],
)
def test_an_exception_in_the_stream(kind: str, reason: Reason) -> None:
    with pytest.raises(ProviderFault, match=kind) as caught:
        read([STREAM[0], failed(kind)])
    assert caught.value.reason is reason


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output", "something_new"])
def test_a_failed_generation_is_no_answer(reason: str) -> None:
    with pytest.raises(ProviderFault, match=reason):
        read([STREAM[0], event("messageStop", stopReason=reason)])
    body = {"output": {"message": {"content": []}}, "stopReason": reason}
    with pytest.raises(ProviderFault, match=reason):
        exchange(PLAIN).plain(json.dumps(body).encode())


def said(*blocks: Any, stop: Any = "end_turn") -> Any:
    return {"output": {"message": {"role": "assistant", "content": list(blocks)}}, "stopReason": stop}


BAD: list[Any] = [
    *([], "x", None, 5, {}, {"output": 5}, {"output": {"message": {"content": []}}}, said(stop=None), said(stop={})),
    said(5),
    said({"text": 5}),
    said({"toolUse": {"toolUseId": "t", "name": "f", "input": "{}"}}),
    said({"toolUse": {"toolUseId": "t", "name": "", "input": {}}}),
    said({"reasoningContent": 5}),
]


@pytest.mark.parametrize("body", BAD)
def test_what_is_no_answer_is_a_named_fault(body: Any) -> None:
    with pytest.raises(ProviderFault) as caught:
        exchange(PLAIN).plain(json.dumps(body).encode())
    assert caught.value.reason is Reason.PROVIDER_FAILED


@pytest.mark.parametrize(
    "bad",
    [
        delta(9, toolUse={"input": "x"}),
        delta(1, text=5),
        event("contentBlockDelta", delta={}),
        event("messageStop"),
        event("contentBlockStart", contentBlockIndex=1, start={"toolUse": {}}),
        frame(b"{no", event_type="metadata", message_type="event"),
        frame(b"[]", event_type="messageStop", message_type="event"),
    ],
)
def test_an_event_of_another_shape_is_a_named_fault(bad: bytes) -> None:
    with pytest.raises(ProviderFault) as caught:
        exchange().event(bad)
    assert caught.value.reason is Reason.PROVIDER_FAILED


NAMES = "output message content text toolUse name input toolUseId reasoningContent reasoningText stopReason usage delta"
KINDS = st.sampled_from(["contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"])


@given(st.lists(odd(NAMES), max_size=4), KINDS)
def test_whatever_comes_ends_in_an_answer_or_a_named_fault(bodies: list[Any], kind: str) -> None:
    bears(exchange, bodies, lambda raw: frame(raw, event_type=kind, message_type="event"))


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    bears_bytes(exchange, raw, bytes)


@given(asked())
def test_whatever_is_asked_is_said_or_refused(body: dict[str, Any]) -> None:
    says_or_refuses(exchange, body)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"inputTokens": 3}, None),
        ({"inputTokens": 0, "outputTokens": 0}, Usage()),
        ({"inputTokens": 1 << 50, "outputTokens": 0}, None),
        ({"inputTokens": "9", "outputTokens": 0}, None),
        (
            {"inputTokens": 9, "outputTokens": 1, "cacheReadInputTokens": 2, "cacheWriteInputTokens": 3},
            Usage(9, 2, 3, 1),
        ),
        (
            {
                **{"inputTokens": 9, "outputTokens": 1, "cacheWriteInputTokens": 8},
                "cacheDetails": [{"ttl": "1h", "inputTokens": 5}, {"ttl": "5m", "inputTokens": 3}, "odd"],
            },
            Usage(9, 0, 3, 1, cache_write_1h_tokens=5),
        ),
        ({"inputTokens": 9, "outputTokens": 1, "cacheDetails": [{"ttl": "1h", "inputTokens": 5}]}, Usage(9, 0, 0, 1)),
        ({"inputTokens": 9, "outputTokens": 1, "cacheWriteInputTokens": 2, "cacheDetails": 7}, Usage(9, 0, 2, 1)),
    ],
)
def test_usage(raw: Any, usage: Usage | None) -> None:
    assert usage_of(raw) == usage


def test_the_tier_that_served_it_is_noted() -> None:
    raw = {"inputTokens": 1, "outputTokens": 1}
    for said, tier in (({"type": "priority"}, "priority"), ({"type": "default"}, ""), (None, ""), ("flex", "")):
        assert usage_of(raw, said) == Usage(1, 0, 0, 1, service_tier=tier)


@pytest.mark.parametrize(("wanted", "cap", "sent"), [(None, 7, 7), (5, 7, 5), (50, 7, 7), (50, 0, 50), (None, 0, None)])
def test_the_output_cap(wanted: int | None, cap: int, sent: int | None) -> None:
    ask = Ask(json.dumps({"messages": [USER], "max_tokens": wanted}).encode(), [])
    body = json.loads(exchange(ask, cap).outgoing().body)
    assert (body.get("inferenceConfig") or {}).get("maxTokens") == sent


TOOLS = [{"type": "function", "function": {"name": "f"}}]
CALLED = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}


def image(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.parametrize(
    ("named", "body"),
    [
        ("n:", {"n": 2}),
        ("logprobs:", {"logprobs": True}),
        ("response_format:", {"response_format": {"type": "json_object"}}),
        ("tool_choice:", {"messages": [USER, CALLED], "tools": TOOLS, "tool_choice": "none"}),
        ("tools:", {"tools": [{"type": "custom", "custom": {}}]}),
        ("reasoning_effort:", {"reasoning_effort": "huge"}),
        ("image", image("https://example.com/a.png")),
        ("image/bmp", image("data:image/bmp;base64,QUJD")),
        ("messages:", {"messages": [{"role": "system", "content": "alone"}]}),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(named: str, body: dict[str, Any]) -> None:
    ask = Ask(json.dumps({"messages": [USER], **body}).encode(), [])
    with pytest.raises(ProviderFault, match=named) as caught:
        exchange(ask).outgoing()
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_tools_that_must_not_be_called_are_not_shown() -> None:
    ask = Ask(json.dumps({"messages": [USER], "tools": TOOLS, "tool_choice": "none"}).encode(), [])
    assert "toolConfig" not in json.loads(exchange(ask).outgoing().body)


def test_keys() -> None:
    assert exchange(key="ABSKexample").outgoing().headers["Authorization"] == "Bearer ABSKexample"
    assert "Authorization" not in exchange().outgoing().headers
    with pytest.raises(ProviderFault, match="region"):
        exchange(key="AKIAIOSFODNN7EXAMPLE:secret").outgoing()


def test_errors_in_openais_shape() -> None:
    shown = json.loads(exchange().error_body(b'{"message":"The provided model identifier is invalid."}'))
    assert shown["error"]["message"].startswith("The provided model")
    long = refused_status("bedrock", 400, {}, b'{"message":"Input is too long for requested model."}')
    assert long.reason is Reason.CONTEXT_TOO_LONG
