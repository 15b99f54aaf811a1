"""The till of the graded questions: holds and charges at budget, for the organisation that asks, with a record."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import grpc.aio

from dac.budget.v1 import budget_pb2, budget_pb2_grpc, price_pb2, price_pb2_grpc
from dac.type.v1 import principal_pb2, record_pb2
from mesh.call import acting_as
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.provider.calling.events import Attempt, Candidate
from services.provider.conversions import attempt_record
from services.provider.discovery.listings import Listed
from services.provider.discovery.probing import ANSWER_S, Held
from services.provider.discovery.questions import OUTPUT_TOKENS

OPERATION = "probe"
"""What the record of a graded question says was asked for."""
SETTLING_S = 120.0
TRIES = 3
ChannelTo = Callable[[str], grpc.aio.Channel]


class BudgetTill:
    """See probing.Till."""

    def __init__(self, channel_to: ChannelTo, principal: principal_pb2.Principal) -> None:
        self._budget = budget_pb2_grpc.BudgetServiceStub(channel_to("budget"))
        self._principal = principal

    async def hold(self, candidate: Candidate, body: bytes, input_tokens: int, input_tokens_max: int) -> Held:
        """See Till."""
        record = record_pb2.RequestRecord(
            request_id=uuid7(),
            org_id=self._principal.org_id,
            path=self._principal.path,
            asked_model=candidate.model[:200],
            operation=OPERATION,
            features=record_pb2.Features(input_tokens_estimated=input_tokens),
            cache=record_pb2.CacheRecord(status=record_pb2.CacheRecord.STATUS_OFF),
            stream=True,
        )
        record.started_at.GetCurrentTime()
        request = budget_pb2.ReserveRequest(
            request_id=record.request_id,
            candidates=[budget_pb2.PricedCandidate(provider=candidate.provider, model=candidate.model)],
            input_tokens=input_tokens,
            input_tokens_max=input_tokens_max,
            max_output_tokens=OUTPUT_TOKENS,
            ttl_s=ANSWER_S + SETTLING_S,
            body_hash=hashlib.sha256(body).digest(),
            draft=record,
        )
        held = await self._budget.Reserve(request)
        priced = bool(held.rates) and not held.uncovered
        return Held(held.reserved_nano_usd, priced, held.output_cap_tokens, (held, record))

    async def charge(self, held: Held, attempts: Sequence[Attempt], error: MeshError | None) -> int:
        """See Till."""
        reservation, record = held.token
        record.attempts.extend(attempt_record(one) for one in attempts)
        record.outcome = record_pb2.OUTCOME_OK if error is None else record_pb2.OUTCOME_FAILED
        if error is not None:
            record.reason, record.message = int(error.reason), error.message[:500]
        record.ended_at.GetCurrentTime()
        commit = budget_pb2.CommitRequest(
            reservation_id=reservation.reservation_id,
            reservation_secret=reservation.reservation_secret,
            record=record,
        )
        for left in range(TRIES - 1, -1, -1):
            try:
                return int((await self._budget.Commit(commit)).cost_nano_usd)
            except MeshError as failed:
                # Budget charges the bound when nobody settles, so what was held counts as spent.
                if failed.reason is not Reason.UNAVAILABLE or not left:
                    return held.amount_nano_usd
            await asyncio.sleep(0.2)
        raise AssertionError

    async def free(self, held: Held, why: MeshError) -> None:
        """See Till."""
        reservation, record = held.token
        record.outcome, record.reason, record.message = record_pb2.OUTCOME_REFUSED, int(why.reason), why.message[:500]
        record.ended_at.GetCurrentTime()
        await self._budget.Release(
            budget_pb2.ReleaseRequest(
                reservation_id=reservation.reservation_id,
                reservation_secret=reservation.reservation_secret,
                record=record,
            )
        )


class PriceTeller:
    """Tells budget the prices that lists hold, by the DAC ids of their models."""

    def __init__(self, channel_to: ChannelTo, ids_of: Callable[[str, str], Sequence[str]]) -> None:
        self._channel_to, self._ids_of = channel_to, ids_of

    async def propose(self, provider: str, models: Sequence[Listed]) -> None:
        """Raises MeshError when budget cannot hear it; it is told again with the next list."""
        prices = [
            price_pb2.ModelPrice(provider=provider, model=model, nano_usd_per_mtok=one.price)
            for one in models
            if one.price is not None
            for model in self._ids_of(provider, one.name)
        ]
        if prices:
            with acting_as("provider"):
                stub = price_pb2_grpc.PriceServiceStub(self._channel_to("budget"))
                await stub.Propose(price_pb2.ProposeRequest(prices=prices))
