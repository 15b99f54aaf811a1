"""The outbox of request records in PostgreSQL: read in commit order, kept until every consumer has read it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mesh.postgres import Database

_log = logging.getLogger(__name__)

READ = """SELECT xid::text, seq, record FROM (
  SELECT xid, seq, record, octet_length(record) AS size, sum(octet_length(record)) OVER (ORDER BY xid, seq) AS filled
  FROM read_records($1::text::xid8, $2::bigint, $3::integer)) AS r
  WHERE filled <= $4 OR filled = size ORDER BY r.xid, seq"""
ADVANCE = """INSERT INTO record_consumers AS c (consumer, xid, seq) VALUES ($1, $2::text::xid8, $3)
  ON CONFLICT (consumer) DO UPDATE SET seen_at = now(),
    xid = CASE WHEN (EXCLUDED.xid, EXCLUDED.seq) > (c.xid, c.seq) THEN EXCLUDED.xid ELSE c.xid END,
    seq = CASE WHEN (EXCLUDED.xid, EXCLUDED.seq) > (c.xid, c.seq) THEN EXCLUDED.seq ELSE c.seq END"""
REGISTER = "INSERT INTO record_consumers (consumer) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
SLOWEST = """SELECT xid::text, seq FROM record_consumers
  WHERE consumer = ANY ($1::text[]) OR seen_at > now() - make_interval(secs => $2)
  ORDER BY xid, seq LIMIT 1"""
GO_ON = "SELECT go_on_behind_records()"
FORGET = "SELECT forget_records($1::text::xid8, $2::bigint)"


class Cursor(NamedTuple):
    """A place in the outbox: transaction id and number."""

    xid: int
    seq: int

    def __str__(self) -> str:
        return f"{self.xid}:{self.seq}"


START = Cursor(0, 0)
MAX_CURSOR_CHARS = 40


def read_cursor(text: str) -> Cursor | None:
    """The cursor that `str` wrote; None for anything else."""
    if not text:
        return START
    if len(text) > MAX_CURSOR_CHARS:
        return None
    left, _, right = text.partition(":")
    if not (left.isascii() and left.isdigit() and right.isascii() and right.isdigit()):
        return None
    cursor = Cursor(int(left), int(right))
    return cursor if cursor.xid < 2**63 and cursor.seq < 2**63 else None


@dataclass(frozen=True)
class PostgresRecordStore:
    """The outbox in the schema `budget`."""

    database: Database

    async def go_on(self) -> None:
        """Makes records to come stand behind those that are there, also in a server that was restored from a backup.

        To be called before any is written.
        """
        async with self.database.transaction() as connection:
            if await connection.fetchval(GO_ON):
                _log.info("this database comes from another server: records go on behind those of the backup")

    async def register(self, consumers: Sequence[str]) -> None:
        """Makes records wait for these consumers from now on."""
        async with self.database.transaction() as connection:
            await connection.execute(REGISTER, list(consumers))

    async def read(self, after: Cursor, limit: int, max_bytes: int) -> tuple[list[bytes], Cursor]:
        """Serialised records after a cursor, in commit order, and the cursor behind the last.

        At most `limit` and `max_bytes` of them, but the first whatever its size.
        """
        async with self.database.transaction() as connection:
            rows = await connection.fetch(READ, str(after.xid), after.seq, limit, max_bytes)
        if not rows:
            return [], after
        return [row[2] for row in rows], Cursor(int(rows[-1][0]), rows[-1][1])

    async def advance(self, consumer: str, cursor: Cursor) -> None:
        """Notes how far a consumer has read."""
        async with self.database.transaction() as connection:
            await connection.execute(ADVANCE, consumer, str(cursor.xid), cursor.seq)

    async def forget_read(self, required: Sequence[str], forget_after_s: float) -> int:
        """Removes what every consumer has read; returns how many records."""
        async with self.database.transaction() as connection:
            row = await connection.fetchrow(SLOWEST, list(required), forget_after_s)
            if row is None or row[0] == "0":
                return 0
            return int(await connection.fetchval(FORGET, row[0], row[1]))
