"""The gateway's gRPC port for callers with an API key: every annotated RPC, and chat; bytes are forwarded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import tracing
from mesh.call import Call, serving
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.status import code_of, from_exception
from mesh.transport import reading, trailing_of
from services.gateway.api.http_forms import Binding
from services.gateway.api.keyed_calls import KeyedCalls, parsed, takes_key
from services.gateway.chat.dry_runs import completed
from services.gateway.errors import malformed_key
from services.gateway.idempotency.requests import HEADER, REPLAYED
from services.gateway.identity.callers import Caller, Callers
from services.gateway.identity.key_watch import KeyWatch

CHAT = "/dac.gateway.v1.ChatService/Chat"
HEALTH = "/grpc.health.v1.Health/Check"
HEALTH_TIMEOUT_S = 2.0
UNARY_TIMEOUT_S = 30.0
STREAM_TIMEOUT_S = 600.0


class GrpcEdge(grpc.GenericRpcHandler):
    """Forwards public methods as bytes, with the caller's principal."""

    def __init__(
        self,
        bindings: Sequence[Binding],
        channel_to: Callable[[str], grpc.aio.Channel],
        callers: Callers,
        keyed: KeyedCalls | None = None,
    ) -> None:
        """`keyed`: who carries out calls with an idempotency-key; None = such metadata say nothing."""
        self._callers, self._keyed = callers, keyed
        self._takes_key = {binding.rpc: binding for binding in bindings if takes_key(binding)}
        self._streams: dict[str, Any] = {CHAT: channel_to("gateway").unary_stream(CHAT)}
        self._unary: dict[str, Any] = {}
        for binding in bindings:
            channel = channel_to(binding.service)
            if binding.method.server_streaming:
                self._streams[binding.rpc] = channel.unary_stream(binding.rpc)
            else:
                self._unary[binding.rpc] = channel.unary_unary(binding.rpc)
        self._health: dict[str, tuple[str, health_pb2_grpc.HealthStub]] = {
            name: (part, health_pb2_grpc.HealthStub(channel_to(part))) for name, part in _parts(bindings).items()
        }

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a path; None makes gRPC answer UNIMPLEMENTED."""
        path = details.method
        if path in self._unary:
            return grpc.unary_unary_rpc_method_handler(self._forward_unary(path))
        if path in self._streams:
            return grpc.unary_stream_rpc_method_handler(self._forward_stream(path))
        if path == HEALTH:
            return grpc.unary_unary_rpc_method_handler(
                self._check,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            )
        return None

    async def _check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """gRPC's own health, for whoever asks, as `GET /ready` is; without a name that of the gateway."""
        if request.service not in self._health:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'There is no service "{request.service[:100]}" here.')
        part, stub = self._health[request.service]
        try:
            told: health_pb2.HealthCheckResponse = await stub.Check(
                health_pb2.HealthCheckRequest(service=part), timeout=HEALTH_TIMEOUT_S
            )
        except MeshError:
            told = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
        return told

    async def _call(self, context: Any, longest_s: float) -> tuple[Call, Caller]:
        pairs = tuple(context.invocation_metadata() or ())
        metadata = dict(pairs)
        if sum(name == "authorization" for name, _ in pairs) > 1:
            # A proxy in front may have counted the other one.
            raise malformed_key()
        caller = await self._callers.authenticate_header(str(metadata.get("authorization", "")))
        left = context.time_remaining()
        call = Call(
            request_id=uuid7(),
            principal=caller.principal,
            signed_principal=caller.signed(),
            deadline=time.monotonic() + min(left if left is not None else longest_s, longest_s),
        )
        tracing.continue_trace(call, str(metadata.get("traceparent", "")))
        tracing.ensure_trace(call)
        return call, caller

    def _forward_unary(self, path: str) -> Any:
        async def unary(request: bytes, context: Any) -> bytes:
            call = None
            try:
                call, caller = await self._call(context, UNARY_TIMEOUT_S)
                with serving(call):
                    keys = _keys_of(context) if self._keyed is not None and path in self._takes_key else None
                    if keys:
                        return await self._once(self._takes_key[path], keys, request, caller, context)
                    answer: bytes = await self._unary[path](completed(path, request, caller))
                    return answer
            except Exception as error:
                await _tell(context, from_exception(error, path), call)
                raise AssertionError from error

        return unary

    async def _once(self, binding: Binding, keys: list[str], request: bytes, caller: Caller, context: Any) -> bytes:
        """A call with an idempotency-key."""
        assert self._keyed is not None

        async def call(message: Message) -> Message:
            return binding.response.FromString(await self._unary[binding.rpc](message.SerializeToString()))

        message = parsed(binding, request)
        answer, replayed = await self._keyed.answer(binding, caller.principal, keys, message, call)
        if replayed:
            await context.send_initial_metadata(((REPLAYED, "true"),))
        return answer.SerializeToString()

    def _forward_stream(self, path: str) -> Any:
        # No generator: what ends the stream must also reach a write that waits for a slow reader.
        async def stream(request: bytes, context: Any) -> None:
            call = None
            try:
                call, _ = await self._call(context, STREAM_TIMEOUT_S)
                with serving(call):
                    started = self._streams[path](request)
                authorization = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
                watch = KeyWatch(lambda: self._callers.authenticate_header(authorization))
                async with watch, reading(started) as messages:
                    async for message in messages:
                        await context.write(message)
            except Exception as error:
                await _tell(context, from_exception(error, path), call)

        return stream


def _keys_of(context: Any) -> list[str]:
    return [str(value) for name, value in context.invocation_metadata() or () if name == HEADER]


def _parts(bindings: Sequence[Binding]) -> dict[str, str]:
    """The names that health may be asked of → the part of DAC that answers."""
    named = {binding.rpc[1:].partition("/")[0]: binding.service for binding in bindings}
    return {"": "gateway", CHAT[1:].partition("/")[0]: "gateway", **named}


async def _tell(context: Any, error: MeshError, call: Call | None) -> None:
    """Ends a call; its id goes along, by which the record of what failed is found."""
    known = (("x-dac-request-id", call.request_id),) if call else ()
    await context.abort(code_of(error), error.message, trailing_of(error, known))
