"""Failures as HTTP callers see them: OpenAI's error body, the right status, headers that tell what to do."""

import math
from collections.abc import Mapping

import msgspec

from mesh.errors import MeshError, Reason

STATUS: Mapping[Reason, int] = {
    Reason.INVALID_REQUEST: 400,
    Reason.MISSING_CREDENTIAL: 401,
    Reason.INVALID_CREDENTIAL: 401,
    Reason.PRINCIPAL_REQUIRED: 401,
    Reason.PERMISSION_DENIED: 403,
    Reason.NOT_FOUND: 404,
    Reason.MODEL_NOT_FOUND: 404,
    Reason.NO_MODEL_AVAILABLE: 503,
    Reason.BUDGET_EXHAUSTED: 429,
    Reason.RATE_LIMITED: 429,
    Reason.PRICE_UNKNOWN: 400,
    Reason.REQUEST_ID_CONFLICT: 409,
    Reason.RESERVATION_INVALID: 409,
    Reason.PROVIDER_FAILED: 502,
    Reason.PROVIDER_REFUSED: 400,
    Reason.PROVIDER_TIMEOUT: 504,
    Reason.PROVIDER_CUT: 502,
    Reason.PROVIDER_BUSY: 503,
    Reason.DEADLINE_EXCEEDED: 504,
    Reason.UNAVAILABLE: 503,
    Reason.ALREADY_EXISTS: 409,
    Reason.MANAGED_BY_FILE: 409,
    Reason.TOO_LARGE: 413,
    Reason.INTERNAL: 500,
    Reason.CANCELLED: 499,
    Reason.UNIMPLEMENTED: 404,
    Reason.CONTEXT_TOO_LONG: 400,
    Reason.FAILED_PRECONDITION: 409,
    Reason.SPENDING_STOPPED: 403,
    Reason.ANSWER_BLOCKED: 422,
    Reason.PRIVATE_DATA_REFUSED: 400,
    Reason.REQUEST_IN_PROGRESS: 409,
    Reason.PROVIDER_RATE_LIMITED: 429,
}
"""The HTTP status of every reason."""

_CODES: Mapping[Reason, str] = {
    Reason.MISSING_CREDENTIAL: "invalid_api_key",
    Reason.INVALID_CREDENTIAL: "invalid_api_key",
    Reason.MODEL_NOT_FOUND: "model_not_found",
    Reason.BUDGET_EXHAUSTED: "insufficient_quota",
    Reason.RATE_LIMITED: "rate_limit_exceeded",
    Reason.CONTEXT_TOO_LONG: "context_length_exceeded",
}
_NOT_RETRIED = frozenset(
    {
        Reason.BUDGET_EXHAUSTED,
        Reason.SPENDING_STOPPED,
        Reason.PRICE_UNKNOWN,
        Reason.NO_MODEL_AVAILABLE,
        Reason.REQUEST_ID_CONFLICT,
        Reason.MANAGED_BY_FILE,
        Reason.ALREADY_EXISTS,
        Reason.FAILED_PRECONDITION,
        Reason.RESERVATION_INVALID,
        Reason.ANSWER_BLOCKED,
    }
)


def http_status(error: MeshError) -> int:
    """The HTTP status of a failure."""
    return STATUS.get(error.reason, 500)


def error_type(status: int) -> str:
    """OpenAI's `type` for a status."""
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def error_object(error: MeshError) -> dict[str, str | None]:
    """OpenAI's error object: message, type, param, code."""
    status = http_status(error)
    kind = "insufficient_quota" if error.reason is Reason.BUDGET_EXHAUSTED else error_type(status)
    return {
        "message": error.message,
        "type": kind,
        "param": error.metadata.get("field"),
        "code": _CODES.get(error.reason, error.reason.name.lower()),
    }


def error_body(error: MeshError) -> bytes:
    """The JSON body of a failed request."""
    return msgspec.json.encode({"error": error_object(error)})


def error_event(error: MeshError) -> bytes:
    """The server-sent event that ends a broken stream; no [DONE] follows it."""
    return b"data: " + error_body(error) + b"\n\n"


def error_headers(error: MeshError) -> list[tuple[bytes, bytes]]:
    """Headers that tell a client whether and when to try again."""
    headers = []
    if error.reason in _NOT_RETRIED or (error.reason is Reason.RATE_LIMITED and error.retry_after_s is None):
        headers.append((b"x-should-retry", b"false"))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(round(error.retry_after_s, 3)))).encode()))
    if error.reason is Reason.ANSWER_BLOCKED:
        headers.append((b"x-dac-validation", error.metadata.get("validation", "blocked").encode("ascii", "replace")))
    if http_status(error) == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
