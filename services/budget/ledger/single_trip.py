"""The usual batches in one round trip and one transaction; whatever is not usual goes the general way.

A reserve is usual when all its prices are known and it fits whole; a resolve when this process made the reservation,
nobody has touched it since and no threshold is near. The function run_simply in migrations/0004 checks that under the
same row locks as the general path and changes nothing when it does not hold, so replicas and both paths may run side
by side.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

from mesh.errors import MeshError
from mesh.postgres import Database
from services.budget.ledger.early_refusals import refused_early
from services.budget.ledger.ledger import Decision, apply, known_prices
from services.budget.ledger.operations import Extend, Operation, Reserve, Resolve
from services.budget.ledger.row_columns import number_array, plain_array, read_key, settling_columns, text_array
from services.budget.ledger.rows import CounterKey, Level, Reservation, State
from services.budget.ledger.settling import SettlingBook
from services.budget.ledger.store import PostgresLedgerStore
from services.budget.ledger.windows import UTC, Window, start_of
from services.budget.prices.book import PriceBook
from services.budget.prices.money import Price, worst_case, worst_case_rescued

REMEMBERED = 20_000
"""How many open reservations of its own a process remembers; older ones are read back."""

# Arrays that come as literals are told by their types.
SETTLING = (
    *("uuid[]", "uuid[]", "uuid[]", "bigint[]", "smallint[]", "bigint[]", ""),
    *("uuid[]", "uuid[]", "timestamptz[]", "bigint[]", "bigint[]"),
    *("integer[]", "text[]", "bigint[]", "text[]", "integer[]"),
    *("text[]", "bigint[]", "", "text[]", "text[]", "text[]", "", ""),
)
HOLDING = (
    *(
        "uuid[]",
        "uuid[]",
        "uuid[]",
        "bigint[]",
        "timestamptz[]",
        "bigint[]",
        "bigint[]",
        "bigint[]",
        "",
        "",
        "integer[]",
    ),
    *("text[]", "timestamptz[]", "uuid[]", "bigint[]", "integer[]", "smallint[]", "uuid[]", "integer[]", "text[]"),
)
RUN = "SELECT run_simply($1, {})".format(
    ", ".join(f"${at}::text::{kind}" if kind else f"${at}" for at, kind in enumerate((*SETTLING, *HOLDING), 2))
)
NOTHING = "{}"
HARD = "!"
"""Stands before the counters of a path that a hard limit counts."""
KINDS = tuple(Window(kind) for kind in range(1, 7))


@dataclass(slots=True)
class _Settling:
    """What ends in a batch: the decisions by place in it, if the rows are as this process knows them."""

    decisions: dict[int, Decision] = field(default_factory=dict)
    columns: list[Any] = field(default_factory=lambda: [NOTHING if kind else [] for kind in SETTLING])


@dataclass(slots=True)
class _Holding:
    """What begins in a batch. Reservations that hang on the same budgets share a path, which is looked up once."""

    made: list[Reservation] = field(default_factory=list)
    paths: list[int] = field(default_factory=list)
    """Beside each reservation the number of its path, from 1."""
    columns: list[Any] = field(default_factory=lambda: [NOTHING if kind else [] for kind in HOLDING])


class _Prepared(NamedTuple):
    """What a batch says to the database."""

    settling: _Settling
    holding: _Holding
    places: list[int]
    """In the batch, of what is to be held."""


class SingleTripStore:
    """A LedgerStore in front of the general one."""

    def __init__(
        self, database: Database, prices: PriceBook, default_output_tokens: int, general: PostgresLedgerStore
    ) -> None:
        self._database, self._prices, self._general = database, prices, general
        self._default_output_tokens = default_output_tokens
        self._open: OrderedDict[str, Reservation] = OrderedDict()
        self._full: set[str] = set()
        """Organisations whose last batch had something refused: the next goes the general way at once, and with it
        nobody else's."""
        self._turn = asyncio.Lock()
        self._starts: tuple[tuple[int, int], str, str] = ((0, 0), NOTHING, NOTHING)

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """See LedgerStore. What ends comes before what begins: it only makes room.

        Batches run one after the other, in the order in which they came; what they say to the database is put together
        before their turn, while it works on the one before.
        """
        prepared = self._prepared(operations)
        async with self._turn:
            return await self._run_prepared(operations, prepared)

    async def _run_prepared(self, operations: Sequence[Operation], prepared: _Prepared) -> list[Decision]:
        decided = await self._run_simply(operations, prepared)
        left = [(at, op) for at, op in enumerate(operations) if at not in decided]
        if left:
            decided |= await self._refused_early(left)
            rest = [(at, op) for at, op in left if at not in decided]
            for _, op in rest:
                if isinstance(op, Extend):
                    self._open.pop(op.reservation_id, None)
            found = await self._general.run([op for _, op in rest]) if rest else []
            for (at, _), decision in zip(rest, found, strict=True):
                decided[at] = decision
                if isinstance(decision, Reservation):
                    self._remember(decision)
            self._notice([(op, decided[at]) for at, op in left])
        return [decided[at] for at in range(len(operations))]

    async def _refused_early(self, left: Sequence[tuple[int, Operation]]) -> dict[int, Decision]:
        """The refusals in organisations that had too little left a moment ago, unless something else of theirs comes in
        the same batch: it may make room for what comes behind it."""
        makes_room = {op.org_id for _, op in left if not isinstance(op, Reserve)}
        asked = [
            (at, op)
            for at, op in left
            if isinstance(op, Reserve) and op.org_id in self._full and op.org_id not in makes_room
        ]
        windows = self._window_starts([op for _, op in asked]) if asked else None
        if windows is None:
            return {}
        found = await refused_early(self._database, self._prices, self._default_output_tokens, windows, asked)
        return dict(found)

    def _prepared(self, operations: Sequence[Operation]) -> _Prepared:
        resolves: list[tuple[int, Resolve]] = []
        reserves: list[tuple[int, Reserve, list[Price]]] = []
        for at, op in enumerate(operations):
            if isinstance(op, Reserve):
                if op.org_id in self._full:
                    continue
                known = known_prices(self._prices, op)
                if known and len(known) == len(op.candidates):
                    reserves.append((at, op, known))
            elif isinstance(op, Resolve) and self._knows(op):
                resolves.append((at, op))
        holding = self._holding([(op, known) for _, op, known in reserves])
        return _Prepared(self._settling(resolves), holding, [at for at, _, _ in reserves])

    async def _run_simply(self, operations: Sequence[Operation], prepared: _Prepared) -> dict[int, Decision]:
        """The decisions that could be made in one round trip, by place in the batch."""
        settling, holding, places = prepared
        if not settling.decisions and not holding.made:
            return {}
        org_ids = {operations[at].org_id for at in settling.decisions}.union(r.org_id for r in holding.made)
        try:
            told = await self._database.call(RUN, ",".join(sorted(org_ids)), *settling.columns, *holding.columns)
        except asyncpg.SerializationError:
            return {}
        if told is None:
            return {}
        if told:
            paths = [_path_of(line, made.org_id) for line, made in zip(told, _firsts(holding), strict=True)]
            for at, reservation, path in zip(places, holding.made, holding.paths, strict=True):
                is_hard, reservation.counters, reservation.selectors = paths[path - 1]
                if not is_hard:
                    reservation.is_hard = False
                    reservation.output_cap_tokens = reservation.covered_output_tokens = 0
                self._remember(reservation)
                settling.decisions[at] = reservation
        return settling.decisions

    def _notice(self, decided: Sequence[tuple[Operation, Decision]]) -> None:
        """Which organisations have too little left for their requests."""
        asked = {op.org_id for op, _ in decided if isinstance(op, Reserve)}
        refused = {op.org_id for op, decision in decided if isinstance(op, Reserve) and isinstance(decision, MeshError)}
        self._full -= asked - refused
        if len(self._full) < REMEMBERED:
            self._full |= refused

    def _remember(self, reservation: Reservation) -> None:
        if reservation.state is State.OPEN:
            self._open[reservation.reservation_id] = reservation
            if len(self._open) > REMEMBERED:
                self._open.popitem(last=False)

    def _knows(self, op: Resolve) -> bool:
        if op.to is State.INDETERMINATE:
            return False  # Another replica may have extended it.
        held = self._open.get(op.reservation_id)
        return held is not None and held.org_id == op.org_id and held.request_id == op.request_id

    # ---- what begins ---------------------------------------------------------------------------------------------

    def _window_starts(self, ops: Sequence[Reserve]) -> tuple[str, str] | None:
        """The zones known and six starts for each, as arrays; None when a window may begin within the batch."""
        # No window begins within a minute, whatever its zone.
        minutes = {int(op.now.timestamp()) // 60 for op in ops}
        if len(minutes) > 1:
            return None
        valid = (minutes.pop(), len(self._general.zones))
        if self._starts[0] != valid:
            zones = [UTC, *self._general.zones]
            starts = [start_of(kind, ops[0].now, zone).isoformat() for zone in zones for kind in KINDS]
            self._starts = (valid, text_array(zones), plain_array(starts))
        return self._starts[1:]

    def _holding(self, reserves: Sequence[tuple[Reserve, list[Price]]]) -> _Holding:
        """Nothing when this is not to be decided here."""
        holding = _Holding()
        windows = self._window_starts([op for op, _ in reserves]) if reserves else None
        if windows is None:
            return holding
        # Levels come from one place for each caller: the same ones are the same object, and another is no harm.
        numbers: dict[tuple[str, int, tuple[tuple[str, str], ...], tuple[str, ...]], int] = {}
        org_ids: list[str] = []
        amounts: list[int] = []
        levels: list[tuple[int, Level]] = []
        selectors: list[tuple[int, str]] = []
        for op, prices in reserves:
            reservation = self._whole(op, prices)
            path = numbers.setdefault((op.org_id, id(op.levels), op.candidates, op.tags), len(numbers) + 1)
            if path > len(org_ids):
                org_ids.append(op.org_id)
                amounts.append(0)
                levels += [(path, level) for level in op.levels]
                selectors += [(path, selector) for selector in op.selectors]
            amounts[path - 1] += reservation.amount_nano_usd
            holding.made.append(reservation)
            holding.paths.append(path)
        made = holding.made
        holding.columns = [
            plain_array([r.org_id for r in made]),
            plain_array([r.reservation_id for r in made]),
            plain_array([r.request_id for r in made]),
            number_array([r.amount_nano_usd for r in made]),
            plain_array([r.expires_at.isoformat() for r in made]),
            number_array([r.price_version for r in made]),
            number_array([r.output_cap_tokens for r in made]),
            number_array([r.covered_output_tokens for r in made]),
            [r.body_hash for r in made],
            [r.draft for r in made],
            number_array(holding.paths),
            *windows,
            plain_array(org_ids),
            number_array(amounts),
            number_array([path for path, _ in levels]),
            number_array([level.kind for _, level in levels]),
            plain_array([level.level_id for _, level in levels]),
            number_array([path for path, _ in selectors]),
            text_array([selector for _, selector in selectors]),
        ]
        return holding

    def _whole(self, op: Reserve, prices: Sequence[Price]) -> Reservation:
        """The reservation as it is when everything fits under a hard budget: what Book.reserve makes of it then."""
        in_steps, tokens = op.first_hold(self._default_output_tokens)
        if op.rescues:
            amount = worst_case_rescued(prices, op.given, tokens, op.rescues)
        else:
            amount = worst_case(prices, op.given, tokens)
        if len(prices) == 1:
            is_free, version = prices[0].is_free, prices[0].version
        else:
            is_free, version = all(price.is_free for price in prices), max(price.version for price in prices)
        capped = 0 if is_free else tokens
        return Reservation(
            op.reservation_id,
            op.org_id,
            op.request_id,
            amount,
            State.OPEN,
            op.now + dt.timedelta(seconds=op.ttl_s),
            op.body_hash,
            version,
            0 if in_steps else capped,
            (),
            covered_output_tokens=capped if in_steps else 0,
            draft=op.draft,
            rescues=op.rescues,
        )

    # ---- what ends -----------------------------------------------------------------------------------------------

    def _settling(self, resolves: Sequence[tuple[int, Resolve]]) -> _Settling:
        """Nothing when this is not to be decided here."""
        settling = _Settling()
        if not resolves:
            return settling
        book = SettlingBook(self._prices, self._default_output_tokens)
        for _, op in resolves:
            # Forgotten whatever comes of it: if this fails, the general path reads the row.
            held = self._open.pop(op.reservation_id, None)
            if held is None:
                return settling  # Twice in one batch.
            book.held[op.reservation_id] = held
        decisions = {at: apply(book, op) for at, op in resolves}
        if any(isinstance(decision, MeshError) for decision in decisions.values()):
            return settling
        settling.decisions = decisions
        settling.columns = settling_columns(book)
        return settling


def _firsts(holding: _Holding) -> list[Reservation]:
    """The first reservation of each path."""
    found: dict[int, Reservation] = {}
    for path, made in zip(holding.paths, holding.made, strict=True):
        found.setdefault(path, made)
    return list(found.values())


@functools.lru_cache(maxsize=4096)
def _path_of(line: str, org_id: str) -> tuple[bool, tuple[CounterKey, ...], tuple[str, ...]]:
    """(whether a hard limit is among them, counters, selectors), as run_simply tells a path."""
    is_hard, text = line.startswith(HARD), line.removeprefix(HARD)
    if not text:
        return is_hard, (), ()
    parts = [key.split("@", 2) for key in text.split("\n")]
    selectors = tuple(selector for _, _, selector in parts)
    counters = tuple(read_key(org_id, f"{budget_id}@{start}") for budget_id, start, _ in parts)
    return is_hard, counters, selectors if any(selectors) else ()
