"""The real store on rows in memory beside the plain model: every answer is compared, and after each step every row."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from services.budget.ledger.operations import Operation, Resolve
from services.budget.ledger.rows import Limit, State
from services.budget.ledger.store import PostgresLedgerStore
from services.budget.prices.book import PriceBook
from services.budget.prices.money import Price
from tests.unit.budget.simulation.accounts import Accounts, check_rows
from tests.unit.budget.simulation.plain_model import Asked, Plain, Rates, same
from tests.unit.budget.simulation.rows_in_memory import Server

ORG = "00000000-0000-7000-8000-000000000001"
DEFAULT_OUTPUT_TOKENS = 8


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of something that never has to wait here."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for a lock, and nobody else is there")


class SideBySide:
    """One organisation, one replica, both accounts of it."""

    def __init__(self) -> None:
        self.server = Server()
        self.plain = Plain(DEFAULT_OUTPUT_TOKENS)
        self.prices = PriceBook()
        self.store = PostgresLedgerStore(self.server.database(), self.prices, DEFAULT_OUTPUT_TOKENS)  # type: ignore[arg-type]
        self.numbers = itertools.count(1)
        self.highest: dict[str, int | None] = {}
        """By budget: the highest hard limit it ever had; None = at some time there was none."""

    def price(self, provider: str, model: str, rates: Rates | None) -> None:
        """A new price; None = withdrawn."""
        buckets = {}
        if rates is not None and any(rates):
            buckets = {"input": int(rates[0] * 10**6), "output": int(rates[1] * 10**6), "request": rates[2]}
        version = self.prices.latest_version + 1
        self.prices.add([Price(version, provider, model, buckets, "config", known=rates is not None)])
        if rates is None:
            self.plain.rates.pop((provider, model), None)
        else:
            self.plain.rates[provider, model] = rates

    def put(self, limit: Limit) -> None:
        """A budget, new or changed."""
        self.server.put_budget(limit)
        self.plain.budgets[limit.budget_id] = limit
        now = limit.limit_nano_usd if limit.is_hard else None
        was = self.highest.get(limit.budget_id, 0)
        self.highest[limit.budget_id] = None if was is None or now is None else max(was, now)

    def drop(self, budget_id: str) -> None:
        """A budget is deleted."""
        self.server.drop_budget(ORG, budget_id)
        del self.plain.budgets[budget_id]
        self.plain.told = {one for one in self.plain.told if one[0] != budget_id}

    def run(self, *operations: Operation) -> list[Any]:
        """One batch. Every decision must be the model's."""
        expected = [self.plain.decide(op) for op in operations]
        # A later operation of the batch may change what the model says of an earlier one's request.
        decisions = at_once(self.store.run(operations))
        last = {getattr(op, "request_id", ""): number for number, op in enumerate(operations)}
        for number, (op, want, got) in enumerate(zip(operations, expected, decisions, strict=True)):
            wrong = same(want, got) if last[op.request_id] == number else ""
            assert not wrong, f"{type(op).__name__}: {wrong}\n{op}"
        self.check()
        return expected

    def sweep(self, now: dt.datetime) -> None:
        """What the sweeper does: it charges the bound of what has expired."""
        for request_id, asked in self.plain.asked.items():
            if asked.state is State.OPEN and asked.expires_at <= now:
                self.run(Resolve(ORG, request_id, asked.op.reservation_id, State.INDETERMINATE, now))

    def check(self) -> None:
        """Every invariant, on the stored rows."""
        found = check_rows(self.server, self.highest)
        self._check_plain(found.committed, found.reserved)
        self._check_resolutions(found)
        told = {(key[1], key[2], key[3]) for key in self.server.table("alerts")}
        assert told == self.plain.told, f"I10: told {told ^ self.plain.told} wrongly"

    def _check_plain(self, committed: Counter[Any], reserved: Counter[Any]) -> None:
        """I11, I12: what was spent stays where it was spent, whatever becomes of limits and keys."""
        wanted: Counter[Any] = Counter()
        for asked in self.plain.asked.values():
            for place in asked.where:
                wanted[place] += 0
        for budget_id, start in wanted:
            text = f"{budget_id}@{int(start.timestamp())}"
            has = (committed[text], reserved[text])
            want = (self.plain.committed((budget_id, start)), self.plain.reserved((budget_id, start)))
            assert has == want, f"{text} has {has}, it must be {want}"
        known = {f"{budget_id}@{int(start.timestamp())}" for budget_id, start in wanted}
        assert committed.keys() | reserved.keys() <= known, "I8: money where no request was"

    def _check_resolutions(self, found: Accounts) -> None:
        by_id: dict[str, Asked] = {asked.op.reservation_id: asked for asked in self.plain.asked.values()}
        rows = self.server.table("reservations")
        assert {key[1] for key in rows} == by_id.keys()
        assert found.kinds.keys() <= by_id.keys(), "I8: a charge without a request"
        for key, row in rows.items():
            asked = by_id[key[1]]
            assert row["state"] == asked.state, f"{key[1]}: state {row['state']}, it must be {asked.state}"
            has, want = (row["amount"], row["expires_at"]), (asked.amount, asked.expires_at)
            assert has == want, f"{key[1]}: {has}, it must be {want}"
            assert row["cost"] == asked.cost, f"{key[1]} costs {row['cost']}, it must be {asked.cost}"
