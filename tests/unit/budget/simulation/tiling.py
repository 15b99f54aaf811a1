"""Walks through windows: the end of one is the start of the next, and every moment of one lies in it."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from collections.abc import Iterable

from services.budget.ledger.windows import Window, end_of, start_of

FIRST = dt.datetime(1976, 1, 1, tzinfo=dt.UTC)
LAST = dt.datetime(2037, 12, 31, tzinfo=dt.UTC)
ZONES = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})
TINY = dt.timedelta(microseconds=1)
LONGEST = {
    Window.MINUTE: dt.timedelta(minutes=1),
    Window.HOUR: dt.timedelta(hours=2),
    Window.DAY: dt.timedelta(hours=49),
    Window.WEEK: dt.timedelta(days=8, hours=1),
    Window.MONTH: dt.timedelta(days=32, hours=1),
}


@functools.cache
def transitions(zone: str) -> list[dt.datetime]:
    """The moments at which the zone's offset changes, to the second."""
    tz = zoneinfo.ZoneInfo(zone)
    found, at, step = [], FIRST, dt.timedelta(days=7)
    while at < LAST:
        if at.astimezone(tz).utcoffset() != (at + step).astimezone(tz).utcoffset():
            low, high = at, at + step
            while high - low > dt.timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle -= dt.timedelta(microseconds=middle.microsecond)
                if middle.astimezone(tz).utcoffset() == low.astimezone(tz).utcoffset():
                    low = middle
                else:
                    high = middle
            found.append(high)
        at += step
    return found


def check_around(window: Window, zone: str, moment: dt.datetime) -> None:
    """The window of a moment, the one before and the one after."""
    for at in (moment - TINY, moment, moment + TINY):
        start = start_of(window, at, zone)
        end = end_of(window, start, zone)
        assert end is not None and start <= at < end, f"{window.name} {zone} {at}"
        _check(window, zone, start, end)
        before = start_of(window, start - TINY, zone)
        assert end_of(window, before, zone) == start, f"{window.name} {zone}: a gap or an overlap before {start}"


def _check(window: Window, zone: str, start: dt.datetime, end: dt.datetime) -> None:
    assert dt.timedelta(0) < end - start <= LONGEST[window], f"{window.name} {zone} {start}…{end}"
    for at in (start, start + (end - start) / 2, end - TINY):
        assert start_of(window, at, zone) == start, f"{window.name} {zone}: {at} is not in {start}…{end}"
    assert start_of(window, end, zone) == end, f"{window.name} {zone}: a gap or an overlap after {end}"


def check_zone(zone: str, windows: Iterable[Window]) -> int:
    """All windows near every change of the zone's clock; returns how many."""
    count = 0
    for window in windows:
        for moment in (FIRST, *transitions(zone)):
            at = moment - 3 * LONGEST[window] / 2
            while at < moment + 3 * LONGEST[window] / 2:
                start = start_of(window, at, zone)
                end = end_of(window, start, zone)
                assert end is not None and start <= at < end, f"{window.name} {zone} {at}"
                _check(window, zone, start, end)
                at, count = end, count + 1
    return count
