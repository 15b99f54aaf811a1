"""After the last byte: one Commit (or Release) a request, in a task of its own, tried until it is stored."""

import asyncio
import logging
import time

from dac.budget.v1.budget_pb2 import CommitRequest, ReleaseRequest, ReserveResponse
from dac.type.v1.record_pb2 import RequestRecord
from mesh import call as calls
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from services.gateway.chat.budget_session import Ledger
from services.gateway.identity.callers import Caller

_log = logging.getLogger("dac.gateway.settlement")
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
GIVE_UP_AFTER = 10
"""A fault of DAC's own that comes again and again will not go away; the sweeper resolves the reservation."""
_STORED, _AGAIN, _LOST = (telemetry.SETTLEMENTS.labels(outcome) for outcome in ("stored", "again", "lost"))
_FINAL = frozenset(
    {
        Reason.RESERVATION_INVALID,
        Reason.REQUEST_ID_CONFLICT,
        Reason.INVALID_REQUEST,
        Reason.PERMISSION_DENIED,
        Reason.NOT_FOUND,
    }
)


class Settlements:
    """Stores request records with budget. `drain` waits for all that were handed in."""

    def __init__(self, budget: Ledger, *, timeout_s: float) -> None:
        self._budget, self._timeout_s = budget, timeout_s
        self._running: set[asyncio.Task[None]] = set()
        telemetry.SETTLEMENTS_PENDING.watch("gateway", lambda: [((), len(self._running))])

    def submit(self, message: CommitRequest | ReleaseRequest, caller: Caller) -> None:
        """Takes over a record; returns at once."""
        task = asyncio.create_task(self._settle(message, caller))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def release(self, reserving: "asyncio.Future[ReserveResponse]", record: RequestRecord, caller: Caller) -> None:
        """Frees a reservation of which nothing was sent, once it is known; without one only the record is stored."""
        task = asyncio.create_task(self._release(reserving, record, caller))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _release(
        self, reserving: "asyncio.Future[ReserveResponse]", record: RequestRecord, caller: Caller
    ) -> None:
        try:
            held = await reserving
        except (MeshError, asyncio.CancelledError):
            await self._settle(CommitRequest(record=record), caller)
            return
        message = ReleaseRequest(
            reservation_id=held.reservation_id, reservation_secret=held.reservation_secret, record=record
        )
        await self._settle(message, caller)

    async def _settle(self, message: CommitRequest | ReleaseRequest, caller: Caller) -> None:
        wait_s, span_id, broken = FIRST_WAIT_S, calls.current().span_id, 0
        while True:
            deadline = time.monotonic() + self._timeout_s
            record = message.record
            calls.enter(Call(record.request_id, caller.principal, caller.signed(), deadline, record.trace_id, span_id))
            try:
                if isinstance(message, CommitRequest):
                    await self._budget.Commit(message)
                else:
                    await self._budget.Release(message)
                _STORED.inc()
                return
            except MeshError as error:
                if error.reason in _FINAL:
                    _LOST.inc()
                    _log.error("the record of request %s was refused: %s", record.request_id, error.message)
                    return
                _log.warning("storing the record of request %s: %s; trying again", record.request_id, error.message)
            except Exception:
                _log.exception("storing the record of request %s failed inside", record.request_id)
                broken += 1
                if broken == GIVE_UP_AFTER:
                    _LOST.inc()
                    return
            _AGAIN.inc()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def drain(self, timeout_s: float) -> None:
        """Waits for everything handed in. What is not stored then is resolved by budget's sweeper."""
        if self._running:
            _, left = await asyncio.wait(self._running, timeout=timeout_s)
            for task in left:
                task.cancel()
            if left:
                _log.error(
                    "%d request records were not stored in time; budget's sweeper resolves those with a reservation",
                    len(left),
                )
