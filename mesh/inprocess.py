"""The in-process channel: a grpc.aio.Channel that calls registered handlers, without a socket.

It costs a few microseconds a call where a socket costs hundreds (docs/decisions/0002). The server side runs inside
the caller's own task, pulled message by message; giving up the call raises CancelledError in the handler, as on a
socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from mesh import call as calls
from mesh.errors import MeshError, Reason
from mesh.inprocess_bidi import LocalBidi
from mesh.inprocess_calls import LocalCall, MethodTable, Outlet, copied, stop_generator
from mesh.transport import next_call


class LocalUnary(LocalCall):
    """One unary call in process. It runs when awaited, in the awaiting task."""

    def __await__(self) -> Any:
        return self._run().__await__()

    async def _run(self) -> Any:
        if self._cancelled:
            raise asyncio.CancelledError
        handler, served, chain = self._handler(), self._served(False), self._table.chain
        self._task = asyncio.current_task()
        error: BaseException | None = None
        with calls.serving(self._call):
            try:
                self._begin_deadline()
                if (waiting := chain.begin(served)) is not None:
                    await waiting
                given = handler.response_serializer if self._parse is None else copied
                answer = given(await handler.unary_unary(self._taken(handler), self._context))
            except BaseException as caught:
                error = self._told(caught)
            finally:
                self._task = None
                self._end_deadline()
            error = chain.end(served, error)
        if error is not None:
            raise self._fail(error) from None
        self._ended = True
        return answer


class LocalStream(LocalCall):
    """One server stream in process, pulled by its reader; leaving it early cancels the handler."""

    _messages: AsyncIterator[Any] | None = None
    _server: Any = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._messages is None:
            self._messages = self._read()
        return self._messages

    def set_outlet(self, outlet: Outlet) -> None:
        """Before reading: the handler may give what its next messages would carry to `outlet` instead, whenever its
        reader waits for the next one. What that does not take comes as a message. It runs in nobody's task and must
        not wait."""
        self._context.outlet = outlet

    async def read(self) -> Any:
        """The next message, or grpc.aio.EOF."""
        async for message in self.__aiter__():
            return message
        return grpc.aio.EOF

    async def _read(self) -> AsyncIterator[Any]:
        handler, served, chain = self._handler(), self._served(True), self._table.chain
        error: BaseException | None = None
        left = False
        try:
            self._begin_deadline()
            with calls.serving(self._call):
                if (waiting := chain.begin(served)) is not None:
                    await waiting
            server = self._server = handler.unary_stream(self._taken(handler), self._context)
            kept = None if getattr(handler.unary_stream, "gives_away", False) else copied
            given, serving = handler.response_serializer if self._parse is None else kept, calls.serving(self._call)
            # (current_task without a loop asks the system for the process's number each time.)
            loop, current_task = asyncio.get_running_loop(), asyncio.current_task
            while not self._cancelled:
                if self._expired:
                    raise TimeoutError
                # One message of the handler, inside the call's own context.
                self._task = current_task(loop)
                with serving:
                    try:
                        message = await server.__anext__()
                    except StopAsyncIteration:
                        break
                    except BaseException as caught:
                        if (told := self._told(caught)) is not caught:
                            raise told from None
                        raise
                    finally:
                        self._task = None
                yield message if given is None else given(message)
            if self._cancelled:
                raise asyncio.CancelledError
        except GeneratorExit:
            error, left = asyncio.CancelledError(), True
        except BaseException as caught:
            error = caught
        finally:
            self._end_deadline()
        if error is not None and self._server is not None:
            with calls.serving(self._call):
                await stop_generator(self._server, error)
        error = chain.end(served, error)
        if left:
            self._cancelled = True
            return
        if error is None:
            self._ended = True
            return
        raise self._fail(error) from None

    async def aclose(self) -> None:
        """Stops the handler and waits until it has stopped."""
        if self._messages is not None and not self._ended:
            self._cancelled = True
            try:
                await self._messages.aclose()  # type: ignore[attr-defined]
            except (asyncio.CancelledError, MeshError, RuntimeError):
                # The reader is leaving; a cancellation of the reader itself is raised again by its own await.
                pass


class LocalChannel(grpc.aio.Channel):
    """A grpc.aio.Channel to the services of this process."""

    def __init__(self, table: MethodTable) -> None:
        self._table = table

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = None,
    ) -> Any:
        """See grpc.aio.Channel."""

        def start(request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> LocalUnary:
            call = next_call(timeout, streaming=False)
            return LocalUnary(self._table, method, request_serializer, response_deserializer, request, call, metadata)

        return start

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = None,
    ) -> Any:
        """See grpc.aio.Channel."""

        def start(request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> LocalStream:
            call = next_call(timeout, streaming=True)
            return LocalStream(self._table, method, request_serializer, response_deserializer, request, call, metadata)

        return start

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """See grpc.aio.Channel. DAC's contracts have no client streams yet."""
        raise MeshError(Reason.UNIMPLEMENTED, f"{method}: client streams are not carried in process yet.")

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = None,
    ) -> Any:
        """See grpc.aio.Channel."""

        def start(requests: Any = None, *, timeout: float | None = None, metadata: Any = None, **_: Any) -> LocalBidi:
            call = next_call(timeout, streaming=True)
            return LocalBidi(self._table, method, request_serializer, response_deserializer, requests, call, metadata)

        return start

    async def close(self, grace: float | None = None) -> None:
        """Nothing is open."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Always ready."""
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Never changes."""
        await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """Always ready."""

    async def __aenter__(self) -> LocalChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""
