"""A request's body as Starlette receives it: within its bounds, and not waited for without end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh.errors import MeshError, Reason
from services.gateway.edge import exchange
from services.gateway.edge.exchange import Exchange


def of(*parts: dict[str, Any], method: str = "POST") -> tuple[Exchange, list[dict[str, Any]]]:
    """A request whose client sends these parts and then waits; and what it is sent."""
    left, sent = list(parts), list[dict[str, Any]]()

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    return Exchange({"type": "http", "method": method, "path": "/v1/keys", "headers": []}, receive, send, []), sent


BEGUN = {"type": "http.request", "body": b"{", "more_body": True}
WHOLE = {"type": "http.request", "body": b"{}", "more_body": False}


async def test_a_body_that_stops_coming_is_refused_and_its_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_TIMEOUT_S", 0.05)
    request, sent = of(BEGUN)
    receive = request.bounded_receive(100)
    assert await receive() == BEGUN
    with pytest.raises(MeshError, match="did not arrive in time") as refused:
        await asyncio.wait_for(receive(), 5)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    await request.send_wrapped({"type": "http.response.start", "status": 504, "headers": []})
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_behind_the_body_a_client_may_stay_as_long_as_it_likes(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(exchange, "BODY_TIMEOUT_S", 0.05)
    request, _ = of(WHOLE, method=method)
    receive = request.bounded_receive(100)
    assert await receive() == WHOLE
    waiting = asyncio.ensure_future(receive())
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    waiting.cancel()
