"""One chat on its way through the steps: what it holds, what it tells its caller, what it leaves on the record."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from dac.budget.v1.budget_pb2 import (
    CandidateRates,
    CommitRequest,
    PricedCandidate,
    ReserveRequest,
    ReserveResponse,
)
from dac.memory.v1 import cache_pb2, conversation_pb2
from dac.provider.v1.provider_pb2 import AttemptStarted, GenerateCandidate, GenerateFinish, GenerateRequest
from dac.router.v1.router_pb2 import Candidate, RouteRequest
from dac.type.v1 import chat_pb2, record_pb2, usage_pb2
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens
from mesh.transport import reading
from services.gateway import openai_wire
from services.gateway.callers import Caller
from services.gateway.openai_wire import ChatAsk
from services.gateway.pipeline import DONE, Done, Head, Pipeline, ProviderRefusal, persistently

COUNTED_BYTES_MAX = 8 * 1024 * 1024
"""How much of an answer is kept for counting it when its caller leaves."""
WINDOW_TOKENS = 8_000
"""How much of a thread goes along with a new turn."""


class ChatRun:
    """One chat on its way. `events` yields Head, then bytes, then Done; it raises MeshError on failure."""

    def __init__(self, pipeline: Pipeline, ask: ChatAsk, caller: Caller, call: Call, *, client_request_id: str) -> None:
        self._pipeline, self._stubs = pipeline, pipeline.stubs
        self.ask, self.caller, self.call = ask, caller, call
        self._body = ask.body
        self._started = time.perf_counter()
        self._mark = self._started
        self._stages: dict[str, float] = {}
        self._reservation: ReserveResponse | None = None
        self._reserving: asyncio.Future[ReserveResponse] | None = None
        self._candidates: list[Candidate] = []
        self._attempt: AttemptStarted | None = None
        self._attempt_ns = 0
        self._frames: list[bytes] = []
        self._frames_bytes = 0
        self._dispatched = False
        self._head_sent = False
        self._fingerprint = b""
        self._turn_open = False
        principal = caller.principal
        self.record = record_pb2.RequestRecord(
            request_id=call.request_id,
            org_id=principal.org_id,
            path=principal.path,
            asked_model=ask.model[:200],
            dialect_in=chat_pb2.DIALECT_OPENAI_CHAT,
            dialect_out=chat_pb2.DIALECT_OPENAI_CHAT,
            client_request_id=client_request_id,
            stream=ask.stream,
            thread_id=ask.thread_id,
            trace_id=call.trace_id,
            features=record_pb2.Features(input_tokens_estimated=ask.input_tokens),
            cache=record_pb2.CacheRecord(status=record_pb2.CacheRecord.STATUS_OFF),
        )
        self.record.started_at.FromNanoseconds(time.time_ns())

    def _stage(self, name: str) -> None:
        now = time.perf_counter()
        self._stages[name] = round((now - self._mark) * 1e3, 3)
        self._mark = now

    async def events(self) -> AsyncGenerator[Head | bytes | Done, None]:
        """The answer, event by event."""
        try:
            if self.ask.thread_id:
                await self._open_turn()
            await self._route()
            if self.ask.enable_cache:
                hit = await self._look_up()
                if hit is not None:
                    for event in self._from_cache(hit):
                        yield event
                    return
            await self._reserve()
            async for event in self._generate():
                yield event
        except MeshError as error:
            self._fail(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self._leave()
            raise
        finally:
            self._settle()

    async def _open_turn(self) -> None:
        ask = self.ask
        new = [
            conversation_pb2.Message(
                role=message.role,
                text=openai_wire.text_of(message),
                openai_json=""
                if isinstance(message.content, str) and not message.tool_calls and not message.tool_call_id
                else raw.decode(),
                tokens_estimated=estimate_tokens(len(raw)),
            )
            for message, raw in zip(ask.messages, openai_wire.raw_messages(ask), strict=True)
            if message.role not in ("system", "developer")
        ]
        turn = conversation_pb2.OpenTurnRequest(
            thread_id=ask.thread_id, request_id=self.call.request_id, messages=new, max_tokens=WINDOW_TOKENS
        )
        opened = await persistently(lambda: self._stubs.threads.OpenTurn(turn))
        self._turn_open = True
        earlier = [
            message.openai_json.encode() or openai_wire.plain_message(message.role, message.text)
            for message in opened.window
        ]
        if earlier:
            self._body = openai_wire.with_messages(ask, earlier)
            ask.input_tokens += opened.window_tokens
            ask.input_tokens_max += sum(map(len, earlier))
        telemetry.CONVERSATIONS.inc(0 if opened.window else 1)
        self._stage("context")

    async def _route(self) -> None:
        ask = self.ask
        request = RouteRequest(
            model=ask.model,
            profile=ask.profile,
            input_tokens=ask.input_tokens,
            max_output_tokens=ask.max_output_tokens,
            needs_tools=ask.needs_tools,
            needs_images=ask.needs_images,
            needs_json=ask.needs_json,
            stream=ask.stream,
            allowed_models=self.caller.models,
        )
        answer = await persistently(lambda: self._stubs.router.Route(request))
        self._candidates = list(answer.candidates)
        self.record.route.CopyFrom(answer.route)
        self._stage("route")

    async def _look_up(self) -> cache_pb2.CachedAnswer | None:
        self._fingerprint = openai_wire.fingerprint(self.ask, self._body)
        verdict = record_pb2.CacheRecord.STATUS_MISS
        answer = None
        try:
            found = await self._stubs.cache.Lookup(cache_pb2.LookupRequest(fingerprint=self._fingerprint), timeout=2)
            if found.HasField("answer"):
                verdict, answer = record_pb2.CacheRecord.STATUS_HIT, found.answer
        except MeshError:
            self._fingerprint = b""  # Without a cache the answer is still given.
        self.record.cache.status = verdict
        telemetry.CACHE.labels("hit" if answer is not None else "miss").inc()
        self._stage("cache")
        return answer

    def _from_cache(self, hit: cache_pb2.CachedAnswer) -> list[Head | bytes | Done]:
        record = self.record
        record.cache.saved_nano_usd = hit.cost_nano_usd
        record.cache.similarity = 1.0
        self._end(record_pb2.OUTCOME_OK, hit.finish_reason)
        body = hit.openai_json
        if self.ask.stream:
            body = openai_wire.replay(body, self.call.request_id, include_usage=self.ask.include_usage)
        done = Done(hit.finish_reason, hit.usage, usage_pb2.USAGE_SOURCE_PROVIDER, 0)
        return [Head(hit.model, hit.provider, "cache: exact hit"), body, done]

    async def _reserve(self) -> None:
        ask = self.ask
        limits = [candidate.max_output_tokens for candidate in self._candidates if candidate.max_output_tokens]
        request = ReserveRequest(
            request_id=self.call.request_id,
            candidates=[PricedCandidate(provider=one.provider, model=one.model) for one in self._candidates],
            input_tokens=ask.input_tokens,
            input_tokens_max=ask.input_tokens_max,
            max_output_tokens=(ask.max_output_tokens or (max(limits) if limits else 0)) * ask.choices,
            body_hash=hashlib.sha256(self._body).digest(),
            draft=self.record,
        )
        # Shielded: a caller that leaves now must not leave a reservation behind that nobody knows of.
        self._reserving = asyncio.ensure_future(persistently(lambda: self._stubs.budget.Reserve(request)))
        self._reservation = await asyncio.shield(self._reserving)
        self._stage("reserve")

    def _generate_request(self, reservation: ReserveResponse) -> GenerateRequest:
        ask = self.ask
        return GenerateRequest(
            request_id=self.call.request_id,
            input=self._body,
            dialect_in=chat_pb2.DIALECT_OPENAI_CHAT,
            dialect_out=chat_pb2.DIALECT_OPENAI_CHAT,
            candidates=[
                GenerateCandidate(
                    model=one.model,
                    provider=one.provider,
                    upstream_name=one.upstream_name,
                    output_cap_tokens=reservation.output_cap_tokens // ask.choices,
                )
                for one in self._candidates
            ],
            stream=ask.stream,
            include_usage=ask.include_usage and not ask.include_dac,
            need_text=bool(ask.thread_id) or (bool(self._fingerprint) and ask.stream),
        )

    async def _generate(self) -> AsyncIterator[Head | bytes | Done]:
        assert self._reservation is not None
        self._dispatched, finish = True, None
        async with reading(self._stubs.provider.Generate(self._generate_request(self._reservation))) as events:
            async for event in events:
                kind = event.WhichOneof("event")
                if kind == "frames":
                    data = event.frames.data
                    if not self._head_sent:
                        yield self._head()
                    if self.ask.stream and data.endswith(DONE):
                        data = data[: -len(DONE)]
                    if data:
                        self._keep(data)
                        yield data
                elif kind == "attempt":
                    self._attempt, self._attempt_ns = event.attempt, time.time_ns()
                else:
                    # Read on to the end: a call that is left early counts as cancelled.
                    finish = event
        if finish is not None and finish.HasField("failure"):
            raise self._failure(finish.failure)
        if finish is not None:
            async for last in self._finish(finish.finish):
                yield last
            return
        raise MeshError(Reason.INTERNAL, "The provider service ended without a result. Try again.")

    def _head(self) -> Head:
        self._head_sent = True
        self._stage("first_token")
        model = self._attempt.model if self._attempt else self._candidates[0].model
        provider = self._attempt.provider if self._attempt else self._candidates[0].provider
        telemetry.FIRST_TOKEN.labels(model).observe(time.perf_counter() - self._started)
        return Head(model, provider, self.record.route.reason)

    def _keep(self, data: bytes) -> None:
        if self._frames_bytes < COUNTED_BYTES_MAX:
            self._frames.append(data)
            self._frames_bytes += len(data)

    async def _finish(self, finish: GenerateFinish) -> AsyncIterator[Head | bytes | Done]:
        record = self.record
        record.attempts.extend(finish.attempts)
        self._end(record_pb2.OUTCOME_OK, finish.finish_reason)
        self._stage("generate")
        cost = self._cost(finish)
        if not self._head_sent:
            yield self._head()
        if self.ask.stream and self.ask.include_dac:
            yield self._usage_event(finish, cost)
        if self._turn_open:
            await self._save_answer(finish)
        if self._fingerprint:
            await self._store(finish, cost or 0)
        yield Done(finish.finish_reason, finish.usage, finish.usage_source, cost, finish.text)

    def _usage_event(self, finish: GenerateFinish, cost: int | None) -> bytes:
        model = finish.attempts[-1].model if finish.attempts else self.ask.model
        own = {"request_id": self.call.request_id, "model": model, "cost_usd": None if cost is None else usd(cost)}
        extra: dict[str, Any] = {"dac": own}
        if self.ask.include_usage:
            extra["usage"] = openai_wire.usage_object(finish.usage)
        return openai_wire.chunk(self.call.request_id, model, [], extra)

    async def _save_answer(self, finish: GenerateFinish) -> None:
        text, calls_json = finish.text, finish.tool_calls_json
        message = conversation_pb2.Message(
            role="assistant",
            text=text,
            openai_json=openai_wire.assistant_message(text, calls_json) if calls_json else "",
            tokens_estimated=finish.usage.output_tokens or estimate_tokens(len(text.encode())),
            model=finish.attempts[-1].model if finish.attempts else "",
        )
        request = conversation_pb2.AppendMessagesRequest(
            thread_id=self.ask.thread_id, request_id=self.call.request_id, messages=[message]
        )
        await persistently(lambda: self._stubs.threads.AppendMessages(request))
        self._stage("save")

    async def _store(self, finish: GenerateFinish, cost: int) -> None:
        if finish.finish_reason != "stop" or not finish.attempts:
            return
        last = finish.attempts[-1]
        body = b"".join(self._frames)
        if self.ask.stream:
            body = openai_wire.completion(
                self.call.request_id,
                last.model,
                finish.text,
                finish.tool_calls_json,
                finish.finish_reason,
                finish.usage,
            )
        answer = cache_pb2.CachedAnswer(
            openai_json=body,
            model=last.model,
            provider=last.provider,
            usage=finish.usage,
            finish_reason=finish.finish_reason,
            cost_nano_usd=cost,
        )
        try:
            stored = await self._stubs.cache.Store(
                cache_pb2.StoreRequest(fingerprint=self._fingerprint, answer=answer), timeout=2
            )
        except MeshError:
            return  # A cache that fails never loses the answer.
        if stored.stored:
            self.record.cache.status = record_pb2.CacheRecord.STATUS_STORED
        self._stage("store")

    def _cost(self, finish: GenerateFinish | record_pb2.RequestRecord) -> int | None:
        """What the charge will be: budget's rates, its formula, one rounding per attempt."""
        assert self._reservation is not None
        rates = {(one.provider, one.model): one for one in self._reservation.rates}
        total = 0
        for attempt in finish.attempts:
            rate = rates.get((attempt.provider, attempt.model))
            if rate is None:
                return None
            total += cost_nano_usd(rate, attempt.usage)
        return total

    def _failure(self, failure: Any) -> MeshError:
        self.record.attempts.extend(failure.attempts)
        if failure.provider_error_json and not failure.after_first_token:
            return ProviderRefusal(failure.message, failure.status_code, failure.provider_error_json)
        error = MeshError(Reason(failure.reason), failure.message)
        error.retry_after_s = failure.retry_after_s or None
        return error

    def _end(self, outcome: Any, finish_reason: str = "") -> None:
        self.record.outcome = outcome
        self.record.finish_reason = finish_reason

    def _fail(self, error: MeshError) -> None:
        refused = not self._dispatched
        self._end(record_pb2.OUTCOME_REFUSED if refused else record_pb2.OUTCOME_FAILED)
        self.record.reason = error_reason(error)
        self.record.message = error.message[:500]

    def _leave(self) -> None:
        """The client went away: what was used so far is counted here, because the provider was stopped."""
        if self.record.outcome:
            return
        self._end(record_pb2.OUTCOME_CLIENT_GONE)
        if self._attempt is None:
            return
        shown = openai_wire.delta_text_bytes(self._frames) if self.ask.stream else 0
        attempt = self.record.attempts.add(
            attempt_id=self._attempt.attempt_id,
            provider=self._attempt.provider,
            model=self._attempt.model,
            reason=error_reason(MeshError(Reason.CANCELLED, "")),
            message="The client went away.",
            usage=usage_pb2.Usage(input_tokens=self.ask.input_tokens, output_tokens=estimate_tokens(shown)),
            usage_source=usage_pb2.USAGE_SOURCE_COUNTED,
        )
        attempt.started_at.FromNanoseconds(self._attempt_ns)
        attempt.ended_at.FromNanoseconds(time.time_ns())

    def _settle(self) -> None:
        record, held = self.record, self._reservation
        record.stage_ms.update(self._stages)
        record.ended_at.FromNanoseconds(time.time_ns())
        label = record.attempts[-1].model if record.attempts else "none"
        charge = self._cost(record) if held is not None else None
        telemetry.observe_chat(label, record_pb2.Outcome.Name(record.outcome), record.attempts, charge)
        self._pipeline.report(list(record.attempts))
        if self._reserving is not None and not self._dispatched:
            self._pipeline.settlements.release(self._reserving, record, self.caller)
            return
        commit = CommitRequest(record=record)
        if held is not None:
            commit.reservation_id, commit.reservation_secret = held.reservation_id, held.reservation_secret
        self._pipeline.settlements.submit(commit, self.caller)


def error_reason(error: MeshError) -> Any:
    """A failure's reason as the proto's enum."""
    return int(error.reason)


def cost_nano_usd(rate: CandidateRates, usage: usage_pb2.Usage) -> int:
    """ceil(Σ tokens·rate / 1e6) + the fee per request."""
    scaled = (
        usage.input_tokens * rate.input
        + usage.input_cached_tokens * rate.input_cached
        + usage.cache_write_tokens * rate.cache_write
        + usage.output_tokens * rate.output
        + usage.reasoning_tokens * rate.reasoning
    )
    return -(-scaled // 1_000_000) + rate.request


def usd(nano: int) -> str:
    """Nano-USD as dollars in plain decimals, e.g. "0.000012345"."""
    text = f"{nano // 1_000_000_000}.{nano % 1_000_000_000:09d}".rstrip("0")
    return text + "0" if text.endswith(".") else text
