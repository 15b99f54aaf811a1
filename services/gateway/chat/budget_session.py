"""Budget's hot calls over one stream: what a gateway asks of a budget that runs in another process.

A unary call on a socket costs both sides several times what is done in it. Here the calls of all requests share one
stream: whatever is queued when the stream can take a message goes out as one, so that a quiet gateway asks at once and
a busy one sends batches. There is no timer.

- To its callers this is the plain stub: each call has its own principal, deadline and cancellation, and fails with the
  MeshError that the unary call would have failed with.
- When the stream breaks, what was sent and not answered fails with UNAVAILABLE at once; nobody knows whether it was
  done, and every one of these calls may be said again. What was not sent yet goes out on the next stream.
- A server that is about to stop says up to which call it has read, answers those, and ends the stream well: the rest
  goes out on the next stream at once, and no caller notices.
- A stream stays with one replica of budget. So it is renewed every half a minute or so, when the channel picks the
  next one; the old stream is read until its last reply.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio
from google.protobuf.message import Message

from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from mesh import call as calls
from mesh.call import Call, acting_as
from mesh.errors import MeshError, Reason
from mesh.interceptors import HOPELESS_S
from mesh.status import STATUS_KEY, from_status
from mesh.transport import MESSAGE_BYTES, RpcFailure, next_call, traceparent_of, trailing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dac.budget.v1.budget_pb2_grpc import BudgetServiceAsyncStub

_log = logging.getLogger("dac.gateway.budget_session")
MAX_IN_FLIGHT = 2048
"""Calls that are queued or not answered yet; the next caller waits."""
GATHERED_BYTES = 256 * 1024
"""From this size on a message takes no more calls: a larger one would hold up those behind it."""
LARGEST_BYTES = MESSAGE_BYTES - 16 * 1024
"""The largest single call, with room for what is around it."""
RENEW_AFTER_S = 30.0
PLAIN_FOR_S = 30.0
"""How long unary calls are made after a replica that knows no sessions yet: an upgrade is under way."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
_TOLD_AS_THEY_ARE = frozenset({Reason.PERMISSION_DENIED, Reason.INVALID_CREDENTIAL, Reason.PRINCIPAL_REQUIRED})


class Ledger(Protocol):
    """What the gateway asks of budget around each request: the plain stub in one process, a session between two."""

    async def Reserve(self, request: budget_pb2.ReserveRequest, /) -> budget_pb2.ReserveResponse: ...  # noqa: D102
    async def Commit(self, request: budget_pb2.CommitRequest, /) -> budget_pb2.CommitResponse: ...  # noqa: D102
    async def Release(self, request: budget_pb2.ReleaseRequest, /) -> budget_pb2.ReleaseResponse: ...  # noqa: D102
    async def Extend(self, request: budget_pb2.ExtendRequest, /) -> budget_pb2.ExtendResponse: ...  # noqa: D102


class _NoSessions(Exception):
    """The replica that was asked is older than sessions."""


@dataclasses.dataclass(slots=True, eq=False)
class _Asked:
    """One call that is queued or under way."""

    kind: str
    request: Message
    signed_principal: bytes
    traceparent: str
    answer: asyncio.Future[Any]


class _Stream:
    """One stream and what was sent on it."""

    def __init__(self, call: Any, renew_at: float) -> None:
        self.call, self.renew_at = call, renew_at
        self.sent: dict[int, _Asked] = {}
        self.ids = itertools.count(1)
        self.left = asyncio.Event()
        """Nothing more is sent on it."""
        self.ended = False
        self.tasks: tuple[asyncio.Task[None], ...] = ()


class BudgetSession:
    """Reserve, Commit, Release and Extend as BudgetServiceStub has them, over one stream. The first call opens it."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        service: str = "gateway",
        max_in_flight: int = MAX_IN_FLIGHT,
        renew_after_s: float = RENEW_AFTER_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`service`: in whose name the stream is opened."""
        self._stub: BudgetServiceAsyncStub = budget_pb2_grpc.BudgetServiceStub(channel)
        self._service, self._renew_after_s, self._uniform = service, renew_after_s, uniform
        self._room = asyncio.Semaphore(max_in_flight)
        self._queue: deque[_Asked] = deque()
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._streams: set[_Stream] = set()
        self._broken = 0
        self._plain_until = 0.0
        self._closed = False

    async def Reserve(  # noqa: D102
        self, request: budget_pb2.ReserveRequest, *, timeout: float | None = None
    ) -> budget_pb2.ReserveResponse:
        return await self._ask("reserve", "Reserve", request, timeout)  # type: ignore[no-any-return]

    async def Commit(  # noqa: D102
        self, request: budget_pb2.CommitRequest, *, timeout: float | None = None
    ) -> budget_pb2.CommitResponse:
        return await self._ask("commit", "Commit", request, timeout)  # type: ignore[no-any-return]

    async def Release(  # noqa: D102
        self, request: budget_pb2.ReleaseRequest, *, timeout: float | None = None
    ) -> budget_pb2.ReleaseResponse:
        return await self._ask("release", "Release", request, timeout)  # type: ignore[no-any-return]

    async def Extend(  # noqa: D102
        self, request: budget_pb2.ExtendRequest, *, timeout: float | None = None
    ) -> budget_pb2.ExtendResponse:
        return await self._ask("extend", "Extend", request, timeout)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Ends the stream. What is not answered by now fails with UNAVAILABLE."""
        self._closed = True
        tasks = [] if self._running is None else [self._running]
        for stream in self._streams:
            stream.call.cancel()
            tasks += stream.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refuse_queued()

    # ---- one call --------------------------------------------------------------------------------------------

    async def _ask(self, kind: str, method: str, request: Message, timeout: float | None) -> Any:
        call = next_call(timeout, streaming=False)
        now = time.monotonic()
        left = (call.deadline or 0.0) - now
        if left < HOPELESS_S:
            raise _late(method)
        if self._closed:
            raise _failure(_unreachable())
        try:
            async with asyncio.timeout(left):
                if now < self._plain_until:
                    return await getattr(self._stub, method)(request)
                await self._room.acquire()
                # From here on the room is given back by `_end`, whether the caller is still there or not.
                answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                asked = _Asked(kind, request, call.signed_principal, traceparent_of(call), answer)
                self._queue.append(asked)
                self._news.set()
                if self._running is None or self._running.done():
                    self._running = asyncio.create_task(self._run(), name="budget-session")
                try:
                    return await asked.answer
                except _NoSessions:
                    return await getattr(self._stub, method)(request)
                finally:
                    # A failure holds this frame by its traceback: were it held in turn, only the collector would find
                    # the two, and a burst of refusals would stop everybody while it looks.
                    del asked, answer
        except TimeoutError:
            raise _late(method) from None

    def _end(self, asked: _Asked, answer: Message | Exception | None = None) -> None:
        """Tells the caller, if it is still there, and makes room."""
        self._room.release()
        if asked.answer.done():
            return
        if isinstance(answer, MeshError):
            asked.answer.set_exception(answer if isinstance(answer, RpcFailure) else _failure(answer))
        elif isinstance(answer, Exception):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)

    # ---- sending ---------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Opens one stream after the other, when there is something to send."""
        calls.enter(Call())  # Not that of whoever came first.
        while True:
            while not self._queue:
                self._news.clear()
                await self._news.wait()
            if self._broken:
                most_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._broken - 1, 10))
                await asyncio.sleep(self._uniform(most_s / 2, most_s))
            try:
                stream = self._open()
            except Exception:
                _log.exception("budget's session could not be opened")
                self._broken += 1
                self._refuse_queued()
            else:
                await stream.left.wait()

    def _refuse_queued(self) -> None:
        while self._queue:
            self._end(self._queue.popleft(), _unreachable())

    def _open(self) -> _Stream:
        with acting_as(self._service):
            call = self._stub.Session()
        stream = _Stream(call, time.monotonic() + self._renew_after_s * self._uniform(0.75, 1.25))
        self._streams.add(stream)
        stream.tasks = (
            asyncio.create_task(self._send(stream), name="budget-session-calls"),
            asyncio.create_task(self._read(stream), name="budget-session-replies"),
        )
        return stream

    async def _send(self, stream: _Stream) -> None:
        """Sends what is queued on this stream until it is left. Each has a sender of its own: the last message to a
        server that reads no more may wait until the stream ends."""
        while not stream.left.is_set():
            if time.monotonic() >= stream.renew_at:
                stream.left.set()
                break
            message = self._gather(stream)
            if message is None:
                self._news.clear()
                await self._news.wait()
                continue
            try:
                await stream.call.write(message)
            except MeshError:
                # Why, its reader is told, who then ends what was sent.
                stream.left.set()
                return
        if not stream.ended:
            await stream.call.done_writing()

    def _gather(self, stream: _Stream) -> budget_pb2.SessionRequest | None:
        """All that is queued and fits into one message; None when nothing is."""
        message, size = budget_pb2.SessionRequest(), 0
        while self._queue and size < GATHERED_BYTES:
            asked = self._queue[0]
            if not asked.answer.done():
                own = asked.request.ByteSize() + len(asked.signed_principal)
                if size and size + own > GATHERED_BYTES:
                    break
                if own <= LARGEST_BYTES:
                    self._queue.popleft()
                    call_id = next(stream.ids)
                    stream.sent[call_id] = asked
                    call = message.calls.add()
                    call.call_id, call.signed_principal = call_id, asked.signed_principal
                    call.traceparent = asked.traceparent
                    # Not as an argument: that takes a copy more.
                    getattr(call, asked.kind).CopyFrom(asked.request)
                    size += own
                    continue
                self._end(self._queue.popleft(), _too_large(own))
            else:
                # Its caller went away before it was sent.
                self._end(self._queue.popleft())
        return message if size else None

    # ---- reading ---------------------------------------------------------------------------------------------

    async def _read(self, stream: _Stream) -> None:
        """Hands out replies until the stream is over, then ends what was sent and is not answered."""
        calls.enter(Call())
        failure: Exception | None = _unreachable()
        answered = False
        try:
            async for response in stream.call:
                answered, self._broken = True, 0
                for reply in response.replies:
                    self._take(stream, reply)
            failure = None
        except MeshError as error:
            failure = error
        except Exception:
            _log.exception("a reply of budget's session could not be read")
            stream.call.cancel()
        finally:
            stream.ended = True
            stream.left.set()
            self._streams.discard(stream)
            self._finish(stream, failure, answered)
            self._news.set()

    def _take(self, stream: _Stream, reply: budget_pb2.SessionReply) -> None:
        kind = reply.WhichOneof("reply")
        if kind is None:
            self._leave(stream, reply.call_id)
            return
        asked = stream.sent.pop(reply.call_id, None)
        if asked is None:
            _log.error("budget answered the call %d, which was not asked", reply.call_id)
            return
        if kind == asked.kind:
            self._end(asked, getattr(reply, kind))
        elif kind == "error":
            told = ((STATUS_KEY, reply.error.SerializeToString()),)
            self._end(asked, RpcFailure(from_status(reply.error), told))
        else:
            self._end(asked, MeshError(Reason.INTERNAL, f"Budget answered {kind} to {asked.kind}."))

    def _leave(self, stream: _Stream, last_read: int) -> None:
        """The server reads nothing behind that call."""
        self._again([stream.sent.pop(call_id) for call_id in list(stream.sent) if call_id > last_read])
        stream.left.set()
        self._news.set()

    def _again(self, unread: list[_Asked]) -> None:
        """Puts what no server has read before all that is queued."""
        self._queue.extendleft(reversed(unread))

    def _finish(self, stream: _Stream, failure: Exception | None, answered: bool) -> None:
        left = list(stream.sent.values())
        stream.sent.clear()
        if not answered and (failure is not None or left):
            self._broken += 1
        if failure is None and not self._closed:
            self._again(left)
            return
        if isinstance(failure, MeshError) and failure.reason is Reason.UNIMPLEMENTED:
            self._plain_until, failure = time.monotonic() + PLAIN_FOR_S, _NoSessions()
        elif not isinstance(failure, MeshError) or failure.reason not in _TOLD_AS_THEY_ARE:
            failure = _unreachable()
        if left:
            _log.warning("budget's session ended with %d calls not answered: %s", len(left), failure)
        for asked in left:
            self._end(asked, failure)


def _failure(error: MeshError) -> RpcFailure:
    """What the plain stub would raise; one for each caller, as they write tracebacks onto it."""
    return RpcFailure(error, trailing_of(error))


def _unreachable() -> MeshError:
    return MeshError(Reason.UNAVAILABLE, "DAC's budget service is not reachable right now. Try again shortly.")


def _too_large(size: int) -> MeshError:
    return MeshError(
        Reason.TOO_LARGE, f"The call to budget has {size} bytes, more than {LARGEST_BYTES}: make its record smaller."
    )


def _late(method: str) -> RpcFailure:
    return _failure(
        MeshError(Reason.DEADLINE_EXCEEDED, f"Budget did not answer {method} in time: allow a longer timeout.")
    )
