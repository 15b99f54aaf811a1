"""A provider that says exactly the bytes a test wrote, in the order of its requests, and may break off after them."""

import dataclasses
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.ids import uuid7
from services.provider.calling.events import Ask, Candidate, Event, Frames
from services.provider.calling.generation import Generator
from services.provider.config import ProviderConfig
from services.provider.keys.vault import Vault
from services.provider.registry import Registry

KEY = "sk-test-0123456789abcd"


@dataclasses.dataclass
class Play:
    """One answer."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"
    cut: bool = False
    """The connection breaks behind the body."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


def sse(*chunks: dict[str, Any] | str) -> bytes:
    """Chunks as a stream; a text stands as it is."""
    said = (one if isinstance(one, str) else json.dumps(one) for one in chunks)
    return b"".join(f"data: {one}\n\n".encode() for one in said)


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chat.completion.chunk."""
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}
    return {"id": "c", "created": 1, "model": "m", "choices": [choice], **more}


class Stage:
    """Generations against such providers."""

    def __init__(self, plays: list[Play], generator: Generator) -> None:
        self.plays, self.generator = plays, generator
        self.bodies: list[Any] = []
        """What was asked."""

    async def run(self, *plays: Play, candidates: int = 1, **fields: Any) -> list[Event]:
        """The events of one generation."""
        self.plays[:] = plays
        self.bodies.clear()
        fields = {"stream": True, **fields}
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields.pop("body", {})}
        asked = [Candidate(f"dac/{n}", "up", f"m{n}") for n in range(candidates)]
        ask = Ask(msgspec.json.encode({**body, "stream": fields["stream"]}), asked, **fields)
        return [event async for event in self.generator.run(ask)]


def shown(events: list[Event]) -> str:
    """The text that a client puts together."""
    data = b"".join(event.data for event in events if isinstance(event, Frames))
    said = [json.loads(one[6:]) for one in data.split(b"\n\n") if one.startswith(b"data: {")]
    return "".join((choice["delta"] or {}).get("content") or "" for one in said for choice in one["choices"])


@asynccontextmanager
async def staged(kind: str = "openai", **fields: Any) -> AsyncIterator[Stage]:
    """A stage whose provider is of that kind."""
    plays: list[Play] = []
    stage: Stage

    async def answer(request: web.Request) -> web.StreamResponse:
        stage.bodies.append(await request.json())
        play = plays.pop(0)
        response = web.StreamResponse(status=play.status, headers={"Content-Type": play.content_type, **play.headers})
        await response.prepare(request)
        await response.write(play.body)
        if play.cut:
            assert request.transport is not None
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    entry = ProviderEntry("up", kind, origin, Secret(KEY), first_token_timeout_s=2.0, idle_timeout_s=2.0, **fields)
    config = ProviderConfig(retry_delay_s=0.001, failing_after=3)
    now = datetime.datetime.now(datetime.UTC)
    registry = Registry([entry], config, None, Vault(b"k" * 32, "key"), now=lambda: now)
    await registry.start()
    stage = Stage(plays, Generator(registry.find, config, new_id=uuid7))
    try:
        yield stage
    finally:
        await registry.close()
        await runner.cleanup()
