"""Usage as a file: CSV (RFC 4180) that spreadsheets cannot be made to run, or JSON, piece by piece."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence

from mesh.csv_lines import CONTENT_TYPE, csv_lines, defused
from mesh.money import exact_usd
from services.budget.usage.usage import Dimension, Row

AMOUNTS = (
    "requests",
    "input_tokens",
    "input_cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
CONTENT_TYPES = {"csv": CONTENT_TYPE, "json": "application/json"}


class UsageFile:
    """Writes rows as text. The pieces in their order, `head` first and `tail` last, are the file."""

    def __init__(self, form: str, dimensions: Sequence[Dimension], steps: Sequence[dt.datetime]) -> None:
        """`form`: "csv" or "json"; `steps`: where the time steps begin."""
        self._is_csv, self._steps = form == "csv", steps
        self._names = [dimension.name.lower() for dimension in dimensions]
        self._is_first = True

    def head(self) -> str:
        """What comes before the rows."""
        if not self._is_csv:
            return '{"rows":['
        return csv_lines([[*(["start"] if self._steps else []), *self._names, *AMOUNTS, "cost_usd"]])

    def rows(self, rows: Iterable[Row]) -> str:
        """Some rows."""
        if self._is_csv:
            return csv_lines(self._cells(row) for row in rows)
        texts = [json.dumps(self._fields(row), ensure_ascii=False, separators=(",", ":")) for row in rows]
        comma = "" if self._is_first or not texts else ","
        self._is_first = self._is_first and not texts
        return comma + ",".join(texts)

    def tail(self) -> str:
        """What comes behind the rows."""
        return "" if self._is_csv else "]}\n"

    def _start(self, row: Row) -> str:
        return f"{self._steps[row.step - 1]:%Y-%m-%dT%H:%M:%SZ}"

    def _cells(self, row: Row) -> list[str]:
        # A number is one: a cost below zero is no formula, and an apostrophe would make it a text.
        amounts = [str(getattr(row, name)) for name in AMOUNTS]
        start = [self._start(row)] if self._steps else []
        return [*start, *map(defused, row.group), *amounts, exact_usd(row.cost_nano_usd)]

    def _fields(self, row: Row) -> dict[str, str]:
        start = {"start": self._start(row)} if self._steps else {}
        group = dict(zip(self._names, row.group, strict=True))
        # 64-bit integers as text, as in all of the API's JSON.
        amounts = {name: str(getattr(row, name)) for name in AMOUNTS}
        return {**start, **group, **amounts, "cost_usd": exact_usd(row.cost_nano_usd)}
