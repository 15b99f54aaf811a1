"""What providers say was used and charged: the exports of their dashboards and the pages of their admin APIs.

OpenAI: the CSV files of the usage dashboard ("Cost data", "Activity data") and the JSON of `/v1/organization/costs` and
`/v1/organization/usage/*`. Anthropic: the JSON of `/v1/organizations/cost_report` and `/usage_report/messages`.
"""

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from mesh.cli.client import USAGE, Failure
from mesh.money import NANO_USD_PER_USD

PROVIDERS = ("openai", "anthropic")
_SNAPSHOT = re.compile(r"-(?:20\d\d-?[01]\d-?[0-3]\d|(?:0[1-9]|1[0-2])[0-3]\d|latest)$")


@dataclass
class Usage:
    """What was used of one model on one UTC day. None = it was not said."""

    requests: int | None = None
    input_tokens: int | None = None
    """Neither read from nor written to a cache."""
    input_cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    """With reasoning."""
    cost_nano_usd: Decimal | None = None
    has_batch: bool = False
    """Some of it was asked for in batches, which cost less."""

    def add(self, other: "Usage") -> None:
        """Adds another part of the same day and model."""
        for name in ("requests", "input_tokens", "input_cached_tokens", "cache_write_tokens", "output_tokens"):
            self._add(name, getattr(other, name))
        self._add("cost_nano_usd", other.cost_nano_usd)
        self.has_batch = self.has_batch or other.has_batch

    def _add(self, name: str, more: Any) -> None:
        if more is not None:
            setattr(self, name, (getattr(self, name) or 0) + more)

    @property
    def tokens(self) -> int | None:
        """All tokens."""
        known = (self.input_tokens, self.input_cached_tokens, self.cache_write_tokens, self.output_tokens)
        return None if self.input_tokens is None else sum(one or 0 for one in known)


Place = tuple[dt.date, str]
"""UTC day and model."""


@dataclass
class Export:
    """What the files of a provider say."""

    usage: dict[Place, Usage] = field(default_factory=dict)
    days: set[dt.date] = field(default_factory=set)
    """Days that the files cover, also those on which nothing was used."""
    other: dict[str, Decimal] = field(default_factory=dict)
    """Costs of no model, by what they are for: searches, storage."""
    is_cut: bool = False
    """There are more pages than were given."""

    def add(self, day: dt.date, model: str, usage: Usage) -> None:
        """Adds to a day and model; without a model only to what else was charged."""
        self.days.add(day)
        if model:
            self.usage.setdefault((day, base_name(model)), Usage()).add(usage)

    def add_other(self, day: dt.date, what: str, cost: Decimal) -> None:
        """Adds a cost of no model."""
        self.days.add(day)
        self.other[what] = self.other.get(what, Decimal(0)) + cost


def base_name(model: str) -> str:
    """A model without its provider and its snapshot: "gpt-4o-mini" of "openai/gpt-4o-mini-2024-07-18"."""
    name = model.rpartition("/")[2].strip()
    while (shorter := _SNAPSHOT.sub("", name)) != name:
        name = shorter
    return name


def read_exports(provider: str, files: Iterable[tuple[str, bytes]]) -> Export:
    """Reads files (name, content). Raises Failure for one that is not known, or two that say the same twice."""
    export, seen = Export(), dict[tuple[str, dt.date], str]()
    for name, content in files:
        part = Export()
        kind = _read(provider, name, content, part)
        for day in sorted(part.days):
            if other := seen.get((kind, day)):
                raise Failure(f"{name} and {other} both say {kind} of {day}: give one of them", USAGE)
        seen.update({(kind, day): name for day in part.days})
        for (day, model), usage in part.usage.items():
            export.usage.setdefault((day, model), Usage()).add(usage)
        for what, cost in part.other.items():
            export.other[what] = export.other.get(what, Decimal(0)) + cost
        export.days |= part.days
        export.is_cut = export.is_cut or part.is_cut
    return export


def _read(provider: str, name: str, content: bytes, export: Export) -> str:
    """Reads one file; returns what it says: "costs" or "usage"."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{name} is no text: give the CSV or JSON file as it was downloaded", USAGE) from None
    try:
        if text.lstrip()[:1] in ("{", "["):
            document = json.loads(text, parse_float=Decimal)
            return (_openai_json if provider == "openai" else _anthropic_json)(document, export)
        if provider == "openai":
            return _openai_csv(csv.DictReader(io.StringIO(text, newline="")), export)
    except (ValueError, InvalidOperation, KeyError, TypeError, AttributeError, OverflowError, csv.Error) as error:
        raise Failure(f"{name} cannot be read: {type(error).__name__}: {error}", USAGE) from None
    raise Failure(f"{name} is not JSON: Anthropic's cost_report and usage_report/messages are read", USAGE)


def _openai_csv(rows: "csv.DictReader[str]", export: Export) -> str:
    columns = set(rows.fieldnames or ())
    if {"start_time", "amount_value"} <= columns:
        for row in rows:
            if row["amount_value"]:
                _openai_cost(_day(row["start_time"]), row, row["amount_value"], row.get("amount_currency"), export)
            elif row["start_time"]:
                export.days.add(_day(row["start_time"]))
        return "costs"
    if {"start_time", "model", "input_tokens"} <= columns:
        for row in rows:
            if row["start_time"]:
                export.add(_day(row["start_time"]), row["model"], _openai_usage(row))
        return "usage"
    raise ValueError(
        "it has neither the columns start_time, amount_value and line_item (Cost data) nor start_time, model and "
        "input_tokens (Activity data)"
    )


def _openai_json(document: Any, export: Export) -> str:
    kinds = set()
    for bucket, result in _results(document, export):
        day = _day(bucket["start_time"])
        if result is None:
            export.days.add(day)
            continue
        if result.get("object") == "organization.costs.result":
            kinds.add("costs")
            amount = result.get("amount") or {}
            _openai_cost(day, result, amount.get("value", 0), amount.get("currency"), export)
        elif str(result.get("object")).startswith("organization.usage."):
            kinds.add("usage")
            export.add(day, result.get("model") or "", _openai_usage(result))
        else:
            raise ValueError(f"a result is {result.get('object')!r}; costs and usage are read")
    return _one_kind(kinds)


def _openai_cost(day: dt.date, row: Mapping[str, Any], value: Any, currency: Any, export: Export) -> None:
    if str(currency or "usd").lower() != "usd":
        raise ValueError(f"amounts are in {currency}; only usd can be compared")
    cost = Decimal(str(value)) * NANO_USD_PER_USD
    model, comma, what = str(row.get("line_item") or "").partition(", ")
    if not comma:
        # Without "Group by: line item" the file says only what a day cost.
        export.add_other(day, model or "not told apart by line item", cost)
        return
    is_batch = "batch" in what or model.endswith(" batch")
    export.add(day, model.removesuffix(" batch"), Usage(cost_nano_usd=cost, has_batch=is_batch))


def _openai_usage(row: Mapping[str, Any]) -> Usage:
    cached, written = _number(row.get("input_cached_tokens")), _number(row.get("input_cache_write_tokens"))
    return Usage(
        requests=_number(row.get("num_model_requests")),
        # Theirs are with what was cached, ours are disjoint.
        input_tokens=_number(row.get("input_tokens")) - cached - written,
        input_cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=_number(row.get("output_tokens")),
        has_batch=str(row.get("batch")).lower() == "true",
    )


def _anthropic_json(document: Any, export: Export) -> str:
    kinds = set()
    for bucket, result in _results(document, export):
        day = _day(bucket["starting_at"])
        if result is None:
            export.days.add(day)
        elif "amount" in result:
            kinds.add("costs")
            if str(result.get("currency") or "USD").upper() != "USD":
                raise ValueError(f"amounts are in {result['currency']}; only USD can be compared")
            # Cents, as a decimal.
            cost = Decimal(str(result["amount"])) * NANO_USD_PER_USD / 100
            if result.get("model"):
                is_batch = result.get("service_tier") == "batch"
                export.add(day, result["model"], Usage(cost_nano_usd=cost, has_batch=is_batch))
            else:
                what = result.get("description") or result.get("cost_type") or "not told apart by description"
                export.add_other(day, str(what), cost)
        elif "uncached_input_tokens" in result:
            kinds.add("usage")
            export.add(day, result.get("model") or "", _anthropic_usage(result))
        else:
            raise ValueError("a result has neither amount nor uncached_input_tokens")
    return _one_kind(kinds)


def _anthropic_usage(row: Mapping[str, Any]) -> Usage:
    written = row.get("cache_creation") or {}
    return Usage(
        input_tokens=_number(row.get("uncached_input_tokens")),
        input_cached_tokens=_number(row.get("cache_read_input_tokens")),
        cache_write_tokens=sum(map(_number, written.values())),
        output_tokens=_number(row.get("output_tokens")),
        has_batch=row.get("service_tier") == "batch",
    )


def _results(document: Any, export: Export) -> Iterator[tuple[Any, Any]]:
    """(bucket, result) of every page; a bucket without results once, with None."""
    pages = document if isinstance(document, list) else [document]
    for number, page in enumerate(pages):
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise ValueError('it is no page of the API: there is no list "data"')
        if page.get("has_more") and number == len(pages) - 1:
            export.is_cut = True
        for bucket in page["data"]:
            results = bucket.get("results") or bucket.get("result") or [None]
            yield from ((bucket, result) for result in results)


def _one_kind(kinds: set[str]) -> str:
    if len(kinds) > 1:
        raise ValueError("it says costs and usage: give them as two files")
    return kinds.pop() if kinds else "usage"


def _day(value: Any) -> dt.date:
    """The UTC day of Unix seconds or an RFC 3339 time."""
    text = str(value)
    if re.fullmatch(r"\d+(\.0*)?", text):
        return dt.datetime.fromtimestamp(float(text), dt.UTC).date()
    moment = dt.datetime.fromisoformat(text)
    return moment.astimezone(dt.UTC).date() if moment.tzinfo else moment.date()


def _number(value: Any) -> int:
    """A count; exports write some as "10.0", some not at all."""
    return int(Decimal(str(value))) if value not in (None, "") else 0
