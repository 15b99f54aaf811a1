"""The size of a record: bounded, and what it says of money survives."""

from __future__ import annotations

import pytest

from dac.type.v1 import record_pb2
from services.budget.config import BudgetConfig
from services.budget.ledger.operations import Settlement
from services.budget.ledger.rows import State
from services.budget.prices.money import Charge, Line
from services.budget.request_records import MAX_RECORD_BYTES, TRIMMED, attempts_of, bounded, sealer

LARGE = "\u00e9" * MAX_RECORD_BYTES


def small() -> record_pb2.RequestRecord:
    made = record_pb2.RequestRecord(request_id="q", org_id="o", asked_model="m", outcome=record_pb2.OUTCOME_FAILED)
    made.started_at.FromSeconds(1_700_000_000)
    made.tags["team"] = "blue"
    made.route.reason = "the cheapest"
    made.attempts.add(attempt_id="a1", provider="p", model="m", message="timed out")
    made.attempts.add(attempt_id="a2", provider="p", model="m2", message="refused")
    return made


def sealed(record: record_pb2.RequestRecord) -> record_pb2.RequestRecord:
    charges = tuple(Charge(7, 3, (Line("input", 7, 1_000_000, 7),)) for _ in record.attempts)
    made = sealer(record)(Settlement(7 * len(charges), 100, charges, State.COMMITTED))
    assert len(made) <= MAX_RECORD_BYTES
    return record_pb2.RequestRecord.FromString(made)


def test_a_record_of_usual_size_is_left_as_it_is() -> None:
    assert record_pb2.RequestRecord.FromString(bounded(small())) == small()


def test_the_attempts_messages_go_first_and_every_charge_stays() -> None:
    record = small()
    record.attempts[0].message = LARGE
    told = sealed(record)
    assert [(a.message, a.cost_nano_usd, len(a.price_lines)) for a in told.attempts] == [("", 7, 1), ("", 7, 1)]
    assert (told.cost_nano_usd, told.route.reason) == (14, "the cheapest")
    assert dict(told.tags) == {"team": "blue", TRIMMED: "messages"}


@pytest.mark.parametrize("field", ["asked_model", "message", "finish_reason", "thread_id", "tags", "route", "attempt"])
def test_then_the_details_go_and_every_charge_stays(field: str) -> None:
    record = small()
    if field == "tags":
        record.tags["team"] = LARGE
    elif field == "route":
        record.route.reason = LARGE
    elif field == "attempt":
        record.attempts[1].finish_reason = LARGE
    else:
        setattr(record, field, LARGE)
    told = sealed(record)
    assert [a.cost_nano_usd for a in told.attempts] == [7, 7]
    assert (told.request_id, told.cost_nano_usd, told.tags[TRIMMED]) == ("q", 14, "details")


def test_at_last_the_attempts_go_but_the_sum_and_the_one_that_answered_stay() -> None:
    record = small()
    for number in range(20_000):
        record.attempts.add(attempt_id=f"b{number}", provider="p", model="last")
    seal = sealer(record)
    charges = tuple(Charge(7, 3, ()) for _ in record.attempts)
    settlement = Settlement(7 * len(charges), 100, charges, State.COMMITTED)
    first = seal(settlement)
    assert len(first) <= MAX_RECORD_BYTES
    assert seal(settlement) == first, "a batch may be decided anew"
    told = record_pb2.RequestRecord.FromString(first)
    assert (told.cost_nano_usd, told.reserved_nano_usd, told.tags[TRIMMED]) == (140_014, 100, "attempts")
    assert [a.model for a in told.attempts] == ["last"]
    assert (told.outcome, told.started_at.seconds) == (record_pb2.OUTCOME_FAILED, 1_700_000_000)


def test_a_draft_full_of_price_lines_is_bounded() -> None:
    record = small()
    for _ in range(10_000):
        record.attempts[1].price_lines.add(bucket="x" * 100)
    assert len(bounded(record)) <= MAX_RECORD_BYTES


def test_attempt_ids_can_be_stored() -> None:
    record = small()
    record.attempts[0].attempt_id = "nul \x00"
    record.attempts[1].attempt_id = LARGE
    ids = [attempt.attempt_id for attempt in attempts_of(record)]
    assert ids[0] == "nul \ufffd" and len(ids[1]) == 128


@pytest.mark.parametrize("wrong", [{"max_reservation_ttl_s": 86_399.0}, {"reservation_ttl_s": 90_000.0}])
def test_reservations_may_live_a_day(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="reservation_ttl_s must be"):
        BudgetConfig(**wrong)  # type: ignore[arg-type]
