"""Whatever JSON a provider sends, reading it ends in an answer or in a named fault."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.transport import LARGE_MESSAGE_BYTES
from services.provider.adapters import Exchange
from services.provider.adapters.anthropic import AnthropicExchange, AnthropicPassExchange
from services.provider.adapters.gemini import GeminiExchange
from services.provider.adapters.openai import cap_fields, text_bytes_of
from services.provider.adapters.usage import usage_of
from services.provider.config import ProviderConfig
from services.provider.errors import ProviderFault, reading
from services.provider.events import Ask, Candidate, Usage
from services.provider.kinds import Account, exchange_of
from services.provider.splice import fields_of

KEYS = st.sampled_from(
    """choices delta index finish_reason usage error message content tool_calls function arguments name id type model
    prompt_tokens completion_tokens prompt_tokens_details content_block stop_reason input_tokens text role
    x_groq thinking signature stop_details output_tokens_details""".split()  # noqa: SIM905
)
WORDS = st.sampled_from(
    """content_block_start content_block_delta message_delta message_start tool_use text text_delta error stop x
    eos model_length thinking redacted_thinking thinking_delta signature_delta content_block_stop refusal""".split()  # noqa: SIM905
)
leaves = st.none() | st.booleans() | st.integers(-5, 5) | WORDS
odd = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=5), max_leaves=20)

READ_OTHERWISE = ("plain", "groq", "huggingface", "mistral", "moonshot", "perplexity")


def exchanges(stream: bool) -> list[Exchange]:
    ask = Ask(b'{"messages":[{"role":"user","content":"hi"}]}', [], stream=stream, include_usage=True)
    to = Candidate("m", "p", "u")
    own = [cls(ask, to, "p", "k") for cls in (AnthropicExchange, AnthropicPassExchange, GeminiExchange)]
    accounts = [Account("p", "openai", "k", said_dialect=name) for name in READ_OTHERWISE]
    return [*own, *(exchange_of(ask, to, account) for account in accounts)]


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


strings = st.text(max_size=5).map(str.encode) | st.binary(max_size=5)


@given(st.lists(strings, max_size=5), st.booleans())
def test_counting_never_raises_whatever_the_bytes(pieces: list[bytes], surrogate: bool) -> None:
    escapes = [b"\\ud83d", b"\\ude00"] if surrogate else []
    for exchange in exchanges(True):
        for piece in [*pieces, *escapes]:
            delta = (
                b'{"content":"' + piece + b'","tool_calls":[{"id":"' + piece + b'"}],"type":"text_delta","text":[1]}'
            )
            event = b'data: {"type":"content_block_delta","choices":[{"delta":' + delta + b"}]}\n\n"
            try:
                with reading("p"):
                    exchange.event(b"data: " + event + b"\n\n")
            except ProviderFault:
                pass
        result = exchange.result(need_text=True)
        (result.text + result.tool_calls_json).encode()


def test_a_deep_event_is_left_out_or_named() -> None:
    for exchange in exchanges(True):
        with reading("p"):
            assert exchange.event(b"data: " + b"[" * 100_000 + b"\n\n") == b""
        with pytest.raises(ProviderFault), reading("p"):
            exchange.plain(b"[" * 100_000)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages":5}', b'{"messages":[{"tool_calls":[1]}]}', b"\xff"])
def test_an_odd_request_counts_whole(body: bytes) -> None:
    assert text_bytes_of(body) == len(body)


@pytest.mark.parametrize(
    ("body", "cap", "changes"),
    [
        (b"{}", 10, {"max_tokens": b"10"}),
        (b"{}", 0, {}),
        (b'{"max_tokens":1,"max_completion_tokens":100000}', 10, {"max_completion_tokens": b"10"}),
        (b'{"max_tokens":100000,"max_completion_tokens":1}', 10, {"max_tokens": b"10"}),
        (b'{"max_tokens":99,"max_completion_tokens":99}', 10, {"max_tokens": b"10", "max_completion_tokens": b"10"}),
        (b'{"max_tokens":null,"max_completion_tokens":5}', 10, {}),
        (b'{"max_tokens":null}', 10, {"max_tokens": b"10"}),
        (b'{"max_tokens":-1}', 10, {"max_tokens": b"10"}),
        (b'{"max_tokens":1e9}', 10, {"max_tokens": b"10"}),
    ],
)
def test_the_cap_holds_for_every_field(body: bytes, cap: int, changes: dict[str, bytes]) -> None:
    assert cap_fields(fields_of(body), cap, limit="max_tokens") == changes


def test_the_largest_answer_fits_one_message() -> None:
    assert ProviderConfig().max_answer_bytes + 65536 < LARGE_MESSAGE_BYTES
    with pytest.raises(ValueError, match="max_answer_bytes"):
        ProviderConfig(max_answer_bytes=LARGE_MESSAGE_BYTES)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 1, "completion_tokens": 10**30}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        # Half a usage would make the other half free.
        ({"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None}, None),
        ({"prompt_tokens": 9}, None),
        ({"prompt_tokens": -9, "completion_tokens": 5}, None),
        ({"prompt_tokens": 9, "completion_tokens": "5"}, None),
        ({"prompt_tokens": True, "completion_tokens": 5}, None),
        # More than budget takes down: the record would be refused.
        ({"prompt_tokens": 1_000_000_001, "completion_tokens": 5}, None),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": [3]}, Usage(9, 0, 0, 5)),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": "3"}},
            Usage(9, 0, 0, 5),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 20}},
            Usage(0, 9, 0, 5),
        ),
    ],
)
def test_openai_usage(raw: Any, usage: Usage | None) -> None:
    assert usage_of(raw) == usage
