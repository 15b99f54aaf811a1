"""What the mock's further dialects share: scripts, refusals, and faults in the middle of a stream."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from tests.upstream import answers

if TYPE_CHECKING:
    from tests.upstream.server import Recorded, Upstream


class Dialect(Protocol):
    """One dialect of the mock."""

    content_type: str
    """Of a stream."""
    garbage_event: bytes
    error_event: bytes

    def refused(self, request: web.Request) -> web.Response | None:
        """The answer to a wrong key."""

    def error(self, status: int, message: str, after: str = "") -> web.Response:
        """A refusal."""

    def check(self, body: Any) -> str | None:
        """None, or the message of the first thing the API would refuse."""

    def as_openai(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """What answers.compose reads."""

    def plain(self, answer: answers.Answer, number: int) -> dict[str, Any]:
        """A whole answer."""

    def events(self, answer: answers.Answer, number: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """(before the first token, tokens, after the last one), as bytes on the wire."""


async def serve(
    upstream: "Upstream", request: web.Request, dialect: Dialect, *, model: str = "", stream: bool | None = None
) -> web.StreamResponse:
    """Answers as the scripts say."""
    recorded = await upstream._record(request)
    recorded.model = model or recorded.model
    try:
        return await _answer(upstream, request, recorded, dialect, stream=stream)
    except (asyncio.CancelledError, ConnectionResetError):
        recorded.disconnected_s = time.monotonic()
        recorded.left.set()
        raise
    finally:
        recorded.finished_s = time.monotonic()


async def _answer(
    upstream: "Upstream", request: web.Request, recorded: "Recorded", dialect: Dialect, *, stream: bool | None
) -> web.StreamResponse:
    refused = dialect.refused(request)
    if refused is not None:
        return refused
    behaviour = upstream._behaviour(recorded.model, request)
    await asyncio.sleep(behaviour.delay_s)
    if behaviour.fault == "status":
        return dialect.error(behaviour.status, f"scripted {behaviour.status}", behaviour.retry_after)
    if behaviour.fault == "context_length":
        return dialect.error(400, "prompt is too long: it exceeds the context window of this model")
    if not isinstance(recorded.body, dict) or (message := dialect.check(recorded.body)) is not None:
        return dialect.error(400, message if isinstance(recorded.body, dict) else "the body is no object")
    upstream._count += 1
    answer = answers.compose(dialect.as_openai(recorded.model, recorded.body), behaviour)
    if stream if stream is not None else recorded.body.get("stream"):
        return await _stream(request, recorded, dialect, answer, upstream._count)
    raw = json.dumps(dialect.plain(answer, upstream._count)).encode()
    if behaviour.fault == "garbage_body":
        raw = raw[: len(raw) // 2]
    return web.Response(body=raw, content_type="application/json")


async def _stream(
    request: web.Request, recorded: "Recorded", dialect: Dialect, answer: answers.Answer, number: int
) -> web.StreamResponse:
    behaviour = answer.behaviour
    response = web.StreamResponse(headers={"Content-Type": dialect.content_type})
    await response.prepare(request)

    async def send(event: bytes) -> None:
        await response.write(event)
        recorded.written += 1

    head, middle, tail = dialect.events(answer, number)
    for event in head:
        await send(event)
    await asyncio.sleep(behaviour.first_token_delay_s)
    for index, event in enumerate(middle):
        if index == behaviour.after_tokens:
            if behaviour.fault == "end_early":
                return response
            if behaviour.fault == "stall":
                await asyncio.Event().wait()
            if behaviour.fault == "cut":
                assert request.transport is not None
                await asyncio.sleep(0.01)
                request.transport.close()
                await asyncio.Event().wait()
            if behaviour.fault == "error_event":
                await send(dialect.error_event)
                return response
        await send(dialect.garbage_event if behaviour.fault == "garbage_event" and index == 10 else event)
        await asyncio.sleep(behaviour.token_delay_s)
    for event in tail:
        await send(event)
    return response
