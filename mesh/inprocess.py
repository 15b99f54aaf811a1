"""The in-process channel: a grpc.aio.Channel that calls registered handlers, without a socket.

It costs a few microseconds a call where a socket costs hundreds (docs/decisions/0002). The server side runs inside
the caller's own task, pulled message by message; giving up the call raises CancelledError in the handler, as on a
socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from mesh import call as calls
from mesh.call import Call
from mesh.deadlines import Deadlines, deadlines
from mesh.errors import MeshError, Reason
from mesh.interceptors import Chain, Interceptor, Served
from mesh.transport import RpcFailure, next_call, trailing_of, unimplemented

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

    def _is_timeout(self) -> bool:
        """Whether the CancelledError at hand is the deadline's own (see asyncio.Timeout)."""
        return self._expired and self._task is not None and self._task.uncancel() <= 0

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


class LocalUnary(LocalCall):
    """One unary call in process. It runs when awaited, in the awaiting task."""

    def __await__(self) -> Any:
        return self._run().__await__()

    async def _run(self) -> Any:
        if self._cancelled:
            raise asyncio.CancelledError
        handler, served, chain = self._handler(), self._served(False), self._table.chain
        self._task = asyncio.current_task()
        error: BaseException | None = None
        with calls.serving(self._call):
            try:
                self._begin_deadline()
                if (waiting := chain.begin(served)) is not None:
                    await waiting
                given = handler.response_serializer if self._parse is None else copied
                answer = given(await handler.unary_unary(self._taken(handler), self._context))
            except asyncio.CancelledError as caught:
                error = TimeoutError() if self._is_timeout() else caught
            except BaseException as caught:
                error = caught
            finally:
                self._task = None
                self._end_deadline()
            error = chain.end(served, error)
        if error is not None:
            raise self._fail(error) from None
        self._ended = True
        return answer


class LocalStream(LocalCall):
    """One server stream in process, pulled by its reader; leaving it early cancels the handler."""

    _messages: AsyncIterator[Any] | None = None
    _server: Any = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._messages is None:
            self._messages = self._read()
        return self._messages

    def set_outlet(self, outlet: Outlet) -> None:
        """Before reading: the handler may give what its next messages would carry to `outlet` instead, whenever its
        reader waits for the next one. What that does not take comes as a message. It runs in nobody's task and must
        not wait."""
        self._context.outlet = outlet

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF."""
        async for message in self.__aiter__():
            return message
        return grpc.aio.EOF

    async def _read(self) -> AsyncIterator[Any]:
        handler, served, chain = self._handler(), self._served(True), self._table.chain
        error: BaseException | None = None
        left = False
        try:
            self._begin_deadline()
            with calls.serving(self._call):
                if (waiting := chain.begin(served)) is not None:
                    await waiting
            server = self._server = handler.unary_stream(self._taken(handler), self._context)
            kept = None if getattr(handler.unary_stream, "gives_away", False) else copied
            given, serving = handler.response_serializer if self._parse is None else kept, calls.serving(self._call)
            # (current_task without a loop asks the system for the process's number each time.)
            loop, current_task = asyncio.get_running_loop(), asyncio.current_task
            while not self._cancelled:
                if self._expired:
                    raise TimeoutError
                # One message of the handler, inside the call's own context.
                self._task = current_task(loop)
                with serving:
                    try:
                        message = await server.__anext__()
                    except StopAsyncIteration:
                        break
                    except asyncio.CancelledError:
                        if self._is_timeout():
                            raise TimeoutError from None
                        raise
                    finally:
                        self._task = None
                yield message if given is None else given(message)
            if self._cancelled:
                raise asyncio.CancelledError
        except GeneratorExit:
            error, left = asyncio.CancelledError(), True
        except BaseException as caught:
            error = caught
        finally:
            self._end_deadline()
        if error is not None and self._server is not None:
            with calls.serving(self._call):
                await stop_generator(self._server, error)
        error = chain.end(served, error)
        if left:
            self._cancelled = True
            return
        if error is None:
            self._ended = True
            return
        raise self._fail(error) from None

    async def aclose(self) -> None:
        """Stops the handler and waits until it has stopped."""
        if self._messages is not None and not self._ended:
            self._cancelled = True
            try:
                await self._messages.aclose()  # type: ignore[attr-defined]
            except (asyncio.CancelledError, MeshError, RuntimeError):
                # The reader is leaving; a cancellation of the reader itself is raised again by its own await.
                pass


class LocalChannel(grpc.aio.Channel):
    """A grpc.aio.Channel to the services of this process."""

    def __init__(self, table: MethodTable) -> None:
        self._table = table

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = None,
    ) -> Any:
        """See grpc.aio.Channel."""

        def start(request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> LocalUnary:
            call = next_call(timeout, streaming=False)
            return LocalUnary(self._table, method, request_serializer, response_deserializer, request, call, metadata)

        return start

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = None,
    ) -> Any:
        """See grpc.aio.Channel."""

        def start(request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> LocalStream:
            call = next_call(timeout, streaming=True)
            return LocalStream(self._table, method, request_serializer, response_deserializer, request, call, metadata)

        return start

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel. DAC's contracts have no client streams yet."""
        raise MeshError(Reason.UNIMPLEMENTED, f"{method}: client streams are not carried in process yet.")

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = None,
    ) -> Any:
        """See grpc.aio.Channel."""
        from mesh.inprocess_bidi import LocalBidi  # It builds on what is above.

        def start(requests: Any = None, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> LocalBidi:
            call = next_call(timeout, streaming=True)
            return LocalBidi(self._table, method, request_serializer, response_deserializer, requests, call, metadata)

        return start

    async def close(self, grace: float | None = None) -> None:
        """Nothing is open."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Always ready."""
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Never changes."""
        await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """Always ready."""

    async def __aenter__(self) -> LocalChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""
