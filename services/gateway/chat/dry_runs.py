"""Routes that are only asked for: at the edge a `Route` sends nothing, so the router is told what it must not believe.

The list of models is that of the caller's key, and no trial of a breaker is given out for a question.
"""

from __future__ import annotations

from google.protobuf.message import Message

from dac.router.v1.router_pb2 import RouteRequest
from services.gateway.identity.callers import Caller

ROUTE = "/dac.router.v1.RouterService/Route"


def complete(message: Message, caller: Caller) -> None:
    """Makes a caller's own RouteRequest a dry run under its key's list of models; other messages stay as they are."""
    if isinstance(message, RouteRequest):
        message.dry_run = True
        if caller.models:
            message.allowed_models[:] = caller.models


def completed(path: str, request: bytes, caller: Caller) -> bytes:
    """The same for a request in bytes."""
    if path != ROUTE:
        return request
    message = RouteRequest.FromString(request)
    complete(message, caller)
    return message.SerializeToString()
