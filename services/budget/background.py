"""What budget does on its own: resolving expired reservations, telling audit of changes, cleaning, following prices."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from dac.type.v1 import record_pb2
from mesh import telemetry
from mesh.admin_changes import Append
from mesh.errors import MeshError, Reason
from mesh.postgres import Database
from services.budget.ledger.operations import Resolve
from services.budget.ledger.rows import State
from services.budget.ledger.writer import Writer
from services.budget.request_records import about, bound_sealer

STOP_AGAIN_S = 0.5
_log = logging.getLogger(__name__)

WORK = "SELECT org_id::text FROM organisations_with_work() WHERE work = $1"
EXPIRED = """SELECT reservation_id::text, request_id::text, draft FROM reservations
  WHERE org_id = $1 AND state = 0 AND expires_at <= $2 ORDER BY expires_at LIMIT $3"""
UNTOLD = "SELECT record_id, record FROM admin_outbox WHERE org_id = $1 ORDER BY record_id LIMIT 200"
BACKLOG = "SELECT open_reservations, reserved_nano_usd FROM backlog()"
UNREAD = "SELECT consumer, unread_records(xid, seq, $1) FROM record_consumers"
UNREAD_MAX = 100_000
"""Up to here unread records are counted."""
TOLD = "DELETE FROM admin_outbox WHERE org_id = $1 AND record_id = ANY ($2::uuid[])"


async def organisations_with(database: Database, work: str) -> list[str]:
    """The organisations that have this kind of work waiting."""
    async with database.transaction() as connection:
        return [row[0] for row in await connection.fetch(WORK, work)]


@dataclass(frozen=True)
class Sweeper:
    """Charges the bound of reservations whose end was never reported.

    Replicas may sweep at once: a reservation resolves only once, under its row's lock.
    """

    database: Database
    writer: Writer
    limit: int
    now: Callable[[], dt.datetime]

    async def sweep(self) -> int:
        """Resolves what has expired; returns how many reservations."""
        swept = 0
        for org_id in await organisations_with(self.database, "expired"):
            now = self.now()
            async with self.database.transaction(org_id) as connection:
                rows = await connection.fetch(EXPIRED, org_id, now, self.limit)
            settlements = await asyncio.gather(
                *(self.writer.submit(self._resolution(org_id, row[0], row[1], row[2], now)) for row in rows),
                return_exceptions=True,
            )
            for row, settlement in zip(rows, settlements, strict=True):
                if isinstance(settlement, BaseException):
                    _log.error("reservation %s could not be resolved: %s", row[0], settlement)
                else:
                    swept += not settlement.is_repeat
        if swept:
            _log.warning("%d reservations expired without a commit; their bound was charged", swept)
        return swept

    @staticmethod
    def _resolution(org_id: str, reservation_id: str, request_id: str, draft: bytes, now: dt.datetime) -> Resolve:
        seal = bound_sealer(draft, org_id=org_id, request_id=request_id, reservation_id=reservation_id, ended_at=now)
        told = about(record_pb2.RequestRecord.FromString(draft))
        return Resolve(org_id, request_id, reservation_id, State.INDETERMINATE, now, seal=seal, about=told)


@dataclass(frozen=True)
class ChangeTeller:
    """Delivers administrative records to audit; a record is removed only after audit has it."""

    database: Database
    append: Append

    async def tell(self) -> int:
        """Delivers what waits; returns how many records."""
        told = 0
        for org_id in await organisations_with(self.database, "admin"):
            async with self.database.transaction(org_id) as connection:
                rows = await connection.fetch(UNTOLD, org_id)
            if not rows:
                continue
            await self.append([row[1] for row in rows])
            async with self.database.transaction(org_id) as connection:
                await connection.execute(TOLD, org_id, [row[0] for row in rows])
            told += len(rows)
        return told


@dataclass(frozen=True)
class Backlog:
    """Counts what is under way, for the metrics page. Every replica counts the same."""

    database: Database

    async def count(self) -> None:
        """Reads the figures of all organisations."""
        async with self.database.transaction() as connection:
            held = await connection.fetchrow(BACKLOG)
            unread = await connection.fetch(UNREAD, UNREAD_MAX)
        telemetry.RESERVATIONS_OPEN.set(held[0])
        telemetry.RESERVED.set(float(held[1]) / 1e9)
        for consumer, records in unread:
            telemetry.RECORDS_UNREAD.labels(consumer).set(records)


async def repeat(
    name: str,
    every_s: float,
    work: Callable[[], Awaitable[object]],
    wake: asyncio.Event | None = None,
    *,
    first_s: float = 0.0,
) -> None:
    """Does `work` after `first_s` seconds, then every `every_s` or when woken. A failure is logged once until it
    succeeds again."""
    is_failing = False
    if first_s:
        await asyncio.sleep(first_s)
    while True:
        if wake is not None:
            wake.clear()
        try:
            await work()
            is_failing = False
        except MeshError as error:
            if not is_failing:
                level = logging.WARNING if error.reason is Reason.UNAVAILABLE else logging.ERROR
                _log.log(level, "%s: %s", name, error.message)
            is_failing = True
        except Exception:
            if not is_failing:
                _log.exception("%s failed", name)
            is_failing = True
        if wake is None:
            await asyncio.sleep(every_s)
        else:
            # Not wait_for: it forgets that it was cancelled when it is woken at the same moment.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await wake.wait()


async def stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Ends tasks that repeat. A cancellation that meets the answer it interrupts can be lost, so it is said again."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=STOP_AGAIN_S)
