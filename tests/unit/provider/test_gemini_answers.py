"""Gemini's answers, good and bad: the same however a stream is cut, and a named fault for whatever is none."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Reason
from mesh.sse import Splitter, events_in
from services.provider.adapters.gemini import GeminiExchange, usage_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import ProviderFault, refused_status

INPUT = b'{"messages":[{"role":"user","content":"hi there"}]}'


def exchange(stream: bool = True, **fields: Any) -> GeminiExchange:
    ask = Ask(INPUT, [], stream=stream, include_usage=True, **fields)
    return GeminiExchange(ask, Candidate("m", "google", "gemini-x"), "google", "key", now_s=1)


def piece(*parts: Any, finish: str = "", **more: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    if finish:
        choice["finishReason"] = finish
    return {"candidates": [choice], **more}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


def fed(pieces: list[Any], **fields: Any) -> tuple[GeminiExchange, list[dict[str, Any]]]:
    """The exchange and the chunks, but for the end mark."""
    made = exchange(**fields)
    out = b"".join(made.event(b"data: " + json.dumps(one).encode() + b"\r\n\r\n") for one in pieces) + made.end()
    assert out.endswith(b"data: [DONE]\n\n")
    return made, [json.loads(event) for event in events_in(out) if event != b"[DONE]"]


STREAM = [
    piece({"text": "Grüße "}, usageMetadata={"promptTokenCount": 5}, responseId="r", modelVersion="v"),
    piece({"text": "quiet", "thought": True}),
    piece({"text": "🎈"}, call("f", args={"city": "Köln"}, id="1")),
    piece(call("g", args={})),
    piece({"text": ""}, finish="STOP", usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 9}),
]
BYTES = b"".join(b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\r\n\r\n" for one in STREAM)


def test_a_stream() -> None:
    made, chunks = fed(STREAM)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0]["role"] == "assistant" and sum("role" in delta for delta in deltas) == 1
    assert "".join(delta.get("content") or "" for delta in deltas) == "Grüße 🎈"
    calls = [one for delta in deltas for one in delta.get("tool_calls") or []]
    assert [(one["index"], one["function"]) for one in calls] == [
        (0, {"name": "f", "arguments": '{"city": "K\\u00f6ln"}'}),
        (1, {"name": "g", "arguments": "{}"}),
    ]
    assert calls[0]["id"] == "1" and calls[1]["id"].startswith("call_")
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 14
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-r"} and {chunk["model"] for chunk in chunks} == {"v"}
    assert made.result(need_text=True).text == "Grüße 🎈"


@given(st.lists(st.integers(0, len(BYTES)), max_size=12))
def test_where_the_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    def read(pieces: list[bytes]) -> bytes:
        made, splitter = exchange(), Splitter()
        out = b"".join(made.event(event) for one in pieces for event in splitter.feed(one))
        return out + made.end()

    marks = [0, *sorted(cuts), len(BYTES)]
    assert read([BYTES[a:b] for a, b in itertools.pairwise(marks)]) == read([BYTES])


@given(st.integers(0, len(STREAM) - 1))
def test_a_stream_without_a_finish_reason_was_cut(kept: int) -> None:
    with pytest.raises(ProviderFault) as caught:
        fed(STREAM[:kept])
    assert caught.value.reason is Reason.PROVIDER_CUT and caught.value.retry


def test_a_cut_stream_counts_what_was_seen_and_what_google_said() -> None:
    made = exchange()
    told = {"promptTokenCount": 500, "candidatesTokenCount": 2, "thoughtsTokenCount": 30}
    made.event(b"data: " + json.dumps(piece({"text": "x" * 400}, usageMetadata=told)).encode() + b"\n\n")
    got = made.result(need_text=False)
    assert got.usage_source is UsageSource.COUNTED and got.usage == Usage(500, 0, 0, 70, 30)
    more = piece({"text": "x"}, usageMetadata={**told, "candidatesTokenCount": 900})
    made.event(b"data: " + json.dumps(more).encode() + b"\n\n")
    assert made.result(need_text=False).usage == Usage(500, 0, 0, 900, 30)


def test_a_second_candidate_is_not_mixed_in() -> None:
    answer = piece({"text": "one"}, finish="STOP")
    answer["candidates"].append({**piece({"text": "two"}, finish="MAX_TOKENS")["candidates"][0], "index": 1})
    got = fed([answer])[0].result(need_text=True)
    assert (got.text, got.finish_reason) == ("one", "stop")


def test_arguments_of_null_are_none() -> None:
    got = fed([piece(call("f", args=None), finish="STOP")])[0].result(need_text=True)
    assert json.loads(got.tool_calls_json)[0]["function"]["arguments"] == "{}"


def test_a_models_name_cannot_change_the_address() -> None:
    for name, path in (
        ("gemini-x", "/models/gemini-x"),
        ("models/gemini-x", "/models/gemini-x"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("x?key=1&alt=y#z", "/models/x%3Fkey%3D1%26alt%3Dy%23z"),
    ):
        out = GeminiExchange(Ask(INPUT, []), Candidate("m", "google", name), "google", "key").outgoing()
        assert out.path == f"{path}:generateContent"


def test_an_event_becomes_one_chunk() -> None:
    made = exchange()
    parts = [{"text": "a"}, call("f"), {"text": "b"}, call("g")]
    out = made.event(b"data: " + json.dumps(piece(*parts)).encode() + b"\n\n")
    (chunk,) = [json.loads(event) for event in events_in(out)]
    delta = chunk["choices"][0]["delta"]
    assert delta["content"] == "ab" and [one["index"] for one in delta["tool_calls"]] == [0, 1]


def test_ids_are_stable_and_differ_between_calls() -> None:
    pieces = [piece(call("f", args={"a": 1}), call("f", args={"a": 1}), finish="STOP")]
    first, again = (json.loads(fed(pieces)[0].result(need_text=True).tool_calls_json) for _ in range(2))
    assert first == again and len({one["id"] for one in first}) == 2


def test_plain_and_stream_say_the_same() -> None:
    parts = [{"text": "a"}, call("f", args={"x": 1})]
    streamed = fed([piece(*parts, finish="STOP")])[0].result(need_text=True)
    plain = exchange(stream=False)
    body = json.loads(plain.plain(json.dumps(piece(*parts, finish="STOP")).encode()))
    assert plain.result(need_text=True) == streamed
    assert body["choices"][0]["message"]["tool_calls"] == json.loads(streamed.tool_calls_json)


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt(stream: bool) -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}}
    if stream:
        made, chunks = fed([blocked])
        said, finish = chunks[0]["choices"][0]["delta"], chunks[1]["choices"][0]["finish_reason"]
    else:
        made = exchange(stream=False)
        choice = json.loads(made.plain(json.dumps(blocked).encode()))["choices"][0]
        said, finish = choice["message"], choice["finish_reason"]
    assert finish == "content_filter" and "PROHIBITED_CONTENT" in said["refusal"]
    assert made.result(need_text=False).usage == Usage(3)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER", "MISSING_THOUGHT_SIGNATURE", "SOMETHING_NEW"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_generation_is_no_answer(reason: str, stream: bool) -> None:
    failed = piece({"text": "half"}, finish=reason)
    with pytest.raises(ProviderFault, match=reason) as caught:
        fed([failed]) if stream else exchange(stream=False).plain(json.dumps(failed).encode())
    assert caught.value.reason is Reason.PROVIDER_FAILED and caught.value.fall_back


def test_an_error_in_the_stream() -> None:
    with pytest.raises(ProviderFault, match="UNAVAILABLE"):
        fed([STREAM[0], {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}])


def test_a_broken_event_among_good_ones_is_left_out() -> None:
    made = exchange()
    assert made.event(b"data: {no\n\n") == b"" and made.event(b": ping\n\n") == b""
    assert made.event(b"data: " + b"[" * 100_000 + b"\n\n") == b""


BAD: list[Any] = [
    *([], "x", None, 5, {}, {"candidates": []}, {"candidates": 5}, {"candidates": [None]}, {"candidates": [{}]}),
    {"candidates": [], "promptFeedback": {}},
    piece({"text": 5}, finish="STOP"),
    piece({"text": "no end"}),
    piece({"functionCall": {"args": {}}}, finish="STOP"),
    piece(call("f", args=[1]), finish="STOP"),
    piece(call("f", args="x"), finish="STOP"),
    piece({"text": "x"}, finish="FINISH_REASON_UNSPECIFIED"),
    {"error": "no"},
]


@pytest.mark.parametrize("body", BAD)
def test_what_is_no_answer_is_a_named_fault(body: Any) -> None:
    with pytest.raises(ProviderFault):
        exchange(stream=False).plain(json.dumps(body).encode())
    with pytest.raises(ProviderFault):
        fed([body])


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"<html>", b"[" * 100_000, b'{"candidates":[{"con'])
def test_bytes_that_are_no_answer_are_a_named_fault(raw: bytes) -> None:
    with pytest.raises(ProviderFault):
        exchange(stream=False).plain(raw)


def test_a_huge_answer_is_kept_only_so_far() -> None:
    made = exchange()
    for _ in range(20):
        made.event(b"data: " + json.dumps(piece({"text": "x" * (1 << 20)})).encode() + b"\n\n")
    assert len(made.result(need_text=True).text) <= 8 << 20
    assert made.result(need_text=False).usage.output_tokens >= (20 << 20) // 5


NAMES = st.sampled_from(
    """candidates content parts text thought functionCall name args id finishReason index promptFeedback blockReason
    usageMetadata promptTokenCount candidatesTokenCount responseId modelVersion error status""".split()  # noqa: SIM905
)
leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.sampled_from(["STOP", "SAFETY", "x", ""])
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=5), max_leaves=20)
PART = st.fixed_dictionaries({}, optional={"text": odd, "thought": odd, "functionCall": odd, "thoughtSignature": odd})
CHOICE = st.fixed_dictionaries({"content": st.fixed_dictionaries({"parts": st.lists(PART, max_size=3)})})
near = st.fixed_dictionaries(
    {"candidates": st.lists(CHOICE, max_size=2)}, optional={"usageMetadata": odd, "promptFeedback": odd, "error": odd}
)


@given(st.lists(odd | near, max_size=5))
def test_whatever_comes_ends_in_an_answer_or_a_named_fault(bodies: list[Any]) -> None:
    streamed = exchange()
    try:
        for body in bodies:
            streamed.event(b"data: " + json.dumps(body).encode() + b"\n\n")
        streamed.end()
    except ProviderFault:
        pass
    for body in bodies:
        plain = exchange(stream=False)
        try:
            plain.plain(json.dumps(body).encode())
        except ProviderFault:
            pass
        plain.result(need_text=True)
    usage = streamed.result(need_text=True).usage
    assert min(usage.input_tokens, usage.input_cached_tokens, usage.output_tokens, usage.reasoning_tokens) >= 0


FIELDS = st.sampled_from(
    """messages role content type text image_url url tools function name parameters tool_calls id arguments stop seed
    tool_call_id tool_choice response_format json_schema schema max_tokens n reasoning_effort extra_content""".split()  # noqa: SIM905
)
VALUES = leaves | st.sampled_from(["user", "assistant", "tool", "system", "function", "json_schema", "data:x", "low"])
ASKED = st.recursive(VALUES, lambda v: st.lists(v, max_size=3) | st.dictionaries(FIELDS, v, max_size=5), max_leaves=20)
MESSAGE = st.dictionaries(FIELDS, ASKED, max_size=5) | st.fixed_dictionaries({"role": VALUES, "content": ASKED})


@given(st.dictionaries(FIELDS, ASKED, max_size=5), st.lists(MESSAGE, max_size=3))
def test_whatever_is_asked_is_said_or_refused(body: dict[str, Any], messages: list[Any]) -> None:
    ask = Ask(json.dumps({**body, "messages": messages}).encode(), [])
    try:
        out = GeminiExchange(ask, Candidate("m", "google", "gemini-x", 5), "google", "key").outgoing()
    except ProviderFault:
        return
    assert json.loads(out.body)["contents"]


@pytest.mark.parametrize("depth", [*range(900, 1100, 3), 100_000])
def test_arguments_nested_deep_are_said_or_refused(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    turn = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": deep}}]}
    ask = Ask(json.dumps({"messages": [turn]}).encode(), [])
    try:
        GeminiExchange(ask, Candidate("m", "google", "g"), "google", "key").outgoing()
    except ProviderFault:
        pass


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    for make in (lambda: exchange(stream=False).plain(raw), lambda: exchange().event(b"data: " + raw + b"\n\n")):
        try:
            make()
        except ProviderFault:
            pass
    exchange().error_body(raw)
    refused_status("google", 400, {}, raw)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"candidatesTokenCount": 4}, None),
        ({"promptTokenCount": 0}, Usage()),
        ({"promptTokenCount": 0, "candidatesTokenCount": 0}, Usage()),
        ({"promptTokenCount": 1 << 50}, None),
        ({"promptTokenCount": "9"}, None),
        ({"promptTokenCount": True}, None),
        ({"promptTokenCount": 9, "cachedContentTokenCount": 20, "candidatesTokenCount": -1}, None),
        ({"promptTokenCount": 9, "cachedContentTokenCount": 20}, Usage(0, 9)),
        (
            {"promptTokenCount": 9, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 5},
            Usage(12, 0, 0, 4, 5),
        ),
        (
            {
                **{"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 30},
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 30},
                    {"modality": "AUDIO", "tokenCount": 50},
                    {"modality": "IMAGE", "tokenCount": 20},
                ],
                "cacheTokensDetails": [
                    {"modality": "AUDIO", "tokenCount": 25},
                    {"modality": "IMAGE", "tokenCount": 15},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 28}],
                "trafficType": "ON_DEMAND_FLEX",
            },
            Usage(
                *(30, 15, 0, 2, 0),
                input_audio_tokens=25,
                input_audio_cached_tokens=25,
                input_image_tokens=5,
                output_image_tokens=28,
                service_tier="flex",
            ),
        ),
        (
            {"promptTokenCount": 9, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 99}, 7]},
            Usage(0, input_audio_tokens=9),
        ),
        ({"promptTokenCount": 9, "promptTokensDetails": "odd", "trafficType": "ON_DEMAND"}, Usage(9)),
        ({"promptTokenCount": 9, "serviceTier": "priority"}, Usage(9, service_tier="priority")),
    ],
)
def test_usage(raw: Any, usage: Usage | None) -> None:
    assert usage_of(raw) == usage


def status(code: int, message: str = "no", name: str = "INVALID_ARGUMENT", **detail: Any) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "status": name, "details": [detail]}}).encode()


def test_googles_errors() -> None:
    wait = refused_status("google", 429, {}, status(429, name="RESOURCE_EXHAUSTED", retryDelay="34.07s"))
    assert (wait.retry_after_s, wait.retry) == (34.07, True) and "RESOURCE_EXHAUSTED" in wait.message
    assert refused_status("google", 429, {"retry-after": "2"}, status(429, retryDelay="9s")).retry_after_s == 2
    assert refused_status("google", 429, {}, status(429, retryDelay="soon")).retry_after_s is None
    key = refused_status("google", 400, {}, status(400, reason="API_KEY_INVALID"))
    assert key.reason is Reason.PROVIDER_FAILED and "key" in key.message
    place = refused_status("google", 400, {}, status(400, name="FAILED_PRECONDITION"))
    assert place.reason is Reason.PROVIDER_FAILED and place.fall_back
    long = "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."
    assert refused_status("google", 400, {}, status(400, long)).reason is Reason.CONTEXT_TOO_LONG
    wrong = refused_status("google", 400, {}, b"[" + status(400, "bad field") + b"]")
    assert wrong.reason is Reason.PROVIDER_REFUSED and not wrong.fall_back
    assert json.loads(exchange().error_body(wrong.body)) == {
        "error": {"message": "bad field", "type": "INVALID_ARGUMENT", "param": None, "code": None}
    }
