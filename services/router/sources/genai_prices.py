"""genai-prices (MIT): what providers ask for their models, with context windows. Not asked unless it is added.

Prices by the length of a prompt, by service tier and by the hour are left to budget's own catalog: of such a price the
base is taken, and of several the last that has begun.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.router.sources import Parsed, SourceRecord
from services.router.sources import values as v

NAME = "genai_prices"
ADDRESSES = ("https://raw.githubusercontent.com/pydantic/genai-prices/main/prices/data.json",)


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of an answer, with ids of the form provider/model. Raises BrokenAnswer."""
    rows: list[tuple[Any, Any]] = []
    for page in pages:
        for provider in v.rows_of(v.read_json(page), "providers"):
            models = provider.get("models") if isinstance(provider, Mapping) else None
            if not isinstance(provider, Mapping) or not isinstance(models, list):
                rows.append((None, None))
                continue
            rows += [(provider.get("id"), model) for model in models]
    return v.collected(v.rows_of(rows, "models"), lambda row: _read(row, now_s))


def _read(row: tuple[Any, Any], now_s: float) -> Iterable[SourceRecord]:
    provider = v.label(row[0], "the provider's id", needed=True)
    model = v.mapping(row[1], "the row")
    name = v.label(model.get("id"), "id", needed=True)
    price = _in_force(model.get("prices"), datetime.datetime.fromtimestamp(now_s, datetime.UTC).date().isoformat())
    yield SourceRecord(
        source=NAME,
        id=f"{provider}/{name}",
        name=v.shown(model.get("name")),
        author=name.split("/", 1)[0] if "/" in name else provider,
        provider=provider,
        context_tokens=v.tokens(model.get("context_window"), "context_window"),
        nano_usd_per_mtok=v.priced(
            input=_base(price.get("input_mtok"), "input_mtok"),
            output=_base(price.get("output_mtok"), "output_mtok"),
            input_cached=_base(price.get("cache_read_mtok"), "cache_read_mtok"),
            cache_write=_base(price.get("cache_write_mtok"), "cache_write_mtok"),
        ),
        available=False if v.flag(model.get("deprecated"), "deprecated") else None,
        seen_at_s=now_s,
    )


def _in_force(prices: Any, today: str) -> Mapping[str, Any]:
    """The price that counts on a day."""
    if not isinstance(prices, list):
        return v.mapping(prices, "prices")
    found: Mapping[str, Any] = {}
    for one in prices:
        constraint = v.mapping(v.mapping(one, "a price").get("constraint"), "constraint")
        began = constraint.get("start_date", "") if constraint else ""
        if not isinstance(began, str):
            raise v.BadRow("start_date is no date")
        if began <= today and "start_time" not in constraint:
            found = v.mapping(one.get("prices"), "prices")
    return found


def _base(value: Any, name: str) -> int | None:
    return v.nano_usd(value.get("base") if isinstance(value, Mapping) else value, name)
