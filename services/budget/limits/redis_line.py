"""One line to a Redis or Valkey for the calls of one script: what is asked while a batch is on its way goes with the
next, in order, as one packet. There is no timer, and one connection is enough for any number of callers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

CALL_TIMEOUT_S = 1.0
"""Longer than a busy process may be away from its sockets."""
MAX_BATCH = 256
FAILURES = (RedisError, OSError, TimeoutError)


class RedisLine:
    """Runs a script on a server. Calls raise one of FAILURES."""

    def __init__(self, url: str, script: str) -> None:
        """Connects to nothing yet. Raises ValueError for an address that is none."""
        self._client: Any = client.from_url(
            url,
            socket_timeout=CALL_TIMEOUT_S,
            socket_connect_timeout=CALL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=4,
        )
        self._script, self._sha = script, ""
        self._queue: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def run(self, key: str, *arguments: Any) -> Any:
        """Runs the script; who is cancelled does not know whether it ran, but it ran before all that is asked later."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(((1, key, *arguments), future))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return await future

    async def check(self, key: str) -> None:
        """Whether the server takes writes: one that answers but takes none is as good as none."""
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await self._client.set(key, b"", px=1000)

    async def close(self) -> None:
        """Gives the connection back; what still waits fails."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        with contextlib.suppress(*FAILURES):
            await self._client.aclose()

    async def _send_all(self) -> None:
        batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        try:
            while self._queue:
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                try:
                    answers: Sequence[Any] = await self._send([call for call, _ in batch])
                except FAILURES as error:
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if future.done():
                        continue
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._sending = None
            for _, future in (*batch, *self._queue):
                if not future.done():
                    future.set_exception(ConnectionError("the line was closed"))

    async def _send(self, calls: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            if self._sha:
                answers = await self._pipe(calls)
                if not any(isinstance(one, NoScriptError) for one in answers):
                    return answers
            # A server that was emptied knows it of no call of the batch, or of all from one on.
            done = [] if not self._sha else [one for one in answers if not isinstance(one, NoScriptError)]
            self._sha = await self._client.script_load(self._script)
            return [*done, *await self._pipe(calls[len(done) :])]

    async def _pipe(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for call in calls:
            pipe.evalsha(self._sha, *call)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers
