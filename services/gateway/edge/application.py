"""The HTTP edge: one ASGI application. Chat is served by hand, byte for byte; everything else by Starlette routes."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from mesh import telemetry, tracing
from mesh.call import enter
from mesh.errors import MeshError, Reason
from mesh.status import from_exception
from services.gateway.audio import OPERATIONS, AudioAsk, parse_speech, parse_upload
from services.gateway.audio_run import EVENTS as EVENT_STREAM
from services.gateway.audio_run import AudioDone, AudioHead, AudioRun
from services.gateway.chat.chat_run import ChatRun
from services.gateway.chat.pipeline import CHAT, Done, Head, Pipeline
from services.gateway.chat.task_chat import TASK_CHAT, TENANT_HEADER, check_tenant
from services.gateway.chat.whole_answers import whole
from services.gateway.config import GatewayConfig
from services.gateway.edge.exchange import (
    CONSOLE_CHAT_PATH,
    COUNT_PATH,
    JSON,
    WIRES,
    Exchange,
    Receive,
    Scope,
    Send,
)
from services.gateway.edge.headers import EVENTS, UNBUFFERED, head_headers, thread_headers
from services.gateway.embeddings import OPERATION as EMBEDDINGS
from services.gateway.embeddings import EmbedRun, parse_embeddings
from services.gateway.identity.callers import Caller, Callers
from services.gateway.threads import thread_paths
from services.gateway.threads.answers import answer_stream, answer_whole
from services.gateway.threads.opener import ThreadOpener
from services.gateway.threads.thread_paths import ThreadAsk, ThreadPath
from services.gateway.wire import anthropic_wire

EMBEDDINGS_PATH = "/v1/embeddings"
EXPOSED = (
    b"x-request-id, request-id, x-dac-request-id, x-dac-model, x-dac-route, x-dac-cost-usd, retry-after, "
    b"x-dac-cache, x-dac-cache-similarity, x-dac-cache-entry, x-dac-coalesced, age, x-dac-validation, "
    b"x-dac-thread-id, x-dac-message-id, x-dac-user-message-id, x-dac-thread-saved, x-dac-context, "
    b"x-dac-redaction, x-should-retry, retry-after-ms, idempotent-replayed, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    b"anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, "
    b"anthropic-ratelimit-tokens-limit, anthropic-ratelimit-tokens-remaining, anthropic-ratelimit-tokens-reset"
)


class Edge:
    """The ASGI application."""

    def __init__(
        self, config: GatewayConfig, callers: Callers, pipeline: Pipeline, other: Any, leaving: asyncio.Event
    ) -> None:
        self._config, self._callers, self._pipeline, self._other = config, callers, pipeline, other
        self._leaving = leaving
        self._opener = ThreadOpener(pipeline)
        self._any_origin = "*" in config.cors_origins
        self._origins = frozenset(origin.encode() for origin in config.cors_origins)
        self.console_caller: Callable[[Callable[[str], str]], Awaitable[Caller]] | None = None

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
        try:
            request.check_origin(self._any_origin, self._origins)
            if scope["method"] == "OPTIONS" and request.header(b"access-control-request-method"):
                await request.start(204, [])
                await request.send_body(b"", more=False)
            elif scope["path"] in WIRES:
                await self._chat(request)
            elif scope["path"] == EMBEDDINGS_PATH:
                await self._embeddings(request)
            elif scope["path"] in OPERATIONS:
                await self._audio(request, OPERATIONS[scope["path"]])
            elif (path := thread_paths.found(scope["method"], scope["path"])) is not None:
                await self._thread(request, path)
            else:
                await self._serve_other(request)
        except Exception as error:
            named = from_exception(error, request.route)
            if not request.status:
                await request.fail(named)
        finally:
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
            (b"access-control-allow-headers", asked or b"authorization, content-type, x-request-id, idempotency-key"),
            (b"access-control-expose-headers", EXPOSED),
            (b"access-control-max-age", b"600"),
        ]

    async def _serve_other(self, request: Exchange) -> None:
        request.scope.setdefault("state", {})["exchange"] = request
        enter(request.call)
        request.route = "other"
        await self._other(request.scope, request.bounded_receive(self._config.max_body_bytes), request.send_wrapped)

    async def _chat(self, request: Exchange) -> None:
        admitted = await self._admit(request, request.parse, CHAT)
        if admitted is None:
            return
        caller, ask = admitted
        run = ChatRun(self._pipeline, ask, caller, request.call, client_request_id=request.client_request_id)
        request.tag(run.record)
        await self._watched(request, self._stream(request, run) if ask.stream else self._whole(request, run))

    async def _thread(self, request: Exchange, path: ThreadPath) -> None:
        """A turn below a thread: the same chat, with its thread's model and parameters, answered in threads' form."""
        if path.edits:
            try:
                await self._callers.authenticate_header(request.credential())
                body = await request.keep_body(self._config.max_body_bytes)
            except MeshError as error:
                await request.fail(error)
                return
            if thread_paths.edits_only(body):
                await self._serve_other(request)
                return
        request.template = path.template

        def parse(body: bytes, *, max_depth: int) -> ThreadAsk:
            return thread_paths.parse_turn(path, body, max_depth=max_depth)

        admitted = await self._admit(request, parse, CHAT, self._opener.open)
        if admitted is None:
            return
        caller, ask = admitted
        run = ChatRun(self._pipeline, ask, caller, request.call, client_request_id=request.client_request_id)
        request.tag(run.record)
        await self._watched(request, answer_stream(request, run) if ask.stream else answer_whole(request, run))

    async def _embeddings(self, request: Exchange) -> None:
        admitted = await self._admit(request, parse_embeddings, EMBEDDINGS)
        if admitted is None:
            return
        caller, ask = admitted
        run = EmbedRun(self._pipeline, ask, caller, request.call, client_request_id=request.client_request_id)
        request.tag(run.record)
        await self._watched(request, self._embedded(request, run))

    async def _audio(self, request: Exchange, operation: str) -> None:
        kind = request.text_header(b"content-type")

        def parse(body: bytes, *, max_depth: int) -> AudioAsk:
            if operation == "speech":
                return parse_speech(body, max_depth=max_depth)
            return parse_upload(body, kind, operation, min_bytes_per_s=self._config.audio_min_bytes_per_s)

        admitted = await self._admit(request, parse, operation)
        if admitted is None:
            return
        caller, ask = admitted
        run = AudioRun(self._pipeline, ask, caller, request.call, client_request_id=request.client_request_id)
        request.tag(run.record)
        await self._watched(request, self._sounded(request, run))

    async def _admit(
        self,
        request: Exchange,
        parse: Callable[..., Any],
        operation: str,
        complete: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> tuple[Caller, Any] | None:
        """The caller and the body it sent, completed by what it has to ask for; None when it was refused and told."""
        request.route = request.template or request.scope["path"]
        if request.scope["method"] != "POST" and not request.template:
            error = MeshError(Reason.UNIMPLEMENTED, f"{request.route} takes POST, not {request.scope['method'][:20]}.")
            body = request.wire.error_body(error, request.call.request_id)
            await request.answer(405, [(b"allow", b"POST, OPTIONS"), JSON], body)
            return None
        caller: Caller | None = None
        try:
            caller, request.check_again = await self._authenticate(request)
            request.identify(caller, self._config.request_timeout_s)
            if request.route == COUNT_PATH:
                await self._count(request)
                return None
            caller.check_chat()
            request.read_labels()
            body = await request.body(self._config.max_body_bytes)
            ask = parse(body, max_depth=self._config.max_body_depth)
            if complete is not None:
                ask = await complete(ask)
            elif request.wire is TASK_CHAT:
                check_tenant(request.text_header(TENANT_HEADER), caller)
            return await request.place(self._callers, caller, ask), ask
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
                    tags=request.tags,
                )
            return None

    async def _authenticate(self, request: Exchange) -> tuple[Caller, Callable[[], Awaitable[Caller]]]:
        """The caller, and how to see whether it is one still. Raises as Callers.authenticate_header."""
        from_console = self.console_caller
        check: Callable[[], Awaitable[Caller]]
        if request.route == CONSOLE_CHAT_PATH and from_console is not None:
            check = functools.partial(from_console, lambda name: request.text_header(name.encode()))
        else:
            check = functools.partial(self._callers.authenticate_header, request.credential())
        return await check(), check

    async def _watched(self, request: Exchange, answering: Awaitable[None]) -> None:
        """Answers while the client stays."""
        stop_watching = request.watch()
        try:
            await answering
        except asyncio.CancelledError:
            if not request.gone:
                raise
        finally:
            request.done = True
            request.stop_waiting()
            stop_watching()

    async def _count(self, request: Exchange) -> None:
        """DAC's own estimate; nothing is reserved, asked or recorded."""
        body = await request.body(self._config.max_body_bytes)
        ask = anthropic_wire.parse_messages(body, max_depth=self._config.max_body_depth, counting=True)
        request.done = True
        await request.answer(200, [JSON], b'{"input_tokens":%d}' % ask.input_tokens)

    async def _embedded(self, request: Exchange, run: EmbedRun) -> None:
        try:
            made = await run.answer()
        except MeshError as error:
            await request.fail(error)
            return
        request.done = True
        await request.answer(200, [*head_headers(request, run, made.head, made.cost_nano_usd), JSON], made.body)

    async def _sounded(self, request: Exchange, run: AudioRun) -> None:
        events, parts = run.events(), list[bytes]()
        headers: list[tuple[bytes, bytes]] = []
        streamed, ended, head = run.ask.stream, False, None
        telemetry.ACTIVE_STREAMS.inc(int(streamed))
        try:
            async for event in events:
                if isinstance(event, AudioHead):
                    head = event
                    kind = event.content_type + ("; charset=utf-8" if event.content_type.startswith("text/") else "")
                    headers = [(b"content-type", kind.encode())]
                    if streamed:
                        run.record.http_status = 200
                        await request.start(200, [*head_headers(request, run, event.head), *headers, UNBUFFERED])
                elif isinstance(event, AudioDone):
                    ended, request.done = True, True
                    if streamed:
                        await request.send_body(b"", more=False)
                    elif head is not None:
                        headers = [*head_headers(request, run, head.head, event.cost_nano_usd), *headers]
                        await request.answer(200, headers, b"".join(parts))
                elif streamed:
                    await request.send_body(event, more=True)
                else:
                    parts.append(event)
        except MeshError as error:
            if not request.status:
                await request.fail(error)
                return
            request.done = True
            telemetry.ERRORS.labels(error.reason.name.lower()).inc()
            if head is not None and head.content_type == EVENT_STREAM and not ended:
                await request.send_body(request.wire.error_event(error, request.call.request_id, b""), more=False)
            # Else nothing can be said within the bytes: they break off, and no end is sent that would call them whole.
        finally:
            telemetry.ACTIVE_STREAMS.dec(int(streamed))
            await events.aclose()

    async def _whole(self, request: Exchange, run: ChatRun) -> None:
        made = await whole(request, run)
        if made is None:
            return
        head, body, done = made
        told = [*head_headers(request, run, head, done.cost_nano_usd), *thread_headers(run)]
        await request.answer(200, [*told, JSON], body)

    async def _stream(self, request: Exchange, run: ChatRun) -> None:
        events, run.outlet = run.events(), request.piece
        telemetry.ACTIVE_STREAMS.inc()
        try:
            async with request.key_watch():
                async for event in events:
                    if isinstance(event, bytes):
                        run.last_piece = event
                        await request.send_body(event, more=True)
                    elif isinstance(event, Head):
                        run.record.http_status = 200
                        told = [*head_headers(request, run, event), *thread_headers(run)]
                        await request.start(200, [*told, EVENTS, UNBUFFERED])
                    else:
                        assert isinstance(event, Done)
                        request.done = True
                        await request.send_body(event.end, more=False)
        except MeshError as error:
            if request.status:
                request.done = True
                telemetry.ERRORS.labels(error.reason.name.lower()).inc()
                last = request.wire.error_event(error, request.call.request_id, run.last_piece)
                await request.send_body(last, more=False)
            else:
                await request.fail(error)
        finally:
            telemetry.ACTIVE_STREAMS.dec()
            await events.aclose()
