"""One HTTP request and its answer: its body within bounds, its client watched, DAC's headers on everything sent."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from dac.type.v1.record_pb2 import RequestRecord
from mesh import telemetry, tracing
from mesh.call import Call, enter
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.gateway.chat.labels import Labels, read_labels
from services.gateway.chat.pipeline import ProviderRefusal
from services.gateway.chat.task_chat import PATH as TASK_PATH
from services.gateway.chat.task_chat import TASK_CHAT
from services.gateway.edge.failures import error_headers, http_status
from services.gateway.edge.http_protocol import PIECE, WATCH
from services.gateway.edge.rate_limit_headers import headers_of_refusal
from services.gateway.gating.sources import HEADER, read_wish
from services.gateway.identity.callers import Caller, Callers
from services.gateway.identity.key_watch import KeyWatch
from services.gateway.persona.asked import PERSONA_HEADER, read_persona
from services.gateway.redaction.asked import REDACTION_HEADER, read_redaction
from services.gateway.sharing.cache_control import read_headers
from services.gateway.wire import anthropic_wire, openai_wire
from services.gateway.wire.wires import ANTHROPIC, OPENAI, RESPONSES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHAT_PATH = "/v1/chat/completions"
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
    TASK_PATH: TASK_CHAT,
}
"""The wire format of every path that is served by hand."""
SECURE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
JSON = (b"content-type", b"application/json")
BODY_TIMEOUT_S = 60.0
"""How long the next piece of a body may take."""
SEND_TIMEOUT_S = 30.0
"""How long a client may leave an answer unread."""
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Exchange:
    """One HTTP request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]) -> None:
        self.scope, self._receive, self._send, self._cors = scope, receive, send, cors
        # Of several with one name the first counts.
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self.started = time.perf_counter()
        self.status = 0
        self.route = "other"
        self.template = ""
        """The path as it is counted, where it has parameters."""
        self.wire = WIRES.get(scope["path"], OPENAI)
        self.done = self.gone = self.loopback_only = False
        self._body_read = scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS")
        self._until = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.labels: Labels | None = None
        self._kept: bytes | None = None
        """The body, when it was read to see whose request this is."""
        self.call = Call(request_id=uuid7())
        self.check_again: Callable[[], Awaitable[object]] | None = None
        """Whether its key is still good; None before it was found good once."""
        given = self.text_header(b"x-request-id")
        self.client_request_id = given if given and len(given) <= 128 and given.isprintable() else ""
        tracing.continue_trace(self.call, self.text_header(b"traceparent"))
        tracing.ensure_trace(self.call)
        self._task = asyncio.current_task()
        # Taken out: it holds what holds the scope.
        self.piece: Callable[[bytes], bool] | None = scope.get("extensions", {}).pop(PIECE, None)
        """Writes a piece of a stream where that can be done at once; says False where not. None = it never can."""

    def header(self, name: bytes) -> bytes:
        """A request header, or nothing."""
        return self._headers.get(name, b"")

    def text_header(self, name: bytes) -> str:
        """A request header as text."""
        return self.header(name).decode("latin-1")

    def parse(self, body: bytes, *, max_depth: int) -> openai_wire.ChatAsk:
        """The body as an ask, with what else the wire format says in headers. Raises INVALID_REQUEST."""
        ask = self.wire.parse(body, max_depth=max_depth)
        ask.cache_said = read_headers(self.scope["headers"])
        if voice := self.header(PERSONA_HEADER):
            ask.persona = read_persona(voice)
        if private := self.header(REDACTION_HEADER):
            ask.redaction = read_redaction(private)
        if self.wire is ANTHROPIC:
            said = [value.decode("latin-1") for key, value in self.scope["headers"] if key == b"anthropic-beta"]
            ask.anthropic_beta = anthropic_wire.read_beta(said)
        if self.wire is ANTHROPIC or self.wire is RESPONSES:
            ask.enable_validation = read_wish(self.text_header(HEADER))
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

    def read_labels(self) -> None:
        """Tags, and whom the request is for. Raises INVALID_REQUEST."""
        self.labels = read_labels(self.scope["headers"])

    @property
    def tags(self) -> dict[str, str] | None:
        """The request's tags, when it has any."""
        return self.labels.tags if self.labels is not None else None

    def tag(self, record: RequestRecord) -> None:
        """Writes the request's tags on its record."""
        if self.tags:
            record.tags.update(self.tags)

    async def place(self, callers: Callers, caller: Caller, ask: object) -> Caller:
        """The caller where the request stands. Raises PERMISSION_DENIED, INVALID_REQUEST or UNAVAILABLE."""
        team_id, project_id = (ask.team_id, ask.project_id) if isinstance(ask, openai_wire.ChatAsk) else ("", "")
        if self.labels is not None:
            team_id, project_id = self.labels.place(team_id, project_id)
        if not team_id and not project_id:
            return caller
        acts = await callers.acting_for(caller, team_id, project_id)
        self.call.principal, self.call.signed_principal = acts.principal, acts.signed()
        return acts

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises TOO_LARGE, INVALID_REQUEST, or CANCELLED when the client left."""
        if self._kept is not None:
            return self._kept
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

    async def keep_body(self, limit: int) -> bytes:
        """The whole body, which can be read once more. Raises as `body` does."""
        self._kept = await self.body(limit)
        return self._kept

    def tell(self, name: bytes, value: bytes) -> None:
        """Adds a header to the answer."""
        self._cors = [*self._cors, (name, value)]

    def bounded_receive(self, limit: int) -> Receive:
        """`receive` for Starlette, refusing bodies over `limit` and those that do not come."""
        size, ended = 0, self._body_read

        async def receive() -> MutableMapping[str, Any]:
            nonlocal size, ended
            if self._kept is not None:
                kept, self._kept, ended = self._kept, None, True
                return {"type": "http.request", "body": kept, "more_body": False}
            try:
                # Behind the body it is asked whether the client left: that may take as long as it likes.
                async with asyncio.timeout(None if ended else BODY_TIMEOUT_S):
                    message = await self._receive()
            except TimeoutError:
                self.tell(b"connection", b"close")
                raise MeshError(Reason.DEADLINE_EXCEEDED, "The body did not arrive in time. Send it again.") from None
            ended = ended or not message.get("more_body")
            size += len(message.get("body", b""))
            if size > limit:
                raise openai_wire.too_large(limit)
            return message

        return receive

    def key_watch(self) -> KeyWatch:
        """Ends what streams when its key is good no more."""
        assert self.check_again is not None
        return KeyWatch(self.check_again)

    def watch(self) -> Callable[[], object]:
        """Cancels the request when its client goes away; what comes back stops that."""
        watch = self.scope.get("extensions", {}).get(WATCH)
        if watch is not None:
            return watch(self._left)  # type: ignore[no-any-return]
        return asyncio.create_task(self._watch()).cancel

    async def _watch(self) -> None:
        """The same on a server that says it only when it is asked."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
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
        if more and self.piece is not None and self.piece(data):
            return
        self._waits(SEND_TIMEOUT_S)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._until = math.inf

    def _waits(self, most_s: float) -> None:
        """From now on the client is waited for; one timer looks after all waits of a request."""
        self._until = time.monotonic() + most_s
        if self._timer is None:
            # Looks often enough for the shortest wait: who reads nothing may come long before a body's time is over.
            first_s = min(most_s, SEND_TIMEOUT_S)
            self._timer = asyncio.get_running_loop().call_later(first_s, self._look)

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
        limits = headers_of_refusal(error, self.wire.dialect)
        await self.answer(http_status(error), [*error_headers(error), *limits, JSON], body)

    async def send_wrapped(self, message: MutableMapping[str, Any]) -> None:
        """`send` for Starlette: adds DAC's headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._own_headers()]}
        await self._send(message)
