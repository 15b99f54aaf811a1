"""Where cached answers are kept: what the cache needs of a store, and PostgreSQL as one."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from mesh.postgres import Database


class CacheStore(Protocol):
    """Cached answers."""

    async def find(self, org_id: str, fingerprint: bytes, now: dt.datetime) -> tuple[bytes, dt.datetime] | None:
        """The answer and when it was stored, unless it has expired."""

    async def put(
        self, org_id: str, fingerprint: bytes, answer: bytes, stored_at: dt.datetime, expires_at: dt.datetime
    ) -> None:
        """Stores the answer, replacing an older one."""

    async def sweep(self, now: dt.datetime, limit: int) -> int:
        """Deletes up to `limit` expired answers in each organisation; how many it deleted."""


_FIND = """SELECT answer, stored_at FROM cache_entries
    WHERE org_id = $1 AND fingerprint = $2 AND expires_at > $3"""
_SWEEP = """DELETE FROM cache_entries WHERE org_id = $1 AND fingerprint IN (
    SELECT fingerprint FROM cache_entries WHERE org_id = $1 AND expires_at <= $2 LIMIT $3)"""
_PUT = """INSERT INTO cache_entries (org_id, fingerprint, answer, stored_at, expires_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (org_id, fingerprint) DO UPDATE
    SET answer = EXCLUDED.answer, stored_at = EXCLUDED.stored_at, expires_at = EXCLUDED.expires_at"""


class PostgresCacheStore:
    """CacheStore in the schema `memory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, org_id: str, fingerprint: bytes, now: dt.datetime) -> tuple[bytes, dt.datetime] | None:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(
                _FIND,
                org_id,
                fingerprint,
                now,
            )
        return None if row is None else (row["answer"], row["stored_at"])

    async def put(
        self, org_id: str, fingerprint: bytes, answer: bytes, stored_at: dt.datetime, expires_at: dt.datetime
    ) -> None:
        """See CacheStore."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(_PUT, org_id, fingerprint, answer, stored_at, expires_at)

    async def sweep(self, now: dt.datetime, limit: int) -> int:
        """See CacheStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT organisations_with_expired_answers($1)::text AS org_id", now)
        deleted = 0
        for row in rows:
            async with self._database.transaction(row["org_id"]) as connection:
                done = await connection.execute(_SWEEP, row["org_id"], now, limit)
            deleted += int(str(done).removeprefix("DELETE "))
        return deleted
