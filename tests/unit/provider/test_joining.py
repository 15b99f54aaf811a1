"""The parts of a broken answer become one stream, in each wire format of callers."""

import json
from typing import Any

import pytest

from mesh import sse
from services.budget.prices.money import SEAM_TOKENS
from services.provider.adapters import Outgoing, Result, Shown
from services.provider.calling.events import Ask, Attempt, Candidate, Rescue, Usage, UsageSource
from services.provider.calling.joining import Broken, ChatJoin, MessagesJoin
from services.provider.calling.rescue import Rescuer, anchor_of, body_again
from services.provider.errors import ProviderFault, cut, timed_out

TEXT = "The quick brown fox jumps"
FAULT = cut("second", "it closed")


class Inner:
    """An exchange that says what it is fed."""

    first = finished = done = True

    def outgoing(self) -> Outgoing:
        return Outgoing("/x", {}, b"")

    def plain(self, raw: bytes) -> bytes:
        return raw

    def event(self, event: bytes) -> bytes:
        return event

    def end(self) -> bytes:
        return b""

    def error_body(self, body: bytes) -> bytes:
        return body

    def result(self, *, need_text: bool) -> Result:
        return Result(Usage(3, 0, 0, 4, 0), UsageSource.PROVIDER, "stop", "only mine")


def attempt(way: Rescue = Rescue.INSTRUCTION) -> Attempt:
    made = Attempt("a", "second", "second/small", 0.0)
    made.rescue = way
    return made


def events(*said: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in said)


def read(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(one) for one in sse.events_in(data)]


def chat(way: Rescue = Rescue.INSTRUCTION) -> ChatJoin:
    first = {"id": "first", "created": 7, "choices": []}
    return ChatJoin(Inner(), Broken(Shown(TEXT), first), attempt(way), Usage(1, 1, 0, 5, 0))


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    said = {**({} if content is None else {"content": content}), **more}
    return {"id": "other", "created": 9, "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def test_a_chat_goes_on_under_its_first_id_with_one_role_and_one_sum_of_usage() -> None:
    join = chat()
    said = read(
        join.event(events(delta("", role="assistant"), delta("fox jumps"), delta(" over"), delta(None, "stop")))
        + join.event(events({"id": "other", "choices": [], "usage": {"prompt_tokens": 3}}))
    )
    assert [one["id"] for one in said] == ["first"] * len(said)
    assert [one["choices"][0]["delta"] for one in said if one["choices"]] == [{"content": " over"}, {}]
    assert said[0]["dac"]["rescue"] == {
        "way": "instruction",
        "model": "second/small",
        "provider": "second",
        "shown_chars": len(TEXT),
    }
    assert not any("dac" in one for one in said[1:])
    assert said[-1]["usage"]["prompt_tokens"] == 5 and said[-1]["usage"]["completion_tokens"] == 9
    assert join.result(need_text=True).text == TEXT + " over"
    assert join.shown() == Shown(TEXT + " over")


def test_what_is_still_held_comes_before_the_end_and_before_a_tool_call() -> None:
    call = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]
    join = chat()
    said = read(join.event(events(delta("jum"), delta(None, None, tool_calls=call))))
    assert [one["choices"][0]["delta"] for one in said] == [{"content": " jum", "tool_calls": call}]
    assert join.shown() is None
    assert read(chat().event(events(delta("quick"), delta(None, "stop"))))[0]["choices"][0]["delta"] == {
        "content": " quick"
    }


def test_reasoning_comes_once() -> None:
    signed = {"anthropic": {"thinking": [{"type": "thinking", "thinking": "hm", "signature": "s", "index": 0}]}}
    again = (delta(reasoning_content="hm"), delta(None, reasoning="hm"), delta(None, extra_content=signed))
    join = chat()
    assert join.event(events(*again)) == b"" and join.shown() is not None


def test_another_answer_is_a_fault_and_not_a_joint() -> None:
    with pytest.raises(ProviderFault):
        chat(Rescue.RESTART).event(events(delta("The quick brown cat")))


def messages(*said: dict[str, Any]) -> list[dict[str, Any]]:
    join = MessagesJoin(Inner(), Broken(Shown(TEXT, 1), {}), attempt(), Usage(1, 0, 0, 5, 0))
    return read(b"".join(join.event(events(one)) for one in said) + join.end())


def block(index: int, kind: str, *said: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": {"type": kind}},
        *({"type": "content_block_delta", "index": index, "delta": one} for one in said),
        {"type": "content_block_stop", "index": index},
    ]


def test_a_message_goes_on_in_its_open_block_without_a_second_start_or_thinking() -> None:
    said = messages(
        {"type": "message_start", "message": {}},
        *block(0, "thinking", {"type": "thinking_delta", "thinking": "hm"}),
        *block(1, "text", {"type": "text_delta", "text": "fox jumps"}, {"type": "text_delta", "text": " over"}),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    )
    assert [one["type"] for one in said] == [
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert said[0]["delta"]["text"] == " over" and said[0]["index"] == said[1]["index"] == 1
    assert said[0]["dac"]["rescue"]["provider"] == "second"
    assert said[2]["usage"]["output_tokens"] == 9 and said[2]["usage"]["input_tokens"] == 4


def test_a_tool_call_follows_the_text_in_a_block_of_its_own() -> None:
    call = block(1, "tool_use", {"type": "input_json_delta", "partial_json": "{}"})
    said = messages(*block(0, "text", {"type": "text_delta", "text": "jum"}), *call)
    assert [(one["type"], one["index"]) for one in said] == [
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
    ]
    alone = messages(*block(0, "tool_use", {"type": "input_json_delta", "partial_json": "{}"}))
    assert [(one["type"], one["index"]) for one in alone] == [
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
    ]


def test_a_message_that_had_nothing_to_add_ends_the_open_block() -> None:
    """Models that are given a whole answer to go on with end at once, without a block of their own."""
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    said = messages({"type": "message_start", "message": {}}, end, {"type": "message_stop"})
    assert [one["type"] for one in said] == ["content_block_stop", "message_delta", "message_stop"]
    assert said[0]["index"] == 1


def test_a_message_whose_block_has_ended_is_not_taken_up_a_second_time() -> None:
    join = MessagesJoin(Inner(), Broken(Shown(TEXT, 1), {}), attempt(), Usage())
    text = block(0, "text", {"type": "text_delta", "text": " over the lazy dog"})
    join.event(events(*text[:2]))
    assert join.shown() == Shown(TEXT + " over the lazy dog", 1)
    join.event(events(text[2]))
    assert join.shown() is None


@pytest.mark.parametrize(
    ("prefill", "way", "behind"),
    [
        ("last_message", Rescue.PREFILL, {"role": "assistant", "content": "So far"}),
        ("prefix", Rescue.PREFILL, {"role": "assistant", "content": "So far", "prefix": True}),
        ("partial", Rescue.PREFILL, {"role": "assistant", "content": "So far", "partial": True}),
    ],
)
def test_a_provider_that_continues_gets_the_shown_part_as_its_own_beginning(
    prefill: str, way: Rescue, behind: dict[str, Any]
) -> None:
    body = json.loads(body_again(b'{"messages":[{"x":1}],"max_tokens":10}', "So far ", way, prefill, spent_tokens=4))
    assert body == {"messages": [{"x": 1}, behind], "max_tokens": 6}


def test_the_output_limit_never_falls_below_one_and_a_restart_sends_the_same_messages() -> None:
    body = json.loads(body_again(b'{"messages":[],"max_tokens":3}', "So far", Rescue.RESTART, "", spent_tokens=9))
    assert body == {"messages": [], "max_tokens": 1}


def test_what_is_said_between_the_parts_is_held_by_budget() -> None:
    """At a token for each repeated character, and two characters of English for one."""
    for shown in ("word " * 40, "\u754c" * 90):
        body = json.loads(body_again(b'{"messages":[]}', shown, Rescue.INSTRUCTION, "", spent_tokens=0))
        wish = body["messages"][-1]["content"]
        said = wish[: wish.index("\n")]
        assert len(said) / 2 + len(anchor_of(shown)) < SEAM_TOKENS


def test_the_anchor_is_made_of_whole_words() -> None:
    assert anchor_of("short") == "short"
    long = "word " * 40 + "and the last of all of these many words here"
    assert long.endswith(anchor_of(long)) and len(anchor_of(long)) <= 48
    assert long[-len(anchor_of(long)) - 1] == " "


def test_an_answer_whose_time_is_over_is_not_taken_up() -> None:
    late = timed_out("p", "the whole answer", 1, out_of_time=True)
    rescuer = Rescuer(Ask(b'{"messages":[]}', [], stream=True, rescues=1))
    assert not rescuer.takes_up(chat(), attempt(), late, b"", 100)


class Line:
    """A provider's line that gives `Inner`."""

    def __init__(self, prefill: str = "") -> None:
        self._prefill = prefill

    def prefill(self, upstream_name: str) -> str:
        return self._prefill

    def exchange(self, ask: Ask, candidate: Candidate) -> Inner:
        self.asked, self.candidate = ask, candidate
        return Inner()


def test_a_rescue_is_allowed_as_often_as_it_is_paid_for_and_within_the_cap() -> None:
    ask = Ask(b'{"messages":[]}', [], stream=True, rescues=1)
    rescuer, broken, line = Rescuer(ask), attempt(Rescue.NONE), Line()
    broken.usage = Usage(output_tokens=30)
    exchange = chat()
    assert rescuer.takes_up(exchange, broken, FAULT, b"", 100) and rescuer.active
    going_on = attempt(Rescue.NONE)
    rescuer.exchange(line, Candidate("m", "second", "small", 50), going_on)
    assert line.candidate.output_cap_tokens == 20 and going_on.rescue is Rescue.INSTRUCTION
    assert not rescuer.takes_up(exchange, going_on, FAULT, b"", 100)


@pytest.mark.parametrize(
    ("thinking", "way"),
    [
        (b'{"type":"enabled","budget_tokens":1024}', Rescue.INSTRUCTION),
        (b'{"type":"adaptive"}', Rescue.INSTRUCTION),
        (b'{"type":"disabled"}', Rescue.PREFILL),
        (b"null", Rescue.PREFILL),
    ],
)
def test_a_model_that_is_told_to_think_is_asked_to_go_on_in_words(thinking: bytes, way: Rescue) -> None:
    ask = Ask(b'{"messages":[],"thinking":' + thinking + b"}", [], stream=True, rescues=1)
    rescuer, going_on = Rescuer(ask), attempt(Rescue.NONE)
    assert rescuer.takes_up(chat(), attempt(), FAULT, b"", 100)
    rescuer.exchange(Line("last_message"), Candidate("m", "second", "claude-sonnet-4-5"), going_on)
    assert going_on.rescue is way


@pytest.mark.parametrize("rest", [b'"n":2', b'"logprobs":true', b'"modalities":["text","audio"]', b'"functions":[]'])
def test_only_one_plain_answer_is_taken_up(rest: bytes) -> None:
    rescuer = Rescuer(Ask(b'{"messages":[],' + rest + b"}", [], stream=True, rescues=1))
    assert not rescuer.takes_up(chat(), attempt(), FAULT, b"", 100)
