"""Sealing old rows: what was written before the switch was on, and what an earlier data key sealed.

It walks each table of an organisation in the order of its key, a page at a time; a page and how far the walk is are
one transaction. So it may be killed anywhere and goes on there, and replicas take turns. A row that somebody changes
at that moment is left to the next walk.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any

from mesh.errors import MeshError
from mesh.postgres import Database
from mesh.rounds import Rounds
from services.memory.sealing.data_keys import DataKeys
from services.memory.sealing.sealed_tables import TABLES, SealedTable
from services.memory.sealing.sealing import OrgKey, Sealer, header_of

WALK_AGAIN = dt.timedelta(days=1)
"""After which everything is looked through again: a replica may have written with the switch off."""
KEEP_EARLIER = dt.timedelta(seconds=60)
"""How long a former data key is kept at least, for replicas that have not heard of the new one."""
_NOT_TEXT = frozenset({"row_key", "about", "version", "needs", "sealed"})
_log = logging.getLogger(__name__)

_WALK = """SELECT goal::text, after, begun_at, done_at FROM seal_walks WHERE org_id = $1 AND table_name = $2
    FOR UPDATE SKIP LOCKED"""
_BEGIN = """INSERT INTO seal_walks (org_id, table_name, goal, begun_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org_id, table_name) DO NOTHING"""
_GO_ON = """UPDATE seal_walks SET goal = $3, after = $4, begun_at = $5, done_at = $6
    WHERE org_id = $1 AND table_name = $2"""


class Resealer:
    """Seals old rows in the background while sealing is on."""

    def __init__(
        self,
        database: Database,
        keys: DataKeys,
        sealer: Sealer,
        *,
        rows: int,
        interval_s: float,
        clock: Callable[[], dt.datetime],
        tables: Mapping[str, SealedTable] = TABLES,
        keep_earlier: dt.timedelta = KEEP_EARLIER,
    ) -> None:
        self._database, self._keys, self._sealer = database, keys, sealer
        self._rows, self._clock, self._tables = rows, clock, tables
        self._keep_earlier = keep_earlier
        self._done: dict[str, tuple[str, dt.datetime]] = {}
        self._rounds = Rounds(
            "memory-resealer", self.reseal_all, interval_s, _log, meanwhile="old rows are not sealed yet"
        )

    def start(self) -> None:
        """Begins, when sealing is on."""
        if self._sealer.enabled:
            self._rounds.start()

    async def close(self) -> None:
        """Stops; it goes on where it was."""
        await self._rounds.close()

    def wake(self) -> None:
        """There is something to seal anew."""
        self._rounds.wake()

    async def reseal_all(self) -> None:
        """One round over every organisation that has something to do. Raises MeshError when it cannot even ask."""
        for org_id in await self._keys.organisations():
            try:
                await self.reseal(org_id)
            except MeshError as error:
                _log.warning("old rows of organisation %s are not sealed yet: %s", org_id, error.message)

    async def reseal(self, org_id: str) -> None:
        """Seals all old rows of an organisation, and destroys the data keys that no row needs. Raises MeshError."""
        goal = (await self._sealer.key_of(org_id)).key_id
        done_goal, done_at = self._done.get(org_id, ("", dt.datetime.min.replace(tzinfo=dt.UTC)))
        if goal == done_goal and self._clock() - done_at < WALK_AGAIN:
            return
        finished = True
        for table in self._tables:
            while (left := await self.step(org_id, table)) is True:
                await asyncio.sleep(0)
            finished = finished and left is False
        if finished:
            now = self._clock()
            await self._keys.destroy_unused(org_id, now - self._keep_earlier)
            if not await self._keys.has_earlier(org_id):
                self._done[org_id] = (goal, now)

    async def step(self, org_id: str, table: str) -> bool | None:
        """One page: True = there is more, False = the table is done, None = another replica is at it."""
        key, now = await self._sealer.key_of(org_id), self._clock()
        async with self._database.transaction(org_id) as connection:
            walk = await connection.fetchrow(_WALK, org_id, table)
            if walk is None:
                await connection.execute(_BEGIN, org_id, table, key.key_id, now)
                walk = await connection.fetchrow(_WALK, org_id, table)
                if walk is None:
                    return None
            after, begun_at = walk["after"], walk["begun_at"]
            if walk["goal"] != key.key_id or (walk["done_at"] is not None and now - walk["done_at"] >= WALK_AGAIN):
                after, begun_at = [], now
            elif walk["done_at"] is not None:
                return False
            after = await self._seal_page(connection, org_id, self._tables[table], key, after)
            done_at = now if after is None else None
            await connection.execute(_GO_ON, org_id, table, key.key_id, after or [], begun_at, done_at)
        return after is not None

    async def _seal_page(
        self, connection: Any, org_id: str, table: SealedTable, key: OrgKey, after: list[str]
    ) -> list[str] | None:
        """Seals a page behind `after`; its last row, None when it was the last page."""
        rows = await connection.fetch(table.find, org_id, after or table.first, self._rows, header_of(key.key_id))
        for row in rows:
            if not row["needs"]:
                continue
            try:
                sealed = _seal_again(key, table, row)
            except MeshError as error:
                # Its key is destroyed or it was changed from outside: it stays as it is, and the others are sealed.
                _log.warning("a row is not sealed anew: %s", error.message)
                continue
            await connection.execute(table.seal, org_id, row["row_key"], row["version"], sealed)
        return rows[-1]["row_key"] if len(rows) == self._rows else None


def _seal_again(key: OrgKey, table: SealedTable, row: Any) -> bytes | None:
    about, before = row["about"], row["sealed"]
    if table.is_data:
        return key.seal_data(about, key.open_data(about, before) if before is not None else row["data"])
    fields = {name: value for name, value in row.items() if name not in _NOT_TEXT}
    return key.seal(about, key.open(about, before) if before is not None else fields)
