"""Reads rollups. Statements are put together from this file's words only; what was asked is parameters."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import asyncpg

from services.audit.analytics.cells import Grain, Kind
from services.audit.analytics.facts import MEASURES
from services.audit.analytics.windows import Window, kind_for

GROUPS = ("bucket", "team_id", "project_id", "user_id", "key_id", "model", "provider", "intent")
TYPES = {"team_id": "uuid", "project_id": "uuid", "user_id": "uuid", "key_id": "uuid", "owner": "uuid"}
SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in MEASURES)
TIMES = """coalesce(string_agg(latency, ''::bytea), '') AS latency,
    coalesce(string_agg(first_token, ''::bytea), '') AS first_token"""
FORM = """SELECT {groups} {what}
  FROM {table} WHERE org_id = $1 AND kind = {kind} AND bucket >= $2 AND bucket < $3{filters}{by}"""
THREADS = """SELECT count(*), coalesce(sum(turns), 0)::bigint, coalesce(max(turns), 0)::bigint FROM (
    SELECT sum(turns) AS turns FROM thread_days WHERE org_id = $1 AND owner = $2 AND day >= $3 AND day < $4
    GROUP BY thread_id) AS threads"""
HOURS = """SELECT extract(hour FROM bucket AT TIME ZONE 'UTC')::int, sum(requests)::bigint FROM rollup_hours
  WHERE org_id = $1 AND kind = 3 AND owner = $2 AND bucket >= $3 AND bucket < $4 GROUP BY 1"""
_PREFERENCES = """SELECT intent, model, sum(requests)::bigint FROM {table}
  WHERE org_id = $1 AND kind = 3 AND owner = $2 AND bucket >= $3 AND bucket < $4 AND model <> ''
  GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"""
PREFERENCES = {grain: _PREFERENCES.format(table=grain.value) for grain in Grain}
EVIDENCE = """SELECT team_id, intent, complexity, model, provider, sum(requests)::bigint AS requests,
    sum(clean)::bigint AS clean, sum(clean_nano_usd)::bigint AS cost, sum(clean_squared) AS squared,
    sum(clean_input_tokens)::bigint AS input, sum(clean_output_tokens)::bigint AS output,
    sum(quality_count)::bigint AS quality_count, sum(quality_points)::bigint AS quality_points,
    sum(quality_squared)::bigint AS quality_squared, sum(reasoning_tokens)::bigint AS reasoning_tokens,
    sum(reasoning_nano_usd)::bigint AS reasoning_cost
  FROM rollup_days WHERE org_id = $1 AND kind = 4 AND bucket >= $2 AND bucket < $3
    AND ($4::uuid IS NULL OR team_id = $4) GROUP BY 1, 2, 3, 4, 5"""
TRIED = """SELECT model, provider, sum(attempts)::bigint AS attempts, sum(failed_attempts)::bigint AS failed
  FROM rollup_days WHERE org_id = $1 AND kind = 5 AND bucket >= $2 AND bucket < $3 GROUP BY 1, 2"""


class Sums(NamedTuple):
    """What some requests add up to."""

    value: Any
    """The group: a moment, an id or a name; None or empty = none."""
    measures: Mapping[str, int]
    latency: bytes
    first_token: bytes


@functools.cache
def _statement(table: str, kind: int, group: str, filters: tuple[str, ...], what: str, only: str) -> str:
    return FORM.format(
        groups=f"{group}," if group else "",
        what=what,
        table=table,
        kind=kind,
        filters="".join(f" AND {name} = ${number}::{TYPES.get(name, 'text')}" for number, name in enumerate(filters, 4))
        + only,
        by=f" GROUP BY {group}" if group else "",
    )


class Reader:
    """Sums of one organisation, within one transaction: all of a dashboard sees the same rows."""

    def __init__(self, connection: asyncpg.Connection, org_id: str, filters: Mapping[str, str]) -> None:
        """`filters`: dimensions and the only value of each; `owner` = a caller's own figures."""
        self._connection, self._org_id = connection, org_id
        self._filters = {name: value for name, value in filters.items() if value}

    async def sums(self, window: Window, grain: Grain, group: str = "") -> list[Sums]:
        """Summed over the window, or by its steps: group `bucket`."""
        rows = await self._fetch(window, grain, group, f"{SUMS}, {TIMES}")
        return [Sums(row[group] if group else None, _measures(row), row["latency"], row["first_token"]) for row in rows]

    async def most(self, window: Window, grain: Grain, group: str, limit: int) -> tuple[list[Sums], int]:
        """By a dimension: the groups with the most requests in order, and how many groups there are.

        Sketches are most of what is read, so they are read of these groups alone.
        """
        rows = await self._fetch(window, grain, group, SUMS)
        first = sorted(rows, key=lambda row: (-row["requests"], str(row[group] or "")))[:limit]
        listed = f" AND {group} = ANY (${{}}::{TYPES.get(group, 'text')}[])"
        times: dict[Any, tuple[bytes, bytes]] = {}
        for only, values in (
            (listed, [row[group] for row in first if row[group] is not None]),
            (f" AND {group} IS NULL", None),
        ):
            if values is None and all(row[group] is not None for row in first):
                continue
            found = await self._fetch(window, grain, group, TIMES, only, values)
            times |= {row[group]: (row["latency"], row["first_token"]) for row in found}
        return [Sums(row[group], _measures(row), *times.get(row[group], (b"", b""))) for row in first], len(rows)

    async def _fetch(
        self, window: Window, grain: Grain, group: str, what: str, only: str = "", values: list[Any] | None = None
    ) -> list[asyncpg.Record]:
        assert group in ("", *GROUPS)
        used = frozenset(self._filters) | ({group} if group not in ("", "bucket") else frozenset())
        kind = Kind.FULL if "owner" in used else kind_for(used, grain)
        filters = dict(self._filters)
        if kind is Kind.FULL and "user_id" in filters:
            filters["owner"] = filters["user_id"]  # A user's rows are found by their owner.
        asked = [self._org_id, window.start, window.end, *filters.values()]
        if values is not None:
            asked.append(values)
        statement = _statement(grain.value, int(kind), group, tuple(filters), what, only.format(len(asked)))
        rows: list[asyncpg.Record] = await self._connection.fetch(statement, *asked)
        return rows

    async def preferences(self, window: Window, grain: Grain) -> list[tuple[str, str, int]]:
        """Intent, model and requests of an owner, of answered requests."""
        rows = await self._connection.fetch(
            PREFERENCES[grain], self._org_id, self._filters["owner"], window.start, window.end
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def threads(self, window: Window) -> tuple[int, int, int]:
        """Threads, turns, and the turns of the longest, of an owner in the window's days."""
        last = (window.end - dt.timedelta(microseconds=1)).date() + dt.timedelta(days=1)
        row = await self._connection.fetchrow(THREADS, self._org_id, self._filters["owner"], window.start.date(), last)
        return row[0], row[1], row[2]

    async def hours(self, window: Window) -> list[int]:
        """Requests by hour of day (UTC) of an owner."""
        rows = await self._connection.fetch(HOURS, self._org_id, self._filters["owner"], window.start, window.end)
        found = {row[0]: row[1] for row in rows}
        return [found.get(hour, 0) for hour in range(24)]

    async def evidence(self, window: Window) -> list[Mapping[str, Any]]:
        """Rows of what models are compared by."""
        team = self._filters.get("team_id")
        rows = await self._connection.fetch(EVIDENCE, self._org_id, window.start, window.end, team)
        return [dict(row) for row in rows]

    async def tried(self, window: Window) -> list[Mapping[str, Any]]:
        """Attempts by model and provider."""
        return [dict(row) for row in await self._connection.fetch(TRIED, self._org_id, window.start, window.end)]


def _measures(row: asyncpg.Record) -> dict[str, int]:
    return {name: row[name] for name in MEASURES}


def joined(rows: list[Sums]) -> Sums:
    """The sums of several groups."""
    return Sums(
        None,
        {name: sum(row.measures[name] for row in rows) for name in MEASURES},
        b"".join(row.latency for row in rows),
        b"".join(row.first_token for row in rows),
    )
