"""A batch of reservations that end and are all known: what their counters are to be told, without their rows."""

from __future__ import annotations

from collections.abc import Sequence

from services.budget.ledger.ledger import Book
from services.budget.ledger.rows import CHARGING, CounterKey, Entry, Reservation
from services.budget.prices.book import PriceBook


class SettlingBook(Book):
    """A book of reservations that end, all of them known: it adds up what their counters are to be told, and asks
    nothing of them."""

    def __init__(self, prices: PriceBook, default_output_tokens: int) -> None:
        super().__init__(prices, default_output_tokens)
        self.held: dict[str, Reservation] = {}
        """By reservation id."""
        self._spent: dict[tuple[CounterKey, ...], int] = {}
        self._freed: dict[tuple[CounterKey, ...], int] = {}

    def totals(self) -> dict[CounterKey, tuple[int, int]]:
        """Of each counter what is spent and what is freed."""
        found: dict[CounterKey, tuple[int, int]] = {}
        for keys, amount in self._spent.items():
            for key in keys:
                spent, freed = found.get(key, (0, 0))
                found[key] = (spent + amount, freed)
        for keys, amount in self._freed.items():
            for key in keys:
                spent, freed = found.get(key, (0, 0))
                found[key] = (spent, freed + amount)
        return found

    def _held(self, org_id: str, reservation_id: str, request_id: str) -> Reservation:
        return self.held[reservation_id]

    def _free(self, held: Reservation) -> None:
        self._freed[held.counters] = self._freed.get(held.counters, 0) + held.amount_nano_usd

    def _charge_counters(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind in CHARGING and entry.amount_nano_usd:
                self._spent[entry.counters] = self._spent.get(entry.counters, 0) + entry.amount_nano_usd
