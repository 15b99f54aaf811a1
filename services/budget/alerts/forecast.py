"""Where the present pace leads: what will be spent when a window ends, and when its limit is reached.

The pace is the mean of two: the whole window's so far, which is slow to forget, and the last 24 hours', which jumps.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

DAY = dt.timedelta(days=1)
ENDLESS = dt.timedelta(days=30)
"""How far ahead a window is looked at that never ends."""
KNOWN_SHARE = 10
"""Nothing is said before a tenth of a window has passed, or a day."""
MOST_NANO_USD = 2**62
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the pace leads."""

    spent_nano_usd: int
    """What will be spent when the window ends."""
    exhausted_at: dt.datetime | None
    """When nothing is left; None = not in this window, or nothing limits."""


def needs_recent(since: dt.datetime, now: dt.datetime) -> bool:
    """Whether the last 24 hours differ from the whole window so far."""
    return now - since > DAY


def forecast(
    *,
    start: dt.datetime,
    end: dt.datetime | None,
    counted_since: dt.datetime,
    now: dt.datetime,
    spent_nano_usd: int,
    recent_nano_usd: int,
    limit_nano_usd: int | None,
) -> Forecast | None:
    """The forecast of one window; None while too little is known.

    `counted_since`: when counting began, which is in the window when the budget is younger than it. `recent_nano_usd`:
    what was spent in the last 24 hours; it does not matter while counting is younger than that.
    """
    began = max(start, counted_since)
    passed = (now - began) // _MICROSECOND
    finish = now + ENDLESS if end is None else end
    enough = DAY if end is None else min(DAY, (end - start) / KNOWN_SHARE)
    if passed <= 0 or now - began < enough or now >= finish:
        return None
    day = DAY // _MICROSECOND
    recent = max(0, recent_nano_usd) if needs_recent(began, now) else spent_nano_usd
    # The pace as a fraction, in nano-USD per microsecond: (spent / passed + recent / span) / 2.
    span = min(passed, day)
    pace, per = spent_nano_usd * span + recent * passed, 2 * passed * span
    left = (finish - now) // _MICROSECOND
    spent = min(MOST_NANO_USD, spent_nano_usd + pace * left // per)
    return Forecast(spent, _exhausted_at(spent_nano_usd, limit_nano_usd, pace, per, now, left))


def _exhausted_at(
    spent: int, limit: int | None, pace: int, per: int, now: dt.datetime, left_us: int
) -> dt.datetime | None:
    if limit is None:
        return None
    if spent >= limit:
        return now
    if not pace:
        return None
    needed_us = -(-(limit - spent) * per // pace)
    return now + needed_us * _MICROSECOND if needed_us < left_us else None
