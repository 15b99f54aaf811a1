"""Lists for auditors: requests and changes by who, what, which and when, newest first, page by page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mesh.postgres import Database
from services.audit.paging import Place
from services.audit.sealing import form
from services.audit.sealing.payloads import PLAIN, Payloads
from services.audit.store import KIND_CHANGE, KIND_REQUEST

LOOKS = 8
"""So many times a page goes on when what it looked into did not fit; then it ends short, as AIP-158 allows."""
# With the values known, filters that were not asked for fold away, and the index of one that was is seen.
EXACT_PLANS = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"
REQUESTS = """SELECT started_at, request_id, record, actor IS NULL AS unread FROM requests
  WHERE org_id = $1
    AND ($2::timestamptz IS NULL OR (started_at, request_id) < ($2, $3::uuid))
    AND ($4 = '' OR model = $4)
    AND ($5 = 0 OR outcome = $5)
    AND ($6::timestamptz IS NULL OR started_at > $6)
    AND ($7::timestamptz IS NULL OR started_at < $7)
    AND ($8 = '' OR actor = left($8, 256))
    AND ($9 = '' OR operation = $9)
  ORDER BY started_at DESC, request_id DESC LIMIT $10"""
# Rows of before the columns were there; the caller looks into their records.
UNREAD = """SELECT started_at, request_id, record, true AS unread FROM requests
  WHERE org_id = $1 AND actor IS NULL
    AND ($2::timestamptz IS NULL OR (started_at, request_id) < ($2, $3::uuid))
    AND ($4 = '' OR model = $4)
    AND ($5 = 0 OR outcome = $5)
    AND ($6::timestamptz IS NULL OR started_at > $6)
    AND ($7::timestamptz IS NULL OR started_at < $7)
  ORDER BY started_at DESC, request_id DESC LIMIT $8"""
CHANGES = """SELECT at, record_id, record, false AS unread FROM changes
  WHERE org_id = $1
    AND ($2::timestamptz IS NULL OR (at, record_id) < ($2, $3::uuid))
    AND ($4 = '' OR actor = left($4, 256))
    AND ($5 = '' OR action = $5 OR (action > $5 || '.' AND action < $5 || '/'))
    AND ($6 = '' OR starts_with(target, left($6, 256)))
    AND ($7::timestamptz IS NULL OR at > $7)
    AND ($8::timestamptz IS NULL OR at < $8)
  ORDER BY at DESC, record_id DESC LIMIT $9"""


class RequestFilters(NamedTuple):
    """What a list of requests is narrowed by; empty, 0 and None = any."""

    org_id: str
    model: str
    outcome: int
    after: dt.datetime | None
    before: dt.datetime | None
    actor: str
    operation: str


class ChangeFilters(NamedTuple):
    """What a list of changes is narrowed by; empty and None = any."""

    org_id: str
    actor: str
    action: str
    """A noun.verb, or a noun for all that was done to such."""
    target: str
    """What it begins with."""
    after: dt.datetime | None
    before: dt.datetime | None


class Listed(NamedTuple):
    """A row of a page."""

    place: Place
    record: bytes
    unread: bool
    """Stored without the columns of who and what: whether it fits is to be read from the record."""


@dataclass(frozen=True)
class Lists:
    """Reads of the schema `audit`."""

    database: Database
    payloads: Payloads = PLAIN

    async def _listed(self, org_id: str, kind: int, rows: Sequence[Any]) -> list[Listed]:
        records = [(form.Place(org_id, kind, str(row[1])), row[2]) for row in rows]
        opened = await self.payloads.opened(records, bare=True)
        return [Listed(Place(row[0], str(row[1])), record, row[3]) for row, record in zip(rows, opened, strict=True)]

    async def requests(self, filters: RequestFilters, after: Place | None, limit: int) -> list[Listed]:
        """Requests behind a place; among them those that are still to be looked into."""
        place = (after.at, after.row_id) if after else (None, None)
        narrow = (filters.model, filters.outcome, filters.after, filters.before)
        async with self.database.transaction(filters.org_id) as connection:
            await connection.execute(EXACT_PLANS)
            found = await connection.fetch(
                REQUESTS, filters.org_id, *place, *narrow, filters.actor, filters.operation, limit
            )
            if filters.actor or filters.operation:
                found += await connection.fetch(UNREAD, filters.org_id, *place, *narrow, limit)
                found.sort(key=lambda row: (row[0], str(row[1])), reverse=True)
        return await self._listed(filters.org_id, KIND_REQUEST, found[:limit])

    async def fitting_requests(
        self, filters: RequestFilters, after: Place | None, size: int, fits: Callable[[bytes], bool]
    ) -> tuple[list[Listed], Place | None]:
        """At most `size` requests that fit, and where to go on; None = there are no more.

        `fits` reads a record that was stored without the columns of who and what.
        """
        found: list[Listed] = []
        place = after
        for _ in range(LOOKS):
            rows = await self.requests(filters, place, size + 1)
            for row in rows:
                if len(found) == size:
                    return found, place
                place = row.place
                if not row.unread or fits(row.record):
                    found.append(row)
            if len(rows) <= size:
                return found, None
        return found, place

    async def changes(self, filters: ChangeFilters, after: Place | None, limit: int) -> list[Listed]:
        """Changes behind a place."""
        place = (after.at, after.row_id) if after else (None, None)
        narrow = (filters.actor, filters.action, filters.target, filters.after, filters.before)
        async with self.database.transaction(filters.org_id) as connection:
            await connection.execute(EXACT_PLANS)
            found = await connection.fetch(CHANGES, filters.org_id, *place, *narrow, limit)
        return await self._listed(filters.org_id, KIND_CHANGE, found)
