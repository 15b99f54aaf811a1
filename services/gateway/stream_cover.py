"""A stream whose answer is held in steps: asks budget for more before what is covered runs out, else ends it.

Asking goes on beside the stream; only a stream that has used up what is covered waits for the answer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from dac.budget.v1.budget_pb2 import ExtendRequest, ExtendResponse, ReserveResponse
from dac.provider.v1.provider_pb2 import AttemptStarted
from dac.type.v1.chat_pb2 import Frames
from mesh.errors import MeshError, Reason

AHEAD_TOKENS = 128
"""How long before the end of what is covered more is asked for."""
EVENT_BYTES = 300
"""What an event of one token weighs at most; what is above is counted as more tokens."""
BYTES_PER_TOKEN = 4

Extend = Callable[[ExtendRequest], Awaitable[ExtendResponse]]


def tokens_in(frames: Frames) -> int:
    """About how many answer tokens events carry: one each, and more for long ones."""
    return frames.events + max(0, len(frames.data) - EVENT_BYTES * frames.events) // BYTES_PER_TOKEN


class StreamCover:
    """Counts what is shown against what is covered."""

    def __init__(self, held: ReserveResponse, org_id: str, request_id: str, extend: Extend) -> None:
        self._held, self._org_id, self._request_id, self._extend = held, org_id, request_id, extend
        self._covered = held.covered_output_tokens
        self._shown = 0
        self._asking: asyncio.Task[ExtendResponse] | None = None

    async def show(self, frames: Frames, attempt: AttemptStarted | None) -> None:
        """Before events are passed on. Raises BUDGET_EXHAUSTED when they are not covered and cannot be."""
        self._shown += tokens_in(frames)
        if self._shown + AHEAD_TOKENS <= self._covered or attempt is None:
            return
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(attempt))
        if self._shown > self._covered:
            await self._answered()
        elif self._asking.done():
            # What is refused now still leaves what is covered to be shown.
            with contextlib.suppress(MeshError):
                await self._answered()

    async def _ask(self, attempt: AttemptStarted) -> ExtendResponse:
        return await self._extend(
            ExtendRequest(
                org_id=self._org_id,
                request_id=self._request_id,
                reservation_id=self._held.reservation_id,
                reservation_secret=self._held.reservation_secret,
                provider=attempt.provider,
                model=attempt.model,
                output_tokens=max(self._covered, self._shown) + 1,
            )
        )

    async def _answered(self) -> None:
        assert self._asking is not None
        asking, self._asking = self._asking, None
        answer = await asking
        if answer.covered_output_tokens <= self._covered:
            raise MeshError(Reason.INTERNAL, "Budget covered no more of the answer and did not say why.")
        self._covered = answer.covered_output_tokens

    async def close(self) -> None:
        """Stops asking. What was asked for is freed when the request is settled."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
