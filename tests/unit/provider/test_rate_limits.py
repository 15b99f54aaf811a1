"""A provider's own rate limit is told apart from everything else that a provider says."""

from __future__ import annotations

import pytest

from mesh.errors import Reason
from services.provider.errors import refused_status, stream_error


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": {"code": "rate_limit_exceeded"}}', b'{"error": 1}'])
def test_a_429_is_a_limit_whatever_its_body(body: bytes) -> None:
    fault = refused_status("p", 429, {"retry-after": "7"}, body)
    assert (fault.reason, fault.retry_after_s, fault.retry) == (Reason.PROVIDER_RATE_LIMITED, 7, True)
    assert fault.rate_limited and fault.fall_back and not fault.body


def test_an_account_without_credit_is_no_limit_that_passes() -> None:
    fault = refused_status("p", 429, {}, b'{"error": {"code": "insufficient_quota", "type": "insufficient_quota"}}')
    assert fault.reason is Reason.PROVIDER_FAILED and "nothing left to spend" in fault.message
    assert not fault.rate_limited and not fault.retry and fault.fall_back


@pytest.mark.parametrize("status", [500, 503, 529])
def test_an_overloaded_provider_is_no_limit(status: int) -> None:
    fault = refused_status("p", status, {"retry-after": "7"}, b'{"error": {"type": "overloaded_error"}}')
    assert fault.reason is Reason.PROVIDER_FAILED and not fault.rate_limited


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("rate_limit_exceeded", Reason.PROVIDER_RATE_LIMITED),
        ("rate_limit_error", Reason.PROVIDER_RATE_LIMITED),
        ("429", Reason.PROVIDER_RATE_LIMITED),
        ("RESOURCE_EXHAUSTED", Reason.PROVIDER_RATE_LIMITED),
        ("overloaded_error", Reason.PROVIDER_FAILED),
        ("insufficient_quota", Reason.PROVIDER_FAILED),
        ("", Reason.PROVIDER_FAILED),
    ],
)
def test_an_error_event_says_it_by_its_kind(kind: str, reason: Reason) -> None:
    assert stream_error("p", kind).reason is reason
