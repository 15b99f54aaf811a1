"""What every request that is paid for has in common: route → reserve → (its own work) → settle, and one record of it.

Nothing is asked of a provider before budget holds what it may cost; however the request ends, its reservation is
given back or its record is handed over, exactly once.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import Any

from dac.budget.v1.budget_pb2 import (
    CandidateRates,
    CommitRequest,
    RateLimitState,
    ReserveRequest,
    ReserveResponse,
    SoftExcess,
)
from dac.provider.v1.provider_pb2 import GenerateFailure
from dac.router.v1.answers_pb2 import AnswerRules
from dac.router.v1.router_pb2 import Candidate, RouteRequest
from dac.type.v1 import record_pb2, usage_pb2
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.status import from_exception
from mesh.usage import answer_tokens, prompt_tokens
from services.gateway.chat import candidates
from services.gateway.chat.pipeline import Pipeline, ProviderRefusal, persistently
from services.gateway.edge.failures import http_status
from services.gateway.identity.callers import Caller

SETTLING_S = 120.0
"""How long a reservation outlives its request's deadline: time to store what was used."""


class ReservedRun:
    """One request on its way. A subclass asks the provider, and says how a request that broke off is counted."""

    def __init__(
        self,
        pipeline: Pipeline,
        caller: Caller,
        call: Call,
        *,
        model: str,
        operation: str,
        input_tokens: int,
        client_request_id: str,
        **own: Any,
    ) -> None:
        self._pipeline, self._stubs = pipeline, pipeline.stubs
        self.caller, self.call = caller, call
        self._started = self._mark = time.perf_counter()
        self._stages: dict[str, float] = {}
        self._candidates: list[Candidate] = []
        self.rules: AnswerRules | None = None
        """What the policy does with the answer; None = nothing."""
        self._reservation: ReserveResponse | None = None
        self._reserving: asyncio.Future[ReserveResponse] | None = None
        self._rates: dict[tuple[str, str], CandidateRates] | None = None
        self._dispatched = False
        self.followed = False
        """It waited for another request's call, which failed it."""
        self._shares_call = False
        """What it is charged for is a share of another request's call: no provider was asked."""
        self.answer_headers: Sequence[tuple[bytes, bytes]] = ()
        """What else its answer's headers say."""
        self.rate_limit: RateLimitState | None = None
        self.exceeded: Sequence[SoftExcess] = ()
        """The soft budgets that it goes beyond."""
        """What is left of the caller's rate limits after this request; None = it has none."""
        self.record = record = record_pb2.RequestRecord(
            request_id=call.request_id,
            org_id=caller.principal.org_id,
            asked_model=model[:200],
            operation=operation,
            client_request_id=client_request_id,
            trace_id=call.trace_id,
            **own,
        )
        # Messages within a message are written in their place: as arguments they take several times as long.
        record.path.extend(caller.principal.path)
        record.features.input_tokens_estimated = input_tokens
        record.cache.status = record_pb2.CacheRecord.STATUS_OFF
        self.record.started_at.FromNanoseconds(time.time_ns())

    def stage(self, name: str) -> None:
        """Notes how long the step took that has just ended."""
        now = time.perf_counter()
        # In whole microseconds; round() would take one itself.
        self._stages[name] = int((now - self._mark) * 1e6) / 1e3
        self._mark = now

    async def _route_by(self, request: RouteRequest) -> None:
        """Asks router for the candidates."""
        answer = await persistently(lambda: self._stubs.router.Route(request))
        self._candidates = list(answer.candidates)
        self.rules = answer.answers if answer.HasField("answers") else None
        self.record.route.CopyFrom(answer.route)
        if answer.HasField("features"):
            self.record.features.MergeFrom(answer.features)
        self.stage("route")

    async def _hold(
        self,
        body: bytes,
        *,
        input_tokens: int,
        input_tokens_max: int,
        max_output_tokens: int,
        rescues: int = 0,
        stream: bool = False,
        names_service_tier: bool = False,
        asked_output_tokens: int = 0,
        audio_seconds_max: int = 0,
        input_characters_max: int = 0,
    ) -> ReserveResponse:
        """Has budget hold the most that this may cost; candidates that it does not cover are not asked."""
        request = ReserveRequest(
            request_id=self.call.request_id,
            input_tokens=input_tokens,
            input_tokens_max=input_tokens_max,
            max_output_tokens=max_output_tokens,
            ttl_s=max(0.0, (self.call.deadline or 0.0) - time.monotonic()) + SETTLING_S,
            body_hash=hashlib.sha256(body).digest(),
            rescues=rescues,
            stream=stream,
            names_service_tier=names_service_tier,
            asked_output_tokens=asked_output_tokens,
            audio_seconds_max=audio_seconds_max,
            input_characters_max=input_characters_max,
        )
        request.candidates.extend(candidates.priced(self._candidates))
        request.draft.CopyFrom(self.record)
        # Shielded: a caller that leaves now must not leave a reservation behind that nobody knows of.
        asking: Awaitable[ReserveResponse] = persistently(lambda: self._stubs.budget.Reserve(request))
        self._reserving = asyncio.ensure_future(asking)
        self._reservation = held = await asyncio.shield(self._reserving)
        if held.HasField("rate_limit"):
            self.rate_limit = held.rate_limit
        if held.soft_excess:
            self.exceeded = held.soft_excess
        if held.uncovered:
            self._candidates = candidates.covered(self._candidates, held.uncovered)
        return held

    def _refused(self, failure: GenerateFailure) -> MeshError:
        """The provider's failure as the caller is told it."""
        self.record.attempts.extend(failure.attempts)
        if failure.provider_error_json and not failure.after_first_token:
            return ProviderRefusal(failure.message, failure.status_code, failure.provider_error_json)
        error = MeshError(Reason(failure.reason), failure.message)
        error.retry_after_s = failure.retry_after_s or None
        return error

    def _cost(self, attempts: Iterable[record_pb2.AttemptRecord]) -> int | None:
        """What the charge will be: budget's rates, its formula, one rounding per attempt."""
        assert self._reservation is not None
        if self._rates is None:
            self._rates = {(one.provider, one.model): one for one in self._reservation.rates}
        rates, total = self._rates, 0
        for attempt in attempts:
            rate = rates.get((attempt.provider, attempt.model))
            if rate is None:
                return None
            answered = not attempt.reason or answer_tokens(attempt.usage) > 0
            total += cost_nano_usd(rate, attempt.usage, answered=answered)
        return total

    def _end(self, outcome: Any, finish_reason: str = "") -> None:
        self.record.outcome = outcome
        self.record.finish_reason = finish_reason

    def _fail(self, error: MeshError) -> None:
        self._end(record_pb2.OUTCOME_FAILED if self._dispatched or self.followed else record_pb2.OUTCOME_REFUSED)
        self.record.reason = error_reason(error)
        self.record.message = error.message[:500]
        if not self.record.http_status:
            self.record.http_status = http_status(error)
        if self._dispatched and not self.record.attempts:
            self._count_open_attempt(error)

    def _leave(self) -> None:
        """The client went away; its provider was stopped."""
        if self.record.outcome:
            return
        self._end(record_pb2.OUTCOME_CLIENT_GONE)
        self._count_open_attempt(MeshError(Reason.CANCELLED, "The client went away."))

    @contextlib.contextmanager
    def _accounted(self, what: str) -> Iterator[None]:
        """Around all of `what`: however it ends, that stands on the record, which is then handed over. Raises
        MeshError."""
        try:
            yield
        except MeshError as error:
            self._fail(error)
            raise
        except Exception as error:
            named = from_exception(error, what)
            self._fail(named)
            raise named from None
        except (asyncio.CancelledError, GeneratorExit):
            self._leave()
            raise
        finally:
            self._settle()

    def _add_open_attempt(self, begun_ns: int, why: MeshError, **fields: Any) -> None:
        """Writes the account of an attempt that was cut off from here."""
        attempt = self.record.attempts.add(reason=error_reason(why), message=why.message[:500], **fields)
        attempt.started_at.FromNanoseconds(begun_ns)
        attempt.ended_at.FromNanoseconds(time.time_ns())

    def _count_open_attempt(self, why: MeshError) -> None:
        """The attempt that was cut off from here: provider's own count is lost, so what was used is counted."""
        raise NotImplementedError

    def _failed_in(self) -> str:
        """Where it ended: before a provider was asked, before the caller had anything, or in the middle of a stream."""
        if not self._dispatched and not self.followed:
            return "refused"
        return "cut" if self.record.http_status == 200 else "failed"

    def _observe(
        self, label: str, outcome: str, attempts: Sequence[record_pb2.AttemptRecord], charge: int | None, seconds: float
    ) -> None:
        """Counts it among its own kind."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Hands the record over, and what is held with it."""
        record, held = self.record, self._reservation
        record.stage_ms.update(self._stages)
        record.ended_at.FromNanoseconds(time.time_ns())
        label = record.attempts[-1].model if record.attempts else "none"
        charge = self._cost(record.attempts) if held is not None else None
        outcome = record_pb2.Outcome.Name(record.outcome)
        attempts = () if self._shares_call else record.attempts
        self._observe(label, outcome, attempts, charge, time.perf_counter() - self._started)
        telemetry.observe_org(record.org_id, outcome, record.attempts, charge)
        if record.reason:
            telemetry.observe_failure(self._failed_in(), record.reason)
        self._pipeline.report(list(attempts), stream=record.stream)
        if self._reserving is not None and not self._dispatched:
            self._pipeline.settlements.release(self._reserving, record, self.caller)
            return
        commit = CommitRequest()
        commit.record.CopyFrom(record)
        if held is not None:
            commit.reservation_id, commit.reservation_secret = held.reservation_id, held.reservation_secret
        self._pipeline.settlements.submit(commit, self.caller)


def error_reason(error: MeshError) -> Any:
    """A failure's reason as the proto's enum."""
    return int(error.reason)


def cost_nano_usd(rate: CandidateRates, usage: usage_pb2.Usage, *, answered: bool) -> int:
    """ceil(Σ amount·rate / 1e6), and the fee per request when the provider answered."""
    if rate.instead:
        rate = _rates_for(rate, usage)
    scaled = (
        usage.input_tokens * rate.input
        + usage.input_cached_tokens * rate.input_cached
        + usage.output_tokens * rate.output
        + usage.reasoning_tokens * rate.reasoning
    )
    # Most usages have none of these: a field is read faster than it is multiplied.
    if usage.cache_write_tokens:
        scaled += usage.cache_write_tokens * rate.cache_write
    if usage.cache_write_1h_tokens:
        scaled += usage.cache_write_1h_tokens * rate.cache_write_1h
    if usage.audio_seconds:
        scaled += usage.audio_seconds * rate.audio_second
    if usage.input_characters:
        scaled += usage.input_characters * rate.input_character
    if usage.input_audio_tokens or usage.input_audio_cached_tokens or usage.output_audio_tokens:
        scaled += usage.input_audio_tokens * rate.input_audio + usage.output_audio_tokens * rate.output_audio
        scaled += usage.input_audio_cached_tokens * rate.input_audio_cached
    if usage.input_image_tokens or usage.output_image_tokens:
        scaled += usage.input_image_tokens * rate.input_image + usage.output_image_tokens * rate.output_image
    return -(-scaled // 1_000_000) + (rate.request if answered else 0)


def _rates_for(rate: CandidateRates, usage: usage_pb2.Usage) -> CandidateRates:
    """Those that count for the usage's service tier and the length of its prompt: see CandidateRates.instead."""
    prompt, tier, found = prompt_tokens(usage), usage.service_tier, rate
    if tier and not any(one.service_tier == tier for one in rate.instead):
        tier = ""
    for one in rate.instead:
        if one.service_tier == tier and (prompt > one.above_tokens or not one.above_tokens):
            found = one
    return found


def usd(nano: int) -> str:
    """Nano-USD as dollars in plain decimals, e.g. "0.000012345"."""
    text = f"{nano // 1_000_000_000}.{nano % 1_000_000_000:09d}".rstrip("0")
    return text + "0" if text.endswith(".") else text
