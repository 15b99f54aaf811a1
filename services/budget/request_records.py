"""RequestRecord ↔ domain: what an attempt used, and the costs that budget writes into the record."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from dac.type.v1 import error_pb2, record_pb2
from services.budget.ledger import Attempt, Settlement, State
from services.budget.money import Usage

BOUND_MESSAGE = "Its end was never reported, so the reserved amount, the most it can have cost, was charged."


def attempts_of(record: record_pb2.RequestRecord) -> tuple[Attempt, ...]:
    """What the record's attempts used."""
    return tuple(
        Attempt(
            attempt.attempt_id,
            attempt.provider,
            attempt.model,
            Usage(
                attempt.usage.input_tokens,
                attempt.usage.input_cached_tokens,
                attempt.usage.cache_write_tokens,
                attempt.usage.output_tokens,
                attempt.usage.reasoning_tokens,
            ),
            answered=attempt.reason == error_pb2.ERROR_REASON_UNSPECIFIED
            or attempt.usage.output_tokens + attempt.usage.reasoning_tokens > 0,
        )
        for attempt in record.attempts
    )


def sealer(record: record_pb2.RequestRecord) -> Callable[[Settlement], bytes]:
    """A function that writes the costs into `record` and serialises it."""

    def seal(settlement: Settlement) -> bytes:
        record.cost_nano_usd = settlement.cost_nano_usd
        record.reserved_nano_usd = settlement.reserved_nano_usd
        for attempt, charge in zip(record.attempts, settlement.charges, strict=True):
            attempt.price_version = charge.price_version
            attempt.cost_nano_usd = charge.cost_nano_usd
            del attempt.price_lines[:]
            for bucket, tokens, rate, cost in charge.lines:
                attempt.price_lines.add(bucket=bucket, tokens=tokens, nano_usd_per_mtok=rate, cost_nano_usd=cost)
        if settlement.cost_nano_usd > settlement.reserved_nano_usd and record.reservation_id:
            record.tags["overrun_nano_usd"] = str(settlement.cost_nano_usd - settlement.reserved_nano_usd)
        return record.SerializeToString()

    return seal


def bound_sealer(
    draft: bytes, *, org_id: str, request_id: str, reservation_id: str, ended_at: dt.datetime
) -> Callable[[Settlement], bytes]:
    """A function that makes the record of a request whose end nobody reported."""

    def seal(settlement: Settlement) -> bytes:
        record = record_pb2.RequestRecord.FromString(draft)
        record.org_id, record.request_id, record.reservation_id = org_id, request_id, reservation_id
        record.outcome = record_pb2.OUTCOME_INDETERMINATE
        record.cost_nano_usd = settlement.cost_nano_usd
        record.reserved_nano_usd = settlement.reserved_nano_usd
        record.message = BOUND_MESSAGE
        record.tags["charge"] = "bound"
        record.ended_at.FromDatetime(ended_at)
        assert settlement.state is State.INDETERMINATE
        return record.SerializeToString()

    return seal
