"""The single writer of a process: takes everything that is queued, commits it as one batch, replies, repeats.

There is no timer: while a batch is being written the next one gathers by itself, so an idle writer answers at once
and a busy one grows its batches. A long queue is taken in halves: callers who were answered together come again
together, and then everybody waits for one after the other, the database for this process and this for the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import overload

from mesh import telemetry
from mesh.errors import MeshError, Reason
from services.budget import errors
from services.budget.ledger.ledger import Decision
from services.budget.ledger.operations import Adjust, Adjusted, Extend, Operation, Reserve, Resolve, Settlement
from services.budget.ledger.rows import Reservation, State
from services.budget.ledger.store import LedgerStore

_log = logging.getLogger(__name__)

# There from the start: a growth from nothing to one is seen only when nothing was told before.
telemetry.BUDGET_OPERATIONS.labels("expire", "ok")

WHOLE_UP_TO = 64
"""A queue up to this long is one batch; halves of a longer one cost little more for each operation."""

AHEAD_FROM = 32
"""From so many on, what is queued is put together while the batch before is being written; fewer wait and gather."""

Waiting = tuple[Operation, "asyncio.Future[Decision]"]
_ENDINGS = {State.COMMITTED: "commit", State.RELEASED: "release", State.INDETERMINATE: "expire"}


def operation_of(op: Operation) -> str:
    """What an operation is called where operations are counted."""
    if not isinstance(op, Resolve):
        return "reserve" if isinstance(op, Reserve) else "extend" if isinstance(op, Extend) else "adjust"
    return _ENDINGS[op.to] if op.reservation_id else "record"


def _must_wait_for(op: Operation, earlier: Operation | None) -> bool:
    """Whether an operation needs what an earlier one of its request stores: one statement writes a row once."""
    if earlier is None or (isinstance(op, Reserve) and isinstance(earlier, Reserve)):
        return False
    if isinstance(op, Resolve) and isinstance(earlier, Reserve):
        return op.may_free_unanswered
    return not (isinstance(op, Resolve | Reserve) and isinstance(earlier, Resolve))


class Writer:
    """Group commit over a LedgerStore."""

    def __init__(self, store: LedgerStore, max_batch_operations: int, on_records: Callable[[], None]) -> None:
        self._store = store
        self._max_batch = max_batch_operations
        self._on_records = on_records
        self._queue: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        telemetry.BUDGET_QUEUE.watch("budget", lambda: [((), len(self._queue))])

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._run(), name="budget-writer")

    async def close(self) -> None:
        """Writes what is queued, then stops."""
        self._is_closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    @overload
    async def submit(self, op: Reserve) -> Reservation: ...
    @overload
    async def submit(self, op: Extend) -> Reservation: ...
    @overload
    async def submit(self, op: Adjust) -> Adjusted: ...
    @overload
    async def submit(self, op: Resolve) -> Settlement: ...
    async def submit(self, op: Operation) -> Reservation | Adjusted | Settlement:
        """Returns when the operation is durable. Raises MeshError when it is refused or could not be stored."""
        if self._is_closing or self._task is None:
            raise errors.writer_closed()
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._queue.append((op, future))
        if len(self._queue) in (1, AHEAD_FROM):
            self._wake.set()
        decision = await future
        if isinstance(decision, MeshError):
            try:
                raise decision
            finally:
                # By its traceback it holds this frame: were it held in turn, only the collector would find the two.
                del decision, future
        return decision

    async def _run(self) -> None:
        before: asyncio.Task[None] | None = None
        """The batch that is being written, and what is in it."""
        under_way: dict[str, Operation] = {}
        while True:
            if before is not None and not before.done():
                batch = self._take(under_way) if len(self._queue) >= AHEAD_FROM else []
                if batch:
                    behind = self._begin(batch)
                    await before
                    before, under_way = behind, {op.request_id: op for op, _ in batch}
                else:
                    await self._news()
            elif self._queue:
                batch = self._take({})
                if batch:
                    before, under_way = self._begin(batch), {op.request_id: op for op, _ in batch}
            elif self._is_closing:
                return
            else:
                await self._news()

    async def _news(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def _begin(self, batch: Sequence[Waiting]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._write(batch), name="budget-batch")
        task.add_done_callback(lambda _: self._wake.set())
        return task

    def _take(self, under_way: Mapping[str, Operation]) -> list[Waiting]:
        """What is queued. A reserve whose caller has gone is dropped; what was used is charged in any case."""
        queued = len(self._queue)
        most = min(self._max_batch, queued if queued <= WHOLE_UP_TO else -(-queued // 2))
        batch: list[Waiting] = []
        taken: dict[str, Operation] = {}
        while self._queue and len(batch) < most:
            op, future = self._queue[0]
            if isinstance(op, Reserve) and future.cancelled():
                self._queue.popleft()
                continue
            if _must_wait_for(op, taken.get(op.request_id)) or _must_wait_for(op, under_way.get(op.request_id)):
                break
            taken[op.request_id] = op
            self._queue.popleft()
            batch.append((op, future))
        return batch

    async def _write(self, batch: Sequence[Waiting]) -> None:
        try:
            decisions = await self._store.run([op for op, _ in batch])
        except Exception as error:
            failure = error if isinstance(error, MeshError) else None
            if len(batch) > 1 and (failure is None or failure.reason is not Reason.UNAVAILABLE):
                # One operation that cannot be stored must not take the others with it.
                for one in batch:
                    await self._write([one])
                return
            if failure is None:
                _log.exception("an operation could not be stored")
                failure = MeshError(Reason.INTERNAL, f"the ledger failed: {type(error).__name__}; see budget's log")
            decisions = [failure] * len(batch)
        has_records = False
        counts: dict[tuple[str, int], int] = {}
        for (op, future), decision in zip(batch, decisions, strict=True):
            is_repeat = False
            if isinstance(decision, Settlement):
                has_records, is_repeat = True, decision.is_repeat
            # A second report of one end changes nothing and is not counted.
            if not is_repeat:
                what = (operation_of(op), int(decision.reason) if isinstance(decision, MeshError) else 0)
                counts[what] = counts.get(what, 0) + 1
            if not future.done():
                future.set_result(decision)
        for (operation, reason), count in counts.items():
            telemetry.observe_ledger(operation, reason, count)
        if has_records:
            self._on_records()
