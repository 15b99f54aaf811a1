"""The HTTP edge: one ASGI application. Chat is served by hand, byte for byte; everything else by Starlette routes."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, TypeVar

from mesh import telemetry, tracing
from mesh.call import Call, enter
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.status import from_exception
from services.gateway import anthropic_wire, openai_wire
from services.gateway.callers import Caller, Callers
from services.gateway.chat_run import ChatRun, usd
from services.gateway.config import GatewayConfig
from services.gateway.embeddings import OPERATION as EMBEDDINGS
from services.gateway.embeddings import EmbedRun, parse_embeddings
from services.gateway.failures import error_headers, http_status
from services.gateway.pipeline import CHAT, Done, Head, Pipeline, ProviderRefusal
from services.gateway.wires import ANTHROPIC, OPENAI, RESPONSES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHAT_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
CONSOLE_CHAT_PATH = "/console/chat"
"""The same chat for the console's playground, whose caller is known by its session."""
MESSAGES_PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
RESPONSES_PATH = "/v1/responses"
WIRES = {
    CHAT_PATH: OPENAI,
    CONSOLE_CHAT_PATH: OPENAI,
    MESSAGES_PATH: ANTHROPIC,
    COUNT_PATH: ANTHROPIC,
    RESPONSES_PATH: RESPONSES,
}
"""The wire format of every path that is served by hand."""
SECURE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
EXPOSED = (
    b"x-request-id, request-id, x-dac-request-id, x-dac-model, x-dac-route, x-dac-cost-usd, retry-after, x-should-retry"
)
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
BODY_TIMEOUT_S = 60.0
"""How long the next piece of a body may take."""
SEND_TIMEOUT_S = 30.0
"""How long a client may leave an answer unread."""
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_log = logging.getLogger("dac.gateway.edge")
Ask = TypeVar("Ask")


class Edge:
    """The ASGI application."""

    def __init__(
        self, config: GatewayConfig, callers: Callers, pipeline: Pipeline, other: Any, leaving: asyncio.Event
    ) -> None:
        self._config, self._callers, self._pipeline, self._other = config, callers, pipeline, other
        self._leaving = leaving
        self._any_origin = "*" in config.cors_origins
        self._origins = frozenset(origin.encode() for origin in config.cors_origins)
        self.console_caller: Callable[[Callable[[str], str]], Awaitable[Caller]] | None = None
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        added = self._cors(scope)
        if self._leaving.is_set():
            # The client's next request comes by a new connection, which a balancer gives to another replica.
            added = [*added, (b"connection", b"close")]
        request = Exchange(scope, receive, send, added)
        request.loopback_only = self._config.auth == "off"
        span = tracing.begin_http(request.call, scope["method"])
        self.running += 1
        try:
            request.check_origin(self._any_origin, self._origins)
            if scope["method"] == "OPTIONS" and request.header(b"access-control-request-method"):
                await request.start(204, [])
                await request.send_body(b"", more=False)
            elif scope["path"] in WIRES:
                await self._chat(request)
            elif scope["path"] == EMBEDDINGS_PATH:
                await self._embeddings(request)
            else:
                await self._serve_other(request)
        except Exception as error:
            named = from_exception(error, request.route)
            if not request.status:
                await request.fail(named)
        finally:
            self.running -= 1
            telemetry.observe_http(request.route, scope["method"], request.status, request.started)
            tracing.end_http(span, request.call, scope["method"], request.route, request.status)

    def _cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        if not self._origins:
            return []
        origin = next((value for key, value in scope["headers"] if key == b"origin"), None)
        if origin is None or not (self._any_origin or origin in self._origins):
            return []
        asked = next((value for key, value in scope["headers"] if key == b"access-control-request-headers"), b"")
        return [
            (b"access-control-allow-origin", origin),
            (b"vary", b"origin"),
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
            (b"access-control-allow-headers", asked or b"authorization, content-type, x-request-id"),
            (b"access-control-expose-headers", EXPOSED),
            (b"access-control-max-age", b"600"),
        ]

    async def _serve_other(self, request: "Exchange") -> None:
        request.scope.setdefault("state", {})["exchange"] = request
        enter(request.call)
        request.route = "other"
        await self._other(request.scope, request.bounded_receive(self._config.max_body_bytes), request.send_wrapped)

    async def _chat(self, request: "Exchange") -> None:
        admitted = await self._admit(request, request.parse, CHAT)
        if admitted is None:
            return
        caller, ask = admitted
        run = ChatRun(self._pipeline, ask, caller, request.call, client_request_id=request.client_request_id)
        await self._watched(request, self._stream(request, run) if ask.stream else self._whole(request, run))

    async def _embeddings(self, request: "Exchange") -> None:
        admitted = await self._admit(request, parse_embeddings, EMBEDDINGS)
        if admitted is None:
            return
        caller, ask = admitted
        run = EmbedRun(self._pipeline, ask, caller, request.call, client_request_id=request.client_request_id)
        await self._watched(request, self._embedded(request, run))

    async def _admit(self, request: "Exchange", parse: Callable[..., Ask], operation: str) -> tuple[Caller, Ask] | None:
        """The caller and the body it sent; None when it was refused and told so."""
        request.route = request.scope["path"]
        if request.scope["method"] != "POST":
            error = MeshError(Reason.UNIMPLEMENTED, f"{request.route} takes POST, not {request.scope['method'][:20]}.")
            body = request.wire.error_body(error, request.call.request_id)
            await request.answer(405, [(b"allow", b"POST, OPTIONS"), JSON], body)
            return None
        caller: Caller | None = None
        try:
            if request.route == CONSOLE_CHAT_PATH and self.console_caller is not None:
                caller = await self.console_caller(lambda name: request.text_header(name.encode()))
            else:
                caller = await self._callers.authenticate_header(request.credential())
            request.identify(caller, self._config.request_timeout_s)
            if request.route == COUNT_PATH:
                await self._count(request)
                return None
            caller.check_chat()
            body = await request.body(self._config.max_body_bytes)
            return caller, parse(body, max_depth=self._config.max_body_depth)
        except MeshError as error:
            await request.fail(error)
            if caller is not None and not request.gone and request.route != COUNT_PATH:
                self._pipeline.refuse(
                    caller,
                    request.call,
                    error,
                    client_request_id=request.client_request_id,
                    http_status=request.status,
                    operation=operation,
                    dialect=request.wire.dialect,
                )
            return None

    async def _watched(self, request: "Exchange", answering: Awaitable[None]) -> None:
        """Answers while the client stays."""
        watcher = asyncio.create_task(request.watch())
        try:
            await answering
        except asyncio.CancelledError:
            if not request.gone:
                raise
        finally:
            request.done = True
            request.stop_waiting()
            watcher.cancel()

    async def _count(self, request: "Exchange") -> None:
        """DAC's own estimate; nothing is reserved, asked or recorded."""
        body = await request.body(self._config.max_body_bytes)
        ask = anthropic_wire.parse_messages(body, max_depth=self._config.max_body_depth, counting=True)
        request.done = True
        await request.answer(200, [JSON], b'{"input_tokens":%d}' % ask.input_tokens)

    async def _embedded(self, request: "Exchange", run: EmbedRun) -> None:
        try:
            made = await run.answer()
        except MeshError as error:
            await request.fail(error)
            return
        request.done = True
        await request.answer(200, [*_head_headers(made.head, made.cost_nano_usd), JSON], made.body)

    async def _whole(self, request: "Exchange", run: ChatRun) -> None:
        head, parts, done = None, [], None
        events = run.events()
        try:
            async for event in events:
                if isinstance(event, bytes):
                    parts.append(event)
                elif isinstance(event, Head):
                    head = event
                else:
                    done = event
                    # The record is handed over when the run ends, before the answer leaves.
                    run.record.http_status = 200
        except MeshError as error:
            await request.fail(error)
            return
        finally:
            await events.aclose()
        assert head is not None and done is not None
        request.done = True
        await request.answer(200, [*_head_headers(head, done.cost_nano_usd), JSON], b"".join(parts))

    async def _stream(self, request: "Exchange", run: ChatRun) -> None:
        events, sent = run.events(), b""
        telemetry.ACTIVE_STREAMS.inc()
        try:
            async for event in events:
                if isinstance(event, bytes):
                    sent = event
                    await request.send_body(event, more=True)
                elif isinstance(event, Head):
                    run.record.http_status = 200
                    await request.start(200, [*_head_headers(event), EVENTS, (b"x-accel-buffering", b"no")])
                else:
                    assert isinstance(event, Done)
                    request.done = True
                    await request.send_body(event.end, more=False)
        except MeshError as error:
            if request.status:
                request.done = True
                telemetry.ERRORS.labels(error.reason.name.lower()).inc()
                await request.send_body(request.wire.error_event(error, request.call.request_id, sent), more=False)
            else:
                await request.fail(error)
        finally:
            telemetry.ACTIVE_STREAMS.dec()
            await events.aclose()


def _head_headers(head: Head, cost_nano_usd: int | None = None) -> list[tuple[bytes, bytes]]:
    route = " ".join(head.route.split())[:300].encode("ascii", "replace")
    cost = [] if cost_nano_usd is None else [(b"x-dac-cost-usd", usd(cost_nano_usd).encode())]
    return [(b"x-dac-model", head.model.encode("ascii", "replace")), (b"x-dac-route", route), *cost]


class Exchange:
    """One HTTP request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]) -> None:
        self.scope, self._receive, self._send, self._cors = scope, receive, send, cors
        self.started = time.perf_counter()
        self.status = 0
        self.route = "other"
        self.wire = WIRES.get(scope["path"], OPENAI)
        self.done = self.gone = self.loopback_only = False
        self._body_read = scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS")
        self._until = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.call = Call(request_id=uuid7())
        given = self.text_header(b"x-request-id")
        self.client_request_id = given if given and len(given) <= 128 and given.isprintable() else ""
        tracing.continue_trace(self.call, self.text_header(b"traceparent"))
        tracing.ensure_trace(self.call)
        self._task = asyncio.current_task()

    def header(self, name: bytes) -> bytes:
        """A request header, or nothing."""
        return next((value for key, value in self.scope["headers"] if key == name), b"")

    def text_header(self, name: bytes) -> str:
        """A request header as text."""
        return self.header(name).decode("latin-1")

    def parse(self, body: bytes, *, max_depth: int) -> openai_wire.ChatAsk:
        """The body as an ask, with what else the wire format says in headers. Raises INVALID_REQUEST."""
        ask = self.wire.parse(body, max_depth=max_depth)
        if self.wire is ANTHROPIC:
            said = [value.decode("latin-1") for key, value in self.scope["headers"] if key == b"anthropic-beta"]
            ask.anthropic_beta = anthropic_wire.read_beta(said)
        return ask

    def credential(self) -> str:
        """The Authorization header, or what the wire format has in its place."""
        key = self.text_header(self.wire.key_header) if self.wire.key_header else ""
        return f"Bearer {key}" if key else self.text_header(b"authorization")

    def identify(self, caller: Caller, timeout_s: float) -> None:
        """Makes this request the caller's: from here on every call carries the principal."""
        self.call.principal, self.call.signed_principal = caller.principal, caller.signed()
        self.call.deadline = time.monotonic() + timeout_s
        enter(self.call)

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises TOO_LARGE, INVALID_REQUEST, or CANCELLED when the client left."""
        encoding = self.header(b"content-encoding").lower()
        if encoding not in (b"", b"identity"):
            raise MeshError(
                Reason.INVALID_REQUEST,
                f"Bodies encoded as {encoding.decode('latin-1')} are not read: send plain JSON.",
                metadata={"field": "content-encoding"},
            )
        length = self.header(b"content-length")
        if length.isdigit() and int(length) > limit:
            raise openai_wire.too_large(limit)
        parts, size = [], 0
        while True:
            self._waits(BODY_TIMEOUT_S)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise MeshError(Reason.CANCELLED, "The client went away.")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise openai_wire.too_large(limit)
            parts.append(part)
            if not message.get("more_body"):
                self._body_read, self._until = True, math.inf
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def bounded_receive(self, limit: int) -> Receive:
        """`receive` for Starlette, refusing bodies over `limit`."""
        size = 0

        async def receive() -> MutableMapping[str, Any]:
            nonlocal size
            message = await self._receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise openai_wire.too_large(limit)
            return message

        return receive

    async def watch(self) -> None:
        """Cancels the request when its client goes away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.done and self._task is not None:
            self.gone = True
            self._task.cancel()

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        own = self.call.request_id.encode()
        echoed = self.client_request_id.encode("latin-1", "replace") or own
        more = [(self.wire.id_header, own)] if self.wire.id_header else []
        return [*SECURE_HEADERS, *self._cors, (b"x-request-id", echoed), (b"x-dac-request-id", own), *more]

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Sends status and headers."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self._own_headers()})

    async def send_body(self, data: bytes, *, more: bool) -> None:
        """Sends a part of the body; a client that does not read for a while is let go."""
        self._waits(SEND_TIMEOUT_S)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._until = math.inf

    def _waits(self, most_s: float) -> None:
        """From now on the client is waited for; one timer looks after all waits of a request."""
        self._until = time.monotonic() + most_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(most_s, self._look)

    def _look(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0 and self._task is not None:
            self.gone = True
            self._task.cancel()
        elif not self.done:
            self._timer = asyncio.get_running_loop().call_later(min(max(left, 0.1), SEND_TIMEOUT_S), self._look)

    def stop_waiting(self) -> None:
        """The request is over."""
        if self._timer is not None:
            self._timer.cancel()

    def check_origin(self, any_origin: bool, origins: Collection[bytes]) -> None:
        """Without keys a web page must not reach DAC through its reader's browser. Raises PERMISSION_DENIED."""
        if not self.loopback_only or self.credential():
            return
        origin, host = self.header(b"origin"), self.text_header(b"host").rsplit(":", 1)[0]
        own = origin == b"http://" + self.header(b"host")
        if host not in LOOPBACK_NAMES or (origin and not own and not any_origin and origin not in origins):
            raise MeshError(
                Reason.PERMISSION_DENIED,
                "With auth off DAC answers only programs on this machine: call it by 127.0.0.1, or send a key.",
            )

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Sends a whole answer."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.send_body(body, more=False)

    async def fail(self, error: MeshError) -> None:
        """Sends a failure in the caller's wire format."""
        self.done = True
        telemetry.ERRORS.labels(error.reason.name.lower()).inc()
        if self.gone:
            self.status = 499
            return
        if not self._body_read:
            # The rest of the body would be taken for the next request.
            self._cors = [*self._cors, (b"connection", b"close")]
        if isinstance(error, ProviderRefusal):
            status = error.status_code if 400 <= error.status_code < 500 else 400
            await self.answer(status, [JSON, (b"x-should-retry", b"false")], error.body)
            return
        body = self.wire.error_body(error, self.call.request_id)
        await self.answer(http_status(error), [*error_headers(error), JSON], body)

    async def send_wrapped(self, message: MutableMapping[str, Any]) -> None:
        """`send` for Starlette: adds DAC's headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._own_headers()]}
        await self._send(message)
