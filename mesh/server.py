"""The gRPC server of a process: the registered handlers behind the named interceptors, with health and a drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import call as calls
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.inprocess_calls import MethodTable, stop_generator
from mesh.interceptors import Served
from mesh.service import Service
from mesh.status import code_of
from mesh.transport import LARGE_MESSAGE_BYTES, trailing_of

HEALTH_TIMEOUT_S = 2.0
MAX_METADATA_BYTES = 32 * 1024
MAX_CONNECTION_AGE_MS = 300_000
"""Connections are renewed, so that clients find new replicas behind a headless name."""
LEAST_PING_INTERVAL_MS = 20_000
"""Peers ask every 30 seconds whether a quiet connection is still there, proxies without any call. Left to itself gRPC
takes more than one in five minutes for abuse and ends the connection with all its calls."""


def ping_rules() -> list[tuple[str, int]]:
    """Options of a server that lets clients keep quiet connections alive."""
    return [
        ("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _served(method: str, context: Any, streaming: bool) -> Served:
    left = context.time_remaining()
    call = Call(deadline=None if left is None else time.monotonic() + left)
    return Served(method, call, dict(context.invocation_metadata() or ()), streaming, False)


async def _told(context: Any, error: BaseException) -> None:
    """Ends a call with the status of `error`; anything but a MeshError is raised on."""
    if isinstance(error, MeshError):
        trailing = trailing_of(error, tuple(context.trailing_metadata() or ()))
        await context.abort(code_of(error), error.message, trailing)
    raise error


def _wrap_unary(table: MethodTable, method: str, handler: Any) -> Callable[[Any, Any], Awaitable[Any]]:
    async def unary(request: Any, context: Any) -> Any:
        served = _served(method, context, False)
        error: BaseException | None = None
        answer = None
        with calls.serving(served.call):
            try:
                if (waiting := table.chain.begin(served)) is not None:
                    await waiting
                answer = await handler.unary_unary(request, context)
            except BaseException as caught:
                error = caught
            error = table.chain.end(served, error)
        if error is not None:
            await _told(context, error)
        return answer

    return unary


class Endless:
    """The running streams that have no deadline: they are followed for ever, so a stop has to end them."""

    def __init__(self) -> None:
        self._ends: set[Callable[[], Any]] = set()
        self._over = False

    def add(self, end: Callable[[], Any]) -> None:
        """A stream has begun; one that came just before the stop ends as it begins."""
        self._ends.add(end)
        if self._over:
            end()

    def discard(self, end: Callable[[], Any]) -> None:
        """It has ended."""
        self._ends.discard(end)

    def end(self) -> None:
        """Ends all of them, and what may still begin."""
        self._over = True
        for end in list(self._ends):
            end()


class Incoming:
    """A client's messages, until it has sent its last or this server is about to stop."""

    def __init__(self, messages: Any) -> None:
        self._source = messages
        self._messages: AsyncIterator[Any] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._ended = False

    def __aiter__(self) -> Incoming:
        return self

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        if self._messages is None:
            self._messages = aiter(self._source)
        self._reader = asyncio.current_task()
        try:
            return await anext(self._messages)
        except asyncio.CancelledError:
            # Only the cancellation that `end` asked for is over with this (see asyncio.Timeout).
            if self._is_ours():
                raise StopAsyncIteration from None
            raise
        finally:
            self._reader = None

    def _is_ours(self) -> bool:
        return self._ended and self._reader is not None and self._reader.uncancel() <= 0

    def end(self) -> None:
        """Nothing more is read: the handler sees the end, answers what it has and ends the stream well."""
        self._ended = True
        if self._reader is not None:
            self._reader.cancel()


def _wrap_stream(
    table: MethodTable, method: str, handler: Any, endless: Endless
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    """A server stream, or a stream each way."""

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        served = _served(method, context, True)
        behaviour, end = handler.unary_stream, getattr(asyncio.current_task(), "cancel", None)
        if handler.request_streaming:
            behaviour, request = handler.stream_stream, Incoming(request)
            end = request.end
        if served.call.deadline is None and end is not None:
            endless.add(end)
        error: BaseException | None = None
        calls.enter(served.call)
        messages = None
        try:
            if (waiting := table.chain.begin(served)) is not None:
                await waiting
            messages = behaviour(request, context)
            async for message in messages:
                yield message
        except BaseException as caught:
            error = caught
        finally:
            if end is not None:
                endless.discard(end)
        if messages is not None and error is not None:
            await stop_generator(messages, error)
        left = isinstance(error, GeneratorExit)
        error = table.chain.end(served, asyncio.CancelledError() if left else error)
        if error is not None and not left:
            await _told(context, error)

    return stream


def _handlers_of(table: MethodTable, service: str, endless: Endless) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    wrapped = {}
    for path, handler in table.handlers.items():
        if not path.startswith(f"/{service}/"):
            continue
        make: Any = grpc.unary_unary_rpc_method_handler
        behaviour: Any = _wrap_unary(table, path, handler)
        if handler.response_streaming:
            make = grpc.unary_stream_rpc_method_handler
            if handler.request_streaming:
                make = grpc.stream_stream_rpc_method_handler
            behaviour = _wrap_stream(table, path, handler, endless)
        wrapped[path.rsplit("/", 1)[1]] = make(behaviour, handler.request_deserializer, handler.response_serializer)
    return wrapped


class LiveHealth(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """gRPC health that asks: Check("budget") (or "dac.budget.v1.BudgetService", or "" for all) calls its `health`.

    Watch tells what `set` was told last.
    """

    def __init__(self) -> None:
        self.asked: Mapping[str, Service] = {}
        self.draining = False
        self._states: dict[str, health_pb2.HealthCheckResponse.ServingStatus] = {}
        self._changed = asyncio.Event()

    def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        """What those who watch a service are told."""
        self._states[service] = status
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state, and each other one from then on; SERVICE_UNKNOWN of what this process does not serve."""
        told = None
        while True:
            changed = self._changed
            status = self._states.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            await changed.wait()

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        """The state right now."""
        name = request.service.split(".")[1] if request.service.startswith("dac.") else request.service
        if name and name not in self.asked:
            raise MeshError(Reason.NOT_FOUND, f'There is no service "{request.service}" in this process.')
        status = health_pb2.HealthCheckResponse.NOT_SERVING
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                for service in [self.asked[name]] if name else self.asked.values():
                    await service.health()
            if not self.draining and self.asked:
                status = health_pb2.HealthCheckResponse.SERVING
        except (MeshError, TimeoutError):
            pass
        return health_pb2.HealthCheckResponse(status=status)


class Server:
    """Serves the handlers of a MethodTable on addresses ("unix:/path", "127.0.0.1:50051")."""

    def __init__(self, table: MethodTable, health: LiveHealth) -> None:
        self.health = health
        self._endless = Endless()
        options = [
            ("grpc.max_receive_message_length", LARGE_MESSAGE_BYTES),
            ("grpc.max_send_message_length", LARGE_MESSAGE_BYTES),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_MS),
            ("grpc.max_connection_age_grace_ms", 600_000),
            *ping_rules(),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        self._names = sorted(table.services())
        for name in self._names:
            handlers = _handlers_of(table, name, self._endless)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    def listen(self, address: str) -> int:
        """Binds an address; returns the port (1 for a unix socket). Raises RuntimeError when it is taken."""
        port: int = self._server.add_insecure_port(address)
        return port

    async def start(self) -> None:
        """Begins serving, NOT_SERVING until told otherwise."""
        self.set_serving(False)
        await self._server.start()

    def set_serving(self, serving: bool) -> None:
        """Tells health checks, for "" and for each service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self.health.draining = not serving
        for name in ("", *self._names):
            self.health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls at once and gives running ones `grace_s` seconds."""
        self.set_serving(False)
        # Clients hear first that nothing more is taken here, so that they come back to another replica.
        stopping = asyncio.ensure_future(self._server.stop(grace_s))
        await asyncio.sleep(0)
        self._endless.end()
        await stopping


async def wait_healthy(channel: grpc.aio.Channel, timeout_s: float, service: str = "") -> bool:
    """Polls gRPC health until SERVING; False when the time is up."""
    stub = health_pb2_grpc.HealthStub(channel)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=HEALTH_TIMEOUT_S)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return True
        except MeshError:
            pass
        await asyncio.sleep(0.03)
    return False
