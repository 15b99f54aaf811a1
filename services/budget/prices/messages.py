"""Prices as protos: what Reserve tells of them, and what the price service lists."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from itertools import pairwise

from dac.budget.v1 import budget_pb2, price_pb2
from services.budget.prices.book import PriceBook, Proposal
from services.budget.prices.money import Price

REMEMBERED = 10_000
"""So many versions' rates are kept as they are sent."""


class RateMessages:
    """The rates of each version, made once: every Reserve answers them."""

    def __init__(self) -> None:
        self._made: dict[int, budget_pb2.CandidateRates] = {}

    def of(self, price: Price) -> budget_pb2.CandidateRates:
        """What a charge with this price will be computed with."""
        made = self._made.get(price.version)
        if made is None:
            if len(self._made) >= REMEMBERED:
                self._made.clear()
            made = self._made[price.version] = rates_message(price)
        return made


def rates_message(price: Price) -> budget_pb2.CandidateRates:
    """The same without a memory."""
    made = budget_pb2.CandidateRates(
        provider=price.provider, model=price.model, price_version=price.version, **price.rates._asdict()
    )
    for one in price.tariffs[1:]:
        made.instead.add(service_tier=one.service_tier, above_tokens=one.above_tokens, **one.rates._asdict())
    return made


def price_message(price: Price, until: dt.datetime | None = None) -> price_pb2.ModelPrice:
    """A version."""
    made = price_pb2.ModelPrice(
        provider=price.provider,
        model=price.model,
        price_version=price.version,
        nano_usd_per_mtok=dict(price.buckets),
        source=price.source,
        withdrawn=not price.known,
    )
    if price.valid_from is not None:
        made.valid_from.FromDatetime(price.valid_from)
    if until is not None:
        made.valid_until.FromDatetime(until)
    return made


def proposal_message(one: Proposal) -> price_pb2.ModelPrice:
    """A price to come."""
    made = price_pb2.ModelPrice(
        provider=one.provider, model=one.model, nano_usd_per_mtok=dict(one.buckets or {}), source=one.source
    )
    if one.valid_from is not None:
        made.valid_from.FromDatetime(one.valid_from)
    return made


def listed(book: PriceBook, *, provider: str, model: str, history: bool) -> list[price_pb2.ModelPrice]:
    """What ListPrices lists, in its order: by provider, model and date."""

    def is_meant(one: Price | Proposal) -> bool:
        return provider in ("", one.provider) and model in ("", one.model)

    if history:
        found = list(_with_ends(price for price in book.history() if is_meant(price)))
    else:
        found = [price_message(price) for price in book.all_in_force() if is_meant(price)]
    found += [proposal_message(one) for one in book.scheduled if is_meant(one)]
    return sorted(found, key=_place)


def _with_ends(prices: Iterable[Price]) -> Iterable[price_pb2.ModelPrice]:
    rows = list(prices)
    for price, after in pairwise(rows):
        is_followed = (price.provider, price.model) == (after.provider, after.model)
        yield price_message(price, after.valid_from if is_followed else None)
    if rows:
        yield price_message(rows[-1])


def _place(one: price_pb2.ModelPrice) -> tuple[str, str, int, int, str]:
    """Versions by their numbers, then what is to come by its date."""
    number = one.price_version or 1 << 62
    return one.provider, one.model, number, one.valid_from.ToMicroseconds(), one.source


def place_of(one: price_pb2.ModelPrice) -> str:
    """Where a price stands in the list, as text."""
    return json.dumps(_place(one))


def after(prices: list[price_pb2.ModelPrice], place: str) -> list[price_pb2.ModelPrice]:
    """Those behind a place. Raises ValueError for what is none."""
    said = json.loads(place)
    if not isinstance(said, list) or [type(part) for part in said] != [str, str, int, int, str]:
        raise ValueError(place)
    return [one for one in prices if _place(one) > tuple(said)]
