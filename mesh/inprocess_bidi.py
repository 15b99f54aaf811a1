"""Streams each way in process. The server side runs in a task of its own, as far ahead of its reader as on a socket
with a small window."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from mesh import call as calls
from mesh.call import Call
from mesh.inprocess_calls import LocalCall, MethodTable, stop_generator
from mesh.transport import RpcFailure, stream_ended, unimplemented

AHEAD = 16
"""How many messages either side may be ahead of the other."""


class _Pipe:
    """Messages from one side to the other. One of them may wait: the giver when it is full, the taker when empty."""

    def __init__(self) -> None:
        self._held: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self.ended = False

    async def put(self, message: bytes) -> None:
        while len(self._held) >= AHEAD and not self.ended:
            self._changed.clear()
            await self._changed.wait()
        self._held.append(message)
        self._changed.set()

    async def get(self) -> bytes | None:
        """The next message; None after the last."""
        while not self._held:
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._held.popleft()
        self._changed.set()
        return message

    def end(self) -> None:
        self.ended = True
        self._changed.set()


class LocalBidi(LocalCall):
    """A stream each way in process; leaving it early cancels the handler."""

    def __init__(
        self, table: MethodTable, method: str, serialise: Any, parse: Any, requests: Any, call: Call, metadata: Any
    ) -> None:
        super().__init__(table, method, None, parse, None, call, metadata)
        self._serialise = serialise
        self._to_server, self._to_client = _Pipe(), _Pipe()
        self._half_closed = False
        self._messages: AsyncIterator[Any] | None = None
        self._task = asyncio.create_task(self._serve())
        self._feeder = asyncio.create_task(self._feed(requests)) if requests is not None else None

    async def _serve(self) -> None:
        """The server side, until it ends by itself or is cancelled."""
        calls.enter(self._call)
        handler: Any = self._table.handlers.get(self._method)
        served, chain = self._served(True), self._table.chain
        error: BaseException | None = None
        messages = None
        try:
            if handler is None:
                raise unimplemented(self._method)
            self._begin_deadline()
            if (waiting := chain.begin(served)) is not None:
                await waiting
            messages = handler.stream_stream(self._incoming(handler.request_deserializer), self._context)
            async for message in messages:
                await self._to_client.put(handler.response_serializer(message))
        except BaseException as caught:
            error = self._told(caught)
        self._end_deadline()
        if error is not None and messages is not None:
            await stop_generator(messages, error)
        error = chain.end(served, error)
        if error is not None:
            self._fail(error)
        self._ended = True
        self._to_server.end()
        self._to_client.end()

    async def _incoming(self, parse: Any) -> AsyncIterator[Any]:
        while (raw := await self._to_server.get()) is not None:
            yield parse(raw)

    async def _feed(self, requests: Any) -> None:
        """Writes what the caller gave as an iterator; one that fails ends the call."""
        try:
            async for request in requests:
                await self.write(request)
            await self.done_writing()
        except (RpcFailure, asyncio.InvalidStateError):
            return  # Whoever reads is told why.
        except BaseException:
            self.cancel()
            raise

    async def write(self, message: Any) -> None:
        """See RemoteBidi."""
        if self._half_closed:
            raise asyncio.InvalidStateError("RPC is half closed")
        if not self.done():
            try:
                await self._to_server.put(self._serialise(message) if self._serialise else message)
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self._cancelled:
            raise asyncio.CancelledError
        if self._ended:
            raise self._failure or RpcFailure(stream_ended())

    async def done_writing(self) -> None:
        """See RemoteBidi."""
        self._half_closed = True
        self._to_server.end()

    def cancel(self) -> bool:
        """Gives up the call; its handler sees CancelledError."""
        if self.done():
            return False
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()
        if self._feeder is not None and self._feeder is not asyncio.current_task():
            self._feeder.cancel()
        self._to_client.end()
        return True

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._messages is None:
            self._messages = self._read()
        return self._messages

    async def _read(self) -> AsyncIterator[Any]:
        ended = False
        try:
            while (raw := await self._to_client.get()) is not None:
                yield self._parse(raw) if self._parse else raw
            ended = True
        finally:
            if not ended:
                self.cancel()
        if self._cancelled:
            raise asyncio.CancelledError
        if self._failure is not None:
            raise self._failure

    async def aclose(self) -> None:
        """Stops the handler and waits until it has stopped."""
        self.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._task])
