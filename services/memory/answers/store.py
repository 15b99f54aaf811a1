"""Where cached answers are kept: what the cache needs of a store, and PostgreSQL as one."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.admin_changes import put_out
from mesh.admin_record import Change
from mesh.postgres import Database


@dataclass(frozen=True, slots=True)
class Partition:
    """Where answers may be found at all: everything in it must be equal. A filter on columns, never on texts."""

    org_id: str
    user_id: str
    """Empty = for every user of the organisation."""
    scope_key: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a lookup asks of any answer."""

    digest: bytes
    now: dt.datetime
    since: dt.datetime
    """No answer from before."""
    models: Sequence[str]
    """Empty = any."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored answer as it lies there."""

    entry_id: str
    row_id: int
    content: bytes
    sealed: bytes | None
    stored_at: dt.datetime
    min_similarity: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What the first look gave."""

    kept: Kept | None
    """An equal question's answer."""
    changed: bool
    """Whether the partition has vectors that the caller has not seen."""


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer to store."""

    entry_id: str
    digest: bytes
    content: bytes
    sealed: bytes | None
    vector: bytes | None
    embedder_id: str
    model: str
    tags: Sequence[str]
    stored_at: dt.datetime
    expires_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Purge:
    """Which answers a purge means; what is empty does not narrow."""

    model: str = ""
    tag: str = ""
    entry_id: str | None = None
    scope_key: bytes = b""
    before: dt.datetime | None = None
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """What an organisation has stored."""

    entries: int
    bytes: int


class CacheStore(Protocol):
    """Cached answers. Every method acts inside one organisation."""

    async def find(self, partition: Partition, wanted: Wanted, known_seq: int, embedder_id: str) -> Found:
        """An equal question's answer, else whether there are vectors after `known_seq`."""

    async def changes(
        self, partition: Partition, known_seq: int, embedder_id: str, now: dt.datetime, limit: int
    ) -> list[tuple[int, int, bytes, bytes]]:
        """(row_id, seq, vector, digest) of what was stored after `known_seq`, in that order."""

    async def candidates(
        self, partition: Partition, wanted: Wanted, row_ids: Sequence[int], embedder_id: str
    ) -> dict[int, Kept]:
        """What is still there of these rows."""

    async def put(self, partition: Partition, answer: NewAnswer, max_entries: int, max_bytes: int) -> None:
        """Stores the answer, replacing an older one to the same question; makes room."""

    async def fail(
        self, org_id: str, user_id: str | None, entry_id: str, similarity: float, request_id: str
    ) -> tuple[bool, bool, float]:
        """Notes that an answer did not fit: whether it was there, whether it is deleted, what it needs now."""

    async def purge(self, org_id: str, purge: Purge, change: Change) -> int:
        """Deletes what is meant, and leaves word of it for audit; how many."""

    def read(self, org_id: str, purge: Purge, page: int) -> AsyncIterator[list[Kept]]:
        """What is meant, in pages."""

    async def delete(self, org_id: str, entry_ids: Collection[str], change: Change) -> int:
        """Deletes these, and leaves word of it for audit; how many were there."""

    async def count(
        self, org_id: str, day: dt.date, totals: Mapping[str, int], used: Mapping[str, int], now: dt.datetime
    ) -> None:
        """Adds to the counts of a day, and to the uses of entries."""

    async def counted(self, org_id: str, since: dt.date) -> tuple[dict[str, int], Totals]:
        """The counts from a day on, and what is stored."""

    async def sweep(self, now: dt.datetime, limit: int) -> int:
        """Deletes up to `limit` expired answers in each organisation; how many it deleted."""


_FIND = "SELECT cache_find($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_CHANGES = """SELECT row_id, seq, vector, digest FROM cache_answers
    WHERE org_id = $1 AND user_id = $2 AND scope_key = $3
    AND seq > $4 AND vector IS NOT NULL AND embedder_id = $5 AND expires_at > $6 ORDER BY seq LIMIT $7"""
_CANDIDATES = "SELECT cache_candidates($1, $2, $3, $4, $5, $6, $7, $8)"
_PUT = "SELECT cache_put($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
LOCK_ORGANISATION = "SELECT FROM cache_totals WHERE org_id = $1 FOR UPDATE"
_FAIL = """UPDATE cache_answers SET failures = failures + 1, min_similarity = greatest(min_similarity, $4),
        failed_requests = (CASE WHEN $5 = '' THEN failed_requests ELSE failed_requests || $5 END)
    WHERE org_id = $1 AND entry_id = $2 AND ($3::text IS NULL OR user_id = '' OR user_id = $3)
    AND NOT ($5 <> '' AND $5 = ANY (failed_requests)) RETURNING failures, min_similarity"""
_FAILED_BEFORE = """SELECT min_similarity FROM cache_answers WHERE org_id = $1 AND entry_id = $2
    AND ($3::text IS NULL OR user_id = '' OR user_id = $3)"""
_DELETE = "DELETE FROM cache_answers WHERE org_id = $1 AND entry_id = ANY ($2::uuid[])"
_PURGE = """DELETE FROM cache_answers WHERE org_id = $1 AND ($2 = '' OR model = $2) AND ($3 = '' OR $3 = ANY (tags))
    AND ($4::uuid IS NULL OR entry_id = $4) AND ($5 = ''::bytea OR scope_key = $5)
    AND ($6::timestamptz IS NULL OR stored_at < $6) AND ($7 = '' OR user_id = $7)"""
_READ = """SELECT entry_id::text AS entry_id, row_id, content, sealed, stored_at, min_similarity
    FROM cache_answers WHERE org_id = $1 AND ($2 = '' OR model = $2) AND ($3 = '' OR $3 = ANY (tags))
    AND ($4::uuid IS NULL OR entry_id = $4) AND ($5 = ''::bytea OR scope_key = $5)
    AND ($6::timestamptz IS NULL OR stored_at < $6) AND ($7 = '' OR user_id = $7)
    AND row_id > $8 ORDER BY row_id LIMIT $9"""
_PURGE_OLD_PROGRAMS = "DELETE FROM cache_entries WHERE org_id = $1 AND ($2::timestamptz IS NULL OR stored_at < $2)"
_COUNT = """INSERT INTO cache_counts AS c (org_id, day, name, total) SELECT $1, $2, name, total
    FROM unnest($3::text[], $4::bigint[]) AS new (name, total) ORDER BY name
    ON CONFLICT (org_id, day, name) DO UPDATE SET total = c.total + EXCLUDED.total"""
_USED = """UPDATE cache_answers a SET hits = a.hits + used.hits, used_at = greatest(a.used_at, $4)
    FROM unnest($2::uuid[], $3::bigint[]) AS used (entry_id, hits) WHERE a.org_id = $1 AND a.entry_id = used.entry_id"""
_COUNTED = "SELECT name, sum(total)::bigint AS total FROM cache_counts WHERE org_id = $1 AND day >= $2 GROUP BY name"
_TOTALS = "SELECT entries, bytes FROM cache_totals WHERE org_id = $1"
_SWEEP = """DELETE FROM cache_answers WHERE org_id = $1 AND entry_id IN (
    SELECT entry_id FROM cache_answers WHERE org_id = $1 AND expires_at <= $2 LIMIT $3)"""
_SWEEP_OLD_PROGRAMS = """DELETE FROM cache_entries WHERE org_id = $1 AND fingerprint IN (
    SELECT fingerprint FROM cache_entries WHERE org_id = $1 AND expires_at <= $2 LIMIT $3)"""
_SWEEP_COUNTS = "DELETE FROM cache_counts WHERE org_id = $1 AND day < ($2::timestamptz - interval '400 days')::date"
_EXPIRED = """SELECT org_id::text AS org_id FROM organisations_with_expired_cache($1) AS org_id
    UNION SELECT org_id::text FROM organisations_with_expired_answers($1) AS org_id"""


class PostgresCacheStore:
    """CacheStore in the schema `memory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, partition: Partition, wanted: Wanted, known_seq: int, embedder_id: str) -> Found:
        """See CacheStore."""
        row = await self._database.call(
            _FIND, partition.org_id, partition.user_id, partition.scope_key, wanted.digest, wanted.now,
            wanted.models, wanted.since, known_seq, embedder_id,
        )  # fmt: skip
        if row["entry_id"] is None:
            return Found(None, bool(row["changed"]))
        return Found(
            Kept(str(row["entry_id"]), row["row_id"], row["content"], row["sealed"], row["stored_at"]), changed=False
        )

    async def changes(
        self, partition: Partition, known_seq: int, embedder_id: str, now: dt.datetime, limit: int
    ) -> list[tuple[int, int, bytes, bytes]]:
        """See CacheStore."""
        async with self._database.transaction(partition.org_id) as connection:
            rows = await connection.fetch(
                _CHANGES, partition.org_id, partition.user_id, partition.scope_key, known_seq, embedder_id, now, limit
            )
        return [(row["row_id"], row["seq"], row["vector"], row["digest"]) for row in rows]

    async def candidates(
        self, partition: Partition, wanted: Wanted, row_ids: Sequence[int], embedder_id: str
    ) -> dict[int, Kept]:
        """See CacheStore."""
        rows = await self._database.call(
            _CANDIDATES, partition.org_id, partition.user_id, partition.scope_key, row_ids, wanted.now, wanted.since,
            wanted.models, embedder_id,
        )  # fmt: skip
        return {row["row_id"]: Kept(**{**row, "entry_id": str(row["entry_id"])}) for row in rows}

    async def put(self, partition: Partition, answer: NewAnswer, max_entries: int, max_bytes: int) -> None:
        """See CacheStore."""
        async with self._database.transaction(partition.org_id) as connection:
            await connection.execute(
                _PUT, partition.org_id, answer.entry_id, partition.user_id, partition.scope_key, answer.digest,
                answer.content, answer.sealed, answer.vector, answer.embedder_id, answer.model, answer.tags,
                answer.stored_at, answer.expires_at, max_entries, max_bytes,
            )  # fmt: skip

    async def fail(
        self, org_id: str, user_id: str | None, entry_id: str, similarity: float, request_id: str
    ) -> tuple[bool, bool, float]:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(LOCK_ORGANISATION, org_id)
            row = await connection.fetchrow(_FAIL, org_id, entry_id, user_id, similarity, request_id)
            if row is None:
                before = await connection.fetchval(_FAILED_BEFORE, org_id, entry_id, user_id)
                return before is not None, False, before or 0.0
            if row["failures"] < 2 and similarity < 1.0:
                return True, False, row["min_similarity"]
            await connection.execute(_DELETE, org_id, [entry_id])
        return True, True, 0.0

    async def purge(self, org_id: str, purge: Purge, change: Change) -> int:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(LOCK_ORGANISATION, org_id)
            deleted = _rows(await connection.execute(_PURGE, org_id, *_meant(purge)))
            if not (purge.model or purge.tag or purge.entry_id or purge.scope_key or purge.user_id):
                deleted += _rows(await connection.execute(_PURGE_OLD_PROGRAMS, org_id, purge.before))
            await put_out(connection, change)
        return deleted

    async def read(self, org_id: str, purge: Purge, page: int) -> AsyncIterator[list[Kept]]:
        """See CacheStore."""
        after = -1
        while True:
            async with self._database.transaction(org_id) as connection:
                rows = await connection.fetch(_READ, org_id, *_meant(purge), after, page)
            if rows:
                yield [Kept(**dict(row)) for row in rows]
            if len(rows) < page:
                return
            after = rows[-1]["row_id"]

    async def delete(self, org_id: str, entry_ids: Collection[str], change: Change) -> int:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(LOCK_ORGANISATION, org_id)
            deleted = _rows(await connection.execute(_DELETE, org_id, list(entry_ids)))
            await put_out(connection, change)
        return deleted

    async def count(
        self, org_id: str, day: dt.date, totals: Mapping[str, int], used: Mapping[str, int], now: dt.datetime
    ) -> None:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(_COUNT, org_id, day, list(totals), list(totals.values()))
            if used:
                await connection.execute(LOCK_ORGANISATION, org_id)
                await connection.execute(_USED, org_id, list(used), list(used.values()), now)

    async def counted(self, org_id: str, since: dt.date) -> tuple[dict[str, int], Totals]:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_COUNTED, org_id, since)
            totals = await connection.fetchrow(_TOTALS, org_id)
        stored = Totals(0, 0) if totals is None else Totals(totals["entries"], totals["bytes"])
        return {row["name"]: row["total"] for row in rows}, stored

    async def sweep(self, now: dt.datetime, limit: int) -> int:
        """See CacheStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_EXPIRED, now)
        deleted = 0
        for row in rows:
            async with self._database.transaction(row["org_id"]) as connection:
                await connection.execute(LOCK_ORGANISATION, row["org_id"])
                for statement in (_SWEEP, _SWEEP_OLD_PROGRAMS):
                    deleted += _rows(await connection.execute(statement, row["org_id"], now, limit))
                await connection.execute(_SWEEP_COUNTS, row["org_id"], now)
        return deleted


def _meant(purge: Purge) -> tuple[Any, ...]:
    return purge.model, purge.tag, purge.entry_id, purge.scope_key, purge.before, purge.user_id


def _rows(status: object) -> int:
    return int(str(status).rsplit(" ", 1)[-1])
