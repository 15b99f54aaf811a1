"""A model of the operator's, asked as a chat would be: route, reserve, generate, commit; in the name and on the budgets
of whoever's turn it is about, with a record of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable

import grpc.aio
import msgspec

from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.provider.v1 import provider_pb2, provider_pb2_grpc
from dac.router.v1 import router_pb2, router_pb2_grpc
from dac.type.v1 import chat_pb2, record_pb2, usage_pb2
from mesh.call import Call, acting_as, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.tokens import estimate_tokens, upper_bound_tokens
from mesh.transport import reading
from services.memory.writing.asking import Ask

ASK_S = 60.0
"""How long a model may take."""
SETTLING_S = 120.0
COMMIT_TRIES = 4
_log = logging.getLogger("dac.memory.own_model")


class OwnModel:
    """See the module. Raises MeshError where a chat would be refused or fail."""

    def __init__(self, channel_to: Callable[[str], grpc.aio.Channel]) -> None:
        """Opens nothing: channels connect when they are used."""
        self._router = router_pb2_grpc.RouterServiceStub(channel_to("router"))
        self._provider = provider_pb2_grpc.ProviderServiceStub(channel_to("provider"))
        self._budget = budget_pb2_grpc.BudgetServiceStub(channel_to("budget"))

    async def write(self, caller: Call, ask: Ask) -> str:
        """The model's answer. `caller`: the call that the turn came with."""
        request_id, principal = uuid7(), caller.principal
        if principal is None:
            raise MeshError(Reason.PRINCIPAL_REQUIRED, "A model is asked only for a caller.")
        record = record_pb2.RequestRecord(
            request_id=request_id,
            org_id=principal.org_id,
            path=principal.path,
            asked_model=ask.model[:200],
            operation=ask.operation,
            dialect_in=chat_pb2.DIALECT_OPENAI_CHAT,
            dialect_out=chat_pb2.DIALECT_OPENAI_CHAT,
            thread_id=ask.thread_id,
            trace_id=caller.trace_id,
        )
        record.started_at.FromNanoseconds(time.time_ns())
        record.cache.status = record_pb2.CacheRecord.STATUS_OFF
        own = Call(request_id, principal, caller.signed_principal, time.monotonic() + ASK_S, caller.trace_id)
        with serving(own):
            return await self._ask(ask, record)

    async def _ask(self, ask: Ask, record: record_pb2.RequestRecord) -> str:
        fields = {
            "model": ask.model,
            "messages": [{"role": "system", "content": ask.instructions}, {"role": "user", "content": ask.text}],
            "temperature": 0,
            "max_tokens": ask.max_output_tokens,
        }
        body = msgspec.json.encode(fields)
        tokens = estimate_tokens(len(body))
        route = await self._router.Route(
            router_pb2.RouteRequest(
                model=ask.model,
                input_tokens=tokens,
                max_output_tokens=ask.max_output_tokens,
                request_id=record.request_id,
                thread_id=ask.thread_id,
            )
        )
        # What a policy keeps from providers is taken out by the gateway; here nobody would.
        if route.HasField("answers") and route.answers.redaction.enabled:
            raise MeshError(Reason.PERMISSION_DENIED, "The policy keeps private values from providers.")
        record.route.CopyFrom(route.route)
        held = await self._budget.Reserve(_reservation(route.candidates, record, body, ask.max_output_tokens))
        barred = {(one.provider, one.model) for one in held.uncovered}
        candidates = [one for one in route.candidates if barred.isdisjoint(_places((one,)))]
        try:
            return await self._generate(candidates, body, held, record)
        finally:
            record.ended_at.FromNanoseconds(time.time_ns())
            await asyncio.shield(self._commit(held, record))

    async def _generate(
        self,
        candidates: list[router_pb2.Candidate],
        body: bytes,
        held: budget_pb2.ReserveResponse,
        record: record_pb2.RequestRecord,
    ) -> str:
        request = provider_pb2.GenerateRequest(
            request_id=record.request_id,
            input=body,
            dialect_in=chat_pb2.DIALECT_OPENAI_CHAT,
            dialect_out=chat_pb2.DIALECT_OPENAI_CHAT,
            need_text=True,
            candidates=[
                provider_pb2.GenerateCandidate(
                    model=one.model,
                    provider=one.provider,
                    upstream_name=one.upstream_name,
                    output_cap_tokens=held.output_cap_tokens,
                    context_tokens=one.context_tokens,
                    deployments=one.deployments,
                    sticky=one.sticky,
                )
                for one in candidates
            ],
        )
        record.outcome = record_pb2.OUTCOME_FAILED
        started: provider_pb2.AttemptStarted | None = None
        finish: provider_pb2.GenerateFinish | None = None
        try:
            async with reading(self._provider.Generate(request)) as events:
                async for event in events:
                    kind = event.WhichOneof("event")
                    if kind == "attempt":
                        started = event.attempt
                    elif kind == "failure":
                        record.attempts.extend(event.failure.attempts)
                        raise MeshError(Reason(event.failure.reason), event.failure.message)
                    elif kind == "finish":
                        # Read on to the end: a call that is left early counts as cancelled.
                        finish = event.finish
            if finish is None:
                raise MeshError(Reason.INTERNAL, "The provider service ended without a result.")
            record.attempts.extend(finish.attempts)
            record.outcome, record.finish_reason = record_pb2.OUTCOME_OK, finish.finish_reason
            return finish.text
        except MeshError as error:
            record.reason, record.message = int(error.reason), error.message[:500]  # type: ignore[assignment]
            raise
        finally:
            if started is not None and not record.attempts:
                _count_open(record, started, len(body))

    async def _commit(self, held: budget_pb2.ReserveResponse, record: record_pb2.RequestRecord) -> None:
        """Hands the record over. What cannot be is charged at its bound when the reservation lapses."""
        request = budget_pb2.CommitRequest(
            record=record, reservation_id=held.reservation_id, reservation_secret=held.reservation_secret
        )
        for left in range(COMMIT_TRIES - 1, -1, -1):
            try:
                with acting_as("memory"):
                    await self._budget.Commit(request)
                return
            except MeshError as error:
                _log.warning("the record of request %s is not stored: %s", record.request_id, error.message)
                if not left:
                    return
            await asyncio.sleep(0.5)


def _reservation(
    candidates: Iterable[router_pb2.Candidate], record: record_pb2.RequestRecord, body: bytes, max_output_tokens: int
) -> budget_pb2.ReserveRequest:
    places = _places(candidates)
    return budget_pb2.ReserveRequest(
        request_id=record.request_id,
        candidates=[budget_pb2.PricedCandidate(provider=provider, model=model) for provider, model in places],
        input_tokens=estimate_tokens(len(body)),
        input_tokens_max=upper_bound_tokens(len(body)),
        max_output_tokens=max_output_tokens,
        asked_output_tokens=max_output_tokens,
        body_hash=hashlib.sha256(body).digest(),
        ttl_s=ASK_S + SETTLING_S,
        draft=record,
    )


def _places(candidates: Iterable[router_pb2.Candidate]) -> dict[tuple[str, str], None]:
    """Every provider and model that may be asked, each once."""
    return {(place.provider, one.model): None for one in candidates for place in (one.deployments or (one,))}


def _count_open(record: record_pb2.RequestRecord, started: provider_pb2.AttemptStarted, body_bytes: int) -> None:
    """The attempt that was cut off from here: its provider's own count is lost."""
    record.attempts.extend(started.before)
    attempt = record.attempts.add(
        attempt_id=started.attempt_id,
        provider=started.provider,
        model=started.model,
        usage=usage_pb2.Usage(input_tokens=estimate_tokens(body_bytes)),
        usage_source=usage_pb2.USAGE_SOURCE_COUNTED,
        reason=record.reason or int(Reason.CANCELLED),
        message=record.message,
    )
    attempt.started_at.FromNanoseconds(record.started_at.ToNanoseconds())
    attempt.ended_at.FromNanoseconds(time.time_ns())
