"""All price versions in memory: which price was in force, and which proposals make a new version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.budget.prices.money import Price

FETCHED = "fetched"
"""The source of a price that a provider published."""
OPERATOR = "operator"
"""The source of a price that was set through the API."""
WHOLE = ("config", "api", "catalog")
"""The sources of models, which say all of their prices at once: those of files, and those that the API made."""
_ORDER = {"config": 0, OPERATOR: 1, "api": 2, "catalog": 3, FETCHED: 4}
"""The first of them wins."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a source says a model costs. `buckets` None = this source knows no price; empty = free was said."""

    provider: str
    model: str
    buckets: Mapping[str, int] | None
    source: str
    valid_from: dt.datetime | None = None
    """None = from now on; one to come waits for its day."""


def divided(proposals: Iterable[Proposal], now: dt.datetime) -> tuple[list[Proposal], list[Proposal]]:
    """(what counts now, what is to come). Of a model's prices that count the last one given does; where all are to come
    none does yet."""
    current: dict[tuple[str, str], Proposal] = {}
    later = []
    for one in proposals:
        key = one.provider, one.model
        if one.valid_from is None or one.valid_from <= now:
            current[key] = replace(one, valid_from=None)
        else:
            later.append(one)
            current.setdefault(key, replace(one, buckets=None, valid_from=None))
    return list(current.values()), later


def is_same(price: Price | None, proposal: Proposal) -> bool:
    """Whether that is the price already, from the same source."""
    return (
        price is not None
        and proposal.buckets is not None
        and (dict(price.buckets), price.source) == (dict(proposal.buckets), proposal.source)
    )


class PriceBook:
    """Versions ascend over all models, so one number names the whole book as it was."""

    def __init__(self, prices: Iterable[Price] = ()) -> None:
        self._versions: dict[tuple[str, str], list[Price]] = {}
        self.latest_version = 0
        self.scheduled: list[Proposal] = []
        """Prices to come, by their dates."""
        self.add(prices)

    def add(self, prices: Iterable[Price]) -> None:
        """Adds versions; those already known are ignored."""
        for price in sorted(prices, key=lambda p: p.version):
            rows = self._versions.setdefault((price.provider, price.model), [])
            if not rows or rows[-1].version < price.version:
                rows.append(price)
                self.latest_version = max(self.latest_version, price.version)

    def in_force(self, provider: str, model: str, as_of_version: int | None = None) -> Price | None:
        """The price of a model, now or as of a version; None = unknown."""
        rows = self._versions.get((provider, model))
        if rows and (as_of_version is None or rows[-1].version <= as_of_version):
            return rows[-1] if rows[-1].known else None
        for price in reversed(rows or ()):
            if as_of_version is None or price.version <= as_of_version:
                return price if price.known else None
        return None

    def newest_version(self, provider: str, model: str) -> int:
        """The version that last said something of a model's price, be it that there is none any more; 0 = none did."""
        rows = self._versions.get((provider, model))
        return rows[-1].version if rows else 0

    def all_in_force(self) -> list[Price]:
        """Every known price, ordered by provider and model."""
        found = (rows[-1] for _, rows in sorted(self._versions.items()))
        return [price for price in found if price.known]

    def history(self) -> list[Price]:
        """Every version of every price, withdrawals too, ordered by provider, model and version."""
        return [price for _, rows in sorted(self._versions.items()) for price in rows]

    @property
    def next_change(self) -> dt.datetime | None:
        """When the next price to come begins."""
        return min((one.valid_from for one in self.scheduled if one.valid_from is not None), default=None)

    def begun(self, due: Iterable[Proposal]) -> list[Proposal]:
        """Which prices whose day has come count from now on: config > operator > api > catalog > fetched."""
        found: dict[tuple[str, str], Proposal] = {}
        for one in sorted(due, key=lambda each: (each.valid_from is not None, each.valid_from)):
            key = one.provider, one.model
            price = found.get(key) or self.in_force(*key)
            if price is None or price.source == one.source or _ORDER[one.source] < _ORDER[price.source]:
                found[key] = one
        return [one for key, one in found.items() if not is_same(self.in_force(*key), one)]

    def changes(self, proposals: Iterable[Proposal]) -> list[Proposal]:
        """Which proposals differ from what is in force. config > operator > api > catalog > fetched.

        Models are read whole, so one that they no longer price becomes unknown, unless the operator has set its
        price.
        """
        wanted = {(p.provider, p.model): p for p in proposals}
        for key, rows in self._versions.items():
            if key not in wanted and rows[-1].source in WHOLE:
                wanted[key] = Proposal(*key, None, rows[-1].source)
        found = []
        for key, proposal in sorted(wanted.items()):
            rows = self._versions.get(key, [])
            current = rows[-1] if rows else None
            is_said = proposal.source == "config" and proposal.buckets is not None
            if current is not None and current.known and current.source == OPERATOR and not is_said:
                continue
            if current is not None and current.known and current.source == FETCHED and proposal.buckets is None:
                continue
            now = dict(current.buckets) if current is not None and current.known else None
            new = dict(proposal.buckets) if proposal.buckets is not None else None
            if now != new or (current is not None and current.known and current.source != proposal.source):
                found.append(proposal)
        return found

    def fetched(self, proposals: Iterable[Proposal]) -> list[Proposal]:
        """Which published prices are news: they fill what nobody else has priced, and follow only themselves."""
        found = []
        for proposal in proposals:
            rows = self._versions.get((proposal.provider, proposal.model), [])
            current = rows[-1] if rows else None
            known = current is not None and current.known
            if current is not None and known and current.source != FETCHED:
                continue
            now = dict(current.buckets) if current is not None and known else None
            if proposal.buckets is not None and dict(proposal.buckets) != now:
                found.append(proposal)
        return found
