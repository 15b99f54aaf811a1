"""Statements that are a transaction each, on a connection that is kept for the next one.

Borrowing from a pool and giving back costs as much as a short statement itself. Where statements come one after the
other the same connection runs them; when none came for a moment it goes back to the pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import asyncpg

IDLE_S = 1.0
MAX_STATEMENTS = 10_000
"""Then a connection goes back to the pool, which renews those that have done much."""


async def drop(pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
    """Never lend this one again. A connection that has ended has already left the pool, and says so by raising."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()
    with contextlib.suppress(asyncpg.InterfaceError):
        await pool.release(connection)


def is_gone(connection: Any) -> bool:
    """Whether a connection has ended. One that ended while it was lent has left the pool, and says so by raising."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


class SingleStatements:
    """Of one pool. Keeps at most one of its connections, and none of a pool that has only one."""

    def __init__(self, pool: asyncpg.Pool, connect_timeout_s: float) -> None:
        self._pool, self._connect_timeout_s = pool, connect_timeout_s
        self._may_keep = pool.get_max_size() > 1
        self._kept: Any = None
        self._used_at, self._statements = 0.0, 0
        self._timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()

    async def run(self, statement: str, *values: Any) -> list[Any]:
        """Its rows. Raises the driver's errors."""
        for attempt in (1, 2):
            connection, self._kept = self._kept, None
            if connection is None:
                connection = await self._pool.acquire(timeout=self._connect_timeout_s)
            if attempt == 1 and is_gone(connection):
                await drop(self._pool, connection)
                await self._pool.expire_connections()
                continue
            try:
                answer: list[Any] = await connection.fetch(statement, *values)
            except BaseException:
                await self._give_back(connection)
                raise
            self._statements += 1
            if self._may_keep and self._kept is None and self._statements < MAX_STATEMENTS:
                self._keep(connection)
            else:
                self._statements = 0
                await self._give_back(connection)
            return answer
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Gives back what is kept, and keeps nothing any more."""
        self._may_keep = False
        if self._timer is not None:
            self._timer.cancel()
        connection, self._kept = self._kept, None
        if connection is not None:
            await self._give_back(connection)
        await asyncio.gather(*self._returning)

    def _keep(self, connection: Any) -> None:
        self._kept, self._used_at = connection, time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._look)

    def _look(self) -> None:
        """Gives the connection back when no statement came for a moment."""
        self._timer = None
        connection, idle_s = self._kept, time.monotonic() - self._used_at
        if connection is None:
            return
        if idle_s < IDLE_S:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S - idle_s, self._look)
            return
        self._kept = None
        task = asyncio.create_task(self._give_back(connection))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _give_back(self, connection: Any) -> None:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._pool.release(connection)
