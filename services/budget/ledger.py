"""Decides a batch in memory: locked counters and operations in order of arrival in, decisions and row changes out.

The store fills a `Book` from locked rows, calls `Book.reserve` and `Book.resolve` for each operation in order, and
writes what changed in the same transaction. Nothing here knows a database, so the invariants are tested directly.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mesh.errors import MeshError
from services.budget import errors
from services.budget.money import Charge, Input, Price, Usage, affordable_output, charge, worst_case, worst_case_rescued
from services.budget.price_book import PriceBook
from services.budget.windows import Window, end_of, start_of


class LevelKind(enum.IntEnum):
    """What a level of the path is; numbers as in dac.type.v1.Level.Kind."""

    ORG = 1
    TEAM = 2
    PROJECT = 3
    USER = 4
    KEY = 5


class Level(NamedTuple):
    """One level of one organisation."""

    org_id: str
    kind: int
    level_id: str


class CounterKey(NamedTuple):
    """One window instance of one budget."""

    org_id: str
    budget_id: str
    window_start: dt.datetime


@dataclass(frozen=True, slots=True)
class Limit:
    """A hard limit on one level."""

    budget_id: str
    level: Level
    window: Window
    limit_nano_usd: int

    def key_at(self, now: dt.datetime) -> CounterKey:
        """The counter of the window that holds `now`."""
        return CounterKey(self.level.org_id, self.budget_id, start_of(self.window, now))


@dataclass(slots=True)
class Counter:
    """What one window of one budget has spent and holds."""

    committed: int = 0
    reserved: int = 0


class State(enum.IntEnum):
    """What became of a reservation."""

    OPEN = 0
    COMMITTED = 1
    RELEASED = 2
    INDETERMINATE = 3


@dataclass(slots=True)
class Reservation:
    """The worst case of one request, held until it is resolved."""

    reservation_id: str
    org_id: str
    request_id: str
    amount_nano_usd: int
    state: State
    expires_at: dt.datetime
    body_hash: bytes
    price_version: int
    output_cap_tokens: int
    counters: tuple[CounterKey, ...]
    cost_nano_usd: int = 0
    draft: bytes = b""
    rescues: int = 0
    """How often the answer may be taken up again; not stored: who asks a second time gets none."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold the worst case of a request."""

    reservation_id: str
    org_id: str
    request_id: str
    levels: tuple[Level, ...]
    candidates: tuple[tuple[str, str], ...]
    input_tokens_max: int
    max_output_tokens: int
    body_hash: bytes
    now: dt.datetime
    ttl_s: float
    draft: bytes = b""
    rescues: int = 0
    """How often a broken answer may be taken up again, if that fits too."""
    audio_seconds_max: int = 0
    input_characters_max: int = 0

    @property
    def given(self) -> Input:
        """The most that goes to a provider."""
        return Input(self.input_tokens_max, self.audio_seconds_max, self.input_characters_max)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one call to one provider used."""

    attempt_id: str
    provider: str
    model: str
    usage: Usage
    answered: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a resolution came out: what the record's costs are filled from."""

    cost_nano_usd: int
    reserved_nano_usd: int
    charges: tuple[Charge, ...]
    state: State
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Resolve:
    """End a reservation: charge, free, or (the sweeper) charge its bound.

    Without an id: store the record, and free a reservation of this request whose answer never reached the caller.
    """

    org_id: str
    request_id: str
    reservation_id: str
    to: State
    now: dt.datetime
    attempts: tuple[Attempt, ...] = ()
    seal: Callable[[Settlement], bytes] = lambda settlement: b""
    """Writes the costs into the record and serialises it."""

    @property
    def may_free_unanswered(self) -> bool:
        """Whether there can be a reservation that the caller never learnt of: nothing was sent to a provider."""
        return not self.reservation_id and not self.attempts


class Entry(NamedTuple):
    """One line of the ledger. Kinds: commit, overrun (the part of it above the reservation; a note), release,
    indeterminate."""

    org_id: str
    reservation_id: str
    attempt_id: str
    kind: str
    amount_nano_usd: int
    price_version: int
    request_id: str
    counters: tuple[CounterKey, ...]


CHARGING = ("commit", "indeterminate")
"""Ledger kinds whose amounts make up `committed`."""


class Record(NamedTuple):
    """A sealed record on its way to the outbox."""

    org_id: str
    request_id: str
    sealed: bytes


@dataclass
class Book:
    """The rows of one batch, and what the batch changes in them."""

    prices: PriceBook
    default_output_tokens: int
    limits: dict[Level, list[Limit]] = field(default_factory=dict)
    counters: dict[CounterKey, Counter] = field(default_factory=dict)
    reservations: dict[tuple[str, str], Reservation] = field(default_factory=dict)
    """By organisation and reservation id."""
    by_request: dict[tuple[str, str], Reservation] = field(default_factory=dict)
    """By organisation and request id."""
    made: list[Reservation] = field(default_factory=list)
    resolved: list[Reservation] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    touched: set[CounterKey] = field(default_factory=set)

    def add(self, reservation: Reservation) -> None:
        """Makes a stored reservation known."""
        self.reservations[reservation.org_id, reservation.reservation_id] = reservation
        self.by_request[reservation.org_id, reservation.request_id] = reservation

    def limits_of(self, levels: Iterable[Level]) -> list[Limit]:
        """Every limit on a path, organisation first."""
        return [limit for level in levels for limit in self.limits.get(level, ())]

    def reserve(self, op: Reserve) -> Reservation:
        """Holds the worst case at every level, or nowhere. Raises MeshError when it must not be held."""
        known = self.by_request.get((op.org_id, op.request_id))
        if known is not None:
            if known.body_hash != op.body_hash:
                raise errors.request_id_conflict(op.request_id)
            return known
        limits = self.limits_of(op.levels)
        prices = self._prices_of(op, must_know=bool(limits))
        tokens = op.max_output_tokens or self.default_output_tokens
        for limit in limits:
            tokens = min(tokens, self._affordable(op, limit, prices, tokens))
        rescues, amount = self._with_rescues(op, limits, prices, tokens)
        keys = tuple(limit.key_at(op.now) for limit in limits)
        for key in keys:
            self.counters[key].reserved += amount
            self.touched.add(key)
        is_capped = bool(limits) and not all(price.is_free for price in prices)
        reservation = Reservation(
            reservation_id=op.reservation_id,
            org_id=op.org_id,
            request_id=op.request_id,
            amount_nano_usd=amount,
            state=State.OPEN,
            expires_at=op.now + dt.timedelta(seconds=op.ttl_s),
            body_hash=op.body_hash,
            price_version=max((price.version for price in prices), default=0),
            output_cap_tokens=tokens if is_capped else 0,
            counters=keys,
            draft=op.draft,
            rescues=rescues,
        )
        self.add(reservation)
        self.made.append(reservation)
        return reservation

    def resolve(self, op: Resolve) -> Settlement:
        """Ends a reservation once; a second time the first outcome is returned and nothing changes."""
        unanswered = self.by_request.get((op.org_id, op.request_id)) if op.may_free_unanswered else None
        if unanswered is not None and unanswered.state is State.OPEN:
            op = replace(op, reservation_id=unanswered.reservation_id, to=State.RELEASED)
        if not op.reservation_id:
            settlement = Settlement(0, 0, tuple(self._charge(a, 0) for a in op.attempts), State.COMMITTED)
            self.records.append(Record(op.org_id, op.request_id, op.seal(settlement)))
            return settlement
        held = self.reservations.get((op.org_id, op.reservation_id))
        if held is None:
            raise errors.reservation_invalid(op.reservation_id, "it does not exist in this organisation")
        if held.request_id != op.request_id:
            raise errors.reservation_invalid(op.reservation_id, f"it belongs to request {held.request_id}")
        if held.state is not State.OPEN:
            return Settlement(held.cost_nano_usd, held.amount_nano_usd, (), held.state, is_repeat=True)
        charges = tuple(self._charge(attempt, held.price_version) for attempt in op.attempts)
        cost = sum(charge.cost_nano_usd for charge in charges)
        if op.to is State.INDETERMINATE:
            cost = held.amount_nano_usd
        if op.to is State.RELEASED and cost:
            raise errors.release_of_used(op.reservation_id, cost)
        settlement = Settlement(cost, held.amount_nano_usd, charges, op.to)
        # Sealing may fail on a broken record: nothing has changed yet.
        sealed = op.seal(settlement)
        for key in held.counters:
            counter = self.counters.get(key)
            if counter is not None:  # Else the budget was deleted meanwhile.
                counter.reserved -= held.amount_nano_usd
                counter.committed += cost
                self.touched.add(key)
        held.state, held.cost_nano_usd = op.to, cost
        self.resolved.append(held)
        self.entries.extend(self._entries(op, held, charges))
        self.records.append(Record(op.org_id, op.request_id, sealed))
        return settlement

    def _prices_of(self, op: Reserve, *, must_know: bool) -> list[Price]:
        """The known prices. Under a budget candidates without one are left out; with none left it raises."""
        prices = (self.prices.in_force(provider, model) for provider, model in op.candidates)
        found = [price for price in prices if price is not None]
        if must_know and not found:
            raise errors.price_unknown(*op.candidates[0])
        return found

    def _affordable(self, op: Reserve, limit: Limit, prices: list[Price], wanted: int) -> int:
        """How many answer tokens fit under one limit. Raises BUDGET_EXHAUSTED when not even one does."""
        key = limit.key_at(op.now)
        counter = self.counters[key]
        left = limit.limit_nano_usd - counter.committed - counter.reserved
        tokens = affordable_output(prices, op.given, left, wanted)
        if tokens < 1 or limit.limit_nano_usd == 0:
            raise errors.budget_exhausted(
                level=LevelKind(limit.level.kind).name.lower(),
                level_id=limit.level.level_id,
                limit_nano_usd=limit.limit_nano_usd,
                left_nano_usd=max(0, left),
                resets_at=end_of(limit.window, key.window_start),
                now=op.now,
            )
        return tokens

    def _with_rescues(self, op: Reserve, limits: list[Limit], prices: list[Price], tokens: int) -> tuple[int, int]:
        """(rescues, amount): all that were asked for when they fit under every limit, else none."""
        plain = worst_case(prices, op.given, tokens)
        if not op.rescues:
            return 0, plain
        with_rescues = worst_case_rescued(prices, op.given, tokens, op.rescues)
        for limit in limits:
            counter = self.counters[limit.key_at(op.now)]
            if counter.committed + counter.reserved + with_rescues > limit.limit_nano_usd:
                return 0, plain
        return op.rescues, with_rescues

    def _charge(self, attempt: Attempt, price_version: int) -> Charge:
        price = self.prices.in_force(attempt.provider, attempt.model, price_version)
        return charge(price, attempt.usage, answered=attempt.answered)

    def _entries(self, op: Resolve, held: Reservation, charges: tuple[Charge, ...]) -> Iterable[Entry]:
        def entry(attempt_id: str, kind: str, amount: int, version: int) -> Entry:
            return Entry(
                held.org_id, held.reservation_id, attempt_id, kind, amount, version, held.request_id, held.counters
            )

        if op.to is State.COMMITTED and charges:
            for number, (attempt, made) in enumerate(zip(op.attempts, charges, strict=True)):
                # The number keeps two attempts apart whose caller gave them one id.
                yield entry(f"{number}:{attempt.attempt_id}", "commit", made.cost_nano_usd, made.price_version)
        else:
            kind = {State.COMMITTED: "commit", State.RELEASED: "release"}.get(op.to, "indeterminate")
            yield entry("", kind, held.cost_nano_usd, held.price_version)
        if held.cost_nano_usd > held.amount_nano_usd:
            yield entry("", "overrun", held.cost_nano_usd - held.amount_nano_usd, held.price_version)


def apply(book: Book, op: Reserve | Resolve) -> Reservation | Settlement | MeshError:
    """Decides one operation; a refusal is a decision too, and changes nothing."""
    try:
        return book.reserve(op) if isinstance(op, Reserve) else book.resolve(op)
    except MeshError as refusal:
        return refusal
