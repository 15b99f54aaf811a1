"""The window: newest whole groups that fit, oldest first, never a tool message without its call."""

import json

from hypothesis import given
from hypothesis import strategies as st

from services.memory.conversations.window import Message, choose, cost_tokens, groups_of, result_of


def message(position: int, kind: str, call: int, tokens: int) -> Message:
    role, body = kind, ""
    if kind == "calls":
        role = "assistant"
        body = json.dumps({"role": role, "tool_calls": [{"id": f"c{call}"}, {"id": f"d{call}"}]})
    elif kind == "tool":
        body = json.dumps({"role": role, "tool_call_id": f"c{call}", "content": "x"})
    elif kind == "tool2":
        role = "tool"
        body = json.dumps({"role": role, "tool_call_id": f"d{call}", "content": "x"})
    return Message(str(position), "t", role, "x", body, tokens, "", "", position)


threads = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "calls", "tool", "tool2"]), st.integers(0, 2), st.integers(0, 50)),
    max_size=30,
).map(lambda raw: [message(index, *one) for index, one in enumerate(raw)])


@given(threads, st.integers(0, 300), st.integers(1, 20))
def test_the_window_holds_its_rules(thread: list[Message], max_tokens: int, max_messages: int) -> None:
    window = choose(thread, max_tokens=max_tokens, max_messages=max_messages)
    positions = [one.position for one in window]
    assert positions == sorted(set(positions))
    assert len(window) <= max_messages
    assert not max_tokens or sum(map(cost_tokens, window)) <= max_tokens
    waiting: set[str] = set()
    for one in window:
        body = json.loads(one.openai_json) if one.openai_json else {}
        if one.role == "tool":
            assert body["tool_call_id"] in waiting
            waiting.discard(body["tool_call_id"])
        else:
            assert not waiting, "an assistant's calls must all be answered"
            waiting = {call["id"] for call in body.get("tool_calls", ())}
    assert not waiting


@given(threads)
def test_without_limits_all_plain_messages_stay(thread: list[Message]) -> None:
    window = choose(thread, max_tokens=0, max_messages=1000)
    plain = [one for one in thread if not one.openai_json]
    assert [one for one in window if not one.openai_json] == plain


def test_a_long_message_is_not_skipped_over() -> None:
    thread = [message(0, "user", 0, 1), message(1, "user", 0, 1000), message(2, "user", 0, 1)]
    assert [one.position for one in choose(thread, max_tokens=100, max_messages=10)] == [2]


def test_broken_json_is_a_plain_message() -> None:
    broken = Message("1", "t", "assistant", "x", "{", 1, "", "", 0)
    assert choose([broken], max_tokens=0, max_messages=1) == [broken]


def test_calls_whose_results_come_with_the_turn_stay() -> None:
    thread = [message(0, "user", 0, 1), message(1, "calls", 1, 1), message(2, "tool", 1, 1)]
    assert groups_of(thread) == groups_of(thread, {"c1"}) == [[thread[0]]]
    assert groups_of(thread, {"d1", "else"}) == [[thread[0]], thread[1:]]
    assert groups_of([*thread, message(3, "user", 0, 1)], {"d1"})[-1][0].position == 3


def test_what_a_result_answers() -> None:
    assert (result_of(message(0, "tool", 1, 1).openai_json), result_of(""), result_of("{}")) == ("c1", "", "")
