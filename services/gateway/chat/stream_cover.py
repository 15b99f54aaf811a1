"""A stream whose answer is held in steps: asks budget for more before what is covered runs out, else ends it.

Asking goes on beside the stream; only a stream that has used up what is covered waits for the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from dac.budget.v1.budget_pb2 import ExtendRequest, ExtendResponse, ReserveResponse
from dac.provider.v1.provider_pb2 import AttemptStarted
from dac.type.v1.chat_pb2 import Frames
from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens

AHEAD_TOKENS = 128
"""How long before the end of what is covered more is asked for."""
Extend = Callable[[ExtendRequest], Awaitable[ExtendResponse]]


class StreamCover:
    """Counts what is shown against what is covered.

    An event is at least one token, and as many as its text would be counted with if the stream broke off here.
    """

    def __init__(
        self,
        held: ReserveResponse,
        org_id: str,
        request_id: str,
        extend: Extend,
        answer_bytes: Callable[[Iterable[bytes]], int],
    ) -> None:
        self._held, self._org_id, self._request_id, self._extend = held, org_id, request_id, extend
        self._answer_bytes = answer_bytes
        self._covered = held.covered_output_tokens
        self._events = self._bytes = self._shown = 0
        self._asking: asyncio.Task[ExtendResponse] | None = None
        self._refusal: MeshError | None = None

    @property
    def covered_tokens(self) -> int:
        """How many tokens of the answer are covered by now."""
        return self._covered

    async def show(self, frames: Frames, attempt: AttemptStarted | None) -> None:
        """Before events are passed on. Raises BUDGET_EXHAUSTED when they are not covered and cannot be."""
        self._events += frames.events
        self._bytes += self._answer_bytes((frames.data,))
        self._shown = max(self._events, estimate_tokens(self._bytes))
        if self._shown + AHEAD_TOKENS <= self._covered or attempt is None:
            return
        if self._asking is not None and self._asking.done():
            await self._answered()
        while self._shown > self._covered:
            if self._refusal is not None:
                raise self._refusal
            self._begin_asking(attempt)
            await self._answered()
        if self._shown + AHEAD_TOKENS > self._covered:
            self._begin_asking(attempt)

    def _begin_asking(self, attempt: AttemptStarted) -> None:
        if self._asking is None and self._refusal is None:
            self._asking = asyncio.create_task(self._ask(attempt))

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
        try:
            covered = (await asking).covered_output_tokens
            if covered <= self._covered:
                raise MeshError(Reason.INTERNAL, "Budget covered no more of the answer and did not say why.")
            self._covered = covered
        except MeshError as refusal:
            # What is covered may still be shown.
            self._refusal = refusal

    async def close(self) -> None:
        """Stops asking. What was asked for is freed when the request is settled."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
