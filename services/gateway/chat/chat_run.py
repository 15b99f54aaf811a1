"""One chat on its way through the steps: what it holds, what it tells its caller, what it leaves on the record."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from dac.budget.v1.budget_pb2 import ReserveResponse
from dac.provider.v1.provider_pb2 import AttemptStarted, GenerateFinish, GenerateRequest
from dac.router.v1.answers_pb2 import AnswerRules
from dac.type.v1 import record_pb2, usage_pb2
from dac.type.v1.record_pb2 import AttemptRecord
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens
from mesh.transport import reading
from services.gateway.chat.answer_stages import AnswerStages
from services.gateway.chat.pipeline import CHAT, Done, Head, Pipeline
from services.gateway.chat.routed_run import RoutedRun
from services.gateway.chat.stream_cover import StreamCover
from services.gateway.gating.answer_check import AnswerCheck
from services.gateway.identity.callers import Caller
from services.gateway.sharing.cache_control import not_cached
from services.gateway.sharing.cached_chat import BYPASS, CachedChat
from services.gateway.threads.turn import ThreadTurn
from services.gateway.wire import openai_wire
from services.gateway.wire.openai_wire import ChatAsk
from services.gateway.wire.wires import wire_of

COUNTED_BYTES_MAX = 8 * 1024 * 1024
"""How much of an answer is kept to count it when its caller leaves."""
HELD_BYTES_MAX = 64 * 1024 * 1024
"""How much of an answer is held to be checked before it is shown."""
_BYPASS = (BYPASS,)


class ChatRun(RoutedRun):
    """One chat on its way. `events` yields Head, then bytes, then Done; it raises MeshError on failure."""

    def __init__(self, pipeline: Pipeline, ask: ChatAsk, caller: Caller, call: Call, *, client_request_id: str) -> None:
        super().__init__(
            pipeline,
            caller,
            call,
            model=ask.model,
            operation=CHAT,
            input_tokens=ask.input_tokens,
            client_request_id=client_request_id,
            dialect_in=ask.dialect,
            dialect_out=ask.dialect,
            stream=ask.stream,
            thread_id=ask.thread_id,
        )
        self.ask, self._body = ask, ask.body
        self._wire = wire_of(ask)
        self._end_mark = self._wire.end
        self._attempt: AttemptStarted | None = None
        self._attempt_ns = 0
        self._attempt_frame = 0
        self._frames: list[bytes] = []
        """What the provider's answer was, for counting it."""
        self._shown = self._frames
        """What was shown of it: the same, unless stages stand between."""
        self._frames_bytes = self._shown_bytes = 0
        self.answer_stages: AnswerStages | None = None
        """What its policy does to body and answer; None = nothing."""
        self._head_sent = False
        self.outlet: Callable[[bytes], bool] | None = None
        """Set by who can show a piece of a stream at once, in whatever task: most are then not yielded. It says False
        for a piece that it cannot take now."""
        self.last_piece = b""
        """What was shown last of a stream, as far as who set `outlet` notes it, too."""
        self._watch: StreamCover | None = None
        recalls = ask.enable_memory or (ask.agent_id and ask.enable_memory is not False)
        self.turn = ThreadTurn(pipeline, ask, caller, call) if ask.thread_id or recalls else None
        """Its part in a thread; None when it has none."""
        self.answer_headers = _BYPASS
        self._texts = pipeline.texts
        """What its prompt and its answer are handed to; None = they are not recorded."""
        if self._texts is not None and not self._texts.records(caller.principal.org_id):
            self._texts = None
        self._said: tuple[bytes, str] | None = None
        """What its provider answered: text and tool calls."""
        self._cached: CachedChat | None = None
        """Its part in cache and coalescing, which is known after the route; None when it has none."""

    async def events(self, begun: contextlib.ExitStack | None = None) -> AsyncGenerator[Head | bytes | Done, None]:
        """The answer, event by event; ends when the request's record is handed over.

        `begun`: the open account of a chat that was routed already, and goes on apart from its caller.
        """
        with begun or contextlib.ExitStack() as account:
            if begun is None:
                account.enter_context(self._accounted("the chat pipeline"))
                await self._open()
                if self._cached is not None and not self._cached.alone:
                    # Whoever leaves from here on leaves those behind who follow.
                    async for event in self._cached.events(self.events(account.pop_all())):
                        yield event
                    return
            if self._cached is not None:
                async for event in self._cached.answered({candidate.model for candidate in self._candidates}):
                    yield event
                if self.record.outcome:
                    return
            await self.reserve()
            if self.turn is not None:
                await self.turn.save_question()
                self.stage("save_question")
            try:
                async for event in self._answer():
                    yield event
            finally:
                if self._watch is not None:
                    await self._watch.close()

    async def _open(self) -> None:
        """Its context, its route, and what the cache is to do: only who routes knows what the policy says of that."""
        if self.turn is None:
            await self._route()
        else:
            await self._route_with_context(self.turn)
        if self.rules is not None or self.ask.redaction:
            await self._prepare(self.rules or AnswerRules())
        if self._pipeline.auto_line and openai_wire.lets_choose(self.ask.model):
            self._introduce(self._pipeline.auto_line)
        if (self.rules is not None or self.ask.enable_validation) and self.checks_answers:
            self._begin_checking()
        wish = self._pipeline.sharing.wish(self.ask, self.rules)
        if wish is None:
            return
        if self.answer_stages is None or not self.answer_stages.private:
            self._cached = CachedChat(self, wish)
        elif wish.only_if_cached:
            raise not_cached()

    def _generate_request(self, reservation: ReserveResponse) -> GenerateRequest:
        need_text = (
            self.ask.needs_text
            or self.turn is not None
            or self._cached is not None
            or self.checking is not None
            or self._texts is not None
        )
        request = self._asking(self._candidates, reservation.output_cap_tokens, need_text=need_text)
        rescues, hedge_after_s = self._pipeline.second_sends.granted(self.ask, reservation.rescues)
        request.rescues, request.hedge_after_s = rescues, hedge_after_s
        return request

    def _answer(self) -> AsyncIterator[Head | bytes | Done]:
        """The answer of a provider; one that is checked first is shown when it has passed."""
        assert self._reservation is not None
        self._dispatched, request = True, self._generate_request(self._reservation)
        if self.checking is None or not self.checking.held:
            return self._generate(request)
        return self._checked(self.checking, request)

    async def _checked(self, checking: AnswerCheck, request: GenerateRequest) -> AsyncIterator[Head | bytes | Done]:
        finish = await checking.answer(request)
        yield self._head()
        stages = self.answer_stages
        for data in self._frames:
            shown = self._passed(data if stages is None else stages.shown(data))
            if shown:
                yield shown
        async for last in self._finish(finish):
            yield last

    async def _generate(self, request: GenerateRequest, *, again: bool = False) -> AsyncIterator[Head | bytes | Done]:
        """What a provider answers; where answers are held, nothing, and the end is kept.

        `again`: the whole answer is held by the budget besides what the first one was.
        """
        assert self._reservation is not None
        finish, stages, held = None, self.answer_stages, self.holds_answers
        cover = None if again else self._cover(self._reservation)
        if cover is not None:
            self._watch = cover
            if self._cached is not None:
                self._cached.hold()
        outlet = self._poured if stages is None and cover is None and not held and self._shows_itself() else None
        async with reading(self._stubs.provider.Generate(request), outlet) as events:
            async for event in events:
                if event.HasField("frames"):
                    frames = event.frames
                    data = frames.data
                    if cover is not None:
                        await cover.show(frames, self._attempt)
                    if not self._head_sent and not held:
                        yield self._head()
                    if self.ask.stream:
                        data, end = self._wire.cut_end(data)
                        self._end_mark = end or self._end_mark
                    if data and held:
                        self._hold_back(data)
                    elif data:
                        self._keep(data)
                        if stages is not None:
                            data = self._passed(stages.shown(data))
                        if data:
                            yield data
                elif event.HasField("attempt"):
                    self._attempt, self._attempt_ns = event.attempt, time.time_ns()
                    self._attempt_frame = len(self._frames)
                else:
                    # Read on to the end: a call that is left early counts as cancelled.
                    finish = event
        if finish is not None and finish.HasField("failure"):
            raise self._refused(finish.failure)
        if finish is not None:
            if held:
                self._finished = finish.finish
                return
            async for last in self._finish(finish.finish):
                yield last
            return
        raise MeshError(Reason.INTERNAL, "The provider service ended without a result. Try again.")

    def _shows_itself(self) -> bool:
        """Whether pieces may go to its caller at once: nobody else waits for them."""
        return self.outlet is not None and (self._cached is None or self._cached.alone)

    def _poured(self, data: bytes) -> bool:
        """Shows a piece of a stream behind its first one; False when it is to come the usual way."""
        assert self.outlet is not None
        shown, end = self._wire.cut_end(data)
        if shown:
            if not self.outlet(shown):
                return False
            self.last_piece = shown
            self._keep(shown)
        if end:
            self._end_mark = end
        return True

    def _cover(self, held: ReserveResponse) -> StreamCover | None:
        """What watches an answer that is held in steps; None when all of it is held."""
        if not held.covered_output_tokens:
            return None
        record, extend = self.record, self._stubs.budget.Extend
        return StreamCover(held, record.org_id, record.request_id, extend, self._wire.answer_bytes)

    def _head(self) -> Head:
        self._head_sent = True
        if self.checking is not None:
            self.answer_headers = [*self.answer_headers, self.checking.header()]
        self.stage("first_token")
        model = self._answering()
        provider = self._attempt.provider if self._attempt else self._candidates[0].provider
        telemetry.FIRST_TOKEN.labels(model).observe(time.perf_counter() - self._started)
        return Head(model, provider, self.record.route.reason)

    def _keep(self, data: bytes) -> None:
        if self._frames_bytes < COUNTED_BYTES_MAX:
            self._frames.append(data)
            self._frames_bytes += len(data)

    def _hold_back(self, data: bytes) -> None:
        """Keeps a piece of an answer that is checked before it is shown."""
        self._frames_bytes += len(data)
        if self._frames_bytes > HELD_BYTES_MAX:
            raise MeshError(
                Reason.PROVIDER_FAILED,
                f"The answer is longer than {HELD_BYTES_MAX >> 20} MiB, more than is held to be checked. Ask for less.",
            )
        self._frames.append(data)

    def _passed(self, data: bytes) -> bytes:
        """Keeps what stages let pass, as `_keep` does what the provider sent."""
        if data and self._shown_bytes < COUNTED_BYTES_MAX:
            self._shown.append(data)
            self._shown_bytes += len(data)
        return data

    async def _finish(self, finish: GenerateFinish) -> AsyncIterator[Head | bytes | Done]:
        record, stages, checking = self.record, self.answer_stages, self.checking
        if self._texts is not None:
            # Before stages put back what redaction kept from the provider.
            self._said = finish.text.encode(), finish.tool_calls_json
        if checking is None or not checking.held:
            record.attempts.extend(finish.attempts)
            self.stage("generate")
        self._end(record_pb2.OUTCOME_OK, finish.finish_reason)
        cost = self._cost(record.attempts)
        if not self._head_sent:
            yield self._head()
        if stages is not None:
            rest = self._passed(stages.rest())
            if rest:
                yield rest
            self._end_mark, finish.text = stages.end(self._end_mark), stages.told(finish.text)
            finish.tool_calls_json = stages.told_calls(finish.tool_calls_json)
        model = finish.attempts[-1].model if finish.attempts else ""
        if self.turn is not None:
            calls, tokens = finish.tool_calls_json, finish.usage.output_tokens
            await self.turn.save_answer(finish.text, calls, tokens, model, finish.finish_reason)
            self.stage("save")
        if checking is not None and not checking.held:
            await checking.look(finish)
        if self.ask.stream and self.ask.include_dac:
            yield self.usage_event(finish.usage, model or self.ask.model, cost)
        if self._cached is not None:
            await self._cached.keep(finish, b"".join(self._shown), self._end_mark, cost)
            if self._cached.left:
                record.outcome = record_pb2.OUTCOME_CLIENT_GONE
        yield Done(finish.finish_reason, finish.usage, finish.usage_source, cost, finish.text, self._end_mark)

    def _count_open_attempt(self, why: MeshError) -> None:
        """The attempt that was cut off from here: provider's own count is lost, so what was used is counted."""
        if self._attempt is None or self._counted:
            return
        # Those before it have ended; one that broke after its first token has used something.
        self.record.attempts.extend(self._attempt.before)
        seam, shown, earlier = self._attempt_frame, 0, 0
        if self.ask.stream:
            shown = self._wire.answer_bytes(self._frames[seam:])
            earlier = self._wire.answer_bytes(self._frames[:seam]) if seam else 0
        self._add_open_attempt(
            self._attempt_ns,
            why,
            attempt_id=self._attempt.attempt_id,
            provider=self._attempt.provider,
            model=self._attempt.model,
            usage=usage_pb2.Usage(
                input_tokens=self.ask.input_tokens + estimate_tokens(earlier), output_tokens=estimate_tokens(shown)
            ),
            usage_source=usage_pb2.USAGE_SOURCE_COUNTED,
            rescue=self._attempt.rescue,
        )

    def _settle(self) -> None:
        try:
            if self.turn is not None:
                cut = self.ask.stream and self.record.outcome != record_pb2.OUTCOME_OK
                model = self._attempt.model if self._attempt is not None else ""
                self.turn.settle(self.record, b"".join(self._shown) if cut else b"", model)
        finally:
            if self._texts is not None and self._dispatched and not self._shares_call:
                said, calls = self._said or (self._texts.begun_of(self._frames), "")
                self._texts.take(self.record, self._body, said, calls)
            super()._settle()

    def _observe(
        self, label: str, outcome: str, attempts: Sequence[AttemptRecord], charge: int | None, seconds: float
    ) -> None:
        telemetry.observe_chat(label, outcome, attempts, charge, seconds=seconds)
