"""What a chat that may be answered otherwise than by a provider of its own needs of its run: see CachedChat."""

from __future__ import annotations

from typing import Any

import msgspec

from dac.budget.v1.limit_pb2 import AdmitRequest
from dac.type.v1 import record_pb2, usage_pb2
from mesh.usage import openai_usage
from services.gateway.chat.pipeline import persistently
from services.gateway.chat.reserved_run import usd
from services.gateway.gating.checked_run import CheckedRun
from services.gateway.sharing import replay
from services.gateway.sharing.line import Sharing
from services.gateway.sharing.shared_answers import share_of
from services.gateway.wire import openai_documents


class SharedRun(CheckedRun):
    """A chat as far as others may answer it, or it others."""

    @property
    def sharing(self) -> Sharing:
        """How answers are shared."""
        return self._pipeline.sharing

    @property
    def cache_stub(self) -> Any:
        """The cache."""
        return self._stubs.cache

    @property
    def body(self) -> bytes:
        """What would be sent, earlier turns included."""
        return self._body

    @property
    def scope(self) -> str:
        """What tells its answers from those of other rules, beside the body."""
        stages = self.answer_stages.scope if self.answer_stages is not None else ""
        return stages if self.checking is None else f"{stages}\n{self.checking.scope}"

    @property
    def end_mark(self) -> bytes:
        """What a stream of this form ends with."""
        return self._end_mark

    @property
    def dispatched(self) -> bool:
        """Whether a provider was asked."""
        return self._dispatched

    @property
    def has_thread(self) -> bool:
        """Whether its turn is saved."""
        return self.turn is not None

    @property
    def private(self) -> bool:
        """Whether what it sends may hold what only its user may see."""
        return self.turn is not None and self.turn.private

    async def admit(self, model: str) -> None:
        """Counts a request that holds nothing: it costs nothing, but it is a request."""
        admission = AdmitRequest(request_id=self.call.request_id, models=[model])
        admitted = await persistently(lambda: self._stubs.limits.Admit(admission))
        self.rate_limit = admitted.rate_limit if admitted.HasField("rate_limit") else None

    async def save_question(self) -> None:
        """Saves the user's turn, if there is a thread."""
        if self.turn is not None:
            await self.turn.save_question()
            self.stage("save_question")

    async def save_turn(self, text: str, calls_json: str, output_tokens: int, model: str, finish_reason: str) -> None:
        """Saves the answer, if there is a thread."""
        if self.turn is not None:
            await self.turn.save_answer(text, calls_json, output_tokens, model, finish_reason)
            self.stage("save")

    def said_in(self, body: bytes) -> tuple[str, str]:
        """Text and tool calls of an answer as it was shown."""
        document = msgspec.json.encode(replay.assembled(replay.events_of(body))) if self.ask.stream else body
        return openai_documents.answer_of(document) if document != b"null" else ("", "")

    def charge_share(self, model: str, provider: str, usage: usage_pb2.Usage) -> int:
        """Takes what another request's call used as this one's own; what that is charged with."""
        self._shares_call = self._dispatched = True
        self.record.attempts.append(share_of(model, provider, usage, self.record.started_at.ToNanoseconds()))
        return self._cost(self.record.attempts) or 0

    def usage_event(self, usage: usage_pb2.Usage, model: str, cost: int | None) -> bytes:
        """The last event of a stream that asks for DAC's own figures."""
        own = {"request_id": self.call.request_id, "model": model, "cost_usd": None if cost is None else usd(cost)}
        extra: dict[str, Any] = {"dac": own if self.turn is None else {**own, **self.turn.told()}}
        if self.checking is not None:
            extra["dac"]["validation"] = self.checking.told()
        if self.ask.include_usage:
            extra["usage"] = openai_usage(usage)
        return openai_documents.chunk(self.call.request_id, model, [], extra)

    def end_well(self, finish_reason: str) -> None:
        """The answer is whole."""
        self._end(record_pb2.OUTCOME_OK, finish_reason)
