"""What was used and charged: the question (by what, in which steps, of which part), its answer's rows, and paging."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import json
from dataclasses import dataclass

from services.budget.ledger.windows import EPOCH, UTC, Window, end_of, start_of

MAX_STEPS = 2000
"""Time steps in one answer: twelve weeks by the hour, five years by the day."""
STEPS = {
    Window.HOUR: dt.timedelta(hours=1),
    Window.DAY: dt.timedelta(days=1),
    Window.WEEK: dt.timedelta(weeks=1),
    Window.MONTH: dt.timedelta(days=30),
}
"""What steps there are, and about how long they are."""


class Dimension(enum.IntEnum):
    """What usage is summed by; numbers as in dac.budget.v1.Dimension."""

    TEAM = 1
    PROJECT = 2
    USER = 3
    KEY = 4
    MODEL = 5
    PROVIDER = 6
    OPERATION = 7
    TAG = 8


PER_ATTEMPT = (Dimension.MODEL, Dimension.PROVIDER)
"""In these the attempts of one request may differ; in all others a request is in one group."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question about one organisation's ledger."""

    org_id: str
    start: dt.datetime
    end: dt.datetime
    """Not included."""
    dimensions: tuple[Dimension, ...] = ()
    step: Window | None = None
    zone: str = UTC
    level: str = ""
    """Only below this level: "team:<id>"."""
    model: str = ""
    provider: str = ""
    tag: str = ""
    """Only with this tag: "key=value"."""
    tag_key: str = ""
    """Which tag Dimension.TAG is."""

    @property
    def steps(self) -> tuple[dt.datetime, ...]:
        """Where each time step begins, the first at or before `start`. Raises ValueError for too many."""
        if self.step is None:
            return ()
        if (self.end - self.start) / STEPS[self.step] > MAX_STEPS:
            raise ValueError(f"there are more than {MAX_STEPS} steps between start_at and end_at; take longer ones")
        found = [start_of(self.step, self.start, self.zone)]
        while (following := end_of(self.step, found[-1], self.zone)) is not None and following < self.end:
            found.append(following)
        return tuple(found)

    @property
    def chosen(self) -> tuple[Dimension, ...]:
        """Dimensions of which one value is asked for, so that only some attempts of a request may count."""
        return tuple(one for one, value in zip(PER_ATTEMPT, (self.model, self.provider), strict=True) if value)


@dataclass(frozen=True, slots=True)
class Row:
    """Usage of one group and time step."""

    step: int = 0
    """Which time step, from 1; 0 = all of the time."""
    group: tuple[str, ...] = ()
    requests: int = 0
    input_tokens: int = 0
    input_cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where an answer goes on: behind a row, at the same time range, so that pages fit together while usage goes on."""

    question: str
    """A fingerprint of what was asked; a token belongs to one question."""
    start: dt.datetime
    end: dt.datetime
    step: int
    group: tuple[str, ...]

    def token(self) -> str:
        """The position as text for the caller."""
        fields = [self.question, _micros(self.start), _micros(self.end), self.step, list(self.group)]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def read_token(token: str) -> Position | None:
    """The position that a token says; None when it is not one."""
    try:
        question, start, end, step, group = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
        is_right = isinstance(question, str) and type(step) is int and -1 <= step <= 2 * MAX_STEPS
        # PostgreSQL takes neither a NUL nor half a character in a text.
        if not is_right or any("\x00" in one.encode().decode() for one in group):
            return None
        return Position(question, _moment(start), _moment(end), step, tuple(group))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _micros(moment: dt.datetime) -> int:
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def _moment(micros: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=micros)
