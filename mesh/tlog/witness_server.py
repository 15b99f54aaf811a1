"""The witness over HTTP: one path, small bodies, nothing that can be read."""

from __future__ import annotations

import asyncio
import logging

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mesh.tlog.witness import MAX_BODY, Witness

BODY_S = 10.0
"""How long a body may take to arrive."""
CONNECTIONS = 64

_log = logging.getLogger(__name__)


def application(witness: Witness) -> Starlette:
    """The ASGI application."""

    async def add_checkpoint(request: Request) -> Response:
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    size += len(part)
                    if size > MAX_BODY:
                        return Response("the body is too large\n", 400)
                    parts.append(part)
        except (TimeoutError, ClientDisconnect):
            return Response("the body did not arrive\n", 400)
        try:
            answer = await asyncio.to_thread(witness.add, b"".join(parts))
        except OSError:
            # Nothing was cosigned: what is not on the disk is not known.
            _log.exception("the checkpoint could not be stored")
            return Response("the checkpoint could not be stored\n", 500)
        # As a header of ours: Starlette would name a charset with it.
        return Response(answer.text, answer.status, {"content-type": answer.content_type})

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])


def serve(witness: Witness, host: str, port: int) -> None:
    """Serves until it is interrupted."""
    uvicorn.run(
        application(witness),
        host=host,
        port=port,
        log_level="warning",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        server_header=False,
    )
