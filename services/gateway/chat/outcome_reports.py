"""What the router is told of attempts that ended: faults at once, everything else gathered for a moment.

Its breakers and its figures of speed live from this. Nothing waits for it, and what cannot be told is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dac.router.v1.router_pb2 import AttemptOutcome, ReportOutcomesRequest
from dac.type.v1 import record_pb2
from mesh.call import acting_as
from mesh.errors import MeshError, Reason

if TYPE_CHECKING:
    from dac.router.v1.router_pb2_grpc import RouterServiceAsyncStub

GATHERED_S = 0.5
"""How long good news waits for more of it."""
MOST_WAITING = 500
"""Outcomes that are told at once whatever they are, so that a burst fills no memory."""
TIMEOUT_S = 5.0
_PROVIDER_FAULTS = frozenset(
    {Reason.PROVIDER_FAILED, Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_TIMEOUT, Reason.PROVIDER_CUT}
)
_KEY_STATUSES = frozenset({400, 401, 402, 403, 429})


class OutcomeReports:
    """Tells router of the attempts of this process."""

    def __init__(self, router: RouterServiceAsyncStub) -> None:
        self._router = router
        self._waiting: list[AttemptOutcome] = []
        self._suspect: set[tuple[str, str]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def add(self, attempts: Sequence[record_pb2.AttemptRecord], *, stream: bool) -> None:
        """Takes in the attempts of one request. Only a stream says when its first token came."""
        urgent = False
        # The last attempt in a request speaks for a model at a provider: a retry is not a failure of its own.
        for place, attempt in {(attempt.model, attempt.provider): attempt for attempt in attempts}.items():
            fault = int(attempt.reason) in _PROVIDER_FAULTS
            ok = attempt.reason == 0
            if not (ok or fault) or (
                # It says something of one key, perhaps one organisation's: others are served as before.
                fault and attempt.provider_key_id and attempt.status_code in _KEY_STATUSES
            ):
                continue
            if fault:
                self._suspect.add(place)
                urgent = True
            elif place in self._suspect:
                self._suspect.discard(place)
                urgent = True
            total_ms = (attempt.ended_at.ToNanoseconds() - attempt.started_at.ToNanoseconds()) / 1e6
            self._waiting.append(
                AttemptOutcome(
                    model=attempt.model,
                    provider=attempt.provider,
                    ok=ok,
                    provider_fault=fault,
                    first_token_ms=attempt.first_token_ms if stream else 0.0,
                    total_ms=total_ms,
                    output_tokens=attempt.usage.output_tokens + attempt.usage.reasoning_tokens,
                )
            )
        if urgent or len(self._waiting) >= MOST_WAITING:
            self._begin()
        elif self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHERED_S, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        """One batch after the other, so that they arrive in the order in which they happened."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                with acting_as("gateway"):
                    try:
                        await self._router.ReportOutcomes(ReportOutcomesRequest(outcomes=batch), timeout=TIMEOUT_S)
                    except MeshError:
                        continue  # The router relearns from what comes next.
        finally:
            self._sending = None
