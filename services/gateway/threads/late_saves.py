"""What of a turn is saved after its request: an answer that was cut, and whatever memory was not there to take.

Each turn has a task of its own, tried until memory has it; shutting down waits for all of them.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dac.memory.v1.conversation_pb2 import AppendMessagesRequest, OpenTurnRequest
from mesh import call as calls
from mesh.call import Call
from mesh.errors import MeshError, Reason
from services.gateway.chat.settlement import FIRST_WAIT_S, GIVE_UP_AFTER, LONGEST_WAIT_S
from services.gateway.identity.callers import Caller

if TYPE_CHECKING:
    from dac.memory.v1.conversation_pb2_grpc import ConversationServiceAsyncStub

MOST_WAITING = 1_000
"""How many turns may wait for memory at once; more are refused instead of answered."""
UNREACHED = frozenset({Reason.UNAVAILABLE, Reason.DEADLINE_EXCEEDED})
"""Memory did not take it, and may later."""
_OF_DAC = frozenset({Reason.INTERNAL})
"""A fault of DAC's own, which may go away."""
TIMEOUT_S = 15.0
"""One try to save."""
_log = logging.getLogger("dac.gateway.late_saves")
Step = OpenTurnRequest | AppendMessagesRequest


class LateSaves:
    """Saves turns with memory. `drain` waits for all that were handed in."""

    def __init__(self, threads: "ConversationServiceAsyncStub") -> None:
        self._threads = threads
        self._running: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return len(self._running) >= MOST_WAITING

    def submit(self, steps: Sequence[Step], call: Call, caller: Caller) -> None:
        """Takes over the steps of one turn, in their order; returns at once."""
        task = asyncio.create_task(self._save(steps, call, caller))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _save(self, steps: Sequence[Step], call: Call, caller: Caller) -> None:
        for step in steps:
            if not await self._saved(step, call, caller):
                return

    async def _saved(self, step: Step, call: Call, caller: Caller) -> bool:
        wait_s, broken = FIRST_WAIT_S, 0
        while True:
            deadline = time.monotonic() + TIMEOUT_S
            calls.enter(Call(call.request_id, caller.principal, caller.signed(), deadline, call.trace_id, call.span_id))
            try:
                if isinstance(step, OpenTurnRequest):
                    await self._threads.OpenTurn(step)
                else:
                    await self._threads.AppendMessages(step)
                return True
            except Exception as error:
                if not isinstance(error, MeshError) or error.reason not in UNREACHED:
                    broken += 1
                    if broken == GIVE_UP_AFTER or (isinstance(error, MeshError) and error.reason not in _OF_DAC):
                        _log.error("a turn of request %s is not saved: %s", call.request_id, _said(error))
                        return False
                _log.warning("saving a turn of request %s: %s; trying again", call.request_id, _said(error))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def drain(self, timeout_s: float) -> None:
        """Waits for everything handed in."""
        if self._running:
            _, left = await asyncio.wait(self._running, timeout=timeout_s)
            for task in left:
                task.cancel()
            if left:
                _log.error("%d turns were not saved in time", len(left))


def _said(error: Exception) -> str:
    return error.message if isinstance(error, MeshError) else repr(error)
