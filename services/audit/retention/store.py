"""Retention in PostgreSQL: holds, what could go, declarations, and their carrying out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mesh.postgres import Database
from services.audit.retention.subjects import Subject
from services.audit.sealing.form import Place
from services.audit.sealing.payloads import PLAIN, Payloads
from services.audit.store import INSERT_CHANGES, KIND_CHANGE, KIND_REQUEST, ChangeRow, sealed_changes

LONG_S = 120.0
"""For statements over thousands of records."""
LOCK = "SELECT pg_advisory_xact_lock(hashtext('dac.audit.retention'), hashtext($1::text))"
HOLDS = "SELECT hold_id, subject, reason, actor, set_at FROM holds WHERE org_id = $1 ORDER BY set_at, hold_id"
SET_HOLD = """INSERT INTO holds (org_id, hold_id, subject, reason, actor, set_at)
  VALUES ($1, $2, $3, $4, $5, clock_timestamp()) RETURNING set_at"""
REQUESTS_NAMING = """WITH page AS (
    SELECT * FROM requests WHERE org_id = $1 AND position > $2 ORDER BY position LIMIT $3)
  SELECT p.position, p.request_id, p.record, is_uncounted(p.org_id, p.request_id, p.started_at), true AS names
    FROM page p WHERE position($4::bytea IN p.record) > 0
      OR (substring(p.record FROM 1 FOR 1) = '\\x00' AND position($5::bytea IN substring(p.record FROM 4 FOR 128)) > 0)
  UNION ALL SELECT max(position), NULL, NULL, false, false FROM page ORDER BY 1, 5 DESC"""
REQUEST = """SELECT position, request_id, record, is_uncounted(org_id, request_id, started_at) FROM requests
  WHERE org_id = $1 AND request_id = $2"""
CHANGES_NAMING = """WITH page AS (
    SELECT * FROM changes WHERE org_id = $1 AND position > $2 ORDER BY position LIMIT $3)
  SELECT p.position, p.record_id, p.record, false, true AS names FROM page p
    WHERE position($4::bytea IN p.record) > 0
      OR (substring(p.record FROM 1 FOR 1) = '\\x00' AND position($5::bytea IN substring(p.record FROM 4 FOR 128)) > 0)
  UNION ALL SELECT max(position), NULL, NULL, false, false FROM page ORDER BY 1, 5 DESC"""
OLD_REQUESTS = """SELECT r.started_at, r.request_id, CASE WHEN $6 THEN r.record END,
    is_uncounted(r.org_id, r.request_id, r.started_at) FROM requests r
  WHERE r.org_id = $1 AND r.started_at < $2
    AND ($3::timestamptz IS NULL OR (r.started_at, r.request_id) > ($3, $4::uuid))
  ORDER BY r.started_at, r.request_id LIMIT $5"""
OLD_CHANGES = """SELECT c.at, c.record_id, c.record, false FROM changes c
  WHERE c.org_id = $1 AND c.at < $2 AND ($3::timestamptz IS NULL OR (c.at, c.record_id) > ($3, $4::uuid))
  ORDER BY c.at, c.record_id LIMIT $5"""
NAMING = {KIND_REQUEST: REQUESTS_NAMING, KIND_CHANGE: CHANGES_NAMING}
DECLARE = """INSERT INTO redactions (org_id, record_id, subject, declared_at, request_ids, change_ids, idxs)
  VALUES ($1, $2, $3, clock_timestamp(), $4, $5, $6)"""


class Hold(NamedTuple):
    """A legal hold."""

    hold_id: str
    subject: str
    """"" = everything of the organisation; else as Subject writes it."""
    reason: str
    actor: str
    set_at: dt.datetime


class Found(NamedTuple):
    """A record that may have to go."""

    place: Any
    """Where a page goes on: a position, or a time."""
    record_id: str
    record: bytes
    """Empty where it was not asked for; sealed where it does not open."""
    waits: bool
    """Whether it is not counted yet: figures would lose it."""


class Removal(NamedTuple):
    """What one declaration takes away."""

    request_ids: Sequence[str]
    change_ids: Sequence[str]
    idxs: Sequence[int]


@dataclass(frozen=True)
class RetentionStore:
    """Retention's tables in the schema `audit`."""

    database: Database
    payloads: Payloads = PLAIN

    async def holds(self, org_id: str) -> list[Hold]:
        """An organisation's holds, the oldest first."""
        async with self.database.transaction(org_id) as connection:
            return await _holds(connection, org_id)

    async def set_hold(self, org_id: str, hold: Hold, change: ChangeRow) -> Hold:
        """Sets a hold and records that; returns it with its time."""
        change = await self._as_stored(change)
        async with self.database.transaction(org_id) as connection:
            await connection.execute(LOCK, org_id)
            set_at = await connection.fetchval(SET_HOLD, org_id, hold.hold_id, hold.subject, hold.reason, hold.actor)
            await _record(connection, change)
        return hold._replace(set_at=set_at)

    async def lift_hold(self, org_id: str, hold_id: str, change: ChangeRow) -> bool:
        """Lifts a hold and records that; whether there was one."""
        change = await self._as_stored(change)
        async with self.database.transaction(org_id) as connection:
            await connection.execute(LOCK, org_id)
            gone = await connection.fetch(
                "DELETE FROM holds WHERE org_id = $1 AND hold_id = $2 RETURNING hold_id", org_id, hold_id
            )
            if gone:
                await _record(connection, change)
        return bool(gone)

    async def request(self, org_id: str, request_id: str) -> list[Found]:
        """One request."""
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(REQUEST, org_id, request_id)
        return await self._found(org_id, KIND_REQUEST, rows)

    async def naming(self, kind: int, org_id: str, subject: Subject, after: int, most: int) -> tuple[list[Found], int]:
        """Of the next `most` records those that hold a subject's id or are sealed by its key, and the position of the
        last; 0 = there are no more."""
        key_id = await self.payloads.key_id_of(org_id, str(subject))
        asked = (org_id, after, most, subject.id.encode(), key_id)
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(NAMING[kind], *asked, timeout=LONG_S)
        return await self._found(org_id, kind, [row for row in rows if row[4]]), rows[-1][0] or 0

    async def old_requests(
        self, org_id: str, before: dt.datetime, after: Found | None, most: int, *, with_records: bool
    ) -> list[Found]:
        """Requests that started before a time, the oldest first."""
        place = (after.place, after.record_id) if after else (None, None)
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(OLD_REQUESTS, org_id, before, *place, most, with_records, timeout=LONG_S)
        return await self._found(org_id, KIND_REQUEST, rows)

    async def old_changes(self, org_id: str, before: dt.datetime, after: Found | None, most: int) -> list[Found]:
        """Changes of before a time, the oldest first."""
        place = (after.place, after.record_id) if after else (None, None)
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(OLD_CHANGES, org_id, before, *place, most, timeout=LONG_S)
        return await self._found(org_id, KIND_CHANGE, rows)

    async def declare(
        self, org_id: str, change: ChangeRow, subject: str | None, removal: Removal, holds: Collection[Hold]
    ) -> bool:
        """Records a declaration, if the organisation's holds still are these; whether it was recorded."""
        change = await self._as_stored(change)
        async with self.database.transaction(org_id) as connection:
            await connection.execute(LOCK, org_id)
            if await _holds(connection, org_id) != list(holds):
                return False
            await _record(connection, change)
            await connection.execute(DECLARE, org_id, change.record_id, subject, *map(list, removal))
        return True

    async def carry_out(self, org_id: str, record_id: str) -> str:
        """Removes what was declared: "done"; or "unlogged" or "held", and nothing was removed yet."""
        async with self.database.transaction() as connection:
            done = await connection.fetchval("SELECT remove_declared($1, $2)", org_id, record_id, timeout=LONG_S)
        if done == "done":
            self.payloads.forget(org_id)
        return str(done)

    async def open(self, org_id: str = "") -> list[tuple[str, str]]:
        """Declarations that are not carried out: organisation and record_id, the oldest first; "" = of all."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id, record_id FROM open_redactions()")
        return [(str(row[0]), str(row[1])) for row in rows if org_id in ("", str(row[0]))]

    async def organisations(self, requests_before: dt.datetime, changes_before: dt.datetime) -> list[str]:
        """Who has requests or changes of before these times."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT o FROM organisations_to_prune($1, $2) AS o", requests_before, changes_before, timeout=LONG_S
            )
        return sorted(str(row[0]) for row in rows)

    async def forget_removed(self, before: dt.datetime) -> None:
        """Forgets which records were removed before a time."""
        async with self.database.transaction() as connection:
            await connection.execute("SELECT forget_removed($1)", before)

    async def _as_stored(self, change: ChangeRow) -> ChangeRow:
        """Audit's own word, sealed by the organisation's key, which nothing destroys."""
        return (await sealed_changes(self.payloads, [change])).rows[0]

    async def _found(self, org_id: str, kind: int, rows: Sequence[Any]) -> list[Found]:
        records = [(Place(org_id, kind, str(row[1])), row[2] or b"") for row in rows]
        opened = await self.payloads.opened(records)
        return [Found(row[0], str(row[1]), record, row[3]) for row, record in zip(rows, opened, strict=True)]


async def _holds(connection: Any, org_id: str) -> list[Hold]:
    rows = await connection.fetch(HOLDS, org_id)
    return [Hold(str(row[0]), row[1], row[2], row[3], row[4]) for row in rows]


async def _record(connection: Any, change: ChangeRow) -> None:
    await connection.fetch(INSERT_CHANGES, *([value] for value in change))
