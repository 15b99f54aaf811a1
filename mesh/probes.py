"""What kubelet and Prometheus ask of every process: /live, /ready and /metrics on a port of their own.

Callers never come here, so the port can stay open to probes where the services' own ports are closed (mutual TLS).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import uvicorn

from mesh.errors import MeshError, Reason
from mesh.metrics_page import metrics_page
from mesh.service import Service

READY_TIMEOUT_S = 2.0
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """The probe server of one process."""

    def __init__(self, services: Mapping[str, Service], leaving: asyncio.Event) -> None:
        self._services, self._leaving = services, leaving
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> None:
        """Serves on host:port. Raises FAILED_PRECONDITION when the port is taken."""
        config = uvicorn.Config(
            self._answer,
            host=host,
            port=port,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        try:
            listener = config.bind_socket()
        except SystemExit:
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f"{host}:{port} is taken by another program: choose another port with DAC_PROBE_PORT.",
                metadata={"port": str(port)},
            ) from None
        self._serving = asyncio.create_task(self._server._serve([listener]))

    async def close(self) -> None:
        """Stops serving."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = self._server.force_exit = True
            await asyncio.wait([self._serving])

    async def _answer(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        status, kind, body = await self._page(scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _page(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, TEXT, metrics_page()
        if path == "/live":
            return 200, "application/json", b'{"status": "live"}'
        if path == "/ready":
            missing = await self.missing()
            state = {"status": "not ready" if missing else "ready", "missing": missing}
            return 503 if missing else 200, "application/json", json.dumps(state).encode()
        return 404, "application/json", b'{"paths": ["/live", "/ready", "/metrics"]}'

    async def missing(self) -> list[str]:
        """The services of this process that cannot do their work, or what else keeps it from serving."""
        if self._leaving.is_set():
            return ["leaving"]
        if not self._services:
            return ["starting"]
        return sorted(name for name in await asyncio.gather(*map(self._down, self._services)) if name)

    async def _down(self, name: str) -> str:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._services[name].health()
        except (MeshError, TimeoutError):
            return name
        return ""
