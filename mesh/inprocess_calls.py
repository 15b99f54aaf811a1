"""What calls in process are made of, whatever their kind: the table of handlers, the servicer's context, the call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from mesh.call import Call
from mesh.deadlines import Deadlines, deadlines
from mesh.errors import MeshError
from mesh.interceptors import Chain, Interceptor, Served
from mesh.transport import RpcFailure, trailing_of, unimplemented

Outlet = Callable[[bytes], bool]
"""Takes bytes; False = they cannot be taken now."""


class MethodTable:
    """Takes what generated `add_XServicer_to_server` functions register: the handlers of this process by path."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._interceptors: Sequence[Interceptor] = ()
        self.chain = Chain()

    @property
    def interceptors(self) -> Sequence[Interceptor]:
        """What happens around every call, outermost first."""
        return self._interceptors

    @interceptors.setter
    def interceptors(self, interceptors: Sequence[Interceptor]) -> None:
        self._interceptors = interceptors
        self.chain = Chain(interceptors)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Part of grpc.aio.Server's face; the registered handlers below say the same."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Records each handler under /service/method."""
        for name, handler in handlers.items():
            self.handlers[f"/{service}/{name}"] = handler

    def services(self) -> set[str]:
        """The full names of the services registered here."""
        return {path.split("/")[1] for path in self.handlers}


class LocalContext:
    """What a servicer may ask of its context; the part of grpc.aio.ServicerContext that DAC's servicers use."""

    def __init__(self, call: Call, metadata: Mapping[str, str | bytes]) -> None:
        self._call = call
        self._metadata = metadata
        self.initial: tuple[Any, ...] = ()
        self.trailing: tuple[Any, ...] = ()
        self.outlet: Outlet | None = None
        """Takes in the moment they come, past all that lies between, what would be messages of a stream; see
        LocalStream.set_outlet."""

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What the caller sent."""
        return tuple(self._metadata.items())

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, None without one."""
        return None if self._call.deadline is None else max(0.0, self._call.deadline - time.monotonic())

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Keeps it for the caller."""
        self.initial = tuple(metadata)

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Keeps it for the caller."""
        self.trailing = tuple(metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Generated servicers call it before they raise; what they raise says it too."""

    def set_details(self, details: str) -> None:
        """See set_code."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """Ends the call with a status."""
        from mesh.status import from_rpc

        self.trailing = (*self.trailing, *trailing_metadata)
        raise from_rpc(code, details, self.trailing)


async def stop_generator(messages: Any, error: BaseException) -> None:
    """Ends a handler that waits at a yield: by CancelledError when its caller is gone, however that was noticed."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit | TimeoutError):
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, RuntimeError):
            await messages.athrow(asyncio.CancelledError())
    await messages.aclose()


def copied(message: Any) -> Any:
    """A message as the other side gets it: what it does with its own is nothing to whoever sent it.

    Half as dear as bytes and back.
    """
    made = type(message)()
    made.CopyFrom(message)
    return made


def gives_away(method: Any) -> Any:
    """Marks a server stream that makes each message for its caller and keeps none: in process it is not copied."""
    method.gives_away = True
    return method


class LocalCall:
    """What all kinds of call share: the face of grpc.aio.Call."""

    def __init__(
        self, table: MethodTable, method: str, serialise: Any, parse: Any, request: Any, call: Call, metadata: Any
    ) -> None:
        self._table, self._method, self._parse, self._call = table, method, parse, call
        # Whoever has no serialiser speaks bytes, such as the gateway's own gRPC edge.
        self._speaks_bytes = serialise is None
        self._request = request if self._speaks_bytes else copied(request)
        self._metadata = dict(metadata or ())
        self._context = LocalContext(call, self._metadata)
        self._failure: RpcFailure | None = None
        self._ended = self._cancelled = False
        self._task: asyncio.Task[Any] | None = None
        self._deadlines: Deadlines | None = None
        self._expired = False
        self._cancelling = 0

    def _handler(self) -> Any:
        handler = self._table.handlers.get(self._method)
        if handler is None:
            raise RpcFailure(unimplemented(self._method))
        return handler

    def _taken(self, handler: Any) -> Any:
        """The request as its handler gets it."""
        return handler.request_deserializer(self._request) if self._speaks_bytes else self._request

    def _served(self, streaming: bool) -> Served:
        return Served(self._method, self._call, self._metadata, streaming, True)

    def _fail(self, error: BaseException) -> BaseException:
        self._ended = True
        if isinstance(error, MeshError):
            self._failure = RpcFailure(error, trailing_of(error, self._context.trailing))
            return self._failure
        return error

    def _begin_deadline(self) -> None:
        """Cancels whoever waits for this call when its deadline comes."""
        if self._call.deadline is not None:
            if (task := self._task or asyncio.current_task()) is not None:
                self._cancelling = task.cancelling()
            self._deadlines = deadlines()
            self._deadlines.add(self._call.deadline, self)

    def _end_deadline(self) -> None:
        if self._deadlines is not None:
            self._deadlines.discard(self)

    def expire(self) -> None:
        """Its deadline has come: whoever waits for it is told so."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def _told(self, caught: BaseException) -> BaseException:
        """What a failure is to its caller: TimeoutError for a CancelledError that is the deadline's own (see
        asyncio.Timeout). A handler may also end otherwise once it was cancelled; the cancellation is taken back all the
        same, or the next deadline of this task would be taken for its caller's leaving."""
        if not self._expired or self._task is None:
            return caught
        own = self._task.uncancel() <= self._cancelling
        return TimeoutError() if own and isinstance(caught, asyncio.CancelledError) else caught

    def cancel(self) -> bool:
        """Gives the call up: CancelledError in the handler."""
        if self._ended or self._cancelled:
            return False
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()
        return True

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancelled

    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended or self._cancelled

    def time_remaining(self) -> float | None:
        """Seconds until its deadline."""
        return self._context.time_remaining()

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """What the server sent first."""
        return grpc.aio.Metadata(*self._context.initial)

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What the server sent last."""
        if self._failure is not None:
            return self._failure.trailing_metadata()
        return grpc.aio.Metadata(*self._context.trailing)

    async def code(self) -> grpc.StatusCode:
        """The status."""
        if self._cancelled:
            return grpc.StatusCode.CANCELLED
        return self._failure.code() if self._failure is not None else grpc.StatusCode.OK

    async def details(self) -> str:
        """The status' message."""
        return "" if self._failure is None else self._failure.message
