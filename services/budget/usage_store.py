"""Usage from the ledger. Statements are put together from this file's constants only; what was asked is parameters.

The ledger's lines are summed by what they carry (step, path, tags, model), and only the sums are sorted into teams or
tags: a month of lines has few different paths.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.postgres import Database
from services.budget.usage import Dimension, Query, Row

CHARGING = "kind IN ('commit', 'indeterminate', 'adjust')"
"""An overrun is a note on a charge; a release charged nothing and asked nobody."""
IS_FIRST = "kind <> 'adjust' AND (attempt_id = '' OR starts_with(attempt_id, '0:'))"
"""One line of every charged request: its first attempt, or the one line of one without attempts."""
FIRST = f"count(*) FILTER (WHERE {IS_FIRST})"
DISTINCT = "count(DISTINCT reservation_id) FILTER (WHERE kind <> 'adjust')"
"""The same where attempts of one request may be in several groups; it has to sort the lines."""

RAW: Mapping[Dimension, str] = {
    Dimension.TEAM: "path",
    Dimension.PROJECT: "path",
    Dimension.USER: "path",
    Dimension.KEY: "path",
    Dimension.MODEL: "model",
    Dimension.PROVIDER: "provider",
    Dimension.OPERATION: "operation",
    Dimension.TAG: "tags",
}
"""The ledger's column that a dimension is read from."""

OF_PATH = """coalesce((SELECT split_part(p, ':', 2) FROM unnest(path) WITH ORDINALITY AS u (p, n)
    WHERE starts_with(p, '{}:') ORDER BY n DESC LIMIT 1), '')"""
GROUPS: Mapping[Dimension, str] = {
    Dimension.TEAM: OF_PATH.format("team"),  # Teams are nested: the innermost is the last.
    Dimension.PROJECT: OF_PATH.format("project"),
    Dimension.USER: OF_PATH.format("user"),
    Dimension.KEY: OF_PATH.format("key"),
    Dimension.MODEL: "model",
    Dimension.PROVIDER: "provider",
    Dimension.OPERATION: "operation",
    Dimension.TAG: "coalesce((SELECT min(t) FROM unnest(tags) AS t WHERE starts_with(t, {tag_key} || '=')), '')",
}
"""What a dimension's groups are called."""

SUMS = ("requests", "input", "input_cached", "cache_write", "output", "reasoning", "cost")
LINES = """lines AS (
  SELECT {step} AS step{raw}, {first} AS first, {requests} AS requests, sum(amount) AS cost,
         sum(tokens[1]) AS input, sum(tokens[2]) AS input_cached, sum(tokens[3]) AS cache_write,
         sum(tokens[4]) AS output, sum(tokens[5]) AS reasoning
  FROM ledger WHERE org_id = $1 AND at >= $2 AND at < $3 AND {charging}{filters} GROUP BY step{raw})"""
GROUPED = """grouped AS (
  SELECT step, ARRAY[{groups}]::text[] COLLATE "C" AS members, sum(first) AS first, {sums} FROM lines GROUP BY 1, 2)"""
PAGE = """SELECT false, step, members, {sums} FROM (
  SELECT * FROM grouped WHERE (step, members) > ({after_step}::integer, {after_members}::text[])
  ORDER BY step, members LIMIT {most}) page"""
TOTAL = "SELECT true, 0, '{{}}'::text[], {requests}, {sums} FROM grouped"
SPLIT_TOTAL = "SELECT {requests} FROM ledger WHERE org_id = $1 AND at >= $2 AND at < $3 AND {charging}{filters}"
PLAN = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL work_mem = '32MB'"
"""Unlike the ledger's own statements: how much of it is read depends on what is asked."""

CHARGED_SINCE = """SELECT coalesce(sum(amount) FILTER (WHERE at >= $2), 0)::bigint,
  coalesce(sum(amount), 0)::bigint
FROM ledger WHERE org_id = $1 AND at >= $3 AND kind IN ('commit', 'indeterminate', 'adjust')"""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in their order, and the sum over all of them where it was asked for."""

    rows: list[Row]
    total: Row | None
    has_more: bool


@functools.lru_cache(maxsize=512)
def _statements(
    dimensions: tuple[Dimension, ...], has_steps: bool, filters: tuple[str, ...], splits: bool, with_total: bool
) -> tuple[str, str]:
    """The statement for a page, and the one that counts the requests of all where their sums would count some twice.

    Parameters: organisation, start, end, then the filters' values, the steps, the tag's key, and the place and size.
    """
    numbers = iter(range(4, 20))
    conditions = "".join(f" AND {one.format(f'${next(numbers)}')}" for one in filters)
    step = f"width_bucket(at, ${next(numbers)}::timestamptz[])" if has_steps else "0"
    tag_key = f"${next(numbers)}" if Dimension.TAG in dimensions else ""
    raw = "".join(f", {one}" for one in dict.fromkeys(RAW[dimension] for dimension in dimensions))
    lines = LINES.format(
        step=step, raw=raw, first=FIRST, requests=DISTINCT if splits else FIRST, charging=CHARGING, filters=conditions
    )
    summed = ", ".join(f"coalesce(sum({one}), 0)::bigint AS {one}" for one in SUMS)
    groups = ", ".join(GROUPS[dimension].format(tag_key=tag_key) for dimension in dimensions)
    parts = [
        PAGE.format(
            sums=", ".join(SUMS),
            after_step=f"${next(numbers)}",
            after_members=f"${next(numbers)}",
            most=f"${next(numbers)}",
        )
    ]
    if with_total:
        rest = ", ".join(f"coalesce(sum({one}), 0)::bigint" for one in SUMS[1:])
        parts.append(TOTAL.format(requests="coalesce(sum(first), 0)::bigint", sums=rest))
    statement = f"WITH {lines}, {GROUPED.format(groups=groups, sums=summed)} {' UNION ALL '.join(parts)}"
    return statement, SPLIT_TOTAL.format(requests=DISTINCT, charging=CHARGING, filters=conditions)


@dataclass(frozen=True)
class PostgresUsageStore:
    """Usage from the schema `budget`."""

    database: Database

    async def page(
        self, query: Query, steps: Sequence[dt.datetime], after: Row | None, size: int, *, with_total: bool
    ) -> Page:
        """Rows behind one, in the order of step and group."""
        wanted = {
            "path @> ARRAY[{}]": query.level,
            "model = {}": query.model,
            "provider = {}": query.provider,
            "tags @> ARRAY[{}]": query.tag,
        }
        filters = {condition: value for condition, value in wanted.items() if value}
        statement, split_total = _statements(
            query.dimensions, bool(steps), tuple(filters), query.splits_requests, with_total
        )
        about = [query.org_id, query.start, query.end, *filters.values()]
        values: list[Any] = [*about]
        if steps:
            values.append(list(steps))
        if Dimension.TAG in query.dimensions:
            values.append(query.tag_key)
        values += [after.step if after else -1, list(after.group) if after else [], size + 1]
        async with self.database.transaction(query.org_id) as connection:
            await connection.execute(PLAN)
            found = await connection.fetch(statement, *values)
            requests = None
            if with_total and query.filters_attempts:
                requests = await connection.fetchval(split_total, *about)
        rows = [_row(one) for one in found if not one[0]]
        totals = [_row(one, requests) for one in found if one[0]]
        return Page(rows[:size], totals[0] if totals else None, len(rows) > size)

    async def charged_since(self, org_id: str, day: dt.datetime, month: dt.datetime) -> tuple[int, int]:
        """What was charged since the two moments, the later one first."""
        async with self.database.transaction(org_id) as connection:
            found = await connection.fetchrow(CHARGED_SINCE, org_id, day, month)
        return found[0], found[1]


def _row(found: Any, requests: int | None = None) -> Row:
    return Row(found[1], tuple(found[2]), found[3] if requests is None else requests, *found[4:])
