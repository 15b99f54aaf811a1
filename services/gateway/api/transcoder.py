"""HTTP/JSON ↔ gRPC for every annotated RPC, generically from the descriptors: a new RPC needs no handler of its own.

JSON follows protobuf's mapping with the proto's own field names (snake_case; camelCase is also read), 64-bit
integers as strings, enums by name. Server streams become server-sent events, streams of google.api.HttpBody files.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import difflib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc.aio
import msgspec
from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import json_format, message_factory, struct_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mesh.call import has_scope
from mesh.errors import MeshError, Reason, invalid
from mesh.permissions import permission_of
from mesh.rpcs import methods
from mesh.transport import reading
from services.gateway.chat.dry_runs import complete
from services.gateway.edge.failures import error_event
from services.gateway.identity.callers import Caller, Callers
from services.gateway.wire.raw_bodies import check_depth

TIMEOUT_S = 30.0
LARGE_BODY_BYTES = 128 * 1024
"""A larger body is read beside the event loop: ten megabytes of short values take seconds."""
MOST_DEPTH = 64
MOST_STRUCT_VALUES = 100_000
"""How many values the free-form fields of a body may hold together: each costs far more than a number in a list."""
_STRUCT = struct_pb2.Struct.DESCRIPTOR
CHECK_AGAIN_S = 30.0
"""How often an open stream's key is checked: it ends within a minute of a revocation."""
_VERBS = ("get", "put", "post", "delete", "patch")
_PARAMETER = re.compile(r"\{([a-z_]+)(?:=([^}]*))?\}")
_UNKNOWN = re.compile(r'Message type "([^"]+)" has no field named "([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Binding:
    """One HTTP form of one RPC."""

    verb: str
    template: str
    """As annotated, e.g. /v1/keys/{key_id}."""
    has_body: bool
    method: MethodDescriptor
    request: type[Message]
    response: type[Message]
    form: int = 0
    """Which of the RPC's HTTP forms it is: 0 = the first."""

    @property
    def rpc(self) -> str:
        """The gRPC path."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def service(self) -> str:
        """The DAC service's name, e.g. "budget"."""
        return str(self.method.containing_service.full_name.split(".")[1])

    @property
    def is_file(self) -> bool:
        """Whether it answers with bytes of its own instead of a message."""
        return self.response is httpbody_pb2.HttpBody

    @property
    def parameters(self) -> list[str]:
        """Names in the path."""
        return [name for name, _ in _PARAMETER.findall(self.template)]

    @property
    def route_path(self) -> str:
        """The template as Starlette writes it."""
        return _PARAMETER.sub(lambda found: f"{{{found[1]}{':path' if found[2] == '**' else ''}}}", self.template)


def bindings() -> list[Binding]:
    """Every annotated RPC; literal paths before those with parameters, and last those that take whatever follows."""
    found = []
    for method in methods():
        options = method.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        rule = options.Extensions[annotations_pb2.http]
        for form, one in enumerate((rule, *rule.additional_bindings)):
            verb = next(verb for verb in _VERBS if getattr(one, verb))
            found.append(
                Binding(
                    verb.upper(),
                    getattr(one, verb),
                    one.body == "*",
                    method,
                    message_factory.GetMessageClass(method.input_type),
                    message_factory.GetMessageClass(method.output_type),
                    form,
                )
            )
    return sorted(
        found,
        key=lambda binding: (
            len(binding.parameters),
            binding.template.endswith("=**}"),
            binding.template,
            binding.verb,
        ),
    )


def routes(
    found: Sequence[Binding],
    channel_to: Callable[[str], grpc.aio.Channel],
    callers: Callers,
    stopping: asyncio.Event,
    first: Mapping[str, Callable[[Message], Awaitable[Message | None]]] | None = None,
) -> list[Route]:
    """A Starlette route for every binding. Endless streams end when `stopping` is set.

    `first`: who hears a request of an RPC before its service does, and may answer in its place.
    """

    def route(binding: Binding) -> Route:
        heard = (first or {}).get(binding.rpc)
        endpoint = _endpoint(binding, channel_to(binding.service), callers, stopping, heard)
        return Route(binding.route_path, endpoint, methods=[binding.verb])

    return [route(binding) for binding in found]


def _endpoint(
    binding: Binding,
    channel: grpc.aio.Channel,
    callers: Callers,
    stopping: asyncio.Event,
    first: Callable[[Message], Awaitable[Message | None]] | None,
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
            _require(binding, caller)
            exchange.call.deadline = None
            if binding.is_file:
                return await file_response(call(message))
            events = _events(call(message), lambda: callers.authenticate_header(authorization), stopping)
            return StreamingResponse(events, media_type="text/event-stream")
        if first is not None and (answer := await first(message)) is not None:
            return Response(to_json(answer), media_type="application/json")
        answer = await call(message, timeout=max(0.1, exchange.call.deadline - time.monotonic()))
        return Response(to_json(answer), media_type="application/json")

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


def _require(binding: Binding, caller: Caller) -> None:
    """Refuses before a stream's headers are sent what the service would refuse in the stream."""
    scope = permission_of(binding.rpc)
    if isinstance(scope, str) and scope and not has_scope(caller.principal, scope):
        raise MeshError(Reason.PERMISSION_DENIED, f'This needs a key with scope "{scope}".', metadata={"scope": scope})


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
            while not stop.done():
                following = following or asyncio.ensure_future(anext(reader))
                either: set[asyncio.Future[Any]] = {following, stop}
                await asyncio.wait(either, timeout=CHECK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    message, following = following.result(), None
                    yield b"data: " + to_json(message, indent=None) + b"\n\n"
                else:
                    await check_again()
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
            await asyncio.to_thread(parse_json, body, message)
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


def parse_json(body: bytes, message: Message) -> None:
    """Reads JSON into a message. Raises INVALID_REQUEST naming the field."""
    if not body.strip():
        return
    check_depth(body, MOST_DEPTH)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("body", f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise invalid("body", "The body must be a JSON object.")
    _check_structs(document, message.DESCRIPTOR)
    try:
        json_format.ParseDict(document, message, max_recursion_depth=MOST_DEPTH)
    except json_format.ParseError as error:
        text = str(error)
        unknown = _UNKNOWN.search(text)
        if unknown:
            owner = message.DESCRIPTOR.file.pool.FindMessageTypeByName(unknown[1])
            raise unknown_field(unknown[2], [field.name for field in owner.fields]) from None
        raise invalid("body", f"The body does not fit: {text.splitlines()[0][:300]}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise invalid("body", f"The body does not fit: {str(error)[:300]}") from None


def _check_structs(document: dict[str, Any], form: Any) -> None:
    """Raises INVALID_REQUEST when free-form fields hold too many values. `form`: the
    descriptor of what the document is to be read as."""
    found, structs = [(document, form)], list[Any]()
    while found:
        part, of = found.pop()
        for name, value in part.items():
            field = of.fields_by_name.get(name) or of.fields_by_camelcase_name.get(name)
            if field is None or field.message_type is None:
                continue
            values = value if isinstance(value, list) else [value]
            if field.message_type is _STRUCT:
                structs += values
            else:
                found += [(one, field.message_type) for one in values if isinstance(one, dict)]
    left = MOST_STRUCT_VALUES
    while structs:
        one = structs.pop()
        if isinstance(one, dict | list):
            left -= len(one)
            if left < 0:
                raise invalid("body", f"Its free-form fields hold more than {MOST_STRUCT_VALUES} values.")
            structs += one.values() if isinstance(one, dict) else one


def unknown_field(name: str, known: Sequence[str]) -> MeshError:
    """INVALID_REQUEST with the nearest right name."""
    close = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.5)
    hint = f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(sorted(known)) or 'none'}."
    return invalid(name[:80], f'There is no field "{name[:80]}". {hint}')


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
