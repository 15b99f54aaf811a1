"""Follows budget's outbox: one leader among the replicas takes records and stores them with its cursor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import NamedTuple

from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.postgres import Database
from services.audit.config import AuditConfig
from services.audit.store import AuditStore, RequestRow

_log = logging.getLogger(__name__)

_STORED, _SKIPPED = (telemetry.AUDIT_RECORDS.labels(outcome) for outcome in ("stored", "skipped"))
TAKE_LEAD = "SELECT pg_try_advisory_lock(hashtext('dac.audit.follower'))"


class Fetched(NamedTuple):
    """One answer of budget."""

    rows: list[RequestRow]
    cursor: str


Fetch = Callable[[str], Awaitable[Fetched]]
"""Records after a cursor; waits for the first."""


class Arrivals:
    """Wakes whoever waits for new requests in this process."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._also: list[Callable[[], None]] = []

    def announce(self) -> None:
        """Requests were stored."""
        self._news.set()
        self._news = asyncio.Event()
        for told in self._also:
            told()

    def also(self, told: Callable[[], None]) -> None:
        """Calls this with every announcement."""
        self._also.append(told)

    def next(self) -> asyncio.Event:
        """Set by the next announcement: take it before looking, then wait."""
        return self._news


class Follower:
    """The leader's loop. Losing the database session loses the lead; inserting twice changes nothing."""

    def __init__(
        self,
        database: Database,
        store: AuditStore,
        fetch: Fetch,
        arrivals: Arrivals,
        config: AuditConfig,
        duties: Sequence[Callable[[], Coroutine[None, None, None]]] = (),
    ) -> None:
        """`duties`: what else only the leader does, for as long as it leads."""
        self._database = database
        self._store = store
        self._fetch = fetch
        self._arrivals = arrivals
        self._config = config
        self._duties = duties

    async def run(self) -> None:
        """Tries to lead, follows while it does, and comes back after failures; never returns."""
        pause_s = self._config.retry_first_s
        while True:
            try:
                async with self._database.session() as session:
                    if await session.fetchval(TAKE_LEAD):
                        async with self._leading():
                            cursor = await self._store.cursor()
                            while True:
                                cursor = await self._step(cursor)
                                pause_s = self._config.retry_first_s
                                # A lost session has lost the lock: somebody else may be the leader now.
                                await session.fetchval("SELECT 1")
                    pause_s = self._config.retry_last_s
            except MeshError as error:
                if pause_s == self._config.retry_first_s:
                    _log.warning("following budget's records is interrupted: %s", error.message)
            except Exception:
                _log.exception("following budget's records failed")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, self._config.retry_last_s)

    @contextlib.asynccontextmanager
    async def _leading(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(duty(), name="audit-leader") for duty in self._duties]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _step(self, cursor: str) -> str:
        rows, behind = await self._fetch(cursor)
        if behind != cursor:
            try:
                await self._store.insert_requests(_once(rows), behind)
                _STORED.inc(len(rows))
            except MeshError as error:
                if error.reason is Reason.UNAVAILABLE or not rows:
                    raise
                await self._store_one_by_one(_once(rows), cursor, behind)
            self._arrivals.announce()
        return behind

    async def _store_one_by_one(self, rows: Sequence[RequestRow], cursor: str, behind: str) -> None:
        """Stores what can be stored: one record that PostgreSQL refuses must not stop the feed of every tenant."""
        # Where nothing can be stored at all, no record is to blame: all of them wait.
        await self._store.check_insert()
        for row in rows:
            try:
                await self._store.insert_requests([row], cursor)
                _STORED.inc()
            except MeshError as error:
                if error.reason is Reason.UNAVAILABLE:
                    raise
                _SKIPPED.inc()
                _log.error("request %s of organisation %s is skipped: %s", row.request_id, row.org_id, error.message)
        await self._store.insert_requests([], behind)


def _once(rows: Sequence[RequestRow]) -> list[RequestRow]:
    """The first of each request: a statement must not insert one key twice."""
    return list({(row.org_id, row.request_id): row for row in reversed(rows)}.values())[::-1]
