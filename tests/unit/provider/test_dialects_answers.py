"""Answers in the dialects of OpenAI's form, as their pages show them: kept, counted, mended, or failed by name."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from mesh.sse import events_in
from services.provider.adapters.openai import OpenAIExchange
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import ProviderFault
from services.provider.kinds import Account, exchange_of

BODY = b'{"messages":[{"role":"user","content":"hi"}]}'


def exchange(dialect: str, *, stream: bool, include_usage: bool = False) -> OpenAIExchange:
    ask = Ask(BODY, [], stream=stream, include_usage=include_usage)
    made = exchange_of(ask, Candidate("m", "p", "up"), Account("p", "openai", "key", said_dialect=dialect))
    assert isinstance(made, OpenAIExchange)
    made.outgoing()
    return made


def chunk(delta: Any = None, finish: str | None = None, *, choice: Any = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, **(choice or {})}]
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": choices, **more}


def fed(dialect: str, chunks: list[dict[str, Any]], **more: Any) -> tuple[OpenAIExchange, bytes]:
    made = exchange(dialect, stream=True, **more)
    out = b"".join(made.event(b"data: " + json.dumps(one).encode() + b"\n\n") for one in chunks)
    return made, out + made.end()


def read(out: bytes) -> list[ChatCompletionChunk]:
    """As the official client does, strictly."""
    return [ChatCompletionChunk.model_validate_json(one) for one in events_in(out) if one != b"[DONE]"]


def whole(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "x", **more}
    return json.dumps({**answer, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()


SOURCES = {
    "citations": ["https://a.example/1", "https://b.example/2"],
    "search_results": [{"title": "A", "url": "https://a.example/1", "date": "2026-01-02", "snippet": "…"}],
}
COST = {"input_tokens_cost": 0.0, "output_tokens_cost": 0.001, "total_cost": 0.006}


def test_perplexity_sources_of_a_whole_answer_are_kept_to_the_byte() -> None:
    raw = whole(
        {"role": "assistant", "content": "It is.[1]"}, usage={"prompt_tokens": 9, "completion_tokens": 4}, **SOURCES
    )
    made = exchange("perplexity", stream=False)
    assert made.plain(raw) == raw
    assert made.result(need_text=True).text == "It is.[1]" and made.result(need_text=False).usage == Usage(9, 0, 0, 4)


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("last", ["with a choice", "without a choice"])
def test_perplexity_sources_of_a_stream_are_kept_wherever_they_come(last: str, include_usage: bool) -> None:
    told = [{"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count} for count in (1, 2, 3)]
    final = chunk({"role": "assistant", "content": ""}, "stop") if last == "with a choice" else chunk()
    chunks = [
        chunk({"role": "assistant", "content": "It"}, usage=told[0], citations=SOURCES["citations"]),
        chunk({"content": " is."}, "stop" if last == "without a choice" else None, usage=told[1]),
        {**final, "usage": {**told[2], "cost": COST}, **SOURCES},
    ]
    made, out = fed("perplexity", chunks, include_usage=include_usage)
    assert [json.loads(one) for one in events_in(out) if one != b"[DONE]"] == chunks
    assert made.result(need_text=False).usage == Usage(9, 0, 0, 3)


def test_groqs_usage_is_found_beside_openais_place() -> None:
    usage = {"prompt_tokens": 45, "completion_tokens": 662, "total_tokens": 707, "total_time": 2.6}
    chunks = [chunk({"content": "a"}), chunk({}, "stop", x_groq={"id": "r", "usage": usage})]
    made, out = fed("groq", chunks)
    assert made.result(need_text=False).usage == Usage(45, 0, 0, 662) and len(read(out)) == 2


def test_kimis_usage_is_found_in_the_choice() -> None:
    usage = {"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cached_tokens": 16}
    made, _ = fed("moonshot", [chunk({"reasoning_content": "hm"}), chunk({}, "stop", choice={"usage": usage})])
    got = made.result(need_text=False)
    assert got.usage == Usage(3, 16, 0, 13) and got.usage_source is UsageSource.PROVIDER


def test_reasoning_text_alone_begins_an_answer() -> None:
    made = exchange("deepseek", stream=True)
    made.event(
        b"data: "
        + json.dumps(chunk({"role": "assistant", "content": None, "reasoning_content": ""})).encode()
        + b"\n\n"
    )
    assert not made.first
    made.event(b"data: " + json.dumps(chunk({"content": None, "reasoning_content": "hm"})).encode() + b"\n\n")
    assert made.first


FAILED = [
    ("openrouter", chunk({"content": ""}, "error", error={"code": 502, "message": "gone"}), "502"),
    ("openrouter", chunk({"content": ""}, "error"), "error"),
    ("mistral", chunk({"content": ""}, "error"), "error"),
    ("deepseek", chunk({"content": ""}, "insufficient_system_resource"), "insufficient_system_resource"),
    ("vllm", chunk({}, "abort"), "abort"),
    ("groq", {"error": {"message": "m", "type": "internal", "code": "over_capacity"}}, "over_capacity"),
]


@pytest.mark.parametrize(("dialect", "last", "named"), FAILED)
def test_a_broken_answer_is_a_failure_and_not_an_end(dialect: str, last: dict[str, Any], named: str) -> None:
    made = exchange(dialect, stream=True)
    made.event(b"data: " + json.dumps(chunk({"content": "half"})).encode() + b"\n\n")
    with pytest.raises(ProviderFault, match=named) as caught:
        made.event(b"data: " + json.dumps(last).encode() + b"\n\n")
    assert caught.value.retry and not made.finished


def test_a_broken_whole_answer_is_a_failure() -> None:
    with pytest.raises(ProviderFault, match="error"):
        exchange("openrouter", stream=False).plain(whole({"content": "half"}, "error"))


def test_azures_first_chunk_without_a_choice_passes() -> None:
    filters = chunk(prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}])
    made, out = fed("azure", [filters, chunk({"content": "a"}), chunk({}, "content_filter")])
    assert (
        json.loads(next(events_in(out))) == filters and made.result(need_text=False).finish_reason == "content_filter"
    )


@pytest.mark.parametrize(
    ("dialect", "theirs", "ours"),
    [("together", "eos", "stop"), ("huggingface", "eos_token", "stop"), ("mistral", "model_length", "length")],
)
def test_finish_reasons_become_openais(dialect: str, theirs: str, ours: str) -> None:
    made, out = fed(dialect, [chunk({"content": 'said "finish_reason": "no"'}), chunk({}, theirs)])
    assert read(out)[-1].choices[0].finish_reason == ours == made.result(need_text=False).finish_reason
    plain = exchange(dialect, stream=False)
    body = plain.plain(whole({"role": "assistant", "content": "a"}, theirs))
    assert ChatCompletion.model_validate_json(body).choices[0].finish_reason == ours


def test_what_needs_no_mending_keeps_its_bytes() -> None:
    made = exchange("mistral", stream=True)
    for event in (
        b'data: {"id":"1", "choices":[{"delta":{"content":"a \\"content\\": [ b"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\r\n\r\n',
    ):
        assert made.event(event) == event


THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}, {"type": "text", "text": "=4"}]}]


def test_mistrals_thinking_is_beside_the_text() -> None:
    parts = [*THINKING, {"type": "text", "text": "4"}, {"type": "reference", "reference_ids": [1]}]
    made = exchange("mistral", stream=False)
    message = (
        ChatCompletion.model_validate_json(
            made.plain(whole({"role": "assistant", "content": parts, "tool_calls": None}))
        )
        .choices[0]
        .message
    )
    assert message.content == "4" == made.result(need_text=True).text
    assert message.model_extra == {"reasoning_content": "2+2=4"}


def test_mistrals_thinking_in_a_stream() -> None:
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": THINKING}),
        chunk({"content": [{"type": "text", "text": "4"}]}),
        chunk({"content": ""}, "stop", usage={"prompt_tokens": 10, "completion_tokens": 46, "total_tokens": 56}),
    ]
    made, out = fed("mistral", chunks)
    deltas = [one.choices[0].delta for one in read(out)]
    assert [delta.content for delta in deltas] == ["", "", "4", ""]
    assert deltas[1].model_extra == {"reasoning_content": "2+2=4"}
    got = made.result(need_text=True)
    assert (got.text, got.usage) == ("4", Usage(10, 0, 0, 46))


def test_mistrals_tool_calls_get_what_openais_have() -> None:
    call = {"id": "gSIMJiOkT", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}
    second = {"id": "D681PevKs", "function": {"name": "weather", "arguments": {"city": "Bonn"}}}
    made = exchange("mistral", stream=False)
    raw = made.plain(whole({"role": "assistant", "content": "", "tool_calls": [call, second]}, "tool_calls"))
    calls = ChatCompletion.model_validate_json(raw).choices[0].message.tool_calls
    assert calls and [one.id for one in calls] == ["gSIMJiOkT", "D681PevKs"]
    made, out = fed("mistral", [chunk({"content": None, "tool_calls": [call, second]}, "tool_calls")])
    deltas = read(out)[0].choices[0].delta.tool_calls or []
    assert [(one.index, one.type) for one in deltas] == [(0, "function"), (1, "function")]
    names = [one["function"] for one in json.loads(made.result(need_text=True).tool_calls_json)]
    assert [json.loads(one["arguments"]) for one in names] == [{"city": "Köln"}, {"city": "Bonn"}]


def test_mistrals_tool_calls_in_pieces_stay_apart() -> None:
    def piece(arguments: str, **more: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"function": {"name": "", "arguments": arguments}, **more}]})

    chunks = [
        piece("", id="aaaaaaaaa", index=0),
        piece('{"a":1}', index=0),
        piece("", id="bbbbbbbbb", index=0),
        piece('{"b":', id="null", index=1),
        piece("2}", id="null"),
        chunk({"content": ""}, "tool_calls"),
    ]
    made, _ = fed("mistral", chunks)
    calls = json.loads(made.result(need_text=True).tool_calls_json)
    assert [json.loads(one["function"]["arguments"]) for one in calls] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("odd", [b'{"choices":[{"finish_reason":"eos"', b'{"finish_reason":"eos","choices":5}'])
def test_odd_bytes_with_a_mark_in_them_never_raise_anything_else(odd: bytes) -> None:
    made = exchange("together", stream=True)
    try:
        made.event(b"data: " + odd + b"\n\n")
    except (ProviderFault, ValueError, KeyError, TypeError, AttributeError):
        # generation reads inside errors.reading, which names these.
        pass
