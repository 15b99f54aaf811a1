"""The ledger's rows in PostgreSQL: one transaction a batch, at most three reads and one write in it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg

from mesh.postgres import Database
from services.budget.ledger.ledger import Book, Decision, apply
from services.budget.ledger.operations import Adjust, Extend, Operation, Reserve, Resolve
from services.budget.ledger.row_columns import (
    PLAN_BY_KEY,
    PLAN_ONCE,
    Columns,
    columns_of,
    entry_of,
    key_columns,
    limit_of,
    numbered,
    reservation_of,
    write_statement,
)
from services.budget.ledger.rows import Counter, CounterKey, Level, LevelKind, State
from services.budget.prices.book import PriceBook
from services.budget.prices.store import read_prices

ATTEMPTS = 4
"""How often a batch is tried when another replica took one of its ids between the read and the write."""

_RESERVATION = """org_id, reservation_id, request_id, amount, cost, state, expires_at, price_version, output_cap,
  body_hash, counters, covered_output, selectors"""
READ_RESOLVED = f"""
SELECT 1 AS row_kind, r.* FROM unnest({{0}}::uuid[], {{1}}::uuid[]) AS u (org_id, id) CROSS JOIN LATERAL (
  SELECT {_RESERVATION}
  FROM reservations WHERE org_id = u.org_id AND reservation_id = u.id FOR NO KEY UPDATE) r
"""  # noqa: S608
READ_UNANSWERED = READ_RESOLVED.replace("reservation_id = u.id", "request_id = u.id")
"""Reservations by their request: whoever asked for them may not have got the answer."""
READ_RESERVED = f"""
SELECT 1, r.* FROM unnest({{0}}::uuid[], {{1}}::uuid[]) AS u (org_id, id) CROSS JOIN LATERAL (
  SELECT {_RESERVATION} FROM reservations WHERE org_id = u.org_id AND request_id = u.id OFFSET 0) r
"""  # noqa: S608
READ_LIMITS = """
SELECT 2, b.org_id, b.budget_id, b.level_id, b.limit_nano_usd, 0, b.level_kind, NULL, 0, b.window_kind, NULL,
       b.thresholds::text[], b.is_hard::integer, ARRAY[b.selector, b.zone, b.note]
FROM unnest({0}::uuid[], {1}::smallint[], {2}::uuid[]) AS u (org_id, kind, id) CROSS JOIN LATERAL (
  SELECT * FROM budgets WHERE org_id = u.org_id AND level_kind = u.kind AND level_id = u.id OFFSET 0) b
"""
READ_CHARGED = """
SELECT l.* FROM unnest($1::uuid[], $2::uuid[]) AS u (org_id, id) CROSS JOIN LATERAL (
  SELECT org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, provider, model,
         operation, path, tags, tokens
  FROM ledger WHERE org_id = u.org_id AND reservation_id = u.id ORDER BY attempt_id, kind) l
"""

LOCK_COUNTERS = """
SELECT c.*, b.* FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS u (org_id, budget_id, window_start)
CROSS JOIN LATERAL (
  SELECT org_id, budget_id, window_start, committed, reserved, next_alert FROM counters
  WHERE org_id = u.org_id AND budget_id = u.budget_id AND window_start = u.window_start FOR NO KEY UPDATE) c
LEFT JOIN LATERAL (
  SELECT budget_id AS id, level_kind, level_id, window_kind, limit_nano_usd, thresholds::text[], is_hard, selector,
         zone, note FROM budgets WHERE org_id = u.org_id AND budget_id = u.budget_id OFFSET 0) b ON true
"""

OPEN_COUNTERS = """
INSERT INTO counters (org_id, budget_id, window_start)
SELECT b.org_id, b.budget_id, u.window_start
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS u (org_id, budget_id, window_start)
JOIN budgets b ON b.org_id = u.org_id AND b.budget_id = u.budget_id
ORDER BY 1, 2, 3 FOR SHARE OF b ON CONFLICT DO NOTHING
"""
"""Waits for a change of a budget, which would miss a counter that is being made."""


class LedgerStore(Protocol):
    """Runs batches durably."""

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """Decides the operations in order and returns once everything is committed."""


class _TakenMeanwhile(Exception):
    """Another replica reserved one of the batch's request ids after it was read."""


class _NotOpened(Exception):
    """Windows that have no counter yet."""

    def __init__(self, keys: set[CounterKey]) -> None:
        self.keys = keys


class PostgresLedgerStore:
    """The ledger in the schema `budget`."""

    def __init__(self, database: Database, prices: PriceBook, default_output_tokens: int) -> None:
        self._database = database
        database.prefer(*PLAN_BY_KEY)
        database.prefer(*PLAN_ONCE)
        self._prices = prices
        self._default_output_tokens = default_output_tokens
        self.zones: dict[str, None] = {}
        """The zones that budgets count in, as far as they came by; UTC is not among them."""

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """One transaction; replies may be sent when it returns. Replicas are serialised by row locks."""
        org_ids = sorted({op.org_id for op in operations})
        opened: set[CounterKey] = set()
        tries = 0
        while True:
            try:
                return await self._run_once(org_ids, operations, opened)
            except _TakenMeanwhile:
                tries += 1
                if tries == ATTEMPTS:
                    raise
            except _NotOpened as closed:
                # In a transaction of its own: who waits for another's new counter must hold none that the other needs.
                async with self._database.transaction(*org_ids) as connection:
                    await connection.execute(OPEN_COUNTERS, *key_columns(closed.keys))
                opened |= closed.keys

    async def _run_once(
        self, org_ids: list[str], operations: Sequence[Operation], opened: set[CounterKey]
    ) -> list[Decision]:
        async with self._database.transaction(*org_ids) as connection:
            book = Book(self._prices, self._default_output_tokens)
            if not all(isinstance(op, Resolve) and not op.reservation_id and op.attempts for op in operations):
                await self._read(connection, book, operations, opened)
            decisions: list[Decision] = [apply(book, op) for op in operations]
            parts = {name: columns for name, columns in columns_of(book).items() if columns[0]}
            if parts:
                statement = write_statement(tuple(parts), tuple(map(len, parts.values())))
                made = await connection.fetchval(statement, *itertools.chain(*parts.values()))
                if made != len(book.made):
                    raise _TakenMeanwhile
        return decisions

    async def _read(
        self, connection: asyncpg.Connection, book: Book, operations: Sequence[Operation], opened: set[CounterKey]
    ) -> None:
        reserves = [op for op in operations if isinstance(op, Reserve)]
        parts = _parts_to_read(operations, reserves)
        statement = "UNION ALL".join(numbered(tuple(parts), tuple(map(len, parts.values()))))
        for row in await connection.fetch(statement, *itertools.chain(*parts.values())):
            if row[0] == 1:
                held = reservation_of(row)
                # The locked rows come first; the same row read without its lock may be older.
                if (held.org_id, held.reservation_id) not in book.reservations:
                    book.add(held)
            else:
                selector, zone, note = row[13]
                limit = limit_of(row[1], row[2], row[6], row[3], row[9], row[4], row[11], row[12], selector, zone, note)
                book.limits.setdefault(limit.level, []).append(limit)
                if zone != "UTC":
                    self.zones[zone] = None
        adjusted = {(op.org_id, op.request_id) for op in operations if isinstance(op, Adjust)}
        if adjusted:
            await self._read_charged(
                connection, book, [book.by_request[x] for x in sorted(adjusted & book.by_request.keys())]
            )
        needed = {limit.key_at(op.now) for op in reserves for limit in book.limits_of(op)}
        counted = {
            key
            for r in book.reservations.values()
            if r.state is State.OPEN or (r.org_id, r.request_id) in adjusted
            for key in r.counters
        }
        if needed or counted:
            charges = any(isinstance(op, Resolve | Adjust) for op in operations)
            await self._lock(connection, book, needed | counted, charges=charges)
            missing = needed - book.counters.keys()
            if missing - opened:
                raise _NotOpened(missing)
            # Budgets that were deleted while this batch waited limit nothing any more.
            gone = {key.budget_id for key in missing}
            for level, limits in book.limits.items():
                book.limits[level] = [limit for limit in limits if limit.budget_id not in gone]
        newest = max((r.price_version for r in book.reservations.values()), default=0)
        if newest > self._prices.latest_version:
            # Reserved by a replica that has read newer prices than this one.
            self._prices.add(await read_prices(connection))

    @staticmethod
    async def _read_charged(connection: asyncpg.Connection, book: Book, held: Sequence[Any]) -> None:
        columns = [[r.org_id for r in held], [r.reservation_id for r in held]]
        for row in await connection.fetch(READ_CHARGED, *columns):
            entry = entry_of(row)
            book.charged.setdefault((entry.org_id, entry.reservation_id), []).append(entry)

    @staticmethod
    async def _lock(connection: asyncpg.Connection, book: Book, keys: set[CounterKey], *, charges: bool) -> None:
        rows = await connection.fetch(LOCK_COUNTERS, *key_columns(keys))
        locked = {CounterKey(str(row[0]), str(row[1]), row[2]) for row in rows}
        if charges and any(row[5] is not None for row in rows):
            # A threshold may be crossed, and the limit may have been changed while this waited for the lock: only a
            # new statement sees what it is now. Of what is locked already: others would be out of order.
            rows = await connection.fetch(LOCK_COUNTERS, *key_columns(locked))
        for row in rows:
            limit = None
            if row[6] is not None:
                _, kind, level_id, window, amount, thresholds, is_hard, selector, zone, note = row[6:]
                limit = limit_of(
                    row[0], row[1], kind, level_id, window, amount, thresholds, is_hard, selector, zone, note
                )
            book.counters[CounterKey(str(row[0]), str(row[1]), row[2])] = Counter(row[3], row[4], row[5], limit)


def _parts_to_read(operations: Sequence[Operation], reserves: Sequence[Reserve]) -> dict[str, Columns]:
    """The parts of the first read with their parameters.

    Locked rows come in one order everywhere, so that two replicas never wait for each other.
    """
    by_id = sorted(
        {(op.org_id, op.reservation_id) for op in operations if isinstance(op, Resolve | Extend) and op.reservation_id}
    )
    by_request = sorted(
        {
            (op.org_id, op.request_id)
            for op in operations
            if isinstance(op, Adjust) or (isinstance(op, Resolve) and op.may_free_unanswered)
        }
    )
    levels = {level: None for op in reserves for level in op.levels}
    # An extension is refused by the emergency stop alone, which stands at the organisation.
    levels |= {Level(op.org_id, LevelKind.ORG, op.org_id): None for op in operations if isinstance(op, Extend)}
    parts: dict[str, Columns] = {}
    if by_id:
        parts[READ_RESOLVED] = [[org_id for org_id, _ in by_id], [one for _, one in by_id]]
    if by_request:
        parts[READ_UNANSWERED] = [[org_id for org_id, _ in by_request], [one for _, one in by_request]]
    if reserves:
        parts[READ_RESERVED] = [[op.org_id for op in reserves], [op.request_id for op in reserves]]
    if levels or not parts:
        parts[READ_LIMITS] = [
            [level.org_id for level in levels],
            [int(level.kind) for level in levels],
            [level.level_id for level in levels],
        ]
    return parts
