"""Which part of a time range whole days answer for, which whole quarters of an hour, and which only the lines.

Sums are kept of days of UTC and of quarters of an hour. A bucket counts only where it lies within one time step, so
what is left at the ends of steps that begin elsewhere is read from the ledger. A range is `[from, to)`.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.budget.ledger.windows import EPOCH

QUARTER = dt.timedelta(minutes=15)
DAY = dt.timedelta(days=1)

Range = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Grains:
    """A time range in three parts, each in order and without two ranges that touch."""

    days: list[Range] = field(default_factory=list)
    quarters: list[Range] = field(default_factory=list)
    lines: list[Range] = field(default_factory=list)


def grains_of(start: dt.datetime, end: dt.datetime, steps: Sequence[dt.datetime]) -> Grains:
    """Splits `[start, end)` so that no bucket reaches beyond one of the time steps, which begin at `steps`."""
    found = Grains()
    cuts = [start, *(step for step in steps if start < step < end), end]
    for begin, finish in itertools.pairwise(cuts):
        first, last = _ceil(begin, QUARTER), _floor(finish, QUARTER)
        if first >= last:
            _add(found.lines, begin, finish)
            continue
        _add(found.lines, begin, first)
        first_day, last_day = _ceil(first, DAY), _floor(last, DAY)
        if first_day < last_day:
            _add(found.quarters, first, first_day)
            _add(found.days, first_day, last_day)
            _add(found.quarters, last_day, last)
        else:
            _add(found.quarters, first, last)
        _add(found.lines, last, finish)
    return found


def next_quarter(moment: dt.datetime) -> dt.datetime:
    """Where the first quarter of an hour begins that is not before a moment."""
    return _ceil(moment, QUARTER)


def _floor(moment: dt.datetime, size: dt.timedelta) -> dt.datetime:
    return moment - (moment - EPOCH) % size


def _ceil(moment: dt.datetime, size: dt.timedelta) -> dt.datetime:
    return moment + (EPOCH - moment) % size


def _add(ranges: list[Range], begin: dt.datetime, finish: dt.datetime) -> None:
    if begin >= finish:
        return
    if ranges and ranges[-1][1] == begin:
        begin = ranges.pop()[0]
    ranges.append((begin, finish))
