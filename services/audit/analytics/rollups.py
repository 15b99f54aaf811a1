"""Writes rollups: of what is stored and not counted yet, and anew from the records of a day.

A request waits in `uncounted` from the transaction that stores it to the one that counts it. Whoever counts for an
organisation holds its lock until the end of the transaction; so a day that is counted anew beside running traffic
counts what does not wait, and what waits is counted after.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import asyncpg

from dac.type.v1 import record_pb2
from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.postgres import Database
from services.audit.analytics import sketch
from services.audit.analytics.cells import KINDS, Cell, Grain, cells_of, threads_of
from services.audit.analytics.facts import MEASURES, Fact, fact_of
from services.audit.config import AuditConfig
from services.audit.events import Tell
from services.audit.sealing.form import Place
from services.audit.sealing.payloads import PLAIN, Payloads
from services.audit.store import BY_IDS, KIND_REQUEST

_log = logging.getLogger(__name__)
PAGE = 2000
"""Records that are counted at once."""
FRESH = 500
"""Requests that a question counts first, so that it answers for what was just stored."""
PATIENCE = "SELECT set_config('lock_timeout', '500ms', true)"
ORGANISATIONS = 200
"""Organisations of one batch."""
LOCK = "SELECT pg_advisory_xact_lock(hashtext('dac.audit.rollups'), hashtext(o)) FROM unnest($1::text[]) AS o"
DIMENSIONS = (
    ("org_id", "uuid"),
    ("kind", "smallint"),
    ("bucket", "timestamptz"),
    ("cell", "uuid"),
    ("team_id", "uuid"),
    ("project_id", "uuid"),
    ("user_id", "uuid"),
    ("key_id", "uuid"),
    ("owner", "uuid"),
    ("model", "text"),
    ("provider", "text"),
    ("intent", "text"),
    ("complexity", "smallint"),
)
COLUMNS = (*DIMENSIONS, *((name, "bigint") for name in MEASURES), ("clean_squared", "numeric"))
SKETCHES = ("latency", "first_token")
_ALL = (*(name for name, _ in COLUMNS), *SKETCHES)
_TYPES = (*(kind for _, kind in COLUMNS), "bytea", "bytea")
_SUMMED = (*MEASURES, "clean_squared")
_READ = """SELECT k.n, t.latency, t.first_token
  FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[], $4::uuid[]) WITH ORDINALITY
    AS k (org_id, kind, bucket, cell, n)
  JOIN {table} t ON t.org_id = k.org_id AND t.kind = k.kind AND t.bucket = k.bucket AND t.cell = k.cell"""
_WRITE = """INSERT INTO {table} AS t ({columns})
  SELECT * FROM unnest({values})
  ON CONFLICT (org_id, kind, bucket, cell) DO UPDATE SET {sums}, latency = EXCLUDED.latency,
    first_token = EXCLUDED.first_token"""
_FORGET = "DELETE FROM {table} WHERE org_id = $1 AND kind = ANY ($2::smallint[]) AND bucket >= $3 AND bucket < $4"


def _statements(form: str) -> Mapping[Grain, str]:
    """One statement for each table, of this file's words only."""
    return {
        grain: form.format(
            table=grain.value,
            columns=", ".join(_ALL),
            values=", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES, 1)),
            sums=", ".join(f"{name} = t.{name} + EXCLUDED.{name}" for name in _SUMMED),
        )
        for grain in Grain
    }


READ, WRITE, FORGET = _statements(_READ), _statements(_WRITE), _statements(_FORGET)
WRITE_THREADS = """INSERT INTO thread_days AS t (org_id, owner, day, thread_id, turns)
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::bigint[])
  ON CONFLICT (org_id, owner, day, thread_id) DO UPDATE SET turns = t.turns + EXCLUDED.turns"""
TAKE = """DELETE FROM uncounted u
  USING (SELECT org_id, request_id FROM uncounted WHERE org_id = ANY ($1::uuid[]) LIMIT $2) AS w
  WHERE u.org_id = w.org_id AND u.request_id = w.request_id RETURNING u.org_id, u.request_id"""
HAS_CHUNKS = "SELECT relkind = 'r' FROM pg_class WHERE oid = 'rollup_days'::regclass"
"""Whether TimescaleDB keeps the figures; partitions are made with their rules."""
GUARD_CHUNKS = "SELECT guard_chunks()"
DUE = "DELETE FROM recounts WHERE org_id = $1 AND day = $2 RETURNING day"
LOST = "SELECT EXISTS (SELECT FROM redacted_days WHERE org_id = $1 AND day = $2)"
RECORDS = """SELECT started_at, request_id::text, record FROM requests
  WHERE org_id = $1 AND started_at >= $2 AND started_at < $3
    AND ($4::timestamptz IS NULL OR (started_at, request_id) > ($4, $5::uuid))
    AND NOT EXISTS (SELECT FROM uncounted u WHERE u.org_id = $1 AND u.request_id = requests.request_id)
  ORDER BY started_at, request_id LIMIT $6"""
DAYS = """WITH RECURSIVE recorded (at) AS (
    (SELECT started_at FROM requests WHERE org_id = $1 ORDER BY started_at DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT r.started_at FROM requests r WHERE r.org_id = $1 AND r.started_at < date_trunc('day', at, 'UTC')
      ORDER BY r.started_at DESC LIMIT 1) FROM recorded WHERE at IS NOT NULL)
  SELECT (at AT TIME ZONE 'UTC')::date AS day FROM recorded WHERE at IS NOT NULL ORDER BY day DESC"""
"""From day to day through the index, not through every record."""


class Rollups:
    """Counts facts into rows."""

    def __init__(self, config: AuditConfig, now: Callable[[], dt.datetime]) -> None:
        self._config, self._now = config, now
        self._has_chunks: bool | None = None

    def kept_from(self, grain: Grain) -> dt.datetime:
        """The first moment of which rows of this length are kept: whole days."""
        days = {
            Grain.MINUTE: self._config.minutes_kept_days,
            Grain.HOUR: self._config.hours_kept_days,
            Grain.DAY: self._config.days_kept_days,
        }[grain]
        today = self._now().replace(hour=0, minute=0, second=0, microsecond=0)
        return max(today - dt.timedelta(days=days), dt.datetime(1, 1, 1, tzinfo=dt.UTC))

    async def count(self, connection: asyncpg.Connection, facts: Sequence[Fact]) -> None:
        """Adds facts to the rows of their organisations, whose locks the transaction holds."""
        for grain in Grain:
            first = self.kept_from(grain)
            kept = [fact for fact in facts if fact.at >= first] if grain is not Grain.DAY else facts
            await _add(connection, grain, cells_of(kept, grain))
        if self._has_chunks is None:
            self._has_chunks = await connection.fetchval(HAS_CHUNKS)
        if self._has_chunks:
            await connection.execute(GUARD_CHUNKS)
        turns = threads_of(facts)
        if turns:
            rows = [(*key, count) for key, count in sorted(turns.items())]
            await connection.execute(WRITE_THREADS, *map(list, zip(*rows, strict=True)))


async def _add(connection: asyncpg.Connection, grain: Grain, cells: Iterable[Cell]) -> None:
    # In the order of the key: rows of one page of the index are written one after another.
    ordered = sorted(((cell.place.org_id, cell.place.kind, cell.place.bucket, cell.place.cell), cell) for cell in cells)
    if not ordered:
        return
    keys = [list(column) for column in zip(*(key for key, _ in ordered), strict=True)]
    keys[3] = [uuid.UUID(bytes=digest) for digest in keys[3]]
    held: dict[int, tuple[bytes, bytes]] = {
        row[0] - 1: (row[1], row[2]) for row in await connection.fetch(READ[grain], *keys)
    }
    rows = []
    for index, (key, cell) in enumerate(ordered):
        latency, first_token = held.get(index, (b"", b""))
        place = cell.place
        rows.append(
            (
                *key[:3],
                keys[3][index],
                *place.who,
                place.owner,
                place.model,
                place.provider,
                place.intent,
                place.complexity,
                *cell.measures,
                Decimal(cell.clean_squared),
                sketch.added(latency, cell.latency) if cell.latency else latency,
                sketch.added(first_token, cell.first_token) if cell.first_token else first_token,
            )
        )
    await connection.execute(WRITE[grain], *map(list, zip(*rows, strict=True)))


class Counting:
    """Counts what waits, and tells of each request that it counts."""

    def __init__(
        self, database: Database, rollups: Rollups, tell: Tell | None = None, payloads: Payloads = PLAIN
    ) -> None:
        self._database, self._rollups, self._tell, self._payloads = database, rollups, tell, payloads

    async def waiting(self) -> list[str]:
        """The organisations with requests that wait."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT o FROM organisations_to_count() AS o LIMIT $1", ORGANISATIONS)
        return [str(row[0]) for row in rows]

    async def everything(self) -> int:
        """Counts until nothing waits; how many."""
        total = 0
        while org_ids := await self.waiting():
            total += await self.some(org_ids)
        return total

    async def fresh(self, org_id: str) -> None:
        """Counts what was just stored, for a question; a question waits for nobody who counts long."""
        with contextlib.suppress(MeshError):
            await self._count([org_id], FRESH, patiently=False)

    async def some(self, org_ids: Sequence[str], most: int = PAGE) -> int:
        """Counts requests that wait, at most so many, in one transaction; how many.

        Where PostgreSQL refuses a batch they are counted one by one, and one that cannot be counted is left out.
        """
        try:
            return await self._count(org_ids, most)
        except MeshError as error:
            if error.reason is Reason.UNAVAILABLE:
                raise
            if most > 1:
                done = 0
                while done < most and await self.some(org_ids, 1):
                    done += 1
                return done
            _log.error("a request of %s cannot be counted and is left out: %s", org_ids, error.message)
            telemetry.AUDIT_RECORDS.labels("uncounted").inc()
            async with self._database.transaction(*org_ids) as connection:
                return len(await connection.fetch(TAKE, list(org_ids), 1))

    async def _count(self, org_ids: Sequence[str], most: int, *, patiently: bool = True) -> int:
        records: list[record_pb2.RequestRecord] = []
        async with self._database.transaction(*org_ids) as connection:
            if not patiently:
                if not await connection.fetchval("SELECT EXISTS (SELECT FROM uncounted WHERE org_id = $1)", org_ids[0]):
                    return 0
                await connection.execute(PATIENCE)
            await connection.execute(LOCK, sorted(org_ids))
            taken = await connection.fetch(TAKE, list(org_ids), most)
            if taken:
                keys = map(list, zip(*taken, strict=True))
                rows = await connection.fetch(BY_IDS, *keys)
                stored = [(Place(row[0], KIND_REQUEST, row[1]), row[2]) for row in rows]
                opened = await self._payloads.readable(stored, connection)
                records = [record_pb2.RequestRecord.FromString(record) for record in opened]
                await self._rollups.count(connection, [fact_of(record) for record in records])
        if self._tell is not None:
            self._tell.requests(records)
        return len(taken)


class Recounts:
    """Counts days anew from the records."""

    def __init__(self, database: Database, rollups: Rollups, payloads: Payloads = PLAIN) -> None:
        self._database, self._rollups, self._payloads = database, rollups, payloads

    async def day(self, org_id: str, day: dt.date, *, only_if_due: bool = False) -> int:
        """Drops an organisation's figures of a day and counts its records again, in one transaction; how many.

        A day that lost records keeps the figures it has: they cannot be counted anew.
        """
        start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        # The last day of the calendar has no day behind it.
        end = start + dt.timedelta(days=1) if day < dt.date.max else dt.datetime.max.replace(tzinfo=dt.UTC)
        count, after = 0, None
        async with self._database.transaction(org_id) as connection:
            await connection.execute(LOCK, [org_id])
            due = await connection.fetchval(DUE, org_id, day)
            if (only_if_due and due is None) or await connection.fetchval(LOST, org_id, day):
                return 0
            for grain in Grain:
                kinds = [int(kind) for kind in KINDS[grain]]
                await connection.execute(FORGET[grain], org_id, kinds, start, end)
            await connection.execute("DELETE FROM thread_days WHERE org_id = $1 AND day = $2", org_id, day)
            while True:
                place: tuple[Any, Any] = after or (None, None)
                rows = await connection.fetch(RECORDS, org_id, start, end, *place, PAGE)
                if rows:
                    stored = [(Place(org_id, KIND_REQUEST, row[1]), row[2]) for row in rows]
                    opened = await self._payloads.readable(stored, connection)
                    facts = [fact_of(record_pb2.RequestRecord.FromString(record)) for record in opened]
                    await self._rollups.count(connection, facts)
                    count, after = count + len(rows), (rows[-1][0], rows[-1][1])
                if len(rows) < PAGE:
                    return count

    async def days(self, org_id: str) -> list[dt.date]:
        """The days of which the organisation has records, the newest first."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(DAYS, org_id)
        return [row[0] for row in rows]
