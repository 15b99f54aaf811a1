"""What is left of a rate limit, in the headers of either wire format."""

import datetime as dt

import pytest

from dac.budget.v1.budget_pb2 import RateLimitState
from dac.type.v1 import chat_pb2
from mesh.errors import MeshError, Reason
from services.gateway.edge.failures import error_headers
from services.gateway.edge.rate_limit_headers import duration, headers_of, headers_of_refusal

OPENAI, ANTHROPIC = chat_pb2.DIALECT_OPENAI_CHAT, chat_pb2.DIALECT_ANTHROPIC_MESSAGES
NOW = dt.datetime(2026, 11, 21, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.02, "20ms"),
        (0.9995, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (60.25, "1m0.25s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (7384, "2h3m4s"),
        (-3, "0ms"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_only_limits_that_exist_are_told() -> None:
    state = RateLimitState(tokens_limit=10, tokens_remaining=4, tokens_reset_s=60.5)
    assert headers_of(state, OPENAI) == [
        (b"x-ratelimit-limit-tokens", b"10"),
        (b"x-ratelimit-remaining-tokens", b"4"),
        (b"x-ratelimit-reset-tokens", b"1m0.5s"),
    ]
    assert headers_of(state, ANTHROPIC, NOW) == [
        (b"anthropic-ratelimit-tokens-limit", b"10"),
        (b"anthropic-ratelimit-tokens-remaining", b"4"),
        (b"anthropic-ratelimit-tokens-reset", b"2026-11-21T12:01:00.500Z"),
    ]
    assert headers_of(None, OPENAI) == [] == headers_of(RateLimitState(), OPENAI)


def refusal(retry_after_s: float | None) -> MeshError:
    metadata = {"requests_limit": "1", "requests_remaining": "0", "requests_reset_s": "3.000"}
    return MeshError(Reason.RATE_LIMITED, "no", metadata=metadata, retry_after_s=retry_after_s)


def test_a_refusal_says_exactly_when_to_come_back() -> None:
    error = refusal(2.3001)
    assert error_headers(error) == [(b"retry-after", b"3")], "rounded down, its sender would come too early"
    assert headers_of_refusal(error, OPENAI) == [
        (b"x-ratelimit-limit-requests", b"1"),
        (b"x-ratelimit-remaining-requests", b"0"),
        (b"x-ratelimit-reset-requests", b"3s"),
        (b"retry-after-ms", b"2301"),
    ]
    assert (b"x-should-retry", b"false") in error_headers(refusal(None))
    assert headers_of_refusal(MeshError(Reason.BUDGET_EXHAUSTED, "no", metadata=error.metadata), OPENAI) == []
