"""A service's way to PostgreSQL: its own schema, its own role, organisations set per transaction, errors named."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg

from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.ids import is_uuid
from mesh.listener import Callback, Listener
from mesh.postgres_errors import UNAVAILABLE, named
from mesh.single_statements import SingleStatements, drop

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 15.0
CHECK_LOGIN = """SELECT session_user::text AS login, current_user::text AS role,
    bool_or(rolsuper) AS superuser, bool_or(rolbypassrls) AS bypasses
    FROM pg_roles WHERE rolname IN (session_user, current_user)"""

LOST: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
)
"""A pooled connection that died while it was idle; asyncpg has its own words for one whose farewell is unread."""

_log = logging.getLogger(__name__)


def organisations(org_ids: tuple[str, ...]) -> str:
    """The value of app.org_ids; refuses anything that is not a UUID, which PostgreSQL would only find in a policy."""
    if not all(is_uuid(org_id) for org_id in org_ids):
        raise MeshError(Reason.INTERNAL, f"not every organisation is a UUID: {org_ids!r}")
    return ",".join(org_ids)


class Database:
    """A pool in the service's schema and role. Opens no connection before the first use."""

    def __init__(
        self,
        dsn: str,
        service: str,
        *,
        pool_min: int = 0,
        pool_max: int = 4,
        role: str | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        statement_cache_size: int = 256,
    ) -> None:
        """`role`: what to SET ROLE to when `dsn` logs in as somebody else. `statement_cache_size=0` for PgBouncer."""
        self.service = service
        self._pool_min, self._pool_max = pool_min, pool_max
        self._connect_timeout_s = connect_timeout_s
        settings = {"search_path": f"{service}, extensions", "application_name": f"dac-{service}"}
        if role is not None:
            settings["role"] = role
        self._options: dict[str, Any] = {
            "dsn": dsn,
            "server_settings": settings,
            "timeout": connect_timeout_s,
            "command_timeout": command_timeout_s,
            "statement_cache_size": statement_cache_size,
        }
        self._pool: asyncpg.Pool | None = None
        self._single: SingleStatements | None = None
        self._listener: Listener | None = None

    def prefer(self, setting: str, value: str) -> None:
        """A session setting for every connection, e.g. a planner switch; before the first use."""
        self._options["server_settings"][setting] = value

    async def open(self) -> None:
        """Make the pool."""
        if self._pool is None:
            pool = self._pool = await self._guarded(
                asyncpg.create_pool(
                    min_size=self._pool_min,
                    max_size=self._pool_max,
                    init=_refuse_unsafe_login,
                    reset=_keep_session,
                    max_inactive_connection_lifetime=300,
                    **self._options,
                )
            )
            self._single = SingleStatements(pool, self._connect_timeout_s)
            telemetry.POOL.watch(self.service, lambda: _pool_state(self.service, pool))

    async def close(self) -> None:
        """End every connection; running transactions get 5 s."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        pool, self._pool = self._pool, None
        single, self._single = self._single, None
        if single is not None:
            await single.close()
        if pool is not None:
            telemetry.POOL.forget(self.service)
            try:
                await asyncio.wait_for(pool.close(), 5)
            except (TimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
                pool.terminate()

    @contextlib.asynccontextmanager
    async def transaction(self, *org_ids: str) -> AsyncIterator[asyncpg.Connection]:
        """BEGIN, see and write exactly these organisations' rows, COMMIT. None given: no organisation's rows."""
        allowed = organisations(org_ids)
        try:
            connection = await self._begin(allowed)
        except (asyncpg.PostgresError, *UNAVAILABLE) as error:
            raise named(error) from error
        pool = self._pool
        assert pool is not None
        try:
            try:
                yield connection
            except BaseException:
                if not connection.is_closed():
                    # The first error says more than a failed ROLLBACK does.
                    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")
        except asyncio.CancelledError:
            raise
        except MeshError:
            raise
        except (asyncpg.PostgresError, *UNAVAILABLE) as error:
            raise named(error) from error
        finally:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await pool.release(connection)

    async def call(self, statement: str, *values: Any) -> Any:
        """The first value of one statement, see `rows`; None when it has no row."""
        found = await self.rows(statement, *values)
        return found[0][0] if found else None

    async def rows(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """One statement, committed when it returns, in one round trip: for functions that set app.org_ids themselves.

        Raises asyncpg.SerializationError as it is, for callers that have another way; everything else named.
        """
        if self._single is None:
            await self.open()
        assert self._single is not None
        try:
            return await self._single.run(statement, *values)
        except asyncpg.SerializationError:
            raise
        except (asyncpg.PostgresError, *UNAVAILABLE) as error:
            raise named(error) from error

    async def check(self) -> None:
        """Raise unless the database answers."""
        async with self.transaction() as connection:
            await connection.fetchval("SELECT 1")

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection outside the pool, for what lives as long as its session: advisory locks of leaders."""
        connection = await self._guarded(self.connect())
        try:
            yield connection
        except asyncio.CancelledError:
            raise
        except (asyncpg.PostgresError, *UNAVAILABLE) as error:
            raise named(error) from error
        finally:
            connection.terminate()

    async def listen(self, channel: str, callback: Callback, *, on_gap: Callable[[], None] | None = None) -> Listener:
        """Call `callback(payload)` for every NOTIFY; one connection of its own for all channels, reconnecting.

        Notifications sent while the connection was down are lost: `on_gap` is called after each (re)connection, so
        that the caller can read what it may have missed. Returns at once, also when the database is down.
        """
        if self._listener is None:
            self._listener = Listener(self.connect)
        await self._listener.add(channel, callback, on_gap)
        return self._listener

    async def connect(self) -> asyncpg.Connection:
        """A bare connection with the service's settings. Raises the driver's errors."""
        connection = await asyncpg.connect(**self._options)
        try:
            await _refuse_unsafe_login(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _begin(self, allowed: str) -> asyncpg.Connection:
        """BEGIN on a pooled connection; one that turns out to be dead is replaced once, as nothing has run on it."""
        await self.open()
        pool = self._pool
        assert pool is not None
        for attempt in (1, 2):
            connection = await pool.acquire(timeout=self._connect_timeout_s)
            try:
                # In every transaction, also for none: nothing that a session kept can widen what is seen. One round
                # trip instead of two: SET takes no parameters, and `allowed` is nothing but checked UUIDs and commas.
                await connection.execute(f"BEGIN; SET LOCAL app.org_ids = '{allowed}'")
                return connection
            except LOST:
                await drop(pool, connection)
                if attempt == 2:
                    raise
                # The server was away: the other idle connections are as dead as this one.
                await pool.expire_connections()
            except BaseException:
                # A half-begun session must not be lent again.
                await drop(pool, connection)
                raise
        raise AssertionError("unreachable")

    async def _guarded(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (asyncpg.PostgresError, *UNAVAILABLE) as error:
            raise named(error) from error


def _pool_state(service: str, pool: asyncpg.Pool) -> list[tuple[tuple[str, ...], float]]:
    idle = pool.get_idle_size()
    return [((service, "idle"), idle), ((service, "busy"), pool.get_size() - idle)]


async def _refuse_unsafe_login(connection: asyncpg.Connection) -> None:
    """Row-level security does not hold for a superuser: refuse to run as one, also behind SET ROLE."""
    row = await connection.fetchrow(CHECK_LOGIN)
    if row["superuser"] or row["bypasses"]:
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            f"DATABASE_URL logs in as {row['login']!r} (role {row['role']!r}), which is a superuser or may bypass "
            "row-level security: use a login without SUPERUSER and BYPASSRLS",
        )


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """No RESET between transactions: what they set is local to them, and it would cost a round trip each."""
