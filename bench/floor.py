"""The floor: the least a Python gateway can do, a bare ASGI app that passes bytes on through aiohttp.

No key check, no parsing, no record: what any gateway on uvicorn (uvloop, httptools) and aiohttp pays
before its first feature.
`python -m bench.floor --upstream http://127.0.0.1:PORT --port PORT`
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Floor:
    """The pass-through application; one upstream, one connection pool."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] == "http":
            await self._forward(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        assert self._session is not None
        headers = {"content-type": "application/json"}
        for name, value in scope["headers"]:
            if name == b"authorization":
                headers["authorization"] = value.decode("latin-1")
        async with self._session.request(
            scope["method"], self._upstream + scope["path"], data=body or None, headers=headers
        ) as answer:
            content_type = answer.headers.get("content-type", "application/json").encode("latin-1")
            start: dict[str, Any] = {"type": "http.response.start", "status": answer.status}
            if not content_type.startswith(b"text/event-stream"):
                whole = await answer.read()
                start["headers"] = [(b"content-type", content_type), (b"content-length", b"%d" % len(whole))]
                await send(start)
                await send({"type": "http.response.body", "body": whole})
                return
            start["headers"] = [(b"content-type", content_type)]
            await send(start)
            async for data in answer.content.iter_any():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser(description="Bare ASGI + aiohttp pass-through on 127.0.0.1.")
    parser.add_argument("--upstream", required=True, help="base address of the mock, such as http://127.0.0.1:9100")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app: Any = Floor(options.upstream)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
    )


if __name__ == "__main__":
    main()
