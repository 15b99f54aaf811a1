"""What budgets shall do, said a second time and as plainly as can be: every sum is counted anew from what happened.

Shares nothing with services.budget.ledger.ledger. It knows nothing of rows, locks, batches or replicas.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from mesh.errors import MeshError, Reason
from services.budget.ledger.operations import Adjust, Adjusted, Attempt, Extend, Operation, Reserve, Resolve, Settlement
from services.budget.ledger.rows import Limit, Reservation, State
from services.budget.ledger.windows import start_of
from services.budget.prices.money import Price, worst_case_rescued

Rates = tuple[Fraction, Fraction, int]
"""Nano-USD per input token, per output token, per request."""
Place = tuple[str, dt.datetime]
"""A budget's id and where its window starts."""


@dataclass
class Asked:
    """One request that was held."""

    op: Reserve
    amount: int
    price: dict[tuple[str, str], Rates]
    """As they were when it was held."""
    where: dict[Place, Limit]
    cap: int
    covered: int
    expires_at: dt.datetime
    state: State = State.OPEN
    charges: list[tuple[str, str, int]] = field(default_factory=list)
    """(attempt id, model, nano-USD); the model is empty where all of it was charged."""
    adjusted: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    """By adjustment id: (number of the charge, model, nano-USD)."""

    @property
    def cost(self) -> int:
        """What it costs in all."""
        return sum(amount for _, _, amount in (*self.charges, *self.adjusted.values()))


def counts(selector: str, model: str) -> bool:
    """Whether a budget's selector takes an attempt with a model; an empty model is all of a request."""
    kind, _, wanted = selector.partition(":")
    if kind != "model" or not model:
        return True
    return model == wanted or (wanted.endswith("/*") and model.startswith(wanted[:-1]))


def cost_of(rates: Rates, input_tokens: int, output_tokens: int, *, answered: bool = True) -> int:
    """Rounded up once."""
    exact = rates[0] * input_tokens + rates[1] * output_tokens
    return -(-exact.numerator // exact.denominator) + (rates[2] if answered else 0)


class Plain:
    """An organisation."""

    def __init__(self, default_output_tokens: int) -> None:
        self.default = default_output_tokens
        self.budgets: dict[str, Limit] = {}
        self.rates: dict[tuple[str, str], Rates] = {}
        self.asked: dict[str, Asked] = {}
        self.told: set[tuple[str, dt.datetime, int]] = set()
        self.ceilings: dict[Place, int | None] = {}
        """The highest limit that ever held in a window; None = unlimited at some time."""

    def committed(self, place: Place) -> int:
        """What was spent in a window."""
        return sum(
            amount
            for asked in self.asked.values()
            if place in asked.where
            for _, model, amount in (*asked.charges, *asked.adjusted.values())
            if counts(asked.where[place].selector, model)
        )

    def reserved(self, place: Place) -> int:
        """What is held in a window."""
        return sum(a.amount for a in self.asked.values() if place in a.where and a.state is State.OPEN)

    def used(self, place: Place) -> int:
        """Both."""
        return self.committed(place) + self.reserved(place)

    def beyond(self, place: Place) -> int:
        """What was charged above what was held, and by corrections."""
        return sum(
            max(0, sum(c[2] for c in a.charges) - a.amount) + sum(max(0, c[2]) for c in a.adjusted.values())
            for a in self.asked.values()
            if place in a.where
        )

    def stopped(self) -> bool:
        """Whether the emergency stop holds."""
        return any(one.selector == "stop" for one in self.budgets.values())

    def on_path(self, op: Reserve) -> dict[Place, Limit]:
        """What counts a request."""
        found = {}
        for level in op.levels:
            for one in self.budgets.values():
                kind, _, wanted = one.selector.partition(":")
                takes = not one.selector or (kind == "tag" and wanted in op.tags)
                takes = takes or (kind == "model" and any(counts(one.selector, model) for _, model in op.candidates))
                if one.level == level and takes:
                    found[one.budget_id, start_of(one.window, op.now, one.zone)] = one
        return found

    def decide(self, op: Operation) -> Any:
        """What the answer must be, in a form that `same` compares; changes the model."""
        if isinstance(op, Reserve):
            return self._reserve(op)
        if isinstance(op, Extend):
            return self._extend(op)
        return self._adjust(op) if isinstance(op, Adjust) else self._resolve(op)

    def _reserve(self, op: Reserve) -> Any:
        known = self.asked.get(op.request_id)
        if known is not None:
            return Reason.REQUEST_ID_CONFLICT if known.op.body_hash != op.body_hash else known
        if self.stopped():
            return Reason.SPENDING_STOPPED
        where = self.on_path(op)
        hard = {place: one for place, one in where.items() if one.is_hard and one.limit_nano_usd is not None}
        price = {c: self.rates[c] for c in op.candidates if c in self.rates}
        if hard and not price:
            return Reason.PRICE_UNKNOWN
        in_steps = op.covers_in_steps and (op.max_output_tokens == 0 or op.max_output_tokens > self.default)
        wanted = self.default if in_steps or op.max_output_tokens == 0 else op.max_output_tokens
        left = {place: (one.limit_nano_usd or 0) - self.used(place) for place, one in hard.items()}
        paid = [rates for rates in price.values() if any(rates)]

        def fits(tokens: int) -> bool:
            costs = [cost_of(rates, op.input_tokens_max, tokens) for rates in paid]
            return all(cost <= one for one in left.values() for cost in costs)

        cap = max((t for t in range(1, wanted + 1) if fits(t)), default=0)
        if not cap or any(one.limit_nano_usd == 0 for one in hard.values()):
            return Reason.BUDGET_EXHAUSTED
        amount = max((cost_of(rates, op.input_tokens_max, cap) for rates in price.values()), default=0)
        if op.rescues:
            known_prices = [Price(1, "", "", _buckets(rates), "") for rates in price.values()]
            dearer = worst_case_rescued(known_prices, op.given, cap, op.rescues)
            amount = dearer if all(dearer <= one for one in left.values()) else amount
        is_capped = bool(hard) and bool(paid)
        is_whole = in_steps and cap == wanted
        expires_at = op.now + dt.timedelta(seconds=op.ttl_s)
        made = Asked(op, amount, price, where, 0, 0, expires_at)
        made.cap, made.covered = (cap if is_capped and not is_whole else 0), (cap if is_capped and is_whole else 0)
        self.asked[op.request_id] = made
        return made

    def _extend(self, op: Extend) -> Any:
        asked = self.asked.get(op.request_id)
        if asked is None or asked.op.reservation_id != op.reservation_id or asked.state is not State.OPEN:
            return Reason.RESERVATION_INVALID
        if self.stopped():
            return Reason.SPENDING_STOPPED
        lives_until = max(asked.expires_at, op.now + dt.timedelta(seconds=op.ttl_s)) if op.ttl_s else asked.expires_at
        wanted = op.output_tokens - asked.covered
        if asked.covered and wanted > 0:
            rates = asked.price.get((op.provider, op.model))
            if rates is None:
                return Reason.PRICE_UNKNOWN
            limits = {place: self.budgets[place[0]] for place in asked.where if place[0] in self.budgets}
            hard = {place: one for place, one in limits.items() if one.is_hard and one.limit_nano_usd is not None}
            left = [(one.limit_nano_usd or 0) - self.used(place) for place, one in hard.items()]
            more = [t for t in range(1, wanted + 1) if all(cost_of((rates[0], rates[1], 0), 0, t) <= x for x in left)]
            more = more or ([wanted] if not rates[1] else [])
            if not more or any(one.limit_nano_usd == 0 for one in hard.values()):
                return Reason.BUDGET_EXHAUSTED
            asked.amount += cost_of((rates[0], rates[1], 0), 0, more[-1])
            asked.covered += more[-1]
        asked.expires_at = lives_until
        return asked

    def _resolve(self, op: Resolve) -> Any:
        asked = self.asked.get(op.request_id)
        to, is_of_it = op.to, asked is not None and asked.op.reservation_id == op.reservation_id
        if not op.reservation_id:
            if asked is None or asked.state is not State.OPEN or op.attempts:
                return 0
            to, is_of_it = State.RELEASED, True
        if asked is None or not is_of_it:
            return Reason.RESERVATION_INVALID
        if asked.state is not State.OPEN:
            return asked
        charges = [(one.attempt_id, one.model, _charge(asked, one)) for one in op.attempts]
        if to is State.RELEASED and any(cost for _, _, cost in charges):
            return Reason.FAILED_PRECONDITION
        asked.state = to
        if to is State.INDETERMINATE:
            asked.charges = [("", "", asked.amount)]
        elif to is State.COMMITTED:
            asked.charges = charges or [("", "", 0)]
        self._warn(asked, [(model, cost) for _, model, cost in asked.charges])
        return asked

    def _adjust(self, op: Adjust) -> Any:
        asked = self.asked.get(op.request_id)
        if asked is None or asked.state in (State.OPEN, State.RELEASED):
            return Reason.NOT_FOUND
        if op.adjustment_id in asked.adjusted:
            same = asked.adjusted[op.adjustment_id][2] == op.amount_nano_usd
            return asked if same else Reason.REQUEST_ID_CONFLICT
        names = [name for name, _, _ in asked.charges]
        which = [n for n, name in enumerate(names) if not op.attempt_id or op.attempt_id in (name, f"{n}:{name}")]
        if len(which) != 1:
            return Reason.INVALID_REQUEST
        model = asked.charges[which[0]][1]
        alike = sum(c[2] for c in (*asked.charges, *asked.adjusted.values()) if c[1] == model)
        if alike + op.amount_nano_usd < 0:
            return Reason.INVALID_REQUEST
        asked.adjusted[op.adjustment_id] = (which[0], model, op.amount_nano_usd)
        self._warn(asked, [(model, op.amount_nano_usd)])
        return asked

    def _warn(self, asked: Asked, charged: list[tuple[str, int]]) -> None:
        """A charge finds out which thresholds are reached; each is told once in a window."""
        for place, then in asked.where.items():
            now = self.budgets.get(place[0])
            is_charged = any(cost and counts(then.selector, model) for model, cost in charged)
            if now is not None and now.limit_nano_usd and is_charged:
                spent = self.committed(place)
                reached = (p for p in now.thresholds_percent if spent * 100 >= now.limit_nano_usd * p)
                self.told |= {(*place, percent) for percent in reached}


def same(expected: Any, decision: Any) -> str:
    """Empty when a decision is what it must be, else what is wrong with it."""
    if isinstance(expected, Reason) or isinstance(decision, MeshError):
        got = decision.reason if isinstance(decision, MeshError) else decision
        return "" if got is expected else f"{got!r} instead of {expected!r}"
    if isinstance(decision, Reservation):
        got: Any = (decision.reservation_id, decision.amount_nano_usd)
        got += (decision.output_cap_tokens, decision.covered_output_tokens, decision.expires_at)
        want: Any = (expected.op.reservation_id, expected.amount, expected.cap, expected.covered, expected.expires_at)
    else:
        assert isinstance(decision, Settlement | Adjusted)
        got, want = decision.cost_nano_usd, expected if isinstance(expected, int) else expected.cost
        if isinstance(decision, Settlement) and not isinstance(expected, int):
            got, want = (got, decision.state), (want, expected.state)
    return "" if got == want else f"{got} instead of {want}"


def _charge(asked: Asked, attempt: Attempt) -> int:
    rates = asked.price.get((attempt.provider, attempt.model))
    if rates is None:
        return 0
    return cost_of(rates, attempt.usage.input, attempt.usage.output, answered=attempt.answered)


def _buckets(rates: Rates) -> dict[str, int]:
    return {"input": int(rates[0] * 10**6), "output": int(rates[1] * 10**6), "request": rates[2]}
