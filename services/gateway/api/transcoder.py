"""HTTP/JSON ↔ gRPC for every annotated RPC, generically from the descriptors: a new RPC needs no handler of its own.

JSON follows protobuf's mapping with the proto's own field names (snake_case; camelCase is also read), 64-bit
integers as strings, enums by name. Server streams become server-sent events, streams of google.api.HttpBody files.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc.aio
import msgspec
from google.api import httpbody_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mesh.errors import MeshError, invalid
from mesh.fair_share import in_turn
from mesh.transport import reading
from services.gateway.api.http_forms import Binding, check_scope
from services.gateway.api.json_bodies import parse_json, unknown_field
from services.gateway.api.keyed_calls import KeyedCalls, takes_key
from services.gateway.chat.dry_runs import complete
from services.gateway.edge.failures import error_event
from services.gateway.idempotency.requests import HEADER, REPLAYED
from services.gateway.identity.callers import Caller, Callers
from services.gateway.identity.key_watch import CHECK_AGAIN_S

TIMEOUT_S = 30.0
LARGE_BODY_BYTES = 128 * 1024
"""A larger body is read beside the event loop: ten megabytes of short values take seconds."""
_KEY_HEADER = HEADER.encode()


def routes(
    found: Sequence[Binding],
    channel_to: Callable[[str], grpc.aio.Channel],
    callers: Callers,
    stopping: asyncio.Event,
    first: Mapping[str, Callable[[Message], Awaitable[Message | None]]] | None = None,
    keyed: KeyedCalls | None = None,
) -> list[Route]:
    """A Starlette route for every binding. Endless streams end when `stopping` is set.

    `first`: who hears a request of an RPC before its service does, and may answer in its place. `keyed`: who carries
    out those with an Idempotency-Key; None = the header says nothing.
    """

    def route(binding: Binding) -> Route:
        heard = (first or {}).get(binding.rpc)
        once = keyed if takes_key(binding) else None
        endpoint = _endpoint(binding, channel_to(binding.service), callers, stopping, heard, once)
        return Route(binding.route_path, endpoint, methods=[binding.verb])

    return [route(binding) for binding in found]


def _endpoint(
    binding: Binding,
    channel: grpc.aio.Channel,
    callers: Callers,
    stopping: asyncio.Event,
    first: Callable[[Message], Awaitable[Message | None]] | None,
    keyed: KeyedCalls | None,
) -> Any:
    make: Any = channel.unary_stream if binding.method.server_streaming else channel.unary_unary
    call = make(
        binding.rpc,
        request_serializer=binding.request.SerializeToString,
        response_deserializer=binding.response.FromString,
    )

    async def endpoint(request: Request) -> Response:
        exchange = request.scope["state"]["exchange"]
        exchange.route = binding.template
        authorization = request.headers.get("authorization", "")
        caller = await callers.authenticate_header(authorization)
        exchange.identify(caller, TIMEOUT_S)
        message = await read_message(binding, request)
        complete(message, caller)
        if binding.method.server_streaming:
            check_scope(binding, caller.principal)
            exchange.call.deadline = None
            if binding.is_file:
                return await file_response(call(message))
            events = _events(call(message), lambda: callers.authenticate_header(authorization), stopping)
            return StreamingResponse(events, media_type="text/event-stream")

        async def answered(asked: Message) -> Message:
            if first is not None and (heard := await first(asked)) is not None:
                return heard
            told: Message = await call(asked, timeout=max(0.1, exchange.call.deadline - time.monotonic()))
            return told

        headers = {}
        if keyed is not None and exchange.header(_KEY_HEADER):
            given = request.headers.getlist(HEADER)
            answer, replayed = await keyed.answer(binding, caller.principal, given, message, answered)
            headers = {REPLAYED: "true"} if replayed else {}
        else:
            answer = await answered(message)
        return Response(to_json(answer), media_type="application/json", headers=headers)

    return endpoint


async def file_response(stream: Any) -> Response:
    """The parts of a google.api.HttpBody as they are; a failure before the first one is an answer of its own.

    One behind it cannot be told: the bytes break off, and no end is sent that would call them whole.
    """
    parts = _parts(stream)
    first = await anext(parts, httpbody_pb2.HttpBody())

    async def content() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(parts):
            yield first.data
            async for part in parts:
                yield part.data

    headers = {"content-disposition": "attachment", "cache-control": "no-store"}
    return StreamingResponse(content(), media_type=first.content_type or "application/octet-stream", headers=headers)


async def _parts(stream: Any) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
    async with reading(stream) as messages:
        async for message in messages:
            yield message


async def _events(
    stream: Any, check_again: Callable[[], Awaitable[Caller]], stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """A stream's messages as events, while its key is good and DAC is not stopping."""
    stop = asyncio.ensure_future(stopping.wait())
    following: asyncio.Future[Message] | None = None
    try:
        # Says at once that the stream is open: a comment, which readers of events skip.
        yield b": open\n\n"
        async with reading(stream) as messages:
            reader = messages.__aiter__()
            check_at = time.monotonic() + CHECK_AGAIN_S
            while not stop.done():
                following = following or asyncio.ensure_future(anext(reader))
                either: set[asyncio.Future[Any]] = {following, stop}
                left_s = max(0.0, check_at - time.monotonic())
                await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if time.monotonic() >= check_at:
                    # By the clock: a stream that is never quiet is checked as well.
                    await check_again()
                    check_at = time.monotonic() + CHECK_AGAIN_S
                if following.done():
                    message, following = following.result(), None
                    yield b"data: " + to_json(message, indent=None) + b"\n\n"
            await _give_up(following)
    except StopAsyncIteration:
        return
    except MeshError as error:
        yield error_event(error)
    finally:
        stop.cancel()
        await _give_up(following)


async def _give_up(following: asyncio.Future[Message] | None) -> None:
    """Stops waiting for a message, and for the wait to have stopped."""
    if following is not None and not following.done():
        following.cancel()
        await asyncio.wait({following})


async def read_message(binding: Binding, request: Request) -> Message:
    """The request's message from its body, query and path. Raises INVALID_REQUEST."""
    message = binding.request()
    if binding.has_body:
        body = await request.body()
        if len(body) > LARGE_BODY_BYTES:
            await in_turn(parse_json, body, message)
        else:
            parse_json(body, message)
    for name, value in request.query_params.multi_items():
        set_field(message, name, value)
    for name, value in request.path_params.items():
        set_field(message, name, value)
    named = request.headers.get("x-org-id", "")
    if named and "org_id" in binding.parameters and named.lower() != request.path_params["org_id"].lower():
        raise invalid("x-org-id", f'The header x-org-id names "{named[:80]}", the path another organisation.')
    return message


def set_field(message: Message, path: str, text: str) -> None:
    """Sets a field from text; dots go into messages, repeated fields grow. Raises INVALID_REQUEST."""
    head, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name.get(head)
    if field is None:
        field = next((one for one in message.DESCRIPTOR.fields if one.json_name == head), None)
    if field is None:
        raise unknown_field(path, [one.name for one in message.DESCRIPTOR.fields])
    if rest and (field.message_type is None or field.is_repeated):
        raise unknown_field(path, [one.name for one in message.DESCRIPTOR.fields])
    if rest:
        set_field(getattr(message, field.name), rest, text)
        return
    value: Any = text
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in ("true", "false", "1", "0"):
            raise invalid(path, f'"{path}" must be true or false, not "{text[:40]}".')
        value = text in ("true", "1")
    try:
        if field.is_repeated:
            # ParseDict replaces a list: read into a message of its own, then joined.
            part = type(message)()
            json_format.ParseDict({field.name: [value]}, part)
            message.MergeFrom(part)
        else:
            json_format.ParseDict({field.name: value}, message)
    except (json_format.ParseError, ValueError, TypeError):
        kind = field.enum_type.name if field.enum_type is not None else "its type"
        raise invalid(path, f'"{text[:80]}" does not fit "{path}" ({kind}).') from None


def to_json(message: Message, indent: int | None = None) -> bytes:
    """A message as JSON with the proto's field names."""
    document = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    encoded = msgspec.json.encode(document)
    return encoded if indent is None else msgspec.json.format(encoded, indent=indent)
