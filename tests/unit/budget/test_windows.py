"""I9: windows tile time in every zone, and begin where people say that an hour, a day, a week or a month does."""

from __future__ import annotations

import datetime as dt
import os
import random
import zoneinfo
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.budget.ledger.windows import EPOCH, Window, end_of, start_of, zone_of
from tests.unit.budget.simulation.tiling import FIRST, LAST, ZONES, check_around, check_zone, transitions

KINDS = [one for one in Window if one is not Window.NONE]
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


def day_of(zone: str, *date: int) -> tuple[dt.datetime, dt.timedelta]:
    """The day that holds noon of a date: where it begins, how long it is."""
    noon = dt.datetime(*date, 12, tzinfo=zoneinfo.ZoneInfo(zone))  # type: ignore[misc,arg-type]
    start = start_of(Window.DAY, noon, zone)
    end = end_of(Window.DAY, start, zone)
    assert end is not None
    return start, end - start


def test_windows_tile_time_around_the_changes_of_the_clock_in_a_sample_of_all_zones() -> None:
    dice = random.Random(int(os.environ.get("DAC_SEED") or random.SystemRandom().randrange(1 << 32)))
    chosen = dice.sample(ZONES, 150)
    for zone in chosen:
        for moment in dice.sample(changes := transitions(zone), min(12, len(changes))):
            for window in KINDS:
                check_around(window, zone, moment)


@given(
    st.sampled_from(KINDS), st.sampled_from(ZONES), st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None))
)
def test_a_moment_lies_in_exactly_one_window(window: Window, zone: str, moment: dt.datetime) -> None:
    check_around(window, zone, moment.replace(tzinfo=dt.UTC))


@given(st.sampled_from(ZONES), st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None)))
def test_an_ordinary_window_begins_where_the_wall_clock_says(zone: str, moment: dt.datetime) -> None:
    """Said independently: the wall clock at the start, and that nothing of the window shows another date."""
    here = moment.replace(tzinfo=dt.UTC).astimezone(zoneinfo.ZoneInfo(zone))
    days = [here + dt.timedelta(days=n) for n in range(-32, 33)]
    if len({day.utcoffset() for day in days}) > 1:
        return  # The clock changes near it.
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    wanted = {
        Window.MINUTE: here.replace(second=0, microsecond=0),
        Window.HOUR: here.replace(minute=0, second=0, microsecond=0),
        Window.DAY: midnight,
        Window.WEEK: midnight - dt.timedelta(days=here.isoweekday() - 1),
        Window.MONTH: midnight.replace(day=1),
    }
    for window, start in wanted.items():
        assert start_of(window, here, zone) == start, window
    lengths = {Window.MINUTE: dt.timedelta(minutes=1), Window.HOUR: HOUR, Window.DAY: DAY, Window.WEEK: 7 * DAY}
    for window, length in lengths.items():
        assert end_of(window, wanted[window].astimezone(dt.UTC), zone) == wanted[window] + length
    after = (midnight.replace(day=1) + dt.timedelta(days=31)).replace(day=1)
    assert end_of(Window.MONTH, wanted[Window.MONTH].astimezone(dt.UTC), zone) == after


@pytest.mark.parametrize(
    ("zone", "date", "start", "hours"),
    [
        ("America/New_York", (2026, 3, 8), utc(2026, 3, 8, 5), 23),
        ("America/New_York", (2026, 11, 1), utc(2026, 11, 1, 4), 25),
        ("Australia/Lord_Howe", (2026, 4, 5), utc(2026, 4, 4, 13), 24.5),
        ("Australia/Lord_Howe", (2026, 10, 4), utc(2026, 10, 3, 13, 30), 23.5),
        # The day begins at 01:00, because midnight does not exist; the day before the clock is set back has 25 hours.
        ("America/Sao_Paulo", (2017, 10, 15), utc(2017, 10, 15, 3), 23),
        ("America/Sao_Paulo", (2017, 2, 18), utc(2017, 2, 18, 2), 25),
        ("Asia/Beirut", (2022, 3, 27), utc(2022, 3, 26, 22), 23),
        ("Asia/Beirut", (2022, 10, 29), utc(2022, 10, 28, 21), 25),
        ("America/Havana", (2026, 11, 1), utc(2026, 11, 1, 4), 25),
        ("Africa/Casablanca", (2026, 2, 15), utc(2026, 2, 14, 23), 25),
        ("UTC", (2026, 3, 29), utc(2026, 3, 29), 24),
    ],
)
def test_a_day_with_a_change_of_the_clock_is_longer_or_shorter(
    zone: str, date: tuple[int, int, int], start: dt.datetime, hours: float
) -> None:
    assert day_of(zone, *date) == (start, dt.timedelta(hours=hours))


def test_a_date_that_a_zone_skipped_has_no_window() -> None:
    start, length = day_of("Pacific/Apia", 2011, 12, 29)
    assert (start, length) == (utc(2011, 12, 29, 10), DAY)
    assert day_of("Pacific/Apia", 2011, 12, 31) == (start + DAY, DAY)
    assert start_of(Window.DAY, utc(2011, 12, 30, 9, 59, 59), "Pacific/Apia") == start
    week = start_of(Window.WEEK, utc(2011, 12, 30, 12), "Pacific/Apia")
    end = end_of(Window.WEEK, week, "Pacific/Apia")
    assert end is not None and end - week == 6 * DAY


def test_an_hour_that_is_shown_twice_is_two_windows() -> None:
    zone, first = "America/New_York", utc(2026, 11, 1, 5)
    assert start_of(Window.HOUR, first + HOUR / 2, zone) == first
    assert start_of(Window.HOUR, first + 3 * HOUR / 2, zone) == first + HOUR


def test_a_minute_that_is_shown_twice_is_two_windows() -> None:
    zone, first = "Asia/Taipei", utc(1979, 9, 30, 14, 59)
    assert end_of(Window.MINUTE, first, zone) == first + dt.timedelta(minutes=1)
    assert start_of(Window.MINUTE, first + HOUR, zone) == first + HOUR


def test_hours_stay_hours_where_a_clock_is_set_back_by_many() -> None:
    """Seven of them, in 1994; and half of one, every year."""
    zone = "Antarctica/Vostok"
    starts = [start_of(Window.HOUR, utc(1994, 1, 31, 14) + n * HOUR, zone) for n in range(9)]
    assert starts == [utc(1994, 1, 31, 14) + n * HOUR for n in range(9)]
    start = start_of(Window.HOUR, utc(2026, 4, 4, 15), "Australia/Lord_Howe")
    assert (start, end_of(Window.HOUR, start, "Australia/Lord_Howe")) == (utc(2026, 4, 4, 14), utc(2026, 4, 4, 15, 30))


def test_no_window_never_ends_and_begins_with_the_epoch() -> None:
    assert start_of(Window.NONE, utc(2026, 1, 1), "Asia/Tokyo") == EPOCH
    assert end_of(Window.NONE, EPOCH, "Asia/Tokyo") is None


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", "europe/berlin ", "x" * 300, "a\x00b"])
def test_an_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is not an IANA time zone"):
        zone_of(name)


def test_the_tiling_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: days of 24 hours; and an offset that is read once."""
    from services.budget.ledger import windows
    from tests.unit.budget.simulation import tiling

    monkeypatch.setattr(tiling, "end_of", lambda window, start, zone: start + DAY)
    with pytest.raises(AssertionError):
        check_zone("America/New_York", [Window.DAY])
    monkeypatch.setattr(tiling, "end_of", end_of)

    def by_the_offset_of_now(window: Window, at: dt.datetime, zone: dt.tzinfo) -> Iterator[dt.datetime]:
        here = at.astimezone(zone)
        first = windows._floor(window, here.replace(tzinfo=None))
        for steps in range(-3, 4):
            yield (windows._step(window, first, steps) - (here.utcoffset() or HOUR)).replace(tzinfo=dt.UTC)

    monkeypatch.setattr(windows, "_latest", {})
    monkeypatch.setattr(windows, "_boundaries", by_the_offset_of_now)
    windows._around.cache_clear()
    with pytest.raises(AssertionError):
        check_zone("America/New_York", [Window.DAY])
    windows._around.cache_clear()
