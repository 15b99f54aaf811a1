"""What PostgreSQL's driver fails with, as the mesh's own named failures; its own words go to the log alone."""

import logging
import ssl
import time

import asyncpg

from mesh.errors import MeshError, Reason

UNAVAILABLE: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ssl.SSLError,
    OSError,
    TimeoutError,
)
"""What goes away by itself: the caller may try again."""
NO_TEXT = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)
"""PostgreSQL keeps no U+0000, neither as a text nor within JSON; everything else that is UTF-8 it does."""

TELL_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Conflict(MeshError):
    """ALREADY_EXISTS by a unique key; `constraint` says which one."""

    def __init__(self, constraint: str) -> None:
        super().__init__(
            Reason.ALREADY_EXISTS,
            f"this would be a second row under the unique key {constraint}: use another value",
            metadata={"constraint": constraint},
        )
        self.constraint = constraint


_told_at = -TELL_EVERY_S


def _tell_seldom(message: str, *values: object) -> None:
    """A warning, but once a second at most: every request would repeat it while the server is away."""
    global _told_at
    if time.monotonic() - _told_at >= TELL_EVERY_S:
        _told_at = time.monotonic()
        _log.warning(message, *values)


def named(error: BaseException) -> MeshError:
    """The named failure of a driver's error; the original goes to the log, never to a caller."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Conflict(error.constraint_name or "")
    if isinstance(error, UNAVAILABLE):
        _tell_seldom("PostgreSQL is not available: %s: %s", type(error).__name__, error)
        return MeshError(Reason.UNAVAILABLE, "the database is not available right now: try again", retry_after_s=1.0)
    if isinstance(error, NO_TEXT):
        # What somebody sent, and no fault of ours: it is worth no line in the log.
        return MeshError(Reason.INVALID_REQUEST, "a text holds the character U+0000: it cannot be kept, leave it out")
    _log.error("PostgreSQL refused a statement: %s: %s", type(error).__name__, error, exc_info=error)
    return MeshError(Reason.INTERNAL, "the database refused a statement; the service's log says which and why")
