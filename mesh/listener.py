"""Hearing PostgreSQL's notifications: one connection for all channels, which comes back by itself."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

import asyncpg

from mesh.errors import MeshError, Reason
from mesh.postgres_errors import UNAVAILABLE

HEARTBEAT_S = 5.0
RECONNECT_FIRST_S = 0.05
RECONNECT_LAST_S = 2.0
CHANNEL_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
Callback = Callable[[str], Awaitable[None] | None]
_log = logging.getLogger(__name__)


class Listener:
    """One LISTEN connection that comes back by itself."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._callbacks: dict[str, list[Callback]] = {}
        self._on_gap: list[Callable[[], None]] = []
        self._running: set[asyncio.Future[None]] = set()
        self._connection: asyncpg.Connection | None = None
        self._heard: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        # A connection does one thing at a time, and refuses a second one meanwhile.
        self._lock = asyncio.Lock()
        self.connected = asyncio.Event()
        """Set while notifications arrive."""

    async def add(self, channel: str, callback: Callback, on_gap: Callable[[], None] | None) -> None:
        """Also listen on `channel`."""
        if not CHANNEL_NAME.match(channel):
            raise MeshError(Reason.INTERNAL, f"{channel!r} is not a channel's name: use lower case and underscores")
        self._callbacks.setdefault(channel, []).append(callback)
        if on_gap is not None:
            self._on_gap.append(on_gap)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="postgres-listen")
        elif (connection := self._connection) is not None and not connection.is_closed():
            try:
                await self._hear(connection)
            except (asyncpg.PostgresError, *UNAVAILABLE):
                # The next connection listens on every channel.
                connection.terminate()

    async def close(self) -> None:
        """Stop listening."""
        for work in (self._task, *self._running):
            if work is not None:
                work.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        delay_s = RECONNECT_FIRST_S
        while True:
            try:
                self._connection, self._heard = await self._connect(), set()
                await self._hear(self._connection)
                self.connected.set()
                delay_s = RECONNECT_FIRST_S
                for on_gap in self._on_gap:
                    on_gap()
                await self._until_lost(self._connection)
            except MeshError as error:
                _log.error("cannot listen: %s", error.message)
            except (asyncpg.PostgresError, *UNAVAILABLE) as error:
                _log.warning("the LISTEN connection was lost: %s: %s", type(error).__name__, error)
            finally:
                self.connected.clear()
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RECONNECT_LAST_S)

    async def _hear(self, connection: asyncpg.Connection) -> None:
        """Listens on every channel that the connection does not listen on yet."""
        async with self._lock:
            for channel in self._callbacks.keys() - self._heard:
                await connection.add_listener(channel, self._dispatch)
                self._heard.add(channel)

    async def _until_lost(self, connection: asyncpg.Connection) -> None:
        """Return when the connection ends; a heartbeat finds the ones that ended without a word."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not connection.is_closed():
            try:
                await asyncio.wait_for(lost.wait(), HEARTBEAT_S)
            except TimeoutError:
                async with self._lock:
                    await connection.fetchval("SELECT 1", timeout=HEARTBEAT_S)

    def _dispatch(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for callback in self._callbacks.get(channel, ()):
            try:
                pending = callback(str(payload))
            except Exception:
                _log.exception("a listener on %s failed", channel)
                continue
            if pending is not None:
                work = asyncio.ensure_future(pending)
                self._running.add(work)
                work.add_done_callback(self._finished)

    def _finished(self, work: "asyncio.Future[None]") -> None:
        self._running.discard(work)
        if not work.cancelled() and work.exception() is not None:
            _log.error("a listener failed", exc_info=work.exception())
