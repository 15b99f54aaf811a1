"""Half-open windows [start, end) in any IANA zone, kept as UTC: there is no reset job, a new window is a new counter.

Windows lie between consecutive boundaries, so they tile time whatever a zone's clock does: days with a change of the
clock have 23 or 25 hours, a date that a zone skipped has none.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import zoneinfo
from collections.abc import Iterator

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
UTC = "UTC"


class Window(enum.IntEnum):
    """When a counter starts anew; numbers as in dac.budget.v1.Window."""

    NONE = 1
    DAY = 2
    MONTH = 3
    MINUTE = 4
    HOUR = 5
    WEEK = 6


_MINUTE = dt.timedelta(minutes=1)
_STEPS = {Window.DAY: dt.timedelta(days=1), Window.WEEK: dt.timedelta(weeks=1)}


@functools.cache
def zone_of(name: str) -> dt.tzinfo:
    """The IANA zone of a name; empty = UTC. Raises ValueError for an unknown one."""
    if name in ("", UTC):
        return dt.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name[:60]!r} is not an IANA time zone such as Europe/Berlin") from None


def _floor(window: Window, local: dt.datetime) -> dt.datetime:
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if window is Window.WEEK:
        return midnight - dt.timedelta(days=midnight.weekday())
    return midnight.replace(day=1) if window is Window.MONTH else midnight


def _step(window: Window, naive: dt.datetime, steps: int) -> dt.datetime:
    if window is Window.MONTH:
        months = naive.year * 12 + naive.month - 1 + steps
        return naive.replace(year=months // 12, month=months % 12 + 1)
    return naive + steps * _STEPS[window]


def _boundaries(window: Window, at: dt.datetime, zone: dt.tzinfo) -> Iterator[dt.datetime]:
    """The boundaries around a moment, unordered. A midnight that a clock shows twice begins a day once."""
    here = _floor(window, at.astimezone(zone).replace(tzinfo=None, fold=0))
    for steps in range(-3, 4):
        naive = _step(window, here, steps)
        yield naive.replace(tzinfo=zone).astimezone(dt.UTC)


def _clock_around(window: Window, zone: dt.tzinfo, at: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """A minute; or from one moment at which the clock shows a full hour to the next, so that an hour that is shown
    twice is two windows. Zones differ by whole minutes since 1972."""
    start = at.replace(second=0, microsecond=0)
    end = start + _MINUTE
    while window is Window.HOUR and start.astimezone(zone).minute:
        start -= _MINUTE
    while window is Window.HOUR and end.astimezone(zone).minute:
        end += _MINUTE
    return start, end


@functools.lru_cache(maxsize=4096)
def _around(window: Window, zone: str, at: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    if window in (Window.MINUTE, Window.HOUR):
        return _clock_around(window, zone_of(zone), at)
    found = sorted(set(_boundaries(window, at, zone_of(zone))))
    start = max(moment for moment in found if moment <= at)
    return start, min(moment for moment in found if moment > start)


_latest: dict[tuple[Window, str], tuple[dt.datetime, dt.datetime]] = {}
"""The window last asked for, by kind and zone: nearly always the next one asked for."""


def start_of(window: Window, at: dt.datetime, zone: str = UTC) -> dt.datetime:
    """The start of the window that holds `at`, in UTC."""
    if window is Window.NONE:
        return EPOCH
    known = _latest.get((window, zone))
    if known is not None and known[0] <= at < known[1]:
        return known[0]
    at = at.astimezone(dt.UTC)
    found = _around(window, zone, at)
    _latest[window, zone] = found
    return found[0]


def end_of(window: Window, start: dt.datetime, zone: str = UTC) -> dt.datetime | None:
    """The first moment after the window that starts at `start`; None = it never ends."""
    return None if window is Window.NONE else _around(window, zone, start.astimezone(dt.UTC))[1]
