"""What happens around every served call: one ordered, named list, the same on every transport.

Each interceptor may look at the call before the method runs (`begin`, which may refuse it by raising MeshError) and
after it (`end`, which may replace the error). They are thin on purpose: no interceptor touches a message.
"""

import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

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


Begin = Callable[[Served], Awaitable[None] | None]
End = Callable[[Served, BaseException | None], BaseException | None]
Step = TypeVar("Step", bound=Callable[..., Any])


def idle(step: Step) -> Step:
    """Marks a step that does nothing: no call asks it."""
    step.is_idle = True  # type: ignore[attr-defined]
    return step


def of_failures(step: Step) -> Step:
    """Marks an `end` that only looks at failures: no call that went well asks it."""
    step.is_of_failures = True  # type: ignore[attr-defined]
    return step


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

    @idle
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

    @of_failures
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
                served.call.principal = self._verifier.known(token)
                if served.call.principal is None:
                    return self._verify(served, token)
                served.call.signed_principal = token
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

    @idle
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

    @idle
    def begin(self, served: Served) -> None:
        """Nothing to do."""

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Observes the duration."""
        telemetry.observe_rpc(served.method[1:], status_of(error) if error else "OK", served.started)
        return error


class Errors:
    """Everything that leaves a service is a named failure; a driver's text never does."""

    name = "errors"

    @idle
    def begin(self, served: Served) -> None:
        """Nothing to do."""

    @of_failures
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


class Chain:
    """The list as every call goes through it, with nobody in it who has nothing to do."""

    def __init__(self, interceptors: Sequence[Interceptor] = ()) -> None:
        ends = [one.end for one in reversed(interceptors) if not hasattr(one.end, "is_idle")]
        self._begins: tuple[Begin, ...] = tuple(one.begin for one in interceptors if not hasattr(one.begin, "is_idle"))
        self._ends: tuple[End, ...] = tuple(ends)
        self._ends_of_good: tuple[End, ...] = tuple(end for end in ends if not hasattr(end, "is_of_failures"))

    def begin(self, served: Served) -> Awaitable[None] | None:
        """Runs every `begin`; to be awaited when one of them has to wait."""
        for at, begin in enumerate(self._begins):
            waiting = begin(served)
            if waiting is not None:
                return self._begin_rest(waiting, at + 1, served)
        return None

    async def _begin_rest(self, waiting: Awaitable[None], at: int, served: Served) -> None:
        await waiting
        for begin in self._begins[at:]:
            behind = begin(served)
            if behind is not None:
                await behind

    def end(self, served: Served, error: BaseException | None) -> BaseException | None:
        """Runs every `end`, innermost first, and returns the error to tell."""
        for end in self._ends_of_good if error is None else self._ends:
            error = end(served, error)
        return error
