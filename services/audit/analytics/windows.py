"""Which time a dashboard is about, and which rows answer it quickest."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from services.audit import errors
from services.audit.analytics.cells import LENGTHS, Grain, Kind, floor

MAX_POINTS = {Grain.MINUTE: 1440, Grain.HOUR: 24 * 62, Grain.DAY: 3660}
MINUTES_UP_TO, HOURS_UP_TO = dt.timedelta(hours=3), dt.timedelta(days=3)
DAY = dt.timedelta(days=1)
FIRST, LAST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9000, 1, 1, tzinfo=dt.UTC)
"""Times that can be reckoned with, also a window before and behind."""
PATH = frozenset({"team_id", "project_id", "user_id", "key_id"})
WHAT = frozenset({"model", "provider", "intent"})


class Window(NamedTuple):
    """Whole steps from `start` up to `end`, not included."""

    start: dt.datetime
    end: dt.datetime
    step: Grain

    @property
    def before(self) -> Window:
        """As long, up to the beginning."""
        return Window(self.start - (self.end - self.start), self.start, self.step)

    @property
    def coarsest(self) -> Grain:
        """The longest rows that the window is made of."""
        for grain in (Grain.DAY, Grain.HOUR):
            if floor(self.start, grain) == self.start and floor(self.end, grain) == self.end:
                return grain
        return Grain.MINUTE


def day_of(text: str, field: str) -> dt.datetime:
    """The beginning of a day as it is written. Raises INVALID_REQUEST."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise errors.invalid(field, f"{text[:40]!r} is no day; write e.g. 2026-11-01") from None
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def window_of(
    start: dt.datetime | None, end: dt.datetime | None, step: Grain | None, now: dt.datetime, minutes_from: dt.datetime
) -> Window:
    """The window that was asked for, in whole steps. Raises INVALID_REQUEST.

    Without a step it goes by the length, and by whether minutes are still kept (`minutes_from`).
    """
    end = end or now
    for field, at in (("start_at", start), ("end_at", end)):
        if at is not None and not FIRST <= at <= LAST:
            raise errors.invalid(field, "say a time from 1970 to 9000, e.g. 2026-11-01T00:00:00Z")
    start = start or end - DAY
    if start >= end:
        raise errors.invalid("start_at", f"{start.isoformat()} is not before the end, {end.isoformat()}")
    if step is None:
        length = end - start
        step = Grain.MINUTE if length <= MINUTES_UP_TO else Grain.HOUR if length <= HOURS_UP_TO else Grain.DAY
        if step is Grain.MINUTE and start - length < minutes_from:
            step = Grain.HOUR
    first, last = floor(start, step), floor(end, step)
    if last < end:
        last += LENGTHS[step]
    points = (last - first) // LENGTHS[step]
    if points > MAX_POINTS[step]:
        name = step.name.lower()
        raise errors.invalid(
            "step",
            f"{points} points are too many; by the {name} there are at most {MAX_POINTS[step]}: take longer steps",
        )
    return Window(first, last, step)


def kind_for(used: frozenset[str], grain: Grain) -> Kind:
    """The smallest rows that have these dimensions."""
    if not used:
        return Kind.TOTAL
    if used <= WHAT:
        return Kind.WHAT
    if used <= PATH and grain is not Grain.MINUTE:
        return {frozenset({"team_id"}): Kind.TEAM, frozenset({"project_id"}): Kind.PROJECT}.get(used, Kind.WHO)
    if grain is Grain.DAY and used <= WHAT | {"team_id"}:
        return Kind.EVIDENCE
    return Kind.FULL
