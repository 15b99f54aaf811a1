"""Which part of a time range each grain answers for: all of it, once, and no bucket across the border of a step."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.budget.ledger.windows import EPOCH, Window
from services.budget.usage.grains import DAY, QUARTER, Grains, grains_of, next_quarter
from services.budget.usage.usage import Query

MOMENTS = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2070, 1, 1)).map(lambda one: one.replace(tzinfo=dt.UTC))
SPANS = st.integers(1, 40 * 86_400_000_000).map(lambda micros: dt.timedelta(microseconds=micros))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"])
STEPS = st.sampled_from([None, Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH])


@given(start=MOMENTS, span=SPANS, zone=ZONES, step=STEPS)
def test_the_parts_are_the_whole(start: dt.datetime, span: dt.timedelta, zone: str, step: Window | None) -> None:
    end = start + span
    steps = Query("", start, end, step=step, zone=zone).steps
    found = grains_of(start, end, steps)
    parts = sorted(found.days + found.quarters + found.lines)
    assert parts[0][0] == start and parts[-1][1] == end
    assert all(before[1] == after[0] for before, after in itertools.pairwise(parts))
    for size, ranges in ((DAY, found.days), (QUARTER, found.quarters)):
        for begin, finish in ranges:
            assert (begin - EPOCH) % size == (finish - EPOCH) % size == dt.timedelta()
            assert not any(begin < one < finish and (one - EPOCH) % size for one in steps), "a bucket in two steps"
    for ranges in (found.days, found.quarters, found.lines):
        assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges)), "not merged"


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-11-01T00:00", "2026-12-01T00:00", Grains(days=[(moment("2026-11-01"), moment("2026-12-01"))])),
        (
            "2026-11-01T10:07",
            "2026-11-03T10:07",
            Grains(
                days=[(moment("2026-11-02"), moment("2026-11-03"))],
                quarters=[
                    (moment("2026-11-01T10:15"), moment("2026-11-02")),
                    (moment("2026-11-03"), moment("2026-11-03T10:00")),
                ],
                lines=[
                    (moment("2026-11-01T10:07"), moment("2026-11-01T10:15")),
                    (moment("2026-11-03T10:00"), moment("2026-11-03T10:07")),
                ],
            ),
        ),
        (
            "2026-11-01T10:07",
            "2026-11-01T10:09",
            Grains(lines=[(moment("2026-11-01T10:07"), moment("2026-11-01T10:09"))]),
        ),
    ],
)
def test_as_much_as_can_be_is_read_from_the_largest(start: str, end: str, expected: Grains) -> None:
    assert grains_of(moment(start), moment(end), ()) == expected


def test_the_next_quarter() -> None:
    assert next_quarter(moment("2026-11-01T10:00")) == moment("2026-11-01T10:00")
    assert next_quarter(moment("2026-11-01T10:00:00.000001")) == moment("2026-11-01T10:15")
