"""What the router is given of a prompt: what the user said last, in any wire format, and only where it may choose."""

import json
from typing import Any

import pytest

from services.gateway.wire.anthropic_wire import parse_messages
from services.gateway.wire.openai_wire import PROMPT_HALF_CHARS, ChatAsk, parse_chat
from services.gateway.wire.responses_wire import parse_responses

TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "First"},
    {"role": "assistant", "content": "Yes"},
    {"role": "user", "content": [{"type": "text", "text": "Then"}, {"type": "text", "text": "this"}]},
    {"role": "assistant", "content": "Done"},
]


def chat(model: str, messages: Any, **more: Any) -> ChatAsk:
    return parse_chat(json.dumps({"model": model, "messages": messages, **more}).encode())


def anthropic(model: str, messages: Any) -> ChatAsk:
    return parse_messages(json.dumps({"model": model, "max_tokens": 9, "messages": messages}).encode())


def responses(model: str, given: Any) -> ChatAsk:
    return parse_responses(json.dumps({"model": model, "input": given}).encode())


@pytest.mark.parametrize("model", ["auto", "auto:budget"])
def test_the_users_last_words_and_turns_are_read_in_every_form(model: str) -> None:
    for ask in (chat(model, TALK), anthropic(model, TALK)):
        assert (ask.prompt, ask.turns) == ("Then\nthis", 2)
    items = [
        {"role": "user", "content": "First"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Then this"}]},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
    ]
    ask = responses(model, items)
    assert (ask.prompt, ask.turns) == ("Then this", 2)
    ask = responses(model, "Just this")
    assert (ask.prompt, ask.turns) == ("Just this", 1)


def test_a_named_model_costs_nothing() -> None:
    for ask in (chat("a/b", TALK), anthropic("a/b", TALK), responses("a/b", "Hi"), chat("automatic", TALK)):
        assert (ask.prompt, ask.turns) == ("", 0)


def test_results_of_tools_and_images_are_no_words() -> None:
    result = [{"type": "tool_result", "tool_use_id": "t", "content": "sunny"}]
    ask = anthropic("auto", [*TALK[:3], {"role": "user", "content": result}])
    assert (ask.prompt, ask.turns) == ("Then\nthis", 3)
    image = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    assert chat("auto", [{"role": "user", "content": image}]).prompt == ""
    assert chat("auto", [{"role": "system", "content": "Be kind"}]).prompt == ""


def test_of_a_long_prompt_beginning_and_end_are_read() -> None:
    ask = chat("auto", [{"role": "user", "content": "a" * PROMPT_HALF_CHARS + "b" * 100_000 + "c" * PROMPT_HALF_CHARS}])
    assert ask.prompt == "a" * PROMPT_HALF_CHARS + "\n" + "c" * PROMPT_HALF_CHARS


def test_a_task_is_read_and_not_sent_on() -> None:
    ask = chat("auto", TALK, task_type="code_generation")
    assert ask.task_type == "code_generation" and b"task_type" not in ask.body
