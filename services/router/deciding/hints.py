"""Hints between router replicas: one whose breaker opens tells the others, through Redis or Valkey, else PostgreSQL.

A hint is never the truth: each replica decides for itself, a hint may be lost, and nothing waits for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from mesh.errors import MeshError
from mesh.key_values import Subscriber
from mesh.postgres import Database
from services.router import errors

CHANNEL = "dac:breakers"
MAX_WAITING = 256
"""Hints kept while the server is slow; a hint that does not fit is dropped."""

_log = logging.getLogger(__name__)


class Hint(msgspec.Struct, frozen=True):
    """A breaker that opened, and the replica that opened it."""

    model: str
    provider: str
    instance: str


class Line(Protocol):
    """What carries hints: a Redis, or `PostgresLine`."""

    async def publish(self, channel: str, payload: bytes) -> None:
        """Tell every subscriber, at most once each."""

    async def subscribe(self, channel: str, callback: Subscriber) -> None:
        """Call back for every payload published from now on."""

    async def close(self) -> None:
        """Give everything back."""


class PostgresLine:
    """Hints as notifications of the database, where there is no Redis."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, channel: str, payload: bytes) -> None:
        """See Line. Raises MeshError."""
        async with self._database.transaction() as connection:
            await connection.execute("SELECT pg_notify($1, $2)", _plain(channel), payload.decode())

    async def subscribe(self, channel: str, callback: Subscriber) -> None:
        """See Line."""
        await self._database.listen(_plain(channel), lambda payload: callback(payload.encode()))

    async def close(self) -> None:
        """The database outlives it."""


def _plain(channel: str) -> str:
    """A channel as PostgreSQL may call it."""
    return channel.replace(":", "_")


class BreakerHints:
    """Publishes this replica's hints from a background task and passes on those of others."""

    def __init__(
        self,
        open_line: Callable[[], Awaitable[Line]],
        instance: str,
        hear: Callable[[str, str], None],
    ) -> None:
        self._open_line, self._instance, self._hear = open_line, instance, hear
        self._waiting: asyncio.Queue[Hint] = asyncio.Queue(MAX_WAITING)
        self._line: Line | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to listen and to publish. A server that is down is no failure; an address that is none is."""
        if self._line is not None:
            return
        try:
            self._line = await self._open_line()
        except ValueError:
            # The text of the error may hold a part of the password.
            raise errors.wrong_redis_url() from None
        await self._line.subscribe(CHANNEL, self._take)
        self._task = asyncio.create_task(self._publish(self._line))

    async def close(self) -> None:
        """Stops both."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    def announce(self, model: str, provider: str) -> None:
        """Leaves a hint for the background task; waits for nothing."""
        hint = Hint(model, provider, self._instance)
        try:
            self._waiting.put_nowait(hint)
        except asyncio.QueueFull:
            _log.warning("too many breakers change at once, the other replicas are not told of %s", hint.model)

    def _take(self, payload: bytes) -> None:
        try:
            hint = msgspec.json.decode(payload, type=Hint)
        except (msgspec.MsgspecError, UnicodeError) as error:
            _log.warning("a payload on %s is no hint and was ignored: %s", CHANNEL, error)
            return
        if hint.instance != self._instance:
            self._hear(hint.model, hint.provider)

    async def _publish(self, line: Line) -> None:
        while True:
            hint = await self._waiting.get()
            try:
                await line.publish(CHANNEL, msgspec.json.encode(hint))
            except MeshError as error:
                _log.warning("the other replicas were not told that a breaker opened: %s", error.message)
            except Exception:
                # A publisher that died would keep all later hints back.
                _log.exception("a hint could not be published, going on")
