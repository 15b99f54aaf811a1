"""Responses passed through: what is spliced, what is read on the way, what is a failure."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.provider.adapters.responses_from_chat import ResponsesExchange
from services.provider.adapters.responses_pass import ResponsesPassExchange, text_bytes_of, usage_of
from services.provider.calling.events import Ask, Candidate, Dialect, Usage, UsageSource
from services.provider.errors import ProviderFault, reading
from services.provider.kinds import Account, exchange_of

BODY = b'{"model":"m","input":"hello there","stream":true}'
USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 42,
}
MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}


def exchange(
    body: bytes = BODY, *, cap: int = 0, stream: bool = True, name: str = "", host: str = "api.openai.com"
) -> Any:
    to = Candidate("p/m", "p", "upstream-name", cap)
    ways = {"dialect_in": Dialect.OPENAI_RESPONSES, "dialect_out": Dialect.OPENAI_RESPONSES}
    return exchange_of(
        Ask(body, [to], stream=stream, answer_model=name, **ways), to, Account("p", "openai", key="k", host=host)
    )


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": f"response.{kind}", "sequence_number": 1, **fields})
    return f"event: response.{kind}\ndata: {data}\n\n".encode()


def whole(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "status": "completed", "model": "up", "output": list(items), "usage": USAGE, **more}


STREAM = [
    event("created", response=whole(status="in_progress", usage=None)),
    event("output_item.added", output_index=0, item={"type": "message", "content": []}),
    event("output_text.delta", delta="Hel"),
    event("output_text.delta", delta="lo"),
    event("completed", response=whole(MESSAGE)),
]


def test_openais_own_address_and_what_the_operator_names_are_passed_through():
    assert isinstance(exchange(), ResponsesPassExchange)
    assert isinstance(exchange(host="models.example.com"), ResponsesExchange)
    to = Candidate("p/m", "p", "n")
    ask = Ask(BODY, [to], Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES)
    account = Account("p", "openai", host="models.example.com", responses=True)
    assert isinstance(exchange_of(ask, to, account), ResponsesPassExchange)


@pytest.mark.parametrize(
    ("body", "cap", "limit"),
    [(b"", 0, None), (b"", 7, 7), (b',"max_output_tokens":5', 7, 5), (b',"max_output_tokens":9', 7, 7)],
)
def test_only_what_must_differ_is_spliced(body: bytes, cap: int, limit: int | None):
    out = exchange(
        b'{"model":"m","input":"a \\u00fc",  "store":  false' + body + b"}", cap=cap, stream=False
    ).outgoing()
    assert out.path == "/responses" and out.headers["Authorization"] == "Bearer k" and b'"a \\u00fc"' in out.body
    sent = json.loads(out.body)
    assert sent["model"] == "upstream-name" and sent.get("max_output_tokens") == limit and sent["store"] is False


def test_a_stream_passes_byte_for_byte():
    made = exchange()
    assert made.event(STREAM[0]) == STREAM[0] and made.event(STREAM[1]) == STREAM[1] and not made.first
    assert b"".join(made.event(one) for one in STREAM[2:]) == b"".join(STREAM[2:]) and made.first and made.done
    assert made.end() == b""
    result = made.result(need_text=True)
    assert result.text == "Hello" and result.finish_reason == "stop" and result.usage_source is UsageSource.PROVIDER
    usage = result.usage
    assert (usage.input_tokens, usage.input_cached_tokens) == (20, 10)
    assert (usage.output_tokens, usage.reasoning_tokens) == (7, 5)


def test_the_answers_model_is_renamed_when_asked():
    made = exchange(name="p/m")
    data = json.loads(made.event(STREAM[0]).split(b"data: ")[1])
    assert data["response"]["model"] == "p/m" and made.event(STREAM[2]) == STREAM[2]
    assert json.loads(exchange(name="p/m", stream=False).plain(json.dumps(whole(MESSAGE)).encode()))["model"] == "p/m"


@pytest.mark.parametrize(
    ("answer", "finish"),
    [
        (whole(MESSAGE), "stop"),
        (whole(CALL), "tool_calls"),
        (whole(MESSAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (whole(MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
    ],
)
def test_a_whole_answer(answer: dict[str, Any], finish: str):
    made, raw = exchange(stream=False), json.dumps(answer).encode()
    assert made.plain(raw) == raw and made.result(need_text=False).finish_reason == finish
    calls = made.result(need_text=True).tool_calls_json
    assert bool(calls) == (finish == "tool_calls")


@pytest.mark.parametrize(
    "answer",
    [
        whole(status="failed", error={"code": "server_error", "message": "x"}),
        whole(status="in_progress"),
        whole(status="queued"),
        {"error": {"message": "x"}},
        {"status": "completed"},
        [],
    ],
)
def test_an_answer_that_failed_is_a_fault(answer: Any):
    with pytest.raises(ProviderFault):
        exchange(stream=False).plain(json.dumps(answer).encode())


@pytest.mark.parametrize(
    "last",
    [
        event("failed", response=whole(status="failed", error={"code": "server_error", "message": "x"})),
        event("failed", response=whole(status="failed")),
        b'data: {"type":"error","code":"server_error","message":"x","sequence_number":3}\n\n',
        b'data: {"type":"error","error":{"code":"server_error","message":"x"}}\n\n',
    ],
)
def test_an_error_in_the_stream_is_a_fault(last: bytes):
    made = exchange()
    for one in STREAM[:3]:
        made.event(one)
    with pytest.raises(ProviderFault):
        made.event(last)


def test_a_stream_without_its_last_event_is_cut():
    made = exchange()
    for one in STREAM[:4]:
        made.event(one)
    with pytest.raises(ProviderFault):
        made.end()
    result = made.result(need_text=False)
    assert result.usage_source is UsageSource.COUNTED and result.usage.output_tokens > 0


def test_a_tool_at_work_is_something_to_see():
    made = exchange()
    made.event(event("output_item.added", output_index=0, item={"type": "web_search_call", "id": "ws_1"}))
    assert made.first and not made.finished


def test_pictures_count_for_nothing_in_the_text():
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 10_000}
    body = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "x" * 50}, picture]}]}
    assert 50 <= text_bytes_of(json.dumps(body).encode()) < 150
    assert text_bytes_of(b"[1]") == 3


KEYS = st.sampled_from("type response status output usage error delta item content name incomplete_details".split())  # noqa: SIM905
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["completed", "message", "x"])
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=5), max_leaves=20)
TYPES = ["response.completed", "response.incomplete", "response.failed", "error", "response.output_text.delta"]
likely = st.fixed_dictionaries(
    {"type": st.sampled_from([*TYPES, "response.output_item.added"])}, optional={"response": odd}
)


@given(st.lists(odd | likely, max_size=5))
@example([{"type": "response.completed", "response": {"incomplete_details": [None], "output": []}}])
def test_odd_streams_are_named_faults(events: list[Any]):
    made = exchange()
    try:
        with reading("p"):
            for one in events:
                made.event(b"data: " + json.dumps(one).encode() + b"\n\n")
            made.end()
    except ProviderFault:
        pass
    made.result(need_text=True)


@given(odd)
def test_odd_answers_are_named_faults(body: Any):
    made = exchange(stream=False)
    try:
        with reading("p"):
            made.plain(json.dumps(body).encode())
    except ProviderFault:
        pass
    made.result(need_text=True)


def test_writes_to_the_cache_and_the_tier_are_told_apart() -> None:
    told = {
        **{"input_tokens": 100, "output_tokens": 9},
        "input_tokens_details": {
            **{"cached_tokens": 10, "cache_write_tokens": 60},
            "cache_write_tokens_details": {"ttl_12h_tokens": 45, "ttl_30m_tokens": 15},
        },
    }
    assert usage_of(told, "flex") == Usage(30, 10, 15, 9, cache_write_1h_tokens=45, service_tier="flex")
    for odd in ({"cache_write_tokens": -1}, {"cache_write_tokens": 60, "cache_write_tokens_details": [45]}, [1]):
        used = usage_of({**told, "input_tokens_details": odd}, {"tier": "flex"})
        assert used is not None and used.cache_write_1h_tokens == 0 and used.service_tier == ""
        assert used.input_tokens + used.cache_write_tokens == 100
