"""What a chat has to do so that its answers can be checked before they are shown: keep one back, ask for another one,
show the one that is given."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from dac.budget.v1.budget_pb2 import ExtendRequest
from dac.provider.v1.provider_pb2 import AttemptStarted, Deadlines, GenerateFinish, GenerateRequest
from dac.router.v1.router_pb2 import Candidate
from mesh.errors import MeshError, Reason
from services.gateway.chat import candidates
from services.gateway.chat.answer_stages import AnswerStages
from services.gateway.chat.held_run import HeldRun
from services.gateway.chat.pipeline import Done, Head
from services.gateway.chat.stream_cover import StreamCover
from services.gateway.gating.answer_check import AnswerCheck, check_of
from services.gateway.gating.validation import Validation
from services.gateway.sharing import replay
from services.gateway.threads.turn import ThreadTurn

LEAST_S = 3.0
"""How much of a request's time must be left for another answer to be asked for."""
SPARE_S = 2.0
"""How much of it that answer leaves for saving and sending one."""


class CheckedRun(HeldRun):
    """A chat as far as its answers are checked."""

    checks_answers = True
    """Whether its policy and its request may have its answers checked."""
    checking: AnswerCheck | None = None
    """Its part in validation; None = it has none."""
    turn: ThreadTurn | None
    answer_stages: AnswerStages | None
    _attempt: AttemptStarted | None
    _frames: list[bytes]
    _shown: list[bytes]
    _frames_bytes: int
    _end_mark: bytes
    _watch: StreamCover | None
    _finished: GenerateFinish | None = None
    _counted = False
    """The attempts of the answer that is kept back are on the record: it is no open one."""

    def _generate(self, request: GenerateRequest, *, again: bool = False) -> AsyncIterator[Head | bytes | Done]:
        raise NotImplementedError

    def _begin_checking(self) -> None:
        """Sees whether answers are to be checked, once it is known which rules count."""
        self.checking = check_of(self)
        if self.checking is not None and self.checking.held:
            self._shown = []

    @property
    def holds_answers(self) -> bool:
        """Whether nothing is shown before it is checked."""
        return self.checking is not None and self.checking.held

    @property
    def validation(self) -> Validation:
        """What checks answers."""
        found = self._pipeline.validation
        if found is None:
            raise MeshError(Reason.UNAVAILABLE, "Answers cannot be checked here.")
        return found

    def sources(self) -> tuple[str, ...]:
        """What the answer should rest on: what the request names, and what was recalled besides."""
        named = self.ask.validation_context
        return (*named, *self.turn.recalled_texts) if named and self.turn is not None else named

    def choices_said(self, *, shown: bool) -> list[str]:
        """The texts of all choices of an answer in OpenAI's form, as it was shown or as it came."""
        body = b"".join(self._shown if shown else self._frames)
        try:
            document = replay.assembled(replay.events_of(body)) if self.ask.stream else msgspec.json.decode(body)
            said = [choice["message"].get("content") for choice in (document or {}).get("choices", ())]
        except (ValueError, KeyError, TypeError, AttributeError):
            # A provider that writes its answers otherwise than its form says.
            return []
        return [text for text in said if isinstance(text, str)]

    async def collect(self, request: GenerateRequest, *, again: bool = False) -> GenerateFinish:
        """One whole answer, kept back; its attempts are on the record. Raises MeshError."""
        self._attempt, self._frames, self._frames_bytes = None, [], 0
        self._finished, self._counted, known = None, False, len(self.record.attempts)
        try:
            async for _ in self._generate(request, again=again):
                raise AssertionError("an answer that is kept back was shown")
        except MeshError as error:
            if again and len(self.record.attempts) == known:
                self._count_open_attempt(error)
            self._counted = again
            raise
        finish: GenerateFinish | None = self._finished
        assert finish is not None
        self.record.attempts.extend(finish.attempts)
        self._counted = True
        self.stage("generate")
        return finish

    def collected(self) -> tuple[AttemptStarted | None, list[bytes], bytes]:
        """What answered, the answer as it came, and the end of its stream."""
        return self._attempt, self._frames, self._end_mark

    def give(self, attempt: AttemptStarted | None, frames: list[bytes], end: bytes) -> None:
        """Of several answers that were kept back, the one to be shown."""
        self._attempt, self._frames, self._end_mark = attempt, frames, end

    def _asking(self, chain: Sequence[Candidate], most_tokens: int, *, need_text: bool) -> GenerateRequest:
        """What asks the models of a chain for an answer of at most so many tokens in all; 0 = as many as they write."""
        ask = self.ask
        request = GenerateRequest(
            request_id=self.call.request_id,
            input=self._body,
            dialect_in=ask.dialect,
            dialect_out=ask.dialect,
            stream=ask.stream,
            include_usage=ask.include_usage and not ask.include_dac,
            need_text=need_text,
            anthropic_beta=ask.anthropic_beta,
        )
        request.candidates.extend(candidates.asked(chain, output_cap_tokens=most_tokens // ask.choices))
        return request

    async def another_request(self) -> GenerateRequest | None:
        """What asks for another answer: of the next models of the chain, or of the same one where there is none.

        None when there is no time for it, or the budget does not cover it.
        """
        held, left_s = self._reservation, (self.call.deadline or float("inf")) - time.monotonic()
        if held is None or left_s < LEAST_S:
            return None
        tried = {one.model for one in self.record.attempts}
        last = self.record.attempts[-1].model if self.record.attempts else ""
        left = [one for one in self._candidates if one.model not in tried]
        left = left or [one for one in self._candidates if one.model == last]
        if not left:
            return None
        # Where nobody knows how long an answer can be, this one may be as long as what the first one came to cover.
        covered = self._watch.covered_tokens if self._watch is not None else held.covered_output_tokens
        most = held.output_cap_tokens or self._wanted_tokens() or covered
        extend = ExtendRequest(
            org_id=self.record.org_id,
            request_id=self.record.request_id,
            reservation_id=held.reservation_id,
            reservation_secret=held.reservation_secret,
            again=candidates.priced(left),
            input_tokens_max=self._input_tokens_max(),
            max_output_tokens=most,
        )
        try:
            await self._stubs.budget.Extend(extend)
        except MeshError:
            return None
        capped = bool(held.output_cap_tokens or held.covered_output_tokens)
        request = self._asking(left, most if capped else 0, need_text=True)
        if left_s < float("inf"):
            request.deadlines.CopyFrom(Deadlines(total_s=left_s - SPARE_S))
        return request
