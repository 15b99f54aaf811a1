"""The mock's HTTP side: routes, scripts, recorded requests, faults on the wire."""

import asyncio
import dataclasses
import gzip
import json
import time
from typing import Any

from aiohttp import web

from tests.upstream import answers, audio, bedrock, checks, cohere, dialects, embeddings, gemini, ollama, responses
from tests.upstream.behaviour import Behaviour, from_fields, from_model

MODELS = ("gpt-4o-mini", "gpt-4o", "echo-1")
CLAUDES = ("claude-sonnet-4-5", "claude-haiku-4-5")
_OPENAI_TYPES = {401: "invalid_request_error", 429: "rate_limit_error", 400: "invalid_request_error"}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclasses.dataclass
class Recorded:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    model: str
    started_s: float
    """time.monotonic() when the handler began."""
    disconnected_s: float | None = None
    """time.monotonic() when the client was seen to leave before the answer's end."""
    finished_s: float | None = None
    written: int = 0
    """Events written to the client."""
    left: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set with disconnected_s."""

    def as_json(self) -> dict[str, Any]:
        """What GET /requests shows."""
        shown = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("raw", "left")}
        return {**shown, "raw": self.raw.decode("utf-8", "replace")}


class Upstream:
    """`async with Upstream() as up`: up.base_url, up.requests, up.script(fault="503", times=1)."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, api_key: str = "") -> None:
        self.requests: list[Recorded] = []
        self.scripts: list[Behaviour] = []
        self.api_key = api_key
        """The only accepted key; empty = any key that does not contain "bad"."""
        self._host, self._port = host, port
        self._named: dict[str, Behaviour] = {}
        self._count = 0
        self._runner: web.AppRunner | None = None

    @property
    def origin(self) -> str:
        """http://host:port."""
        return f"http://{self._host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as base_url (…/v1)."""
        return f"{self.origin}/v1"

    def script(self, fault: str = "ok", **fields: Any) -> Behaviour:
        """Queues a behaviour: the first entry that matches a request decides (times=0 = for ever)."""
        made = from_fields({"fault": fault, **fields})
        self.scripts.append(made)
        return made

    def clear(self) -> None:
        """Forgets scripts, recorded requests and what model names have used up."""
        self.scripts.clear()
        self.requests.clear()
        self._named.clear()

    async def __aenter__(self) -> "Upstream":
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._openai)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/messages", self._anthropic)
        app.router.add_get("/v1/models", self._models)
        gemini.add_routes(app, self)
        dialects.add_routes(app, self)
        responses.add_routes(app, self)
        ollama.add_routes(app, self)
        cohere.add_routes(app, self)
        bedrock.add_routes(app, self)
        audio.add_routes(app, self)
        app.router.add_post("/script", self._script)
        app.router.add_delete("/script", self._clear)
        app.router.add_get("/requests", self._requests)
        # Handlers are cancelled when the client leaves: that is how departures are recorded.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _script(self, request: web.Request) -> web.Response:
        entries = await request.json()
        for fields in entries if isinstance(entries, list) else [entries]:
            self.scripts.append(from_fields(fields))
        return web.json_response({"queued": len(self.scripts)})

    async def _clear(self, request: web.Request) -> web.Response:
        self.clear()
        return web.json_response({})

    async def _requests(self, request: web.Request) -> web.Response:
        return web.json_response([recorded.as_json() for recorded in self.requests])

    async def _models(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        anthropic = "anthropic-version" in request.headers
        try:
            refused = self._check_key(request, anthropic)
            if refused is not None:
                return refused
            if (behaviour := self._behaviour("", request)).fault == "redirect":
                raise web.HTTPFound(self.origin + "/v1/models?again")
            await asyncio.sleep(behaviour.delay_s)
            early = await self._before_headers(request, behaviour, anthropic)
            if early is not None:
                return early
            if behaviour.models or behaviour.fault == "garbage_body":
                return web.Response(body=_listed(behaviour), content_type="application/json")
            if anthropic:
                data = [
                    {"type": "model", "id": m, "display_name": m, "created_at": "2025-01-01T00:00:00Z"} for m in CLAUDES
                ]
                return web.json_response(
                    {"data": data, "has_more": False, "first_id": CLAUDES[0], "last_id": CLAUDES[-1]}
                )
            rows = [{"id": m, "object": "model", "created": answers.CREATED, "owned_by": "mock"} for m in MODELS]
            return web.json_response({"object": "list", "data": rows})
        finally:
            recorded.finished_s = time.monotonic()

    async def _record(self, request: web.Request) -> Recorded:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        model = body.get("model") if isinstance(body, dict) else ""
        recorded = Recorded(
            request.method,
            request.path,
            {name.lower(): value for name, value in request.headers.items()},
            raw,
            body,
            model if isinstance(model, str) else "",
            time.monotonic(),
        )
        self.requests.append(recorded)
        return recorded

    def _behaviour(self, model: str, request: web.Request) -> Behaviour:
        named = self._named.get(model) or from_model(model)
        if named is not None:
            self._named[model] = named
        header = request.headers.get("x-mock-fault")
        for found in [
            *([from_fields({"fault": header})] if header else []),
            *self.scripts,
            *([named] if named else []),
        ]:
            if found.model in ("", model) and (not found.times or found.served < found.times):
                found.served += 1
                return found
        return Behaviour()

    def _check_key(self, request: web.Request, anthropic: bool) -> web.Response | None:
        if anthropic:
            key, required = request.headers.get("x-api-key", ""), True
        else:
            key, required = request.headers.get("authorization", "").removeprefix("Bearer "), bool(self.api_key)
        if "bad" in key or (required and not key) or (self.api_key and key != self.api_key):
            return self._error(401, "Incorrect API key provided" if not anthropic else "invalid x-api-key", anthropic)
        if anthropic and "anthropic-version" not in request.headers:
            return self._error(400, "anthropic-version: header is required", anthropic)
        return None

    def _error(
        self, status: int, message: str, anthropic: bool, *, code: str | None = None, param: str = "", after: str = ""
    ) -> web.Response:
        body: dict[str, Any]
        if anthropic:
            kind = _ANTHROPIC_TYPES.get(status, "api_error")
            body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}
        else:
            kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
            body = {"error": {"message": message, "type": kind, "param": param or None, "code": code}}
        return web.json_response(body, status=status, headers={"Retry-After": after} if after else {})

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, anthropic=False)

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, anthropic=True)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, anthropic=False, embeds=True)

    async def _serve(self, request: web.Request, *, anthropic: bool, embeds: bool = False) -> web.StreamResponse:
        recorded = await self._record(request)
        try:
            answer = await self._answer(request, recorded, anthropic, embeds)
        except (asyncio.CancelledError, ConnectionResetError):
            recorded.disconnected_s = time.monotonic()
            recorded.left.set()
            raise
        recorded.finished_s = time.monotonic()
        return answer

    async def _answer(
        self, request: web.Request, recorded: Recorded, anthropic: bool, embeds: bool
    ) -> web.StreamResponse:
        refused = self._check_key(request, anthropic)
        if refused is not None:
            return refused
        behaviour = self._behaviour(recorded.model, request)
        if behaviour.delay_s:
            await asyncio.sleep(behaviour.delay_s)
        early = await self._before_headers(request, behaviour, anthropic)
        if early is not None:
            return early
        if embeds:
            return await self._embedded(recorded, behaviour)
        if anthropic:
            if (
                message := checks.check_anthropic(recorded.body, request.headers.get("anthropic-beta", ""))
            ) is not None:
                return self._error(400, message, True)
        elif (found := checks.check_openai(recorded.body)) is not None:
            return self._error(400, found[0], False, param=found[1])
        self._count += 1
        composed = answers.compose(recorded.body, behaviour)
        if recorded.body.get("stream"):
            return await self._stream(request, recorded, composed, anthropic)
        return await self._plain(request, recorded, composed, anthropic)

    async def _embedded(self, recorded: Recorded, behaviour: Behaviour) -> web.StreamResponse:
        if (found := checks.check_embeddings(recorded.body)) is not None:
            return self._error(400, found[0], False, param=found[1])
        await asyncio.sleep(behaviour.first_token_delay_s)
        return web.Response(body=embeddings.answer(recorded.body, behaviour), content_type="application/json")

    async def _before_headers(
        self, request: web.Request, behaviour: Behaviour, anthropic: bool
    ) -> web.StreamResponse | None:
        fault = behaviour.fault
        if fault == "status":
            code = "rate_limit_exceeded" if behaviour.status == 429 else None
            message = f"scripted {behaviour.status}"
            return self._error(behaviour.status, message, anthropic, code=code, after=behaviour.retry_after)
        if fault == "context_length":
            message = (
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
            )
            if anthropic:
                message = "prompt is too long: 209000 tokens > 200000 maximum"
            return self._error(400, message, anthropic, code="context_length_exceeded", param="messages")
        if fault == "content_policy":
            message = "Your request was rejected as a result of our safety system."
            return self._error(400, message, anthropic, code="content_policy_violation")
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            await asyncio.sleep(0)
            return web.Response()
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "redirect":
            raise web.HTTPTemporaryRedirect(self.origin + request.path)
        if fault == "html":
            return web.Response(text="<html><body>captive portal</body></html>", content_type="text/html")
        if fault == "empty_body":
            return web.Response(body=b"", content_type="application/json")
        return None

    async def _plain(
        self, request: web.Request, recorded: Recorded, answer: answers.Answer, anthropic: bool
    ) -> web.StreamResponse:
        behaviour = answer.behaviour
        if anthropic:
            made = answers.anthropic_plain(answer, self._count)
        else:
            made = answers.openai_plain(answer, self._count, recorded.body.get("n") or 1)
        raw = json.dumps(made).encode()
        if behaviour.fault == "garbage_body":
            raw = b'{"id": "chatcmpl-1", "choices": [{"mess'
        if behaviour.fault == "big_body":
            raw = raw[:-1] + b',"padding":"' + b"x" * behaviour.padding_bytes + b'"}'
        headers = {"Content-Type": "application/json"}
        if behaviour.gzip:
            raw, headers["Content-Encoding"] = gzip.compress(raw), "gzip"
        if behaviour.fault not in ("headers_only", "stall", "cut"):
            await asyncio.sleep(behaviour.first_token_delay_s)
            return web.Response(body=raw, headers=headers)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if behaviour.fault == "headers_only":
            await _wait_long(behaviour.first_token_delay_s)
        await response.write(raw[: len(raw) // 2])
        if behaviour.fault == "stall":
            await asyncio.Event().wait()
        if behaviour.fault == "cut":
            await _abort(request)
        await response.write(raw[len(raw) // 2 :])
        return response

    async def _stream(
        self, request: web.Request, recorded: Recorded, answer: answers.Answer, anthropic: bool
    ) -> web.StreamResponse:
        behaviour = answer.behaviour
        fault, newline = behaviour.fault, "\r\n" if behaviour.crlf else "\n"
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        response = web.StreamResponse(headers=headers)
        if behaviour.gzip:
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)

        def encode(event: str) -> bytes:
            name = f"event: {json.loads(event)['type']}{newline}" if anthropic and event[:1] == "{" else ""
            return f"{name}data: {event}{newline}{newline}".encode()

        async def send(event: str) -> None:
            await response.write(encode(event))
            recorded.written += 1

        if anthropic:
            head, middle, tail = answers.anthropic_events(answer, self._count)
        else:
            include = bool((recorded.body.get("stream_options") or {}).get("include_usage"))
            head, middle, tail = answers.openai_events(answer, self._count, include)
        if fault == "headers_only":
            await _wait_long(behaviour.first_token_delay_s)
        if fault == "garbage_stream":
            await response.write(b"\x00\xff\xfe not a stream at all\n\n" * 3)
            return response
        paced = behaviour.first_token_delay_s or behaviour.token_delay_s or fault not in ("ok", "no_done")
        if not paced:
            done = [] if anthropic else ["[DONE]"]
            events = [encode(event) for event in [*head, *middle, *tail, *done]]
            recorded.written += len(events)
            await response.write(b"".join(events))
            return response
        for event in head:
            await send(event)
        await asyncio.sleep(behaviour.first_token_delay_s)
        index = 0
        while True:
            for event in middle:
                if index == behaviour.after_tokens and await self._strike(request, response, behaviour, anthropic):
                    return response
                await send("{not json at all" if fault == "garbage_event" and index == 10 else event)
                index += 1
                await asyncio.sleep(behaviour.token_delay_s)
            if fault != "endless":
                break
        for event in tail:
            await send(event)
        if not anthropic and fault != "no_done":
            await send("[DONE]")
        return response

    async def _strike(
        self, request: web.Request, response: web.StreamResponse, behaviour: Behaviour, anthropic: bool
    ) -> bool:
        """The fault in mid-stream; True when the response is over."""
        fault = behaviour.fault
        if fault == "stall":
            await _wait_long(0)
        if fault == "cut":
            await _abort(request)
        if fault == "big_event":
            await response.write(b"data: " + b"x" * (3 << 20))
            await response.write(b"\n\n")
        if fault == "bad_utf8":
            await response.write(b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n')
        if fault == "error_event":
            error = {"message": "The server had an error", "type": "server_error", "param": None, "code": None}
            named: dict[str, Any] = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            prefix = "event: error\n" if anthropic else ""
            await response.write(f"{prefix}data: {json.dumps(named if anthropic else {'error': error})}\n\n".encode())
            return True
        return fault == "end_early"


def _listed(behaviour: Behaviour) -> bytes:
    """A list of models in OpenAI's form, as scripted."""
    wanted = behaviour.models
    if behaviour.fault == "garbage_body":
        return b'{"object": "list", "data": [{"id": "half'
    if wanted[:1] in ("{", "["):
        return wanted.encode()
    names = [f"model-{number}" for number in range(int(wanted))] if wanted.isdigit() else wanted.split("|")
    return json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()


async def _wait_long(seconds: float) -> None:
    """That many seconds; 0 = until the client leaves."""
    if seconds:
        await asyncio.sleep(seconds)
    else:
        await asyncio.Event().wait()


async def _abort(request: web.Request) -> None:
    """Closes the socket without ending the response, after what was written is on its way."""
    assert request.transport is not None
    await asyncio.sleep(0.01)
    request.transport.close()
    await asyncio.Event().wait()
