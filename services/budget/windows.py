"""Half-open UTC windows [start, end): there is no reset job, a new window is a new counter."""

from __future__ import annotations

import datetime as dt
import enum

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Window(enum.IntEnum):
    """When a counter starts anew; numbers as in dac.budget.v1.Window."""

    NONE = 1
    DAY = 2
    MONTH = 3


def start_of(window: Window, at: dt.datetime) -> dt.datetime:
    """The start of the window that holds `at`."""
    at = at.astimezone(dt.UTC)
    if window is Window.NONE:
        return EPOCH
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if window is Window.DAY else midnight.replace(day=1)


def end_of(window: Window, start: dt.datetime) -> dt.datetime | None:
    """The first moment after the window that starts at `start`; None = it never ends."""
    if window is Window.NONE:
        return None
    if window is Window.DAY:
        return start + dt.timedelta(days=1)
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
