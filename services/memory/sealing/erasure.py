"""What administrators do with their organisation's data key: count what it seals, turn to a new one, erase all."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from mesh.admin_changes import put_out
from mesh.admin_record import Change
from mesh.errors import MeshError, Reason
from mesh.postgres import Database
from services.memory import errors
from services.memory.sealing.data_keys import CHANNEL, ERASED, DataKeys, KeyedSealer
from services.memory.sealing.sealed_tables import NO_UUID, TABLES, SealedTable
from services.memory.sealing.sealing import header_of

ATTEMPTS = 5
"""Of the erasure, which may meet others in the other order."""
LONG_S = 600.0
"""For statements over everything an organisation has."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows with text of one table."""

    table: str
    plain: int
    sealed: int
    earlier: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did."""

    deleted_rows: int
    destroyed_keys: int


class Erasure:
    """Acts inside one organisation at a time."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        sealer: KeyedSealer,
        *,
        clock: Callable[[], dt.datetime],
        wait: Callable[[], Awaitable[None]],
        tables: Mapping[str, SealedTable] = TABLES,
    ) -> None:
        """`wait` returns when every replica has heard of a new key."""
        self._database, self._keys, self._sealer = database, keys, sealer
        self._clock, self._wait, self._tables = clock, wait, tables
        self._elsewhere: list[Callable[[str], Awaitable[None]]] = []

    def also(self, erase: Callable[[str], Awaitable[None]]) -> None:
        """After the rows, erases what is kept of an organisation elsewhere, e.g. in a vector index. May raise."""
        self._elsewhere.append(erase)

    async def status(self, org_id: str) -> tuple[str, list[Counted]]:
        """The data key that seals now, and the rows of every table with text."""
        key_id = (await self._sealer.key_of(org_id)).key_id
        counted = []
        async with self._database.transaction(org_id) as connection:
            for name, table in self._tables.items():
                row = await connection.fetchrow(table.count, org_id, header_of(key_id or NO_UUID), timeout=LONG_S)
                counted.append(Counted(name, *row))
        return key_id, counted

    async def rotate(self, org_id: str, change: Change) -> str:
        """Turns to a new data key; its id. Raises FAILED_PRECONDITION when sealing is off."""
        if not self._sealer.enabled:
            raise errors.sealing_off()
        # The organisation's first key, when it has none yet.
        await self._sealer.key_of(org_id)
        key_id = await self._keys.prepare(org_id)
        await self._wait()
        async with self._database.transaction(org_id) as connection:
            if not await self._keys.turn_to(connection, org_id, key_id):
                raise errors.erased_meanwhile()
            await put_out(connection, change)
        self._sealer.forget(org_id)
        return key_id

    async def erase(self, org_id: str, change: Change) -> Erased:
        """Destroys the organisation's data keys and deletes everything of it: in one transaction, then elsewhere.

        Raises MeshError when something is left; asked again, it erases again.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                erased = await self._erase_rows(org_id, change)
                break
            except MeshError as error:
                if error.reason != Reason.UNAVAILABLE or attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(0.05 * attempt)
        self._sealer.forget(org_id)
        for erase in self._elsewhere:
            await erase(org_id)
        return erased

    async def _erase_rows(self, org_id: str, change: Change) -> Erased:
        async with self._database.transaction(org_id) as connection:
            deleted = await connection.fetchval("SELECT erase_rows($1)", org_id, timeout=LONG_S)
            # Whoever is writing sealed rows holds the key: waited for, and what they wrote goes, too.
            await connection.execute("SELECT FROM data_keys WHERE org_id = $1 FOR UPDATE", org_id)
            deleted += await connection.fetchval("SELECT erase_rows($1)", org_id, timeout=LONG_S)
            keys = await connection.fetch(
                "UPDATE data_keys SET destroyed_at = $2, wrapped_key = '' WHERE org_id = $1 AND destroyed_at IS NULL "
                "RETURNING key_id",
                org_id,
                self._clock(),
            )
            await put_out(connection, change)
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, ERASED + org_id)
        return Erased(deleted, len(keys))
