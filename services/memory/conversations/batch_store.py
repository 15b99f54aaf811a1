"""What each change of a batch did, in PostgreSQL."""

from __future__ import annotations

import datetime as dt

from mesh.postgres import Database
from services.memory import errors
from services.memory.conversations.batch import Claim, Result
from services.memory.viewers import Viewer

LEASE_S = 60.0
"""How long a batch whose worker went away without a word waits for the next one."""
KEPT_S = 86_400.0
_FORGET = "DELETE FROM batches WHERE org_id = $1 AND created_at < $2"
_CLAIM = """INSERT INTO batches (org_id, user_id, request_id, digest, created_at, claimed_at)
    VALUES ($1, $2, $3, $4, $5, $5)
    ON CONFLICT (org_id, user_id, request_id) DO UPDATE SET claimed_at = $5
        WHERE NOT batches.done AND batches.claimed_at < $6 AND batches.digest = $4
    RETURNING created_at"""
_READ = """SELECT digest, created_at, thread_ids, reasons, messages, done FROM batches
    WHERE org_id = $1 AND user_id = $2 AND request_id = $3"""
_RECORD = """UPDATE batches SET thread_ids = thread_ids || $4::text, reasons = reasons || $5::text,
    messages = messages || $6::text, claimed_at = $7, done = $8
    WHERE org_id = $1 AND user_id = $2 AND request_id = $3"""
_GIVE_UP = """UPDATE batches SET claimed_at = created_at - interval '1 day'
    WHERE org_id = $1 AND user_id = $2 AND request_id = $3 AND NOT done"""


class PostgresBatchStore:
    """BatchStore in the schema `memory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, viewer: Viewer, request_id: str, digest: bytes, now: dt.datetime) -> Claim:
        """See BatchStore."""
        mine = (viewer.org_id, viewer.user_id, request_id)
        async with self._database.transaction(viewer.org_id) as connection:
            await connection.execute(_FORGET, viewer.org_id, now - dt.timedelta(seconds=KEPT_S))
            free_since = now - dt.timedelta(seconds=LEASE_S)
            claimed = await connection.fetchval(_CLAIM, *mine, digest, now, free_since)
            row = await connection.fetchrow(_READ, *mine)
        if row["digest"] != digest:
            raise errors.other_batch(request_id)
        if claimed is None and not row["done"]:
            raise errors.batch_running(request_id)
        results = zip(row["thread_ids"], row["reasons"], row["messages"], strict=True)
        return Claim(row["created_at"], tuple(Result(*one) for one in results), row["done"])

    async def record(self, viewer: Viewer, request_id: str, result: Result, now: dt.datetime, *, last: bool) -> None:
        """See BatchStore."""
        async with self._database.transaction(viewer.org_id) as connection:
            await connection.execute(
                _RECORD,
                viewer.org_id,
                viewer.user_id,
                request_id,
                result.thread_id,
                result.reason,
                result.message,
                now,
                last,
            )

    async def give_up(self, viewer: Viewer, request_id: str) -> None:
        """See BatchStore."""
        async with self._database.transaction(viewer.org_id) as connection:
            await connection.execute(_GIVE_UP, viewer.org_id, viewer.user_id, request_id)
