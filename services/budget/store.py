"""The ledger's rows in PostgreSQL: one transaction a batch, at most two reads and one write in it."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg

from mesh.errors import MeshError
from mesh.postgres import Database
from services.budget.ledger import (
    Book,
    Counter,
    CounterKey,
    Level,
    Limit,
    Reservation,
    Reserve,
    Resolve,
    Settlement,
    State,
    apply,
)
from services.budget.price_book import PriceBook
from services.budget.price_store import read_prices
from services.budget.windows import Window

Operation = Reserve | Resolve
Decision = Reservation | Settlement | MeshError

ATTEMPTS = 4
"""How often a batch is tried when another replica took one of its ids between the read and the write."""

PLAN_BY_KEY = ("enable_seqscan", "off")
"""A plan made while a table is still empty would read it whole, and is kept. For the same reason the statements below
look rows up one by one (LATERAL, ON CONFLICT) and leave the planner no join to choose."""

READ_RESOLVED = """
SELECT 1 AS row_kind, r.* FROM unnest({0}::uuid[], {1}::uuid[]) AS u (org_id, id) CROSS JOIN LATERAL (
  SELECT org_id, reservation_id, request_id, amount, cost, state, expires_at, price_version, output_cap, body_hash,
         counters
  FROM reservations WHERE org_id = u.org_id AND reservation_id = u.id FOR NO KEY UPDATE) r
"""
READ_UNANSWERED = READ_RESOLVED.replace("reservation_id = u.id", "request_id = u.id")
"""Reservations by their request: whoever asked for them may not have got the answer."""
READ_RESERVED = """
SELECT 1, r.* FROM unnest({0}::uuid[], {1}::uuid[]) AS u (org_id, id) CROSS JOIN LATERAL (
  SELECT org_id, reservation_id, request_id, amount, cost, state, expires_at, price_version, output_cap, body_hash,
         counters
  FROM reservations WHERE org_id = u.org_id AND request_id = u.id OFFSET 0) r
UNION ALL
SELECT 2, b.org_id, b.budget_id, b.level_id, b.limit_nano_usd, 0, b.level_kind, NULL, 0, b.window_kind, NULL, NULL
FROM unnest({2}::uuid[], {3}::smallint[], {4}::uuid[]) AS u (org_id, kind, id) CROSS JOIN LATERAL (
  SELECT * FROM budgets WHERE org_id = u.org_id AND level_kind = u.kind AND level_id = u.id OFFSET 0) b
"""

PLAN_ONCE = ("plan_cache_mode", "force_generic_plan")
"""The plans do not depend on the values, so none is made anew for them."""

LOCK_COUNTERS = """
SELECT c.* FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS u (org_id, budget_id, window_start)
CROSS JOIN LATERAL (
  SELECT org_id, budget_id, window_start, committed, reserved FROM counters
  WHERE org_id = u.org_id AND budget_id = u.budget_id AND window_start = u.window_start FOR NO KEY UPDATE) c
"""

OPEN_COUNTERS = """
INSERT INTO counters (org_id, budget_id, window_start)
SELECT b.org_id, b.budget_id, u.window_start
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS u (org_id, budget_id, window_start)
JOIN budgets b ON b.org_id = u.org_id AND b.budget_id = u.budget_id
ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
"""

WRITES = {
    "made": """
  INSERT INTO reservations (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                            body_hash, counters, draft)
  SELECT org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap, body_hash,
         counters::text[], draft
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::uuid[], {3}::bigint[], {4}::timestamptz[], {5}::bigint[], {6}::bigint[],
              {7}::bytea[], {8}::text[], {9}::bytea[])
    AS u (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap, body_hash, counters, draft)
  ON CONFLICT (org_id, request_id) DO NOTHING RETURNING 1
""",
    "resolved": """
  INSERT INTO reservations AS r (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                                 body_hash, counters, draft, state, cost)
  SELECT org_id, reservation_id, request_id, 0, 'epoch', 0, 0, '', '{{}}', '', state, cost
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::uuid[], {3}::smallint[], {4}::bigint[])
    AS u (org_id, reservation_id, request_id, state, cost)
  ON CONFLICT (org_id, reservation_id) DO UPDATE SET state = EXCLUDED.state, cost = EXCLUDED.cost
""",
    "counted": """
  INSERT INTO counters (org_id, budget_id, window_start, committed, reserved)
  SELECT * FROM unnest({0}::uuid[], {1}::uuid[], {2}::timestamptz[], {3}::bigint[], {4}::bigint[])
  ON CONFLICT (org_id, budget_id, window_start)
    DO UPDATE SET committed = EXCLUDED.committed, reserved = EXCLUDED.reserved
""",
    "charged": """
  INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters)
  SELECT org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters::text[]
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::text[], {3}::text[], {4}::bigint[], {5}::bigint[], {6}::uuid[],
              {7}::text[])
    AS u (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters)
""",
    "told": """
  INSERT INTO record_outbox (org_id, request_id, record)
  SELECT * FROM unnest({0}::uuid[], {1}::uuid[], {2}::bytea[]) ON CONFLICT (org_id, request_id) DO NOTHING
""",
}
"""What a batch may write. A batch's statement holds only the parts it needs: an empty part costs as much to start as a
full one."""

Columns = list[list[Any]]


@functools.cache
def numbered(parts: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[str, ...]:
    """The parts with their parameters numbered through; `sizes` says how many each has."""
    made, first = [], 1
    for part, size in zip(parts, sizes, strict=True):
        made.append(part.format(*(f"${number}" for number in range(first, first + size))))
        first += size
    return tuple(made)


@functools.cache
def write_statement(names: tuple[str, ...], sizes: tuple[int, ...]) -> str:
    """One statement for several writes; it counts what was inserted by "made"."""
    bodies = numbered(tuple(WRITES[name] for name in names), sizes)
    steps = ", ".join(f"{name} AS ({body})" for name, body in zip(names, bodies, strict=True))
    # Only constants of this file are put together here.
    return f"WITH {steps} SELECT {'count(*) FROM made' if 'made' in names else '0'}"  # noqa: S608


# The reservations resolved and the counters counted are locked by this transaction, so their inserts always conflict.


class LedgerStore(Protocol):
    """Runs batches durably."""

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """Decides the operations in order and returns once everything is committed."""


class _TakenMeanwhile(Exception):
    """Another replica reserved one of the batch's request ids after it was read."""


class PostgresLedgerStore:
    """The ledger in the schema `budget`."""

    def __init__(self, database: Database, prices: PriceBook, default_output_tokens: int) -> None:
        self._database = database
        database.prefer(*PLAN_BY_KEY)
        database.prefer(*PLAN_ONCE)
        self._prices = prices
        self._default_output_tokens = default_output_tokens

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """One transaction; replies may be sent when it returns. Replicas are serialised by row locks."""
        org_ids = sorted({op.org_id for op in operations})
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._run_once(org_ids, operations)
            except _TakenMeanwhile:
                continue
        return await self._run_once(org_ids, operations)

    async def _run_once(self, org_ids: list[str], operations: Sequence[Operation]) -> list[Decision]:
        async with self._database.transaction(*org_ids) as connection:
            book = Book(self._prices, self._default_output_tokens)
            if any(isinstance(op, Reserve) or op.reservation_id or not op.attempts for op in operations):
                await self._read(connection, book, operations)
            decisions: list[Decision] = [apply(book, op) for op in operations]
            if book.made or book.records or book.resolved:
                parts = {name: columns for name, columns in columns_of(book).items() if columns[0]}
                statement = write_statement(tuple(parts), tuple(map(len, parts.values())))
                made = await connection.fetchval(statement, *itertools.chain(*parts.values()))
                if made != len(book.made):
                    raise _TakenMeanwhile
        return decisions

    async def _read(self, connection: asyncpg.Connection, book: Book, operations: Sequence[Operation]) -> None:
        reserves = [op for op in operations if isinstance(op, Reserve)]
        # In one order everywhere, so that two replicas never wait for each other.
        resolves = sorted(
            {(op.org_id, op.reservation_id) for op in operations if isinstance(op, Resolve) and op.reservation_id}
        )
        unanswered = sorted(
            {(op.org_id, op.request_id) for op in operations if isinstance(op, Resolve) and op.may_free_unanswered}
        )
        levels = {level: None for op in reserves for level in op.levels}
        parts: dict[str, Columns] = {}
        if resolves:
            parts[READ_RESOLVED] = [[org_id for org_id, _ in resolves], [one for _, one in resolves]]
        if unanswered:
            parts[READ_UNANSWERED] = [[org_id for org_id, _ in unanswered], [one for _, one in unanswered]]
        if reserves:
            parts[READ_RESERVED] = [
                [op.org_id for op in reserves],
                [op.request_id for op in reserves],
                [level.org_id for level in levels],
                [level.kind for level in levels],
                [level.level_id for level in levels],
            ]
        statement = "UNION ALL".join(numbered(tuple(parts), tuple(map(len, parts.values()))))
        for row in await connection.fetch(statement, *itertools.chain(*parts.values())):
            if row[0] == 1:
                held = _reservation(row)
                # The locked rows come first; the same row read without its lock may be older.
                if (held.org_id, held.reservation_id) not in book.reservations:
                    book.add(held)
            else:
                limit = Limit(str(row[2]), Level(str(row[1]), row[6], str(row[3])), Window(row[9]), row[4])
                book.limits.setdefault(limit.level, []).append(limit)
        needed = {limit.key_at(op.now) for op in reserves for limit in book.limits_of(op.levels)}
        counted = {key for r in book.reservations.values() if r.state is State.OPEN for key in r.counters}
        if needed or counted:
            await self._lock(connection, book, needed, counted)
        newest = max((r.price_version for r in book.reservations.values()), default=0)
        if newest > self._prices.latest_version:
            # Reserved by a replica that has read newer prices than this one.
            self._prices.add(await read_prices(connection))

    async def _lock(
        self, connection: asyncpg.Connection, book: Book, needed: set[CounterKey], held: set[CounterKey]
    ) -> None:
        for is_first in (True, False):
            for row in await connection.fetch(LOCK_COUNTERS, *_key_columns(needed | held)):
                key = CounterKey(str(row[0]), str(row[1]), row[2])
                book.counters[key] = Counter(row[3], row[4])
            missing = needed - book.counters.keys()
            if not missing:
                return
            if is_first:
                await connection.execute(OPEN_COUNTERS, *_key_columns(missing))
        # Budgets that were deleted while this batch waited limit nothing any more.
        gone = {key.budget_id for key in missing}
        for level, limits in book.limits.items():
            book.limits[level] = [limit for limit in limits if limit.budget_id not in gone]


def _key_columns(keys: set[CounterKey]) -> list[list[Any]]:
    ordered = sorted(keys)
    return [[k.org_id for k in ordered], [k.budget_id for k in ordered], [k.window_start for k in ordered]]


def _reservation(row: Any) -> Reservation:
    org_id = str(row[1])
    return Reservation(
        reservation_id=str(row[2]),
        org_id=org_id,
        request_id=str(row[3]),
        amount_nano_usd=row[4],
        cost_nano_usd=row[5],
        state=State(row[6]),
        expires_at=row[7],
        price_version=row[8],
        output_cap_tokens=row[9],
        body_hash=row[10],
        counters=tuple(read_key(org_id, text) for text in row[11]),
    )


def read_key(org_id: str, text: str) -> CounterKey:
    """ "<budget_id>@<unix seconds>" as stored."""
    budget_id, _, seconds = text.partition("@")
    return CounterKey(org_id, budget_id, dt.datetime.fromtimestamp(int(seconds), dt.UTC))


def _written_keys(keys: tuple[CounterKey, ...]) -> str:
    """An array literal: unnest cannot carry arrays of different lengths."""
    return "{" + ",".join(f"{key.budget_id}@{int(key.window_start.timestamp())}" for key in keys) + "}"


def columns_of(book: Book) -> dict[str, Columns]:
    """The parameters of every part of WRITES."""
    made, resolved, entries, records = book.made, book.resolved, book.entries, book.records
    touched = [(key, book.counters[key]) for key in sorted(book.touched)]
    return {
        "made": [
            [r.org_id for r in made],
            [r.reservation_id for r in made],
            [r.request_id for r in made],
            [r.amount_nano_usd for r in made],
            [r.expires_at for r in made],
            [r.price_version for r in made],
            [r.output_cap_tokens for r in made],
            [r.body_hash for r in made],
            [_written_keys(r.counters) for r in made],
            [r.draft for r in made],
        ],
        "resolved": [
            [r.org_id for r in resolved],
            [r.reservation_id for r in resolved],
            [r.request_id for r in resolved],
            [int(r.state) for r in resolved],
            [r.cost_nano_usd for r in resolved],
        ],
        "counted": [
            [key.org_id for key, _ in touched],
            [key.budget_id for key, _ in touched],
            [key.window_start for key, _ in touched],
            [counter.committed for _, counter in touched],
            [counter.reserved for _, counter in touched],
        ],
        "charged": [
            [e.org_id for e in entries],
            [e.reservation_id for e in entries],
            [e.attempt_id for e in entries],
            [e.kind for e in entries],
            [e.amount_nano_usd for e in entries],
            [e.price_version for e in entries],
            [e.request_id for e in entries],
            [_written_keys(e.counters) for e in entries],
        ],
        "told": [[r.org_id for r in records], [r.request_id for r in records], [r.sealed for r in records]],
    }
