"""Usage from the sums kept beside the ledger, and from the lines that they do not hold yet or cannot answer for.

Statements are put together from this file's constants only; what was asked is parameters. Lines and sums are added up
by what they carry (step, path, tags, model), and only these sums are sorted into teams or tags: a month has few
different paths.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.postgres import Database
from services.budget.usage.grains import grains_of, next_quarter
from services.budget.usage.usage import PER_ATTEMPT, Dimension, Query, Row

OF_MODELS, OF_CALLERS = 0, 1
"""Kinds of cells: by provider, model and operation; and by path and tags as well."""
QUARTERS, DAYS = 0, 1
"""Grains of sums."""
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
SUM_OF: Mapping[tuple[Dimension, ...], str] = {
    (): "requests",
    (Dimension.MODEL,): "requests_by_model",
    (Dimension.PROVIDER,): "requests_by_provider",
    PER_ATTEMPT: "requests_by_both",
}
"""What the sums call requests where attempts that differ in these dimensions are apart."""
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
FROM_LINES = """
  SELECT l.* FROM unnest({begins}::timestamptz[], {ends}::timestamptz[]) AS r (begins, ends) CROSS JOIN LATERAL (
    SELECT * FROM ledger WHERE org_id = $1 AND at >= r.begins AND at < r.ends OFFSET 0) l
  UNION ALL
  SELECT * FROM ledger WHERE org_id = $1 AND position > {mark} AND at >= $2 AND at < $3
    AND width_bucket(at, {edges}::timestamptz[]) % 2 = 0
  UNION ALL
  SELECT * FROM ledger WHERE org_id = $1 AND position IS NULL AND at >= greatest($2, {history}) AND at < $3
    AND width_bucket(at, {edges}::timestamptz[]) % 2 = 0"""
"""The lines that have to be read: all of the ranges that no bucket answers for; elsewhere, where an even number of
these ranges' edges lies before, what is not folded yet."""
LINES = """lines AS (
  SELECT {step} AS step{raw}, {in_all} AS in_all, {requests} AS requests, sum(amount) AS cost,
         sum(tokens[1]) AS input, sum(tokens[2]) AS input_cached, sum(tokens[3]) AS cache_write,
         sum(tokens[4]) AS output, sum(tokens[5]) AS reasoning
  FROM ({from_lines}) AS line WHERE {charging}{filters} GROUP BY {columns})"""
FOLDED = """cells AS MATERIALIZED (
  SELECT cell_id{raw} FROM usage_cells AS line WHERE org_id = $1 AND kind = {kind}
    AND last_at > $2::timestamptz - interval '15 minutes' AND first_at < $3{filters}),
folded AS (
  SELECT s.step{names}, s.in_all, s.requests, s.cost, s.input, s.input_cached, s.cache_write, s.output, s.reasoning
  FROM (
    SELECT cells.cell_id, {step} AS step, sum(b.{in_all}) AS in_all, sum(b.{requests}) AS requests, sum(b.cost) AS cost,
           sum(b.input) AS input, sum(b.input_cached) AS input_cached, sum(b.cache_write) AS cache_write,
           sum(b.output) AS output, sum(b.reasoning) AS reasoning
    FROM cells CROSS JOIN unnest({grains}::smallint[], {begins}::timestamptz[], {ends}::timestamptz[])
        AS r (grain, begins, ends)
      CROSS JOIN LATERAL (SELECT *, bucket AS at FROM usage_sums WHERE org_id = $1 AND cell_id = cells.cell_id
        AND grain = r.grain AND bucket >= r.begins AND bucket < r.ends OFFSET 0) b
    GROUP BY 1, 2) AS s JOIN cells USING (cell_id))"""
GROUPED = """grouped AS (
  SELECT step, ARRAY[{groups}]::text[] COLLATE "C" AS members, sum(in_all) AS in_all, {sums}
  FROM (SELECT * FROM lines UNION ALL SELECT * FROM folded) AS both_of_them GROUP BY 1, 2)"""
PAGE = """SELECT false, step, members, {sums} FROM (
  SELECT * FROM grouped WHERE (step, members) > ({after_step}::integer, {after_members}::text[])
  ORDER BY step, members LIMIT {most}) page"""
TOTAL = "SELECT true, 0, '{{}}'::text[], {sums} FROM grouped"
PLAN = """SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL plan_cache_mode = force_custom_plan;
  SET LOCAL work_mem = '32MB'; SET LOCAL enable_sort = off"""
"""The mark, the sums and the lines are read as of one moment. Unlike the ledger's own statements, how much of it is
read depends on what is asked. Lines are summed by hashing: without fresh statistics the planner takes them for few and
would sort them, which costs more than all the rest."""
MARK = "SELECT position, history_at, counters_since FROM usage_mark"

CHARGED_SINCE = f"""SELECT coalesce(sum(cost) FILTER (WHERE at >= $2), 0)::bigint, coalesce(sum(cost), 0)::bigint FROM (
  SELECT b.at, b.cost FROM usage_cells AS c CROSS JOIN LATERAL (
    SELECT bucket AS at, cost FROM usage_sums WHERE org_id = $1 AND cell_id = c.cell_id AND grain = {DAYS}
      AND bucket >= $3 OFFSET 0) b
  WHERE c.org_id = $1 AND c.kind = {OF_MODELS}
  UNION ALL
  SELECT at, amount FROM ledger WHERE org_id = $1 AND position > $4 AND at >= $3 AND {CHARGING}
  UNION ALL
  SELECT at, amount FROM ledger WHERE org_id = $1 AND position IS NULL AND at >= greatest($3, $5) AND {CHARGING}
  ) AS a"""  # noqa: S608

SPENT_RECENTLY = f"""SELECT key, sum(cost)::bigint FROM (
  SELECT counter AS key, cost FROM counter_sums WHERE org_id = $1 AND counter = ANY ($2::text[]) AND bucket >= $4
  UNION ALL
  SELECT key, amount FROM (
    SELECT counters, amount FROM ledger WHERE org_id = $1 AND at >= $3 AND at < $4 AND {CHARGING}
    UNION ALL
    SELECT counters, amount FROM ledger WHERE org_id = $1 AND position > $5 AND at >= $4 AND {CHARGING}
    UNION ALL
    SELECT counters, amount FROM ledger WHERE org_id = $1 AND position IS NULL AND at >= greatest($4, $6) AND {CHARGING}
  ) AS l, unnest(counters) AS key WHERE key = ANY ($2::text[])) AS a
  GROUP BY key"""  # noqa: S608


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

    Parameters: organisation, start, end, then the filters' values, the mark and the end of history, the ranges of lines
    and of sums, the steps, the tag's key, and the place and size.
    """
    numbers = (f"${number}" for number in itertools.count(4))
    conditions = "".join(f" AND {one.format(next(numbers))}" for one in filters)
    mark, history, edges, *ranges = itertools.islice(numbers, 8)
    step = f"width_bucket(at, {next(numbers)}::timestamptz[])" if has_steps else "0"
    tag_key = next(numbers) if Dimension.TAG in dimensions else ""
    raw = list(dict.fromkeys(RAW[dimension] for dimension in dimensions))
    apart = tuple(one for one in PER_ATTEMPT if one in dimensions or one in chosen)
    is_of_callers = any(one.startswith(("path", "tags")) for one in (*raw, *filters))
    shared = {"step": step, "raw": "".join(f", {one}" for one in raw), "filters": conditions}
    lines = LINES.format(
        **shared,
        in_all=_counted(chosen),
        requests=_counted(apart),
        charging=CHARGING,
        from_lines=FROM_LINES.format(mark=mark, history=history, edges=edges, begins=ranges[0], ends=ranges[1]),
        columns=", ".join(str(number + 1) for number in range(len(raw) + 1)),
    )
    folded = FOLDED.format(
        **shared,
        kind=OF_CALLERS if is_of_callers else OF_MODELS,
        names="".join(f", {one.partition(' ')[0]}" for one in raw),
        in_all=SUM_OF[chosen],
        requests=SUM_OF[apart],
        **dict(zip(("grains", "begins", "ends"), ranges[2:], strict=True)),
    )
    summed = ", ".join(f"coalesce(sum({one}), 0)::bigint AS {one}" for one in SUMS)
    groups = ", ".join(GROUPS[dimension].format(tag_key=tag_key) for dimension in dimensions)
    place = list(itertools.islice(numbers, 3))
    page = PAGE.format(sums=", ".join(SUMS), after_step=place[0], after_members=place[1], most=place[2])
    total = TOTAL.format(sums=", ".join(f"coalesce(sum({one}), 0)::bigint" for one in ("in_all", *SUMS[1:])))
    return f"WITH {lines}, {folded}, {GROUPED.format(groups=groups, sums=summed)} {page} UNION ALL {total}"


def _ranges(query: Query, steps: Sequence[dt.datetime]) -> Sequence[Any]:
    """What is read of what: the edges between and the ranges of lines, then the sums' grains with theirs."""
    grains = grains_of(query.start, query.end, steps)
    kept = [(DAYS, *one) for one in grains.days] + [(QUARTERS, *one) for one in grains.quarters]
    return (
        [moment for one in grains.lines for moment in one],
        [begins for begins, _ in grains.lines],
        [ends for _, ends in grains.lines],
        [grain for grain, _, _ in kept],
        [begins for _, begins, _ in kept],
        [ends for _, _, ends in kept],
    )


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
        behind: list[Any] = [list(steps)] if steps else []
        if Dimension.TAG in query.dimensions:
            behind.append(query.tag_key)
        behind += [after.step if after else -1, list(after.group) if after else [], size + 1]
        asked = (query.org_id, query.start, query.end, *filters.values())
        ranges = _ranges(query, steps)
        async with self._as_of_one_moment(query.org_id) as (connection, mark):
            found = await connection.fetch(statement, *asked, mark[0], mark[1], *ranges, *behind)
        rows = [_row(one) for one in found if not one[0]]
        (total,) = (_row(one) for one in found if one[0])
        return Page(rows[:size], total, len(rows) > size)

    async def charged_since(self, org_id: str, day: dt.datetime, month: dt.datetime) -> tuple[int, int]:
        """What was charged since the beginnings of a day and of an earlier one (both UTC), the later one first."""
        async with self._as_of_one_moment(org_id) as (connection, mark):
            found = await connection.fetchrow(CHARGED_SINCE, org_id, day, month, mark[0], mark[1])
        return found[0], found[1]

    async def spent_recently(
        self, org_id: str, counters: Sequence[tuple[str, dt.datetime]], since: dt.datetime
    ) -> dict[str, int]:
        """What was charged to counters (budget and start of its window) since a moment, by budget."""
        if not counters:
            return {}
        keys = [f"{budget_id}@{int(start.timestamp())}" for budget_id, start in counters]
        async with self._as_of_one_moment(org_id) as (connection, mark):
            sums_from = max(next_quarter(since), mark[2])
            found = await connection.fetch(SPENT_RECENTLY, org_id, keys, since, sums_from, mark[0], mark[1])
        return {key.partition("@")[0]: amount for key, amount in found}

    @contextlib.asynccontextmanager
    async def _as_of_one_moment(self, org_id: str) -> AsyncIterator[tuple[Any, Sequence[Any]]]:
        """A connection, and how far the ledger is folded as it sees it: position, history_at, counters_since."""
        async with self.database.transaction(org_id) as connection:
            await connection.execute(PLAN)
            yield connection, await connection.fetchrow(MARK)


def _row(found: Any) -> Row:
    return Row(found[1], tuple(found[2]), *found[3:])
