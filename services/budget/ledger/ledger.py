"""Decides a batch in memory: locked counters and operations in order of arrival in, decisions and row changes out.

The store fills a `Book` from locked rows, calls `apply` for each operation in order, and writes what changed in the
same transaction. Nothing here knows a database, so the invariants are tested directly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mesh.errors import MeshError
from services.budget import errors
from services.budget.ledger.lines import NO_TOKENS, charged_alike, entries_of, line_to_adjust
from services.budget.ledger.operations import Adjust, Adjusted, Attempt, Extend, Operation, Reserve, Resolve, Settlement
from services.budget.ledger.rows import (
    CHARGING,
    STOP,
    Alert,
    Counter,
    CounterKey,
    Entry,
    Excess,
    Level,
    LevelKind,
    Limit,
    Record,
    Reservation,
    State,
    thresholds_crossed,
)
from services.budget.ledger.windows import end_of
from services.budget.prices.book import PriceBook
from services.budget.prices.money import (
    Charge,
    Input,
    Price,
    affordable_output,
    charge,
    output_cost,
    output_tokens_for,
    worst_case,
    worst_case_rescued,
)

Decision = Reservation | Settlement | Adjusted | MeshError


class _Terms(NamedTuple):
    """What a reservation would hold."""

    limits: list[Limit]
    hard: list[Limit]
    """Those of them that may refuse it."""
    prices: list[Price]
    is_whole: bool
    """Whether its answer is covered in steps, and the first of them fits."""
    tokens: int
    rescues: int
    amount_nano_usd: int


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
    charged: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    """By organisation and reservation id: the ledger's lines of reservations that are to be corrected."""
    made: list[Reservation] = field(default_factory=list)
    extended: dict[str, Reservation] = field(default_factory=dict)
    """By reservation id."""
    resolved: dict[str, Reservation] = field(default_factory=dict)
    """By reservation id: resolved or corrected."""
    entries: list[Entry] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    admin_records: list[Record] = field(default_factory=list)
    touched: set[CounterKey] = field(default_factory=set)

    def add(self, reservation: Reservation) -> None:
        """Makes a stored reservation known."""
        self.reservations[reservation.org_id, reservation.reservation_id] = reservation
        self.by_request[reservation.org_id, reservation.request_id] = reservation

    def limits_of(self, op: Reserve) -> list[Limit]:
        """Every limit that counts a request, organisation first."""
        found = [limit for level in op.levels for limit in self.limits.get(level, ())]
        if any(limit.selector for limit in found):
            matching = {"", STOP, *op.selectors}
            found = [limit for limit in found if limit.selector in matching]
        return found

    def reserve(self, op: Reserve) -> Reservation:
        """Holds the worst case at every level, or nowhere. Raises MeshError when it must not be held."""
        known = self.by_request.get((op.org_id, op.request_id))
        if known is not None:
            if known.body_hash != op.body_hash:
                raise errors.request_id_conflict(op.request_id)
            return known
        limits, hard, prices, is_whole, tokens, rescues, amount = self._terms(op)
        excess = tuple(self._excess(op, limits, amount))
        keys = tuple(limit.key_at(op.now) for limit in limits)
        for key in keys:
            self.counters[key].reserved += amount
            self.touched.add(key)
        is_capped = bool(hard) and not all(price.is_free for price in prices)
        reservation = Reservation(
            reservation_id=op.reservation_id,
            org_id=op.org_id,
            request_id=op.request_id,
            amount_nano_usd=amount,
            state=State.OPEN,
            expires_at=op.now + dt.timedelta(seconds=op.ttl_s),
            body_hash=op.body_hash,
            # A price that was withdrawn counts, too: as of an older version its candidate would have one.
            price_version=max(self.prices.newest_version(*one) for one in op.candidates) if prices else 0,
            output_cap_tokens=tokens if is_capped and not is_whole else 0,
            covered_output_tokens=tokens if is_capped and is_whole else 0,
            counters=keys,
            selectors=tuple(limit.charged_with for limit in limits),
            draft=op.draft,
            rescues=rescues,
            soft_excess=excess,
            is_hard=bool(hard),
        )
        self.add(reservation)
        self.made.append(reservation)
        return reservation

    def refusal_of(self, op: Reserve) -> MeshError | None:
        """Why a new reservation would be refused now; None = it would be held. Changes nothing."""
        try:
            self._terms(op)
        except MeshError as refusal:
            return refusal.with_traceback(None)
        return None

    def _terms(self, op: Reserve) -> _Terms:
        limits = self.limits_of(op)
        _refuse_when_stopped(limits)
        hard = [limit for limit in limits if limit.is_hard and limit.limit_nano_usd is not None]
        prices = self._prices_of(op, must_know=bool(hard))
        in_steps, wanted = op.first_hold(self.default_output_tokens)
        tokens = wanted
        for limit in hard:
            tokens = min(tokens, self._affordable(op, limit, prices, tokens))
        rescues, amount = self._with_rescues(op, hard, prices, tokens)
        return _Terms(limits, hard, prices, in_steps and tokens == wanted, tokens, rescues, amount)

    def extend(self, op: Extend) -> Reservation:
        """Covers more of an answer at every level, as far as it can be paid. Raises MeshError when nothing can."""
        held = self._held(op.org_id, op.reservation_id, op.request_id)
        if held.state is not State.OPEN:
            raise errors.reservation_invalid(op.reservation_id, "it is resolved")
        _refuse_when_stopped(self.limits.get(Level(op.org_id, LevelKind.ORG, op.org_id), ()))
        if op.again:
            self._hold_again(op, held)
            more = 0
        else:
            more = op.output_tokens - held.covered_output_tokens if held.covered_output_tokens else 0
        if more > 0:
            self._hold_more(op, held, more)
        if op.ttl_s:
            held.expires_at = max(held.expires_at, op.now + dt.timedelta(seconds=op.ttl_s))
            self.extended[held.reservation_id] = held
        return held

    def _hold_more(self, op: Extend, held: Reservation, more: int) -> None:
        price = self.prices.in_force(op.provider, op.model, held.price_version)
        if price is None:
            raise errors.price_unknown(op.provider, op.model)
        for key in held.counters:
            more = min(more, self._affordable_more(key, price, more, op.now))
        self._hold_besides(held, output_cost(price, more))
        held.covered_output_tokens += more

    def _hold_again(self, op: Extend, held: Reservation) -> None:
        """Holds another whole answer at every level, or nowhere."""
        prices = {one: self.prices.in_force(*one, held.price_version) for one in op.again}
        known = [price.in_any_tier for price in prices.values() if price is not None]
        amount = worst_case(known, Input(op.input_tokens_max), op.output_tokens or self.default_output_tokens)
        for key in held.counters:
            counter = self.counters.get(key)
            limit = counter.limit if counter is not None else None
            if counter is None or limit is None or not limit.is_hard or limit.limit_nano_usd is None:
                continue
            unpriced = next((one for one, price in prices.items() if price is None), None)
            if unpriced is not None:
                raise errors.price_unknown(*unpriced)
            left = limit.limit_nano_usd - counter.committed - counter.reserved
            if amount > left or limit.limit_nano_usd == 0:
                raise _exhausted(limit, key, left, op.now)
        self._hold_besides(held, amount)

    def _hold_besides(self, held: Reservation, amount: int) -> None:
        for key in held.counters:
            counter = self.counters.get(key)
            if counter is not None:
                counter.reserved += amount
                self.touched.add(key)
        held.amount_nano_usd += amount
        self.extended[held.reservation_id] = held

    def resolve(self, op: Resolve) -> Settlement:
        """Ends a reservation once; a second time the first outcome is returned and nothing changes."""
        if not op.reservation_id:
            unanswered = self.by_request.get((op.org_id, op.request_id)) if op.may_free_unanswered else None
            if unanswered is not None and unanswered.state is State.OPEN:
                op = replace(op, reservation_id=unanswered.reservation_id, to=State.RELEASED)
        if not op.reservation_id:
            settlement = Settlement(0, 0, tuple(self._charge(a, 0) for a in op.attempts), State.COMMITTED)
            self.records.append(Record(op.org_id, op.request_id, op.seal(settlement)))
            return settlement
        held = self._held(op.org_id, op.reservation_id, op.request_id)
        if held.state is not State.OPEN:
            return Settlement(held.cost_nano_usd, held.amount_nano_usd, (), held.state, is_repeat=True)
        if op.to is State.INDETERMINATE and held.expires_at > op.now:
            # Extended since it was looked for: it lives on.
            return Settlement(0, held.amount_nano_usd, (), held.state, is_repeat=True)
        charges = tuple([self._charge(attempt, held.price_version) for attempt in op.attempts])
        cost = sum([charge.cost_nano_usd for charge in charges])
        if op.to is State.INDETERMINATE:
            cost = held.amount_nano_usd
        if op.to is State.RELEASED and cost:
            raise errors.release_of_used(op.reservation_id, cost)
        settlement = Settlement(cost, held.amount_nano_usd, charges, op.to)
        # Sealing may fail on a broken record: nothing has changed yet.
        sealed = op.seal(settlement)
        held.state, held.cost_nano_usd = op.to, cost
        self.resolved[held.reservation_id] = held
        entries = entries_of(op, held, charges)
        self._free(held)
        self._charge_counters(entries)
        self.entries.extend(entries)
        self.records.append(Record(op.org_id, op.request_id, sealed))
        return settlement

    def adjust(self, op: Adjust) -> Adjusted:
        """Corrects a charge once. Raises MeshError for a request that was not charged, or for giving back too much."""
        held = self.by_request.get((op.org_id, op.request_id))
        if held is None or held.state in (State.OPEN, State.RELEASED):
            raise errors.not_charged(op.request_id)
        lines = self.charged.setdefault((op.org_id, held.reservation_id), [])
        for line in lines:
            if line.kind == "adjust" and line.attempt_id == op.adjustment_id:
                if line.amount_nano_usd != op.amount_nano_usd:
                    raise errors.request_id_conflict(op.adjustment_id)
                return Adjusted(held.cost_nano_usd, is_repeat=True)
        line = line_to_adjust(lines, op)
        same = [x.amount_nano_usd for x in lines if x.kind in CHARGING and charged_alike(x, line)]
        if sum(same) + op.amount_nano_usd < 0:
            raise errors.more_than_charged(op.request_id, sum(same), op.amount_nano_usd)
        made = line._replace(
            attempt_id=op.adjustment_id, kind="adjust", amount_nano_usd=op.amount_nano_usd, tokens=NO_TOKENS
        )
        held.cost_nano_usd += op.amount_nano_usd
        self.resolved[held.reservation_id] = held
        self._charge_counters([made])
        lines.append(made)
        self.entries.append(made)
        self.admin_records.append(Record(op.org_id, *op.change))
        return Adjusted(held.cost_nano_usd)

    def _held(self, org_id: str, reservation_id: str, request_id: str) -> Reservation:
        held = self.reservations.get((org_id, reservation_id))
        if held is None:
            raise errors.reservation_invalid(reservation_id, "it does not exist in this organisation")
        if held.request_id != request_id:
            raise errors.reservation_invalid(reservation_id, f"it belongs to request {held.request_id}")
        return held

    def _free(self, held: Reservation) -> None:
        for key in held.counters:
            counter = self.counters.get(key)
            if counter is not None:  # Else the budget was deleted meanwhile.
                counter.reserved -= held.amount_nano_usd
                self.touched.add(key)

    def _charge_counters(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind not in CHARGING or not entry.amount_nano_usd:
                continue
            for key in entry.counters:
                counter = self.counters.get(key)
                if counter is not None:
                    counter.committed += entry.amount_nano_usd
                    self.touched.add(key)
                    self.alerts.extend(thresholds_crossed(key, counter))

    def _prices_of(self, op: Reserve, *, must_know: bool) -> list[Price]:
        """The known prices. Under a hard budget candidates without one are left out; with none left it raises."""
        found = known_prices(self.prices, op)
        if must_know and not found:
            raise errors.price_unknown(*op.candidates[0])
        return found

    def _affordable(self, op: Reserve, limit: Limit, prices: list[Price], wanted: int) -> int:
        """How many answer tokens fit under one limit. Raises BUDGET_EXHAUSTED when not even one does."""
        assert limit.limit_nano_usd is not None
        key = limit.key_at(op.now)
        counter = self.counters[key]
        left = limit.limit_nano_usd - counter.committed - counter.reserved
        tokens = affordable_output(prices, op.given, left, wanted)
        if tokens < 1 or limit.limit_nano_usd == 0:
            raise _exhausted(limit, key, left, op.now)
        return tokens

    def _affordable_more(self, key: CounterKey, price: Price, wanted: int, now: dt.datetime) -> int:
        """How many answer tokens more fit into one counter. Raises BUDGET_EXHAUSTED when not even one does."""
        counter = self.counters.get(key)
        limit = counter.limit if counter is not None else None
        if counter is None or limit is None or not limit.is_hard or limit.limit_nano_usd is None:
            return wanted
        left = limit.limit_nano_usd - counter.committed - counter.reserved
        tokens = output_tokens_for(price, left, wanted)
        if tokens < 1 or limit.limit_nano_usd == 0:
            raise _exhausted(limit, key, left, now)
        return tokens

    def _with_rescues(self, op: Reserve, hard: list[Limit], prices: list[Price], tokens: int) -> tuple[int, int]:
        """(rescues, amount): all that were asked for when they fit under every limit, else none."""
        plain = worst_case(prices, op.given, tokens)
        if not op.rescues:
            return 0, plain
        with_rescues = worst_case_rescued(prices, op.given, tokens, op.rescues)
        for limit in hard:
            counter = self.counters[limit.key_at(op.now)]
            if counter.committed + counter.reserved + with_rescues > (limit.limit_nano_usd or 0):
                return 0, plain
        return op.rescues, with_rescues

    def _excess(self, op: Reserve, limits: list[Limit], amount: int) -> Iterable[Excess]:
        """The soft limits that the request goes beyond."""
        for limit in limits:
            if not limit.is_hard and limit.limit_nano_usd is not None:
                counter = self.counters[limit.key_at(op.now)]
                used = counter.committed + counter.reserved + amount
                if used > limit.limit_nano_usd:
                    yield Excess(limit, used)

    def _charge(self, attempt: Attempt, price_version: int) -> Charge:
        price = self.prices.in_force(attempt.provider, attempt.model, price_version)
        return charge(price, attempt.usage, answered=attempt.answered)


def known_prices(book: PriceBook, op: Reserve) -> list[Price]:
    """The prices of the candidates that have one, bounded as the request may be served."""
    found = [price for one in op.candidates if (price := book.in_force(*one)) is not None]
    return [price.in_any_tier for price in found] if op.names_service_tier else found


def _refuse_when_stopped(limits: Iterable[Limit]) -> None:
    for limit in limits:
        if limit.selector == STOP:
            raise errors.spending_stopped(limit.level.org_id, limit.note)


def _exhausted(limit: Limit, key: CounterKey, left_nano_usd: int, now: dt.datetime) -> MeshError:
    return errors.budget_exhausted(
        level=LevelKind(limit.level.kind).name.lower(),
        level_id=limit.level.level_id,
        selector=limit.selector,
        limit_nano_usd=limit.limit_nano_usd or 0,
        left_nano_usd=max(0, left_nano_usd),
        resets_at=end_of(limit.window, key.window_start, limit.zone),
        now=now,
    )


def apply(book: Book, op: Operation) -> Decision:
    """Decides one operation; a refusal is a decision too, and changes nothing."""
    try:
        if isinstance(op, Reserve):
            return book.reserve(op)
        if isinstance(op, Extend):
            return book.extend(op)
        return book.adjust(op) if isinstance(op, Adjust) else book.resolve(op)
    except MeshError as refusal:
        # Its traceback holds all that was looked at, the whole batch.
        return refusal.with_traceback(None)
