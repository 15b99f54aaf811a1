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
from services.budget.usage.usage import PER_ATTEMPT, Dimension, Query, Row

CHARGING = "kind IN ('commit', 'indeterminate', 'adjust')"
"""An overrun is a note on a charge; a release charged nothing and asked nobody."""
IS_FIRST = "(attempt_id = '' OR starts_with(attempt_id, '0:'))"
"""True of one line of every charged request: its first attempt's, or the only one of a request without attempts."""
COUNTED = f"count(*) FILTER (WHERE kind <> 'adjust' AND {IS_FIRST})"
"""Requests, where all attempts of one are in one group."""
COUNTED_ONCE = f"""count(*) FILTER (WHERE kind <> 'adjust' AND ({IS_FIRST} OR NOT EXISTS (
    SELECT FROM ledger AS earlier WHERE earlier.reservation_id = line.reservation_id AND earlier.org_id = line.org_id
    AND earlier.kind = 'commit' AND earlier.attempt_id COLLATE "C" < line.attempt_id COLLATE "C"{{same}})))"""
"""Requests, where they may be in several: a later attempt counts, too, when none before it is in its group."""
SAME: Mapping[Dimension, str] = {
    Dimension.MODEL: " AND earlier.model = line.model",
    Dimension.PROVIDER: " AND earlier.provider = line.provider",
}

RAW: Mapping[Dimension, str] = {
    Dimension.TEAM: "path",
    Dimension.PROJECT: "path",
    Dimension.USER: "path",
    Dimension.KEY: "path",
    Dimension.MODEL: 'model COLLATE "C" AS model',
    Dimension.PROVIDER: 'provider COLLATE "C" AS provider',
    Dimension.OPERATION: 'operation COLLATE "C" AS operation',
    Dimension.TAG: "tags",
}
"""What a dimension is read from in a line of the ledger; compared byte by byte, which is much quicker."""

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
  SELECT {step} AS step{raw}, {in_all} AS in_all, {requests} AS requests, sum(amount) AS cost,
         sum(tokens[1]) AS input, sum(tokens[2]) AS input_cached, sum(tokens[3]) AS cache_write,
         sum(tokens[4]) AS output, sum(tokens[5]) AS reasoning
  FROM ledger AS line WHERE org_id = $1 AND at >= $2 AND at < $3 AND {charging}{filters} GROUP BY {columns})"""
GROUPED = """grouped AS (
  SELECT step, ARRAY[{groups}]::text[] COLLATE "C" AS members, sum(in_all) AS in_all, {sums}
  FROM lines GROUP BY 1, 2)"""
PAGE = """SELECT false, step, members, {sums} FROM (
  SELECT * FROM grouped WHERE (step, members) > ({after_step}::integer, {after_members}::text[])
  ORDER BY step, members LIMIT {most}) page"""
TOTAL = "SELECT true, 0, '{{}}'::text[], {sums} FROM grouped"
PLAN = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL work_mem = '32MB'; SET LOCAL enable_sort = off"
"""Unlike the ledger's own statements, how much of it is read depends on what is asked. Lines are summed by hashing:
without fresh statistics the planner takes them for few and would sort them, which costs more than all the rest."""

CHARGED_SINCE = """SELECT coalesce(sum(amount) FILTER (WHERE at >= $2), 0)::bigint,
  coalesce(sum(amount), 0)::bigint
FROM ledger WHERE org_id = $1 AND at >= $3 AND kind IN ('commit', 'indeterminate', 'adjust')"""

SPENT_RECENTLY = """SELECT key, sum(amount)::bigint FROM ledger, unnest(counters) AS key
  WHERE org_id = $1 AND at >= $2 AND kind IN ('commit', 'indeterminate', 'adjust') AND key = ANY ($3::text[])
  GROUP BY key"""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in their order, and the sum over all of them."""

    rows: list[Row]
    total: Row
    has_more: bool


def _counted(apart: Sequence[Dimension]) -> str:
    """How requests are counted when attempts that differ in these dimensions are apart."""
    return COUNTED_ONCE.format(same="".join(SAME[one] for one in apart)) if apart else COUNTED


@functools.lru_cache(maxsize=512)
def _statement(
    dimensions: tuple[Dimension, ...], has_steps: bool, filters: tuple[str, ...], chosen: tuple[Dimension, ...]
) -> str:
    """The statement for a page and the total. `chosen`: dimensions of which only one value is asked for.

    Parameters: organisation, start, end, then the filters' values, the steps, the tag's key, and the place and size.
    """
    numbers = iter(range(4, 20))
    conditions = "".join(f" AND {one.format(f'${next(numbers)}')}" for one in filters)
    step = f"width_bucket(at, ${next(numbers)}::timestamptz[])" if has_steps else "0"
    tag_key = f"${next(numbers)}" if Dimension.TAG in dimensions else ""
    raw = list(dict.fromkeys(RAW[dimension] for dimension in dimensions))
    apart = tuple(one for one in PER_ATTEMPT if one in dimensions or one in chosen)
    lines = LINES.format(
        step=step,
        raw="".join(f", {one}" for one in raw),
        in_all=_counted(chosen),
        requests=_counted(apart),
        charging=CHARGING,
        filters=conditions,
        columns=", ".join(str(number + 1) for number in range(len(raw) + 1)),
    )
    summed = ", ".join(f"coalesce(sum({one}), 0)::bigint AS {one}" for one in SUMS)
    groups = ", ".join(GROUPS[dimension].format(tag_key=tag_key) for dimension in dimensions)
    place = [f"${next(numbers)}" for _ in range(3)]
    page = PAGE.format(sums=", ".join(SUMS), after_step=place[0], after_members=place[1], most=place[2])
    total = TOTAL.format(sums=", ".join(f"coalesce(sum({one}), 0)::bigint" for one in ("in_all", *SUMS[1:])))
    return f"WITH {lines}, {GROUPED.format(groups=groups, sums=summed)} {page} UNION ALL {total}"


@dataclass(frozen=True)
class PostgresUsageStore:
    """Usage from the schema `budget`."""

    database: Database

    async def page(self, query: Query, steps: Sequence[dt.datetime], after: Row | None, size: int) -> Page:
        """Rows behind one, in the order of step and group."""
        wanted = {
            "path @> ARRAY[{}]": query.level,
            "tags @> ARRAY[{}]": query.tag,
            "model = {}": query.model,
            "provider = {}": query.provider,
        }
        filters = {condition: value for condition, value in wanted.items() if value}
        statement = _statement(query.dimensions, bool(steps), tuple(filters), query.chosen)
        values: list[Any] = [query.org_id, query.start, query.end, *filters.values()]
        if steps:
            values.append(list(steps))
        if Dimension.TAG in query.dimensions:
            values.append(query.tag_key)
        values += [after.step if after else -1, list(after.group) if after else [], size + 1]
        async with self.database.transaction(query.org_id) as connection:
            await connection.execute(PLAN)
            found = await connection.fetch(statement, *values)
        rows = [_row(one) for one in found if not one[0]]
        (total,) = (_row(one) for one in found if one[0])
        return Page(rows[:size], total, len(rows) > size)

    async def charged_since(self, org_id: str, day: dt.datetime, month: dt.datetime) -> tuple[int, int]:
        """What was charged since the two moments, the later one first."""
        async with self.database.transaction(org_id) as connection:
            found = await connection.fetchrow(CHARGED_SINCE, org_id, day, month)
        return found[0], found[1]

    async def spent_recently(
        self, org_id: str, counters: Sequence[tuple[str, dt.datetime]], since: dt.datetime
    ) -> dict[str, int]:
        """What was charged to counters (budget and start of its window) since a moment, by budget."""
        if not counters:
            return {}
        keys = [f"{budget_id}@{int(start.timestamp())}" for budget_id, start in counters]
        async with self.database.transaction(org_id) as connection:
            await connection.execute(PLAN)
            found = await connection.fetch(SPENT_RECENTLY, org_id, since, keys)
        return {key.partition("@")[0]: amount for key, amount in found}


def _row(found: Any) -> Row:
    return Row(found[1], tuple(found[2]), *found[3:])
