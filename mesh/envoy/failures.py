"""Errors that Envoy itself makes, in the words and the form of the gateway's: OpenAI's error object."""

import dataclasses
import json

from mesh.envoy.document import Document
from mesh.errors import Reason


@dataclasses.dataclass(frozen=True)
class Failure:
    """What a caller reads for a status that Envoy made."""

    status: int
    reason: Reason
    message: str
    code: str = ""
    """OpenAI's code where it is another word than the reason's name."""
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def type(self) -> str:
        """OpenAI's `type`, as the gateway chooses it (tests/unit/mesh/test_envoy.py compares)."""
        special = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return special.get(self.status) or ("invalid_request_error" if self.status < 500 else "server_error")

    def body(self) -> str:
        """The JSON; a per cent sign would begin one of Envoy's substitutions."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code or self.reason.name.lower(),
        }
        return json.dumps({"error": error}, separators=(",", ":")).replace("%", "%%")


SOON = ("retry-after", "1")
NOT_AGAIN = ("x-should-retry", "false")


def failures(max_body_bytes: int) -> tuple[Failure, ...]:
    """Every failure with a text of its own."""
    mebibytes = f"{max_body_bytes / 1048576:g}"
    return (
        Failure(
            400, Reason.INVALID_REQUEST, "The request is not well-formed HTTP, or has a header with an underscore."
        ),
        Failure(404, Reason.UNIMPLEMENTED, "This path is not served here. The paths are listed at /docs."),
        Failure(408, Reason.DEADLINE_EXCEEDED, "The request did not arrive in time. Send it again."),
        Failure(
            413,
            Reason.TOO_LARGE,
            f"The body is larger than {mebibytes} MiB. Send less, or raise gateway.max_body_bytes.",
            param="body",
        ),
        Failure(
            429,
            Reason.RATE_LIMITED,
            "Too many requests. Wait a moment and send it again.",
            code="rate_limit_exceeded",
            headers=(SOON,),
        ),
        Failure(
            431,
            Reason.INVALID_REQUEST,
            "There are more than 100 headers, or more than 60 KiB of them.",
            param="headers",
        ),
        Failure(502, Reason.UNAVAILABLE, "The gateway's answer was broken. Try again.", headers=(SOON,)),
        Failure(503, Reason.UNAVAILABLE, "No gateway can answer just now. Try again.", headers=(SOON,)),
        Failure(504, Reason.DEADLINE_EXCEEDED, "The gateway did not answer in time.", headers=(NOT_AGAIN,)),
    )


def local_replies(max_body_bytes: int) -> Document:
    """`local_reply_config`: gRPC callers keep Envoy's short text, everybody else reads OpenAI's error object."""
    mappers = [_grpc_mapper()]
    mappers += [_mapper("EQ", failure.status, failure) for failure in failures(max_body_bytes)]
    mappers.append(_mapper("GE", 500, Failure(500, Reason.INTERNAL, "Something failed before the gateway.")))
    mappers.append(_mapper("GE", 400, Failure(400, Reason.INVALID_REQUEST, "The request was refused.")))
    return {"mappers": mappers}


def _grpc_mapper() -> Document:
    grpc = {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}
    return {
        "filter": {"header_filter": grpc},
        "body_format_override": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}},
    }


def _mapper(operator: str, status: int, failure: Failure) -> Document:
    comparison = {"op": operator, "value": {"default_value": status, "runtime_key": f"dac.local_reply_{status}"}}
    headers = (
        ("x-request-id", "%REQ(X-REQUEST-ID)%"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        *failure.headers,
    )
    return {
        "filter": {"status_code_filter": {"comparison": comparison}},
        "headers_to_add": [
            # What a filter said already (a rate limit service's retry-after) stays.
            {"header": {"key": key, "value": value}, "append_action": "ADD_IF_ABSENT"}
            for key, value in headers
        ],
        "body_format_override": {
            "text_format_source": {"inline_string": failure.body()},
            "content_type": "application/json",
        },
    }
