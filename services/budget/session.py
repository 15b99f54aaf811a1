"""One session: Reserve, Commit, Release and Extend of many callers over one stream.

Each call runs in a task of its own, as if it had come alone: a slow one holds up nobody, and the ledger's writer
gathers them as it gathers any others. There is no timer here either: while a message of replies is on its way the
next replies gather for the one behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Protocol

from dac.budget.v1 import budget_pb2
from mesh.status import from_exception, to_status
from services.budget import errors

MAX_RUNNING = 4096
"""Calls of one session that may run at once; no more is read from its stream until one has ended."""
MESSAGE_BYTES = 256 * 1024
"""From this size on a message of replies takes no more; far below what a channel carries."""
OVERHEAD_BYTES = 32
"""What a reply takes beside its answer, at most."""
METHODS = {
    kind: f"/dac.budget.v1.BudgetService/{method}"
    for kind, method in (("reserve", "Reserve"), ("commit", "Commit"), ("release", "Release"), ("extend", "Extend"))
}

Request = budget_pb2.ReserveRequest | budget_pb2.CommitRequest | budget_pb2.ReleaseRequest | budget_pb2.ExtendRequest
Answer = budget_pb2.ReserveResponse | budget_pb2.CommitResponse | budget_pb2.ReleaseResponse | budget_pb2.ExtendResponse


class Serve(Protocol):
    """See mesh.carried.Carried.serve."""

    async def __call__(
        self, method: str, request: Request, *, signed_principal: bytes, request_id: str, traceparent: str
    ) -> Answer:
        """The answer, or MeshError."""


class Session:
    """One stream's calls."""

    def __init__(self, serve: Serve, *, max_running: int = MAX_RUNNING) -> None:
        self._serve, self._max_running = serve, max_running
        self._running: set[asyncio.Task[None]] = set()
        self._replies: deque[tuple[int, str, Any]] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def replies(
        self, requests: AsyncIterable[budget_pb2.SessionRequest]
    ) -> AsyncGenerator[budget_pb2.SessionResponse, None]:
        """Answers until there are no more requests and all of them are answered.

        When the requests end before that, the client is told up to which call they were read, by a reply that says
        nothing else: a server that is about to stop reads no more, and what is behind that call belongs elsewhere.
        When the client goes away instead, what has not reached the ledger's writer is given up, as with a call alone.
        """
        reading = asyncio.create_task(self._read(requests))
        try:
            while True:
                if self._replies:
                    yield self._gathered()
                elif reading.done() and not self._running:
                    reading.result()
                    return
                else:
                    self._news.clear()
                    await self._news.wait()
        finally:
            left = [reading, *self._running]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _read(self, requests: AsyncIterable[budget_pb2.SessionRequest]) -> None:
        last_read = 0
        try:
            async for request in requests:
                for call in request.calls:
                    while len(self._running) >= self._max_running:
                        self._room.clear()
                        await self._room.wait()
                    task = asyncio.create_task(self._answer(call))
                    self._running.add(task)
                    last_read = call.call_id
                    task.add_done_callback(self._ended)
            if self._running:
                self._replies.append((last_read, "", None))
        finally:
            self._news.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.set()
        self._news.set()

    async def _answer(self, call: budget_pb2.SessionCall) -> None:
        kind = call.WhichOneof("call")
        try:
            if kind is None:
                raise errors.invalid("call", f"it is none that this budget knows; send one of {', '.join(METHODS)}")
            request: Request = getattr(call, kind)
            answer = await self._serve(
                METHODS[kind],
                request,
                signed_principal=call.signed_principal,
                request_id=_id_of(request),
                traceparent=call.traceparent,
            )
            self._replies.append((call.call_id, kind, answer))
        except Exception as error:
            self._replies.append((call.call_id, "error", to_status(from_exception(error, f"a session's {kind}"))))
        self._news.set()

    def _gathered(self) -> budget_pb2.SessionResponse:
        """What is answered by now, in one message."""
        response, size = budget_pb2.SessionResponse(), 0
        while self._replies and size < MESSAGE_BYTES:
            call_id, kind, answer = self._replies.popleft()
            if answer is None:
                response.replies.add(call_id=call_id)
                continue
            size += answer.ByteSize() + OVERHEAD_BYTES
            reply = response.replies.add()
            reply.call_id = call_id
            # Not as an argument: that takes a copy more.
            getattr(reply, kind).CopyFrom(answer)
        return response


def _id_of(request: Request) -> str:
    """The request's id, empty where it has none."""
    if isinstance(request, budget_pb2.ReserveRequest | budget_pb2.ExtendRequest):
        return request.request_id
    return request.record.request_id
