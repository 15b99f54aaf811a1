"""Where memories are kept: what memory needs of a store, and PostgreSQL as one.

Whoever changes an organisation's memories holds its row of `memory_changes` until the commit, and takes it before any
row of `memories`: the order of `seq` is the order of commits.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.postgres import Database
from services.memory.recall import memory_statements as sql
from services.memory.recall.changes import Changes, changes_of
from services.memory.recall.memory import (
    TURN,
    VECTOR_ITEM_BYTES,
    Filter,
    HistoryEntry,
    Keeping,
    Kept,
    Memory,
    Seen,
    Vector,
    to_bytes,
)
from services.memory.recall.rows import (
    filter_values,
    memory_of,
    metadata_ids,
    remembered_in,
    sealable,
    terms_ids,
    text_id_of,
)
from services.memory.recall.transaction import forget_within, keep_within, tell
from services.memory.sealing.sealing import OrgKey, Sealer


class MemoryListener(Protocol):
    """Told inside the same transaction what was deleted or erased: what derives from it must go."""

    async def forgotten(self, connection: Any, org_id: str, user_ids: Sequence[str], memory_ids: Sequence[str]) -> None:
        """These memories of these owners ("" = the organisation's keys) are gone."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """What a mirror of the memories lacks."""

    changes: Changes | None
    swept_seq: int
    """A mirror that has read less is to be made anew."""
    seq: int
    """What had changed before these were read: with all of them, a mirror has come at least so far."""


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """A memory without vectors of the present embedder."""

    memory_id: str
    seq: int
    said: str
    before: str
    """What was said before it in its thread; empty = nothing."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of one."""

    memory_id: str
    seq: int
    vector: Vector
    window_vector: Vector | None


class MemoryStore(Protocol):
    """Memories of one organisation at a time; what a caller may not see is not there."""

    async def keep(
        self, org_id: str, keepings: Sequence[Keeping], request_id: str, embedder_id: str, key_id: str
    ) -> list[Kept]:
        """Saves them once per owner and request; facts and notes that are there already are not saved again."""

    async def read(self, seen: Seen, memory_ids: Sequence[str]) -> dict[str, Memory]:
        """Those that are there, by id."""

    async def page(
        self, seen: Seen, wanted: Filter, limit: int, after: tuple[dt.datetime, str] | None, *, newest_first: bool
    ) -> list[Memory]:
        """Behind `after`, in the order of creation."""

    async def update(
        self, seen: Seen, memory: Memory, vector: Vector | None, embedder_id: str, key_id: str, *, text_changed: bool
    ) -> bool:
        """Puts these values in its place; False when it is not there."""

    async def forget(self, seen: Seen, wanted: Filter, now: dt.datetime, key_id: str, *, erase: bool) -> int:
        """Deletes those that fit, with texts, words and vectors; `erase` also takes their history. How many."""

    async def history(self, seen: Seen, memory_id: str) -> list[HistoryEntry]:
        """Oldest first; empty when there is none to see."""

    async def counts(self, seen: Seen, wanted: Filter) -> dict[int, int]:
        """How many fit, by kind."""

    async def changes(
        self, org_id: str, after_seq: int, limit: int, embedder_id: str, dimensions: int, user_id: str | None = None
    ) -> Mirror:
        """What changed behind `after_seq`, in the order of the commits, with the vectors of this embedder.

        With `user_id` at most `limit` memories that this user has now, the oldest first.
        """

    async def organisations_to_embed(self, embedder_id: str) -> list[str]:
        """Which organisations have memories without vectors of this embedder."""

    async def to_embed(self, org_id: str, embedder_id: str, limit: int) -> list[ToEmbed]:
        """Some of those memories, the newest first."""

    async def put_vectors(self, org_id: str, embedder_id: str, rows: Sequence[Embedded]) -> int:
        """Saves vectors of what has not changed since; how many."""

    async def sweep(self, before: dt.datetime, limit: int) -> int:
        """Takes away tombstones from before this moment; how many."""


class PostgresMemoryStore:
    """MemoryStore in the schema `memory`."""

    def __init__(self, database: Database, sealer: Sealer, listeners: Sequence[MemoryListener] = ()) -> None:
        self._database, self._sealer, self._listeners = database, sealer, listeners

    async def keep(
        self, org_id: str, keepings: Sequence[Keeping], request_id: str, embedder_id: str, key_id: str
    ) -> list[Kept]:
        """See MemoryStore."""
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            return await keep_within(connection, org_id, key, keepings, request_id, embedder_id, key_id)

    async def read(self, seen: Seen, memory_ids: Sequence[str]) -> dict[str, Memory]:
        """See MemoryStore."""
        if not memory_ids:
            return {}
        key = await self._sealer.key_of(seen.org_id)
        rows = await self._database.call(sql.READ, seen.org_id, seen.everyone, seen.user_id, list(memory_ids))
        return {memory.memory_id: memory for memory in (memory_of(key, row) for row in rows)}

    async def page(
        self, seen: Seen, wanted: Filter, limit: int, after: tuple[dt.datetime, str] | None, *, newest_first: bool
    ) -> list[Memory]:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        moment, memory_id = after or (None, None)
        async with self._database.transaction(seen.org_id) as connection:
            rows = await connection.fetch(
                sql.NEWEST if newest_first else sql.OLDEST, *filter_values(key, seen, wanted), moment, memory_id, limit
            )
        return [memory_of(key, row) for row in rows]

    async def update(
        self, seen: Seen, memory: Memory, vector: Vector | None, embedder_id: str, key_id: str, *, text_changed: bool
    ) -> bool:
        """See MemoryStore."""
        org_id = seen.org_id
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            seq = await connection.fetchval(sql.NEXT, org_id, 1)
            done = await connection.execute(
                sql.UPDATE,
                org_id,
                memory.memory_id,
                memory.user_id,
                seq,
                *sealable(key, memory),
                metadata_ids(key, memory.metadata),
                memory.updated_at,
                memory.valid_from,
                memory.valid_to,
                memory.superseded_by or None,
                memory.confidence,
                memory.pinned,
            )
            if str(done) == "UPDATE 0":
                return False
            if text_changed:
                embedder = embedder_id if vector is not None else ""
                values = (text_id_of(key, memory), terms_ids(key, memory.said), embedder, to_bytes(vector))
                await connection.execute(sql.RETEXT, org_id, memory.memory_id, *values)
            await tell(connection, org_id, key, memory, "updated", key_id)
        return True

    async def forget(self, seen: Seen, wanted: Filter, now: dt.datetime, key_id: str, *, erase: bool) -> int:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        async with self._database.transaction(seen.org_id) as connection:
            gone = await forget_within(connection, seen, filter_values(key, seen, wanted), now)
            ids, owners = list(gone), list(gone.values())
            if erase:
                everything = not wanted.narrows
                named = list(wanted.memory_ids)
                erased = (seen.org_id, ids, everything, seen.everyone, seen.user_id, named)
                await connection.execute(sql.ERASE_HISTORY, *erased)
            elif ids:
                await connection.execute(sql.BLANK_HISTORY, seen.org_id, ids)
                await connection.execute(sql.TELL_DELETED, seen.org_id, ids, owners, now, key_id)
            if ids:
                for listener in self._listeners:
                    await listener.forgotten(connection, seen.org_id, sorted(set(owners)), ids)
        return len(ids)

    async def history(self, seen: Seen, memory_id: str) -> list[HistoryEntry]:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        async with self._database.transaction(seen.org_id) as connection:
            rows = await connection.fetch(sql.READ_HISTORY, seen.org_id, seen.everyone, seen.user_id, memory_id)
        return [
            HistoryEntry(
                row["changed_at"],
                row["action"],
                remembered_in(key, memory_id, row["snapshot"], row["sealed"]),
                row["key_id"],
            )
            for row in rows
        ]

    async def counts(self, seen: Seen, wanted: Filter) -> dict[int, int]:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        async with self._database.transaction(seen.org_id) as connection:
            rows = await connection.fetch(sql.COUNTS, *filter_values(key, seen, wanted))
        return {row["kind"]: row["many"] for row in rows}

    async def changes(
        self, org_id: str, after_seq: int, limit: int, embedder_id: str, dimensions: int, user_id: str | None = None
    ) -> Mirror:
        """See MemoryStore."""
        page = await self._database.call(
            sql.CHANGES, org_id, after_seq, limit, embedder_id, VECTOR_ITEM_BYTES * dimensions, user_id
        )
        return Mirror(changes_of(page, dimensions), page["swept_seq"] or 0, page["seq"] or 0)

    async def organisations_to_embed(self, embedder_id: str) -> list[str]:
        """See MemoryStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT organisations_with_memories_to_embed($1)::text AS org_id", embedder_id
            )
        return [row["org_id"] for row in rows]

    async def to_embed(self, org_id: str, embedder_id: str, limit: int) -> list[ToEmbed]:
        """See MemoryStore."""
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(sql.TO_EMBED, org_id, embedder_id, limit)
            wanted = list(
                {row["previous_id"] for row in rows if row["previous_id"] is not None and row["kind"] == TURN}
            )
            before = {row["memory_id"]: _said(key, row) for row in await connection.fetch(sql.SAID, org_id, wanted)}
        return [
            ToEmbed(str(row["memory_id"]), row["seq"], _said(key, row), before.get(row["previous_id"], ""))
            for row in rows
        ]

    async def put_vectors(self, org_id: str, embedder_id: str, rows: Sequence[Embedded]) -> int:
        """See MemoryStore."""
        done: int = await self._database.call(
            sql.PUT_VECTORS,
            org_id,
            embedder_id,
            [row.memory_id for row in rows],
            [row.seq for row in rows],
            [to_bytes(row.vector) for row in rows],
            [to_bytes(row.window_vector) for row in rows],
        )
        return done

    async def sweep(self, before: dt.datetime, limit: int) -> int:
        """See MemoryStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT organisations_with_deleted_memories($1)::text AS org_id", before)
        swept = 0
        for row in rows:
            async with self._database.transaction(row["org_id"]) as connection:
                await connection.fetchval(sql.NEXT, row["org_id"], 0)
                swept += await connection.fetchval(sql.SWEEP, row["org_id"], before, limit) or 0
        return swept


def _said(key: OrgKey, row: Any) -> str:
    speaker, text = row["speaker"], row["text"]
    if row["sealed"] is not None:
        fields = key.open(f"memories/{row['memory_id']}", row["sealed"])
        speaker, text = fields["speaker"], fields["text"]
    return f"{speaker}: {text}" if speaker else text
