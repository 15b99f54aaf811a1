"""The usual batches in one round trip each; whatever is not usual goes the general way.

A reserve is usual when all its prices are known and it fits whole; a resolve when this process made the reservation,
nobody has touched it since and no threshold is near. The two functions in migrations/0004 check that under the same
row locks as the general path and change nothing when it does not hold, so replicas and both paths may run side by side.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import asyncpg

from mesh.errors import MeshError
from mesh.postgres import Database
from services.budget.ledger import Book, Decision, apply
from services.budget.operations import Extend, Operation, Reserve, Resolve
from services.budget.price_book import PriceBook
from services.budget.row_columns import columns_of, read_key
from services.budget.rows import Counter, Reservation, State
from services.budget.store import PostgresLedgerStore
from services.budget.windows import UTC, Window, start_of

REMEMBERED = 20_000
"""How many open reservations of its own a process remembers; older ones are read back."""

HOLD = "SELECT hold_simply($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
SETTLE = "SELECT settle_simply(" + ", ".join(f"${number}" for number in range(1, 30)) + ")"
HARD = "!"
"""Stands before the counters of a reservation that a hard limit counts."""


class SingleTripStore:
    """A LedgerStore in front of the general one."""

    def __init__(
        self, database: Database, prices: PriceBook, default_output_tokens: int, general: PostgresLedgerStore
    ) -> None:
        self._database, self._prices, self._general = database, prices, general
        self._default_output_tokens = default_output_tokens
        self._open: OrderedDict[str, Reservation] = OrderedDict()

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """See LedgerStore. What ends comes before what begins: it only makes room."""
        decided: dict[int, Decision] = {}
        resolves = [(at, op) for at, op in enumerate(operations) if isinstance(op, Resolve) and self._knows(op)]
        if resolves:
            decided.update(await self._resolve(resolves))
        reserves = [(at, op) for at, op in enumerate(operations) if isinstance(op, Reserve) and self._is_priced(op)]
        if reserves:
            decided.update(await self._reserve(reserves))
        rest = [(at, op) for at, op in enumerate(operations) if at not in decided]
        if rest:
            for _, op in rest:
                if isinstance(op, Extend):
                    self._open.pop(op.reservation_id, None)
            found = await self._general.run([op for _, op in rest])
            for (at, _), decision in zip(rest, found, strict=True):
                decided[at] = decision
                if isinstance(decision, Reservation):
                    self._remember(decision)
        return [decided[at] for at in range(len(operations))]

    def _remember(self, reservation: Reservation) -> None:
        if reservation.state is State.OPEN:
            self._open[reservation.reservation_id] = reservation
            if len(self._open) > REMEMBERED:
                self._open.popitem(last=False)

    def _knows(self, op: Resolve) -> bool:
        held = self._open.get(op.reservation_id)
        return held is not None and held.org_id == op.org_id and held.request_id == op.request_id

    def _is_priced(self, op: Reserve) -> bool:
        return bool(op.candidates) and all(self._prices.in_force(*candidate) for candidate in op.candidates)

    async def _call(self, statement: str, *values: Any) -> Any:
        try:
            return await self._database.call(statement, *values)
        except asyncpg.SerializationError:
            return None

    def _window_starts(self, ops: Sequence[Reserve]) -> tuple[list[str], list[dt.datetime]] | None:
        """The zones known and six starts for each; None when a window begins within the batch."""
        zones = [UTC, *self._general.zones]

        def starts(now: dt.datetime) -> list[dt.datetime]:
            return [start_of(Window(kind), now, zone) for zone in zones for kind in range(1, 7)]

        found = starts(ops[0].now)
        if len(ops) > 1 and (starts(min(op.now for op in ops)) != found or starts(max(op.now for op in ops)) != found):
            return None
        return zones, found

    async def _reserve(self, reserves: Sequence[tuple[int, Reserve]]) -> dict[int, Decision]:
        """Decisions by place in the batch, or none of them."""
        ops = [op for _, op in reserves]
        windows = self._window_starts(ops)
        if windows is None:
            return {}
        made = [self._wanted(op) for op in ops]
        levels = [(number, level) for number, op in enumerate(ops, 1) for level in op.levels]
        selectors = [(number, selector) for number, op in enumerate(ops, 1) for selector in op.selectors]
        held = await self._call(
            HOLD,
            ",".join(sorted({op.org_id for op in ops})),
            [r.org_id for r in made],
            [r.reservation_id for r in made],
            [r.request_id for r in made],
            [r.amount_nano_usd for r in made],
            [r.expires_at for r in made],
            [r.price_version for r in made],
            [r.output_cap_tokens for r in made],
            [r.covered_output_tokens for r in made],
            [r.body_hash for r in made],
            [r.draft for r in made],
            *windows,
            [number for number, _ in levels],
            [level.kind for _, level in levels],
            [level.level_id for _, level in levels],
            [number for number, _ in selectors],
            [selector for _, selector in selectors],
        )
        if held is None:
            return {}
        decided: dict[int, Decision] = {}
        for (at, _), reservation, keys in zip(reserves, made, held, strict=True):
            reservation.is_hard = keys.startswith(HARD)
            if keys:
                parts = [key.split("@", 2) for key in keys.lstrip(HARD).split(",")]
                reservation.counters = tuple(read_key(reservation.org_id, f"{key}@{start}") for key, start, _ in parts)
                reservation.selectors = tuple(selector for _, _, selector in parts)
            if not reservation.is_hard:
                reservation.output_cap_tokens = reservation.covered_output_tokens = 0
            self._remember(reservation)
            decided[at] = reservation
        return decided

    def _wanted(self, op: Reserve) -> Reservation:
        """The reservation as it is when everything fits: what Book.reserve makes of it then."""
        book = Book(self._prices, self._default_output_tokens)
        reservation = book.reserve(dataclasses.replace(op, levels=()))
        prices = (self._prices.in_force(*candidate) for candidate in op.candidates)
        if any(price is not None and not price.is_free for price in prices):
            # Taken back where no hard budget turns out to hang on the path.
            if op.covers_in_steps and not 0 < op.max_output_tokens <= self._default_output_tokens:
                reservation.covered_output_tokens = self._default_output_tokens
            else:
                reservation.output_cap_tokens = op.max_output_tokens or self._default_output_tokens
        return reservation

    async def _resolve(self, resolves: Sequence[tuple[int, Resolve]]) -> dict[int, Decision]:
        """Decisions by place in the batch, or none of them."""
        book = Book(self._prices, self._default_output_tokens)
        for _, op in resolves:
            # Forgotten whatever comes of it: if this fails, the general path reads the row.
            held = self._open.pop(op.reservation_id, None)
            if held is None:
                return {}  # Twice in one batch.
            book.add(dataclasses.replace(held))
            for key in held.counters:
                book.counters.setdefault(key, Counter(next_alert=None))
        decisions = {at: apply(book, op) for at, op in resolves}
        if any(isinstance(decision, MeshError) for decision in decisions.values()):
            return {}
        columns = columns_of(book)
        resolved, counted = columns["resolved"], columns["counted"]
        amounts = {r.reservation_id: r.amount_nano_usd for r in book.resolved.values()}
        # The counters began at nothing: what they hold now is what to add, and the negative of what to free.
        done = await self._call(
            SETTLE,
            ",".join(sorted({op.org_id for _, op in resolves})),
            resolved[0],
            resolved[1],
            resolved[2],
            [amounts[one] for one in resolved[1]],
            resolved[3],
            resolved[4],
            *counted[:4],
            [-reserved for reserved in counted[4]],
            *columns["charged"],
            *columns["told"],
        )
        return decisions if done else {}
