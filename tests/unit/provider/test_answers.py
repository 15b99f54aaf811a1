"""Whatever JSON a provider sends, reading it ends in an answer or in a named fault."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.adapters import Exchange
from services.provider.adapters.anthropic import AnthropicExchange, AnthropicPassExchange
from services.provider.adapters.openai import OpenAIExchange, usage_of
from services.provider.errors import ProviderFault, reading
from services.provider.events import Ask, Candidate, Usage

KEYS = st.sampled_from(
    """choices delta index finish_reason usage error message content tool_calls function arguments name id type model
    prompt_tokens completion_tokens prompt_tokens_details content_block stop_reason input_tokens text role""".split()  # noqa: SIM905
)
WORDS = st.sampled_from(
    "content_block_start content_block_delta message_delta message_start tool_use text text_delta error stop x".split()  # noqa: SIM905
)
leaves = st.none() | st.booleans() | st.integers(-5, 5) | WORDS
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=5), max_leaves=20)


def exchanges(stream: bool) -> list[Exchange]:
    ask = Ask(b'{"messages":[{"role":"user","content":"hi"}]}', [], stream=stream, include_usage=True)
    to = Candidate("m", "p", "u")
    return [cls(ask, to, "p", "k") for cls in (OpenAIExchange, AnthropicExchange, AnthropicPassExchange)]


@given(st.lists(odd, max_size=6))
def test_streams_of_odd_events(events: list[Any]) -> None:
    for exchange in exchanges(True):
        try:
            with reading("p"):
                for event in events:
                    exchange.event(b"data: " + json.dumps(event).encode() + b"\n\n")
                exchange.end()
        except ProviderFault:
            pass
        result = exchange.result(need_text=True)
        assert min(result.usage.input_tokens, result.usage.output_tokens) >= 0


@given(odd)
def test_odd_bodies(body: Any) -> None:
    for exchange in exchanges(False):
        try:
            with reading("p"):
                exchange.plain(json.dumps(body).encode())
        except ProviderFault:
            pass
        exchange.result(need_text=True)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        ({"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None}, Usage(9)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}},
            Usage(0, 9, 0, 5),
        ),
    ],
)
def test_openai_usage(raw: Any, usage: Usage | None) -> None:
    assert usage_of(raw) == usage
