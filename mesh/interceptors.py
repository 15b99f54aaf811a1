"""What happens around every served call: one ordered, named list, the same on every transport.

Each interceptor may look at the call before the method runs (`begin`, which may refuse it by raising MeshError) and
after it (`end`, which may replace the error). They are thin on purpose: no interceptor touches a message.
"""

import dataclasses
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from opentelemetry.trace import Span, SpanKind

from dac.type.v1.principal_pb2 import Principal as PrincipalMessage
from mesh import telemetry, tracing
from mesh.call import Call, has_scope
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.permissions import permission_of, service_may
from mesh.principals import Verifier
from mesh.status import from_exception

SHAVE_S = 0.02
"""What each hop keeps of the deadline for itself, so that it can still say what timed out (Boulder's habit)."""
HOPELESS_S = 0.05
"""With less than this left a call is refused at once."""
BRIEF = frozenset({"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"})
"""Methods whose callers never give more."""


@dataclasses.dataclass(slots=True)
class Served:
    """One call on its way through the list."""

    method: str
    call: Call
    metadata: Mapping[str, str | bytes]
    streaming: bool
    local: bool
    started: float = dataclasses.field(default_factory=time.perf_counter)
    span: Span | None = None


class Interceptor(Protocol):
    """One step of the list."""

    name: str

    def begin(self, served: Served) -> Awaitable[None] | None:
        """Before the method. Raises MeshError to refuse."""

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """After it, in reverse order. Returns the error to tell."""


class RequestId:
    """Takes over the request id and trace, or makes them."""

    name = "request_id"

    def begin(self, served: Served) -> None:
        """Reads `x-request-id` and `traceparent`."""
        if served.local:
            return
        call, metadata = served.call, served.metadata
        call.request_id = str(metadata.get("x-request-id") or uuid7())
        tracing.continue_trace(call, str(metadata.get("traceparent", "")))

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Nothing to do."""
        return error


class Deadline:
    """Refuses calls that have none or cannot make theirs."""

    name = "deadline"

    def begin(self, served: Served) -> None:
        """Streams may be endless; everything else needs a deadline."""
        deadline = served.call.deadline
        if deadline is None:
            if not served.streaming:
                raise MeshError(Reason.INVALID_REQUEST, f"{served.method} needs a deadline: send a gRPC timeout.")
        elif deadline - time.monotonic() < HOPELESS_S and served.method not in BRIEF:
            raise MeshError(
                Reason.DEADLINE_EXCEEDED, f"Too little time is left for {served.method}: allow a longer timeout."
            )

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """A timeout inside becomes a named one."""
        if isinstance(error, TimeoutError):
            return MeshError(Reason.DEADLINE_EXCEEDED, f"{served.method} did not finish within its deadline.")
        return error


class Principal:
    """Proves who calls and whether they may call this method."""

    name = "principal"

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def begin(self, served: Served) -> Awaitable[None] | None:
        """In process the object was handed over; between processes the signature is checked."""
        if not served.local:
            token = served.metadata.get("x-dac-principal-bin")
            if isinstance(token, bytes):
                return self._verify(served, token)
        self._authorise(served)
        return None

    async def _verify(self, served: Served, token: bytes) -> None:
        served.call.principal = await self._verifier.verify(token)
        served.call.signed_principal = token
        self._authorise(served)

    def _authorise(self, served: Served) -> None:
        needed, principal = permission_of(served.method), served.call.principal
        if not isinstance(needed, str):
            return
        if principal is None:
            raise MeshError(
                Reason.PRINCIPAL_REQUIRED,
                f"{served.method} needs a principal: call it through the gateway, or as a DAC service.",
            )
        if principal.kind == PrincipalMessage.KIND_SERVICE:
            if not service_may(principal.service, served.method):
                raise MeshError(
                    Reason.PERMISSION_DENIED, f'The service "{principal.service}" may not call {served.method}.'
                )
        elif needed and not has_scope(principal, needed):
            raise MeshError(
                Reason.PERMISSION_DENIED,
                f'This needs a key with scope "{needed}"; yours has {", ".join(principal.scopes) or "none"}.',
                metadata={"scope": needed},
            )

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Nothing to do."""
        return error


class Tracing:
    """A span per served call, when spans are exported."""

    name = "tracing"

    def begin(self, served: Served) -> None:
        """Opens the span."""
        if tracing.tracing():
            served.span = tracing.begin_span(served.method[1:], served.call, SpanKind.SERVER)
            if served.span is not None:
                served.span.set_attributes(
                    {
                        tracing.ATTR_SYSTEM: "grpc",
                        tracing.ATTR_METHOD: served.method[1:],
                        tracing.ATTR_REQUEST_ID: served.call.request_id,
                    }
                )

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Closes it."""
        if served.span is not None:
            tracing.end_rpc(served.span, served.call, status_of(error) if error else "OK")
        return error


class Metrics:
    """Duration by method and status."""

    name = "metrics"

    def begin(self, served: Served) -> None:
        """Nothing to do."""

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Observes the duration."""
        telemetry.observe_rpc(served.method[1:], status_of(error) if error else "OK", served.started)
        return error


class Errors:
    """Everything that leaves a service is a named failure; a driver's text never does."""

    name = "errors"

    def begin(self, served: Served) -> None:
        """Nothing to do."""

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Names what had no name."""
        if error is None or not isinstance(error, Exception):
            return error
        return from_exception(error, served.method)


def status_of(error: BaseException) -> str:
    """The gRPC status name that an error becomes."""
    if isinstance(error, MeshError):
        return error.status_name
    return (
        "DEADLINE_EXCEEDED"
        if isinstance(error, TimeoutError)
        else "CANCELLED"
        if not isinstance(error, Exception)
        else "INTERNAL"
    )


def server_interceptors(verifier: Verifier) -> Sequence[Interceptor]:
    """The list, outermost first. `end` runs in reverse: errors are named before they are measured."""
    return (RequestId(), Metrics(), Tracing(), Errors(), Deadline(), Principal(verifier))


async def begin_all(interceptors: Sequence[Interceptor], served: Served) -> None:
    """Runs every `begin`."""
    for interceptor in interceptors:
        waiting = interceptor.begin(served)
        if waiting is not None:
            await waiting


def end_all(interceptors: Sequence[Interceptor], served: Served, error: BaseException | None) -> BaseException | None:
    """Runs every `end`, innermost first, and returns the error to tell."""
    for interceptor in reversed(interceptors):
        error = interceptor.end(served, error)
    return error
