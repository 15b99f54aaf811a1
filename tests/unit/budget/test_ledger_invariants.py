"""The ledger's invariants (I1–I8) under arbitrary interleavings of reserves, commits, releases and expiries."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from mesh.errors import MeshError, Reason
from services.budget.ledger import Book, apply
from services.budget.money import Price, Usage
from services.budget.operations import Attempt, Reserve, Resolve, Settlement
from services.budget.price_book import PriceBook
from services.budget.rows import CHARGING, Counter, Level, Limit, Reservation, State
from services.budget.windows import Window

ORG, KEYS = "org", ("key-1", "key-2")
START = dt.datetime(2026, 1, 30, 20, tzinfo=dt.UTC)
ORG_LEVEL = Level(ORG, 1, ORG)


class LedgerMachine(RuleBasedStateMachine):
    """One book for all batches: what the store reads and writes is exactly this state."""

    requests = Bundle("requests")

    @initialize(org_limit=st.integers(0, 400), key_limit=st.integers(0, 200), window=st.sampled_from(list(Window)))
    def begin(self, org_limit: int, key_limit: int, window: Window) -> None:
        prices = PriceBook([Price(1, "p", "m", {"input": 10**6, "output": 2 * 10**6, "request": 3}, "config")])
        self.book = Book(prices, default_output_tokens=8)
        self.book.limits = {
            ORG_LEVEL: [Limit("b-org", ORG_LEVEL, Window.NONE, org_limit)],
            **{Level(ORG, 5, k): [Limit(f"b-{k}", Level(ORG, 5, k), window, key_limit)] for k in KEYS},
        }
        self.now = START
        self.numbers = itertools.count(1)
        self.first: dict[str, Settlement] = {}
        self.only_records = 0

    def _reserve(self, request_id: str, key: str, tokens: int, output: int, body: bytes) -> object:
        levels = (ORG_LEVEL, Level(ORG, 5, key))
        op = Reserve(
            f"r-{next(self.numbers)}", ORG, request_id, levels, (("p", "m"),), tokens, output, body, self.now, 60
        )
        for limit in self.book.limits_of(op):
            self.book.counters.setdefault(limit.key_at(self.now), Counter())
        return apply(self.book, op)

    @rule(target=requests, key=st.sampled_from(KEYS), tokens=st.integers(0, 60), output=st.integers(0, 40))
    def reserve(self, key: str, tokens: int, output: int) -> object:
        decision = self._reserve(f"q-{next(self.numbers)}", key, tokens, output, b"body")
        if isinstance(decision, Reservation):
            assert decision.output_cap_tokens >= 1
            return decision
        assert isinstance(decision, MeshError) and decision.reason is Reason.BUDGET_EXHAUSTED
        return multiple()

    @rule(held=requests, key=st.sampled_from(KEYS))
    def reserve_again(self, held: Reservation, key: str) -> None:
        assert self._reserve(held.request_id, key, 50, 0, b"body") is held
        other = self._reserve(held.request_id, key, 50, 0, b"other")
        assert isinstance(other, MeshError) and other.reason is Reason.REQUEST_ID_CONFLICT

    @rule(
        held=requests,
        to=st.sampled_from([State.COMMITTED, State.RELEASED, State.INDETERMINATE]),
        used=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=3),
    )
    def resolve(self, held: Reservation, to: State, used: list[tuple[int, int]]) -> None:
        attempts = tuple(Attempt("same-id", "p", "m", Usage(input=i, output=o), True) for i, o in used)
        if to is State.INDETERMINATE:
            attempts = ()
        op = Resolve(ORG, held.request_id, held.reservation_id, to, self.now, attempts)
        decision = apply(self.book, op)
        if isinstance(decision, MeshError):
            assert to is State.RELEASED and used
            return
        assert isinstance(decision, Settlement)
        known = self.first.setdefault(held.reservation_id, decision)
        assert decision.cost_nano_usd == known.cost_nano_usd, "I4: the first outcome stands"
        assert decision.is_repeat == (decision is not known)

    @rule(held=requests, used=st.booleans())
    def store_a_record_without_the_reservation(self, held: Reservation, used: bool) -> None:
        was_open = held.state is State.OPEN
        attempts = (Attempt("a", "p", "m", Usage(input=1), True),) if used else ()
        decision = apply(self.book, Resolve(ORG, held.request_id, "", State.COMMITTED, self.now, attempts))
        assert isinstance(decision, Settlement)
        if was_open and not used:
            assert held.state is State.RELEASED and decision.cost_nano_usd == 0
            self.first[held.reservation_id] = decision
        else:
            assert (held.state is State.OPEN) == was_open
            self.only_records += 1

    @rule(held=consumes(requests))
    def resolve_under_a_wrong_request(self, held: Reservation) -> None:
        decision = apply(self.book, Resolve(ORG, "q-other", held.reservation_id, State.COMMITTED, self.now))
        assert isinstance(decision, MeshError) and decision.reason is Reason.RESERVATION_INVALID

    @rule(hours=st.integers(1, 40))
    def time_passes(self, hours: int) -> None:
        self.now += dt.timedelta(hours=hours)

    @rule(limit=st.integers(0, 400))
    def change_the_limit(self, limit: int) -> None:
        self.book.limits[ORG_LEVEL] = [Limit("b-org", ORG_LEVEL, Window.NONE, limit)]
        self.ceiling = max(getattr(self, "ceiling", 0), limit)

    @invariant()
    def counters_are_the_ledger(self) -> None:
        if not hasattr(self, "book"):
            return
        committed: dict[object, int] = defaultdict(int)
        reserved: dict[object, int] = defaultdict(int)
        overrun: dict[object, int] = defaultdict(int)
        for entry in self.book.entries:
            for key in entry.counters:
                committed[key] += entry.amount_nano_usd * (entry.kind in CHARGING)
                overrun[key] += entry.amount_nano_usd * (entry.kind == "overrun")
        for held in self.book.reservations.values():
            for key in held.counters:
                reserved[key] += held.amount_nano_usd * (held.state is State.OPEN)
        limits = {limit.budget_id: limit.limit_nano_usd for ls in self.book.limits.values() for limit in ls}
        for key, counter in self.book.counters.items():
            assert (counter.committed, counter.reserved) == (committed[key], reserved[key]), "I2, I3"
            assert counter.committed >= 0 and counter.reserved >= 0, "I1"
            if not hasattr(self, "ceiling"):
                assert counter.committed + counter.reserved <= limits[key.budget_id] + overrun[key], "I1"

    @invariant()
    def each_reservation_resolves_once(self) -> None:
        if not hasattr(self, "book"):
            return
        resolved = list(self.book.resolved)
        assert len(resolved) == len(set(resolved)) == len(self.book.records) - self.only_records, "I4"
        known = {held.reservation_id for held in self.book.reservations.values()}
        assert all(entry.reservation_id in known for entry in self.book.entries), "I8"
        keys = [(e.reservation_id, e.attempt_id, e.kind) for e in self.book.entries]
        assert len(keys) == len(set(keys))


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
