"""Telling audit of administrative changes: from a service's outbox, again and again until audit has them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc.aio

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.type.v1 import record_pb2
from mesh.admin_record import Change
from mesh.call import acting_as
from mesh.errors import MeshError
from mesh.postgres import Database

RETRY_S = 5.0
APPEND_TIMEOUT_S = 10.0
"""For services that bound a delivery; the next one tells what this one did not."""
Append = Callable[[Sequence[bytes]], Awaitable[None]]
"""Delivers serialised AdminRecords. Raises MeshError."""


class Outbox(Protocol):
    """Where changes wait; each has its serialised AdminRecord in `record`."""

    async def untold(self) -> Sequence[Any]:
        """Some of the changes that audit does not have yet."""

    async def told(self, changes: Sequence[Any]) -> None:
        """Forgets changes that audit has."""


class ChangeOutbox:
    """See Outbox: the table change_outbox of a service's own schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def untold(self) -> Sequence[Change]:
        """See Outbox: the oldest ones."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT record_id, record FROM change_outbox ORDER BY record_id LIMIT 100")
        return [Change(str(row["record_id"]), row["record"]) for row in rows]

    async def told(self, changes: Sequence[Change]) -> None:
        """See Outbox."""
        ids = [change.record_id for change in changes]
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM change_outbox WHERE record_id = ANY ($1::uuid[])", ids)


async def put_out(connection: Any, change: Change) -> None:
    """Puts a change into change_outbox, inside the transaction that makes it."""
    await connection.execute("INSERT INTO change_outbox (record_id, record) VALUES ($1, $2)", *change)


def append_to_audit(
    service: str, channel_to: Callable[[str], grpc.aio.Channel], timeout_s: float | None = None
) -> Append:
    """How a service delivers to audit. The channel is asked for when there is something to deliver."""

    async def append(records: Sequence[bytes]) -> None:
        parsed = [record_pb2.AdminRecord.FromString(record) for record in records]
        with acting_as(service):
            stub = audit_pb2_grpc.AuditServiceStub(channel_to("audit"))
            await stub.Append(audit_pb2.AppendRequest(records=parsed), timeout=timeout_s)

    return append


class ChangeTeller:
    """Delivers what waits in an outbox. Replicas may deliver twice: audit takes each record id once."""

    def __init__(self, service: str, outbox: Outbox, append: Append) -> None:
        self._service, self._outbox, self._append = service, outbox, append
        self._log = logging.getLogger(f"dac.{service}.changes")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins delivering in the background."""
        self._task = asyncio.create_task(self._run(), name=f"{self._service}-changes")

    async def close(self) -> None:
        """Stops; what was not told yet waits in the outbox."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Something was just written."""
        self._wake.set()

    async def tell(self) -> int:
        """Delivers what waits; returns how many. Raises MeshError."""
        changes = await self._outbox.untold()
        if changes:
            await self._append([change.record for change in changes])
            await self._outbox.told(changes)
        return len(changes)

    async def _run(self) -> None:
        while True:
            try:
                while await self.tell():
                    pass
            except MeshError as error:
                self._log.debug("audit could not be told yet: %s", error.message)
            except Exception:
                self._log.exception("telling audit failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
