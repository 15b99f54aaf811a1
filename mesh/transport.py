"""How services reach each other: one kind of channel in process, another between processes, the same to look at.

Generated stubs and servicers are untouched. Messages are serialised at the border in both, so that no service can
reach into another's objects; deadlines, cancellation, metadata and status details behave alike (tests/contract runs
one suite over in-process, unix socket and TCP). A failed call raises `RpcFailure`: a MeshError that is also a
grpc.aio.AioRpcError.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from mesh import call as calls
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.interceptors import SHAVE_S
from mesh.status import STATUS_KEY, code_of, details_of, from_rpc

UNARY_TIMEOUT_S = 30.0
"""The deadline of a unary call whose caller has none."""

LARGE_MESSAGE_BYTES = 32 * 1024 * 1024
MESSAGE_BYTES = 4 * 1024 * 1024
LARGE_SERVICES = frozenset({"gateway", "provider", "memory"})
"""Services whose messages carry prompts."""


class RpcFailure(MeshError, grpc.aio.AioRpcError):
    """A call that failed: a MeshError to DAC's own code, an AioRpcError to anything that speaks gRPC."""

    def __init__(self, error: MeshError, trailing: Any = ()) -> None:
        MeshError.__init__(
            self, error.reason, error.message, metadata=error.metadata, retry_after_s=error.retry_after_s
        )
        grpc.aio.AioRpcError.__init__(
            self, code_of(error), grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), error.message, None
        )
        self.args = (error.message,)

    def __reduce__(self) -> Any:
        return (RpcFailure, (MeshError(self.reason, self.message, metadata=self.metadata),))

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"RpcFailure({self.reason.name}, {self.message!r})"


def message_limit(service: str) -> int:
    """The largest message of a service's channel, in bytes."""
    return LARGE_MESSAGE_BYTES if service in LARGE_SERVICES else MESSAGE_BYTES


def next_call(timeout: float | None, *, streaming: bool) -> Call:
    """The current call as its callee will see it: a hop further, with a shaved deadline."""
    now, here = time.monotonic(), calls.current()
    deadline = None if here.deadline is None else here.deadline - SHAVE_S
    if timeout is not None:
        deadline = now + timeout if deadline is None else min(deadline, now + timeout)
    elif deadline is None and not streaming:
        deadline = now + UNARY_TIMEOUT_S
    return Call(
        here.request_id,
        here.principal,
        here.signed_principal,
        deadline,
        here.trace_id,
        here.span_id,
        here.sampled,
    )


def traceparent_of(call: Call) -> str:
    """A call's place in its trace, as W3C Trace Context writes it; empty without one."""
    return f"00-{call.trace_id}-{call.span_id or '0' * 15 + '1'}-01" if call.trace_id else ""


def metadata_of(call: Call, extra: Any) -> list[tuple[str, str | bytes]]:
    """What a call carries between processes."""
    metadata: list[tuple[str, str | bytes]] = [("x-request-id", call.request_id)] if call.request_id else []
    if call.signed_principal:
        metadata.append(("x-dac-principal-bin", call.signed_principal))
    if call.trace_id:
        metadata.append(("traceparent", traceparent_of(call)))
    metadata.extend(extra or ())
    return metadata


class RemoteUnary:
    """One unary call to another process: awaitable, cancellable."""

    def __init__(self, call: Any, service: str) -> None:
        self._call, self._service = call, service

    def __await__(self) -> Any:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        try:
            return await self._call
        except grpc.aio.AioRpcError as error:
            trailing = error.trailing_metadata()
            raise RpcFailure(from_rpc(error.code(), error.details() or "", trailing, self._service), trailing) from None
        except BaseException:
            # Awaiting was given up: the server must hear of it (it does not on every path of grpc.aio).
            self._call.cancel()
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class RemoteStream:
    """One server stream from another process; leaving it early cancels the server side."""

    def __init__(self, call: Any, service: str) -> None:
        self._call, self._service = call, service

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._read()

    async def _read(self) -> AsyncIterator[Any]:
        ended = False
        try:
            async for message in self._call:
                yield message
            ended = True
        except grpc.aio.AioRpcError as error:
            ended = True
            trailing = error.trailing_metadata()
            raise RpcFailure(from_rpc(error.code(), error.details() or "", trailing, self._service), trailing) from None
        finally:
            if not ended:
                self._call.cancel()

    async def aclose(self) -> None:
        """Stops the server side."""
        self._call.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class RemoteBidi(RemoteStream):
    """A stream each way with another process: `write`, `done_writing`, and reading as of a server stream."""

    _half_closed = False

    async def write(self, message: Any) -> None:
        """Sends a message, when the other side has room for it. Raises RpcFailure when the call is over."""
        if self._half_closed:
            raise asyncio.InvalidStateError("RPC is half closed")
        try:
            await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            trailing = error.trailing_metadata()
            raise RpcFailure(from_rpc(error.code(), error.details() or "", trailing, self._service), trailing) from None
        except asyncio.InvalidStateError:
            raise await self._over() from None

    async def _over(self) -> BaseException:
        """Why nothing can be written any more."""
        code, trailing = await self._call.code(), await self._call.trailing_metadata()
        if code is grpc.StatusCode.OK:
            return RpcFailure(stream_ended())
        return RpcFailure(from_rpc(code, await self._call.details() or "", trailing, self._service), trailing or ())

    async def done_writing(self) -> None:
        """Tells the other side that this was all; its answers may go on."""
        self._half_closed = True
        # A call that breaks at this moment is over; whoever reads it is told why.
        with contextlib.suppress(Exception):
            await self._call.done_writing()


class RemoteChannel(grpc.aio.Channel):
    """A grpc.aio channel to another process that carries the current call along."""

    def __init__(self, target: str, service: str, *, credentials: grpc.ChannelCredentials | None = None) -> None:
        self._service = service
        options = [
            ("grpc.max_receive_message_length", message_limit(service)),
            ("grpc.max_send_message_length", message_limit(service)),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
            # gRPC compares :authority on unix sockets too; a fixed one keeps proxies and tests alike.
            ("grpc.default_authority", f"{service}.dac"),
        ]
        self._channel = (
            grpc.aio.secure_channel(target, credentials, options)
            if credentials
            else grpc.aio.insecure_channel(target, options)
        )

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        multi = self._channel.unary_unary(method, *args, **kwargs)

        def start(request: Any, *, timeout: float | None = None, metadata: Any = None, **rest: Any) -> RemoteUnary:
            call = next_call(timeout, streaming=False)
            left = max(0.0, (call.deadline or 0) - time.monotonic())
            return RemoteUnary(
                multi(request, timeout=left, metadata=metadata_of(call, metadata), **rest), self._service
            )

        return start

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        multi = self._channel.unary_stream(method, *args, **kwargs)

        def start(request: Any, *, timeout: float | None = None, metadata: Any = None, **rest: Any) -> RemoteStream:
            call = next_call(timeout, streaming=True)
            left = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
            return RemoteStream(
                multi(request, timeout=left, metadata=metadata_of(call, metadata), **rest), self._service
            )

        return start

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel. DAC's contracts have no client streams yet."""
        return self._channel.stream_unary(method, *args, **kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel."""
        multi = self._channel.stream_stream(method, *args, **kwargs)

        def start(
            requests: Any = None, *, timeout: float | None = None, metadata: Any = None, **rest: Any
        ) -> RemoteBidi:
            call = next_call(timeout, streaming=True)
            left = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
            return RemoteBidi(
                multi(requests, timeout=left, metadata=metadata_of(call, metadata), **rest), self._service
            )

        return start

    async def close(self, grace: float | None = None) -> None:
        """See grpc.aio.Channel."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel."""
        await self._channel.channel_ready()

    async def __aenter__(self) -> RemoteChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class reading:
    """Reads a server stream; its server side is stopped however the block is left."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Any, outlet: Callable[[bytes], bool] | None = None) -> None:
        """`outlet`: see LocalStream.set_outlet; between processes everything comes as messages."""
        self._stream = stream
        if outlet is not None and (set_outlet := getattr(stream, "set_outlet", None)) is not None:
            set_outlet(outlet)

    async def __aenter__(self) -> AsyncIterator[Any]:
        return self._stream  # type: ignore[no-any-return]

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()


def trailing_of(error: MeshError, extra: Any = ()) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that carries a failure."""
    return (*extra, (STATUS_KEY, details_of(error)))


def unimplemented(method: str) -> MeshError:
    """The failure of a call to a method that nobody registered."""
    return MeshError(Reason.UNIMPLEMENTED, f"There is no method {method} here.")


def stream_ended() -> MeshError:
    """The failure of writing to a stream that the other side has ended."""
    return MeshError(Reason.UNAVAILABLE, "The other side has ended the stream: nothing more can be written to it.")
