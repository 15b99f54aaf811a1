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
from services.memory.memory import TURN, Change, Filter, HistoryEntry, Keeping, Kept, Memory, Seen, Vector, to_bytes
from services.memory.memory_rows import (
    FITS,
    INSERTED,
    MIRRORED,
    READ,
    change_of,
    filter_values,
    inserted,
    memory_of,
    metadata_ids,
    remembered_in,
    sealable,
    snapshot_of,
    terms_ids,
    text_id_of,
)
from services.memory.sealing import OrgKey, Sealer


class MemoryListener(Protocol):
    """Told inside the same transaction what was deleted or erased: what derives from it must go."""

    async def forgotten(self, connection: Any, org_id: str, user_ids: Sequence[str], memory_ids: Sequence[str]) -> None:
        """These memories of these owners ("" = the organisation's keys) are gone."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """What a mirror of the memories lacks."""

    changes: list[Change]
    swept_seq: int
    """A mirror that has read less is to be made anew."""


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

    async def changes(self, org_id: str, after_seq: int, limit: int) -> Mirror:
        """What changed behind `after_seq`, in the order of the commits."""

    async def organisations_to_embed(self, embedder_id: str) -> list[str]:
        """Which organisations have memories without vectors of this embedder."""

    async def to_embed(self, org_id: str, embedder_id: str, limit: int) -> list[ToEmbed]:
        """Some of those memories, the newest first."""

    async def put_vectors(self, org_id: str, embedder_id: str, rows: Sequence[Embedded]) -> int:
        """Saves vectors of what has not changed since; how many."""

    async def sweep(self, before: dt.datetime, limit: int) -> int:
        """Takes away tombstones from before this moment; how many."""


_NEXT = """INSERT INTO memory_changes (org_id, seq) VALUES ($1, $2)
    ON CONFLICT (org_id) DO UPDATE SET seq = memory_changes.seq + EXCLUDED.seq RETURNING seq"""
_SAVED_BEFORE = """SELECT user_id, ordinal, memory_id FROM memories
    WHERE org_id = $1 AND user_id = ANY ($2) AND request_id = $3 AND deleted_at IS NULL"""
_SAME_TEXT = """SELECT memory_id, text_id, kind, user_id, agent_id, thread_id FROM memories
    WHERE org_id = $1 AND text_id = ANY ($2) AND kind <> 1 AND deleted_at IS NULL AND superseded_by IS NULL
    AND (valid_to IS NULL OR valid_to > $3)"""
_LAST_TURN = """SELECT memory_id FROM memories WHERE org_id = $1 AND thread_id = $2 AND user_id = $3 AND agent_id = $4
    AND kind = 1 AND deleted_at IS NULL AND thread_id <> '' ORDER BY created_at DESC, memory_id DESC LIMIT 1"""
_EXISTING = "SELECT memory_id FROM memories WHERE org_id = $1 AND memory_id = ANY ($2) AND deleted_at IS NULL"
_INSERT = (
    "INSERT INTO memories ("
    + INSERTED
    + """) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
    $23, $24, $25, $26, $27, $28, $29) ON CONFLICT (org_id, memory_id) DO NOTHING"""
)
_HISTORY = """INSERT INTO memory_history (org_id, memory_id, user_id, changed_at, action, key_id, snapshot, sealed)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_SUPERSEDE = (
    """UPDATE memories SET superseded_by = $2, valid_to = least(valid_to, $3), updated_at = $4, seq = $5
    WHERE org_id = $1 AND memory_id = $6 AND user_id = $7 AND kind = 2 AND deleted_at IS NULL RETURNING """
    + READ
)
_READ = (
    "SELECT "
    + READ
    + """ FROM memories WHERE org_id = $1 AND deleted_at IS NULL AND ($2::boolean OR user_id = $3)
    AND memory_id = ANY ($4)"""
)
_NEWEST = (
    "SELECT "
    + READ
    + " FROM memories WHERE "
    + FITS
    + """ AND ($13::timestamptz IS NULL OR (created_at, memory_id) < ($13, $14::uuid))
    ORDER BY created_at DESC, memory_id DESC LIMIT $15"""
)
_OLDEST = (
    "SELECT "
    + READ
    + " FROM memories WHERE "
    + FITS
    + """ AND ($13::timestamptz IS NULL OR (created_at, memory_id) > ($13, $14::uuid))
    ORDER BY created_at, memory_id LIMIT $15"""
)
_COUNTS = "SELECT kind, count(*) AS many FROM memories WHERE " + FITS + " GROUP BY kind"
_UPDATE = """UPDATE memories SET seq = $4, speaker = $5, text = $6, metadata = $7, sealed = $8, metadata_terms = $9,
    updated_at = $10, valid_from = $11, valid_to = $12, superseded_by = $13, confidence = $14, pinned = $15
    WHERE org_id = $1 AND memory_id = $2 AND user_id = $3 AND deleted_at IS NULL"""
_RETEXT = """UPDATE memories SET text_id = $3, terms = $4, embedder_id = $5, vector = $6, window_vector = NULL
    WHERE org_id = $1 AND memory_id = $2"""
_FORGET = (
    """UPDATE memories SET seq = $13 + n, agent_id = '', thread_id = '', role = '', speaker = '', text = '',
    metadata = '', sealed = NULL, text_id = 0, terms = '{}', metadata_terms = '{}', previous_id = NULL, request_id = '',
    valid_from = NULL, valid_to = NULL, superseded_by = NULL, source_ids = '{}', confidence = 0, pinned = false,
    embedder_id = '', vector = NULL, window_vector = NULL, deleted_at = $14, updated_at = $14
    FROM (SELECT memory_id AS going, row_number() OVER () AS n FROM memories WHERE """
    + FITS
    + ") AS these WHERE org_id = $1 AND memory_id = going RETURNING memory_id, user_id"
)
_UNCHAIN = """UPDATE memories SET seq = $3 + n, previous_id = NULL, window_vector = NULL
    FROM (SELECT memory_id AS left_behind, row_number() OVER () AS n FROM memories
          WHERE org_id = $1 AND previous_id = ANY ($2) AND deleted_at IS NULL) AS these
    WHERE org_id = $1 AND memory_id = left_behind"""
_BLANK_HISTORY = """UPDATE memory_history SET snapshot = '', sealed = NULL
    WHERE org_id = $1 AND memory_id = ANY ($2)"""
_TELL_DELETED = """INSERT INTO memory_history (org_id, memory_id, user_id, changed_at, action, key_id)
    SELECT $1, gone.memory_id, gone.user_id, $4, 'deleted', $5
    FROM unnest($2::uuid[], $3::text[]) AS gone (memory_id, user_id)"""
_ERASE_HISTORY = """DELETE FROM memory_history WHERE org_id = $1 AND (memory_id = ANY ($2)
    OR ($3::boolean AND ($4::boolean OR user_id = $5)) OR (memory_id = ANY ($6) AND ($4::boolean OR user_id = $5)))"""
_READ_HISTORY = """SELECT memory_id, changed_at, action, key_id, snapshot, sealed FROM memory_history
    WHERE org_id = $1 AND ($2::boolean OR user_id = $3) AND memory_id = $4 ORDER BY change_id"""
_CHANGES = "SELECT " + MIRRORED + " FROM memories WHERE org_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
_SWEPT = "SELECT swept_seq FROM memory_changes WHERE org_id = $1"
_TO_EMBED = """SELECT memory_id, seq, kind, speaker, text, metadata, sealed, previous_id FROM memories
    WHERE org_id = $1 AND deleted_at IS NULL AND (embedder_id < $2 OR embedder_id > $2)
    ORDER BY embedder_id, created_at DESC LIMIT $3"""
_SAID = "SELECT memory_id, speaker, text, metadata, sealed FROM memories WHERE org_id = $1 AND memory_id = ANY ($2)"
_PUT_VECTOR = """UPDATE memories SET seq = $4, embedder_id = $5, vector = $6, window_vector = $7
    WHERE org_id = $1 AND memory_id = $2 AND seq = $3 AND deleted_at IS NULL"""
_SWEEP = """WITH gone AS (DELETE FROM memories WHERE org_id = $1 AND memory_id IN (
        SELECT memory_id FROM memories WHERE org_id = $1 AND deleted_at <= $2 AND NOT EXISTS (
            SELECT FROM messages WHERE messages.org_id = $1 AND messages.message_id = memories.memory_id)
        LIMIT $3) RETURNING seq)
    UPDATE memory_changes SET swept_seq = greatest(swept_seq, (SELECT max(seq) FROM gone))
    WHERE org_id = $1 AND EXISTS (SELECT FROM gone) RETURNING (SELECT count(*) FROM gone)"""


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
        async with self._database.transaction(seen.org_id) as connection:
            rows = await connection.fetch(_READ, seen.org_id, seen.everyone, seen.user_id, list(memory_ids))
        return {memory.memory_id: memory for memory in (memory_of(key, row) for row in rows)}

    async def page(
        self, seen: Seen, wanted: Filter, limit: int, after: tuple[dt.datetime, str] | None, *, newest_first: bool
    ) -> list[Memory]:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        moment, memory_id = after or (None, None)
        async with self._database.transaction(seen.org_id) as connection:
            rows = await connection.fetch(
                _NEWEST if newest_first else _OLDEST, *filter_values(key, seen, wanted), moment, memory_id, limit
            )
        return [memory_of(key, row) for row in rows]

    async def update(
        self, seen: Seen, memory: Memory, vector: Vector | None, embedder_id: str, key_id: str, *, text_changed: bool
    ) -> bool:
        """See MemoryStore."""
        org_id = seen.org_id
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            seq = await connection.fetchval(_NEXT, org_id, 1)
            done = await connection.execute(
                _UPDATE,
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
                await connection.execute(_RETEXT, org_id, memory.memory_id, *values)
            await _tell(connection, org_id, key, memory, "updated", key_id)
        return True

    async def forget(self, seen: Seen, wanted: Filter, now: dt.datetime, key_id: str, *, erase: bool) -> int:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        async with self._database.transaction(seen.org_id) as connection:
            gone = await _forget(connection, seen, filter_values(key, seen, wanted), now)
            ids, owners = list(gone), list(gone.values())
            if erase:
                everything = not wanted.narrows
                named = list(wanted.memory_ids)
                erased = (seen.org_id, ids, everything, seen.everyone, seen.user_id, named)
                await connection.execute(_ERASE_HISTORY, *erased)
            elif ids:
                await connection.execute(_BLANK_HISTORY, seen.org_id, ids)
                await connection.execute(_TELL_DELETED, seen.org_id, ids, owners, now, key_id)
            if ids:
                for listener in self._listeners:
                    await listener.forgotten(connection, seen.org_id, sorted(set(owners)), ids)
        return len(ids)

    async def history(self, seen: Seen, memory_id: str) -> list[HistoryEntry]:
        """See MemoryStore."""
        key = await self._sealer.key_of(seen.org_id)
        async with self._database.transaction(seen.org_id) as connection:
            rows = await connection.fetch(_READ_HISTORY, seen.org_id, seen.everyone, seen.user_id, memory_id)
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
            rows = await connection.fetch(_COUNTS, *filter_values(key, seen, wanted))
        return {row["kind"]: row["many"] for row in rows}

    async def changes(self, org_id: str, after_seq: int, limit: int) -> Mirror:
        """See MemoryStore."""
        async with self._database.transaction(org_id) as connection:
            swept_seq = await connection.fetchval(_SWEPT, org_id)
            if swept_seq is None:
                return Mirror([], 0)
            rows = await connection.fetch(_CHANGES, org_id, after_seq, limit)
        return Mirror([change_of(row) for row in rows], swept_seq)

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
            rows = await connection.fetch(_TO_EMBED, org_id, embedder_id, limit)
            wanted = list(
                {row["previous_id"] for row in rows if row["previous_id"] is not None and row["kind"] == TURN}
            )
            before = {row["memory_id"]: _said(key, row) for row in await connection.fetch(_SAID, org_id, wanted)}
        return [
            ToEmbed(str(row["memory_id"]), row["seq"], _said(key, row), before.get(row["previous_id"], ""))
            for row in rows
        ]

    async def put_vectors(self, org_id: str, embedder_id: str, rows: Sequence[Embedded]) -> int:
        """See MemoryStore."""
        async with self._database.transaction(org_id) as connection:
            last = await connection.fetchval(_NEXT, org_id, len(rows))
            await connection.executemany(
                _PUT_VECTOR,
                [
                    (
                        org_id,
                        row.memory_id,
                        row.seq,
                        last - len(rows) + 1 + at,
                        embedder_id,
                        to_bytes(row.vector),
                        to_bytes(row.window_vector),
                    )
                    for at, row in enumerate(rows)
                ],
            )
        return len(rows)

    async def sweep(self, before: dt.datetime, limit: int) -> int:
        """See MemoryStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT organisations_with_deleted_memories($1)::text AS org_id", before)
        swept = 0
        for row in rows:
            async with self._database.transaction(row["org_id"]) as connection:
                await connection.fetchval(_NEXT, row["org_id"], 0)
                swept += await connection.fetchval(_SWEEP, row["org_id"], before, limit) or 0
        return swept


async def keep_within(
    connection: Any,
    org_id: str,
    key: OrgKey,
    keepings: Sequence[Keeping],
    request_id: str,
    embedder_id: str,
    key_id: str,
) -> list[Kept]:
    """Saves memories inside a transaction that is open."""
    replaced = [(one, old) for one in keepings for old in one.supersedes]
    last = await connection.fetchval(_NEXT, org_id, len(keepings) + len(replaced))
    first = last - len(keepings) - len(replaced) + 1
    owners = list({one.memory.user_id for one in keepings})
    before: dict[tuple[str, int], str] = {}
    if request_id:
        rows = await connection.fetch(_SAVED_BEFORE, org_id, owners, request_id)
        before = {(row["user_id"], row["ordinal"]): str(row["memory_id"]) for row in rows}
    same = await _same_texts(connection, org_id, key, keepings)
    chain = await _chain(connection, org_id, keepings)
    told: list[Kept] = []
    fresh: list[Keeping] = []
    for one in keepings:
        memory = one.memory
        place = _place(text_id_of(key, memory), memory)
        known = before.get((memory.user_id, one.ordinal)) if request_id else None
        if known is not None:
            told.append(Kept(known, True))
        elif memory.kind != TURN and place in same:
            told.append(Kept(same[place], False, "same_text"))
        else:
            same[place] = memory.memory_id
            fresh.append(one)
            told.append(Kept(memory.memory_id, True))
    await connection.executemany(
        _INSERT,
        [
            inserted(org_id, key, one, first + at, chain.get(one.memory.memory_id, ""), request_id, embedder_id)
            for at, one in enumerate(fresh)
        ],
    )
    for one in fresh:
        if one.memory.kind != TURN:
            await _tell(connection, org_id, key, one.memory, "created", key_id)
    kept = {one.memory.memory_id for one in fresh}
    for at, (one, old) in enumerate(replaced):
        if one.memory.memory_id in kept:
            await _supersede(connection, org_id, key, one.memory, old, first + len(keepings) + at, key_id)
    return told


def _place(text_id: int, memory: Any) -> tuple[int, int, str, str, str]:
    """What makes two memories the same one."""
    return text_id, memory.kind, memory.user_id, memory.agent_id, memory.thread_id


async def _same_texts(
    connection: Any, org_id: str, key: OrgKey, keepings: Sequence[Keeping]
) -> dict[tuple[int, int, str, str, str], str]:
    """What is there already and holds, by its place."""
    wanted = [text_id_of(key, one.memory) for one in keepings if one.memory.kind != TURN]
    if not wanted:
        return {}
    now = max(one.memory.created_at for one in keepings)
    return {
        (row["text_id"], row["kind"], row["user_id"], row["agent_id"], row["thread_id"]): str(row["memory_id"])
        for row in await connection.fetch(_SAME_TEXT, org_id, wanted, now)
    }


async def _chain(connection: Any, org_id: str, keepings: Sequence[Keeping]) -> dict[str, str]:
    """For each turn, the one before it in its thread."""
    chain: dict[str, str] = {}
    last: dict[tuple[str, str, str], str] = {}
    named = [one.previous_id for one in keepings if one.previous_id]
    there = {one.memory.memory_id for one in keepings}
    if named:
        there |= {str(row["memory_id"]) for row in await connection.fetch(_EXISTING, org_id, named)}
    for one in keepings:
        memory = one.memory
        if memory.kind != TURN or not memory.thread_id:
            continue
        line = (memory.thread_id, memory.user_id, memory.agent_id)
        if one.previous_id in there:
            chain[memory.memory_id] = one.previous_id
        else:
            if line not in last:
                last[line] = str(await connection.fetchval(_LAST_TURN, org_id, *line) or "")
            chain[memory.memory_id] = last[line]
        last[line] = memory.memory_id
    return chain


async def _supersede(connection: Any, org_id: str, key: OrgKey, newer: Memory, old: str, seq: int, key_id: str) -> None:
    until = newer.valid_from or newer.created_at
    values = (newer.memory_id, until, newer.created_at, seq, old, newer.user_id)
    row = await connection.fetchrow(_SUPERSEDE, org_id, *values)
    if row is not None:
        await _tell(connection, org_id, key, memory_of(key, row), "superseded", key_id)


async def _tell(connection: Any, org_id: str, key: OrgKey, memory: Memory, action: str, key_id: str) -> None:
    """Adds to a memory's history."""
    snapshot, sealed = snapshot_of(key, memory)
    values = (memory.memory_id, memory.user_id, memory.updated_at, action, key_id, snapshot, sealed)
    await connection.execute(_HISTORY, org_id, *values)


async def _forget(connection: Any, seen: Seen, values: tuple[Any, ...], now: dt.datetime) -> dict[str, str]:
    """Leaves tombstones of what fits; the owners by id. Windows that held its text are taken apart."""
    seq = await connection.fetchval(_NEXT, seen.org_id, 0)
    rows = await connection.fetch(_FORGET, *values, seq, now)
    if not rows:
        return {}
    ids = [row["memory_id"] for row in rows]
    unchained = await connection.execute(_UNCHAIN, seen.org_id, ids, seq + len(ids))
    await connection.fetchval(_NEXT, seen.org_id, len(ids) + int(str(unchained).removeprefix("UPDATE ")))
    return {str(row["memory_id"]): row["user_id"] for row in rows}


def _said(key: OrgKey, row: Any) -> str:
    speaker, text = row["speaker"], row["text"]
    if row["sealed"] is not None:
        fields = key.open(f"memories/{row['memory_id']}", row["sealed"])
        speaker, text = fields["speaker"], fields["text"]
    return f"{speaker}: {text}" if speaker else text
