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
from services.provider.calling.events import Ask, Candidate, Usage
from services.provider.config import ProviderConfig
from services.provider.errors import ProviderFault, reading
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
        # OpenAI's audio models, and OpenRouter's of pictures: what is in a total is taken out of it.
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 40, "image_tokens": 30},
                "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 20, "image_tokens": 15},
            },
            Usage(
                *(20, 10, 0, 10, 5),
                input_audio_tokens=40,
                input_image_tokens=30,
                output_audio_tokens=20,
                output_image_tokens=15,
            ),
        ),
        # More parts than the total has: none is counted twice.
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 7, "image_tokens": 7},
                "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 7, "image_tokens": 7},
            },
            Usage(0, 4, 0, 0, 4, input_audio_tokens=5, output_audio_tokens=1),
        ),
        # OpenAI's cache of GPT-5.6: what stays for long has its own price.
        (
            {
                "prompt_tokens": 90,
                "completion_tokens": 5,
                "prompt_tokens_details": {
                    "cache_write_tokens": 70,
                    "cache_write_tokens_details": {"ttl_12h_tokens": 50, "ttl_30m_tokens": 20},
                },
            },
            Usage(20, 0, 20, 5, cache_write_1h_tokens=50),
        ),
    ],
)
def test_openai_usage(raw: Any, usage: Usage | None) -> None:
    assert usage_of(raw) == usage


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        *(("flex", "flex"), ("Priority", "priority"), ("fast", "fast"), ("scale", "scale"), ("batch", "batch")),
        *(("default", ""), ("standard", ""), ("auto", ""), ("on_demand", ""), ("", ""), (None, ""), (7, "")),
        *(("a b", ""), ("x" * 33, ""), ("flex:input", ""), (["flex"], "")),
    ],
)
def test_the_tier_that_served_it_is_noted(said: Any, tier: str) -> None:
    answer = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        "service_tier": said,
    }
    made = exchange_of(
        Ask(b'{"model":"m","messages":[]}', []),
        Candidate("m", "openai", "m"),
        Account("openai", "openai", "key", "https://openai.example"),
    )
    made.outgoing()
    made.plain(json.dumps(answer).encode())
    assert made.result(need_text=False).usage == Usage(3, 0, 0, 1, service_tier=tier)


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_hour_long_writes_and_fast_mode_are_told_apart(stream: bool) -> None:
    usage = {
        **{"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11, "output_tokens": 3},
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 9},
        **{"service_tier": "standard", "speed": "fast"},
    }
    made = AnthropicPassExchange(Ask(b"{}", [], stream=stream), Candidate("m", "a", "m"), "a", "key")
    message = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}], "usage": usage}
    if stream:
        for event in (
            {"type": "message_start", "message": {**message, "content": []}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ):
            made.event(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    else:
        made.plain(json.dumps({**message, "stop_reason": "end_turn"}).encode())
    wrote = 4 if stream else 3
    assert made.result(need_text=False).usage == Usage(5, 7, 2, wrote, cache_write_1h_tokens=9, service_tier="fast")
