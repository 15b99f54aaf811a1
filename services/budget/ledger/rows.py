"""What a batch reads and writes: limits and their counters, reservations, ledger lines, records and warnings."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import NamedTuple

from services.budget.ledger.windows import UTC, Window, start_of


class LevelKind(enum.IntEnum):
    """What a level of the path is; numbers as in dac.type.v1.Level.Kind."""

    ORG = 1
    TEAM = 2
    PROJECT = 3
    USER = 4
    KEY = 5


class Level(NamedTuple):
    """One level of one organisation."""

    org_id: str
    kind: int
    level_id: str


class CounterKey(NamedTuple):
    """One window instance of one budget."""

    org_id: str
    budget_id: str
    window_start: dt.datetime


STOP = "stop"
"""The selector of the emergency stop: it matches every request."""
MODEL = "model:"
TAG = "tag:"
THRESHOLDS_PERCENT = (50, 80, 95, 100)
"""Where to warn when nothing else is said."""


def model_selectors(model: str) -> tuple[str, ...]:
    """The selectors that a model's id matches: itself, and every beginning of it that ends with a slash."""
    parts = model.split("/")
    beginnings = ("/".join(parts[:count]) + "/*" for count in range(1, len(parts)))
    return (MODEL + model, *(MODEL + beginning for beginning in beginnings))


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: a limit on one level in each window."""

    budget_id: str
    level: Level
    window: Window
    limit_nano_usd: int | None
    """None = unlimited."""
    zone: str = UTC
    selector: str = ""
    """What it is narrowed to: '' = everything, "model:<id or beginning/*>", "tag:<key>=<value>", "stop"."""
    is_hard: bool = True
    thresholds_percent: tuple[int, ...] = THRESHOLDS_PERCENT
    alert_emails: tuple[str, ...] = ()
    note: str = ""

    def key_at(self, now: dt.datetime) -> CounterKey:
        """The counter of the window that holds `now`."""
        return CounterKey(self.level.org_id, self.budget_id, start_of(self.window, now, self.zone))

    @property
    def charged_with(self) -> str:
        """Which attempts its counter is charged with: '' = all of a request, else a model's selector."""
        return self.selector if self.selector.startswith(MODEL) else ""


@dataclass(slots=True)
class Counter:
    """What one window of one budget has spent and holds."""

    committed: int = 0
    reserved: int = 0
    next_alert: int | None = 0
    """From this much on a threshold may be crossed; 0 = to be found out, None = none is left."""
    limit: Limit | None = None
    """The budget it counts for, as it is now; None = not read."""


class State(enum.IntEnum):
    """What became of a reservation."""

    OPEN = 0
    COMMITTED = 1
    RELEASED = 2
    INDETERMINATE = 3


@dataclass(slots=True)
class Reservation:
    """The worst case of one request, held until it is resolved."""

    reservation_id: str
    org_id: str
    request_id: str
    amount_nano_usd: int
    state: State
    expires_at: dt.datetime
    body_hash: bytes
    price_version: int
    output_cap_tokens: int
    counters: tuple[CounterKey, ...]
    selectors: tuple[str, ...] = ()
    """Beside each counter: which attempts it is charged with; shorter or empty = all."""
    covered_output_tokens: int = 0
    """How far the answer is covered; 0 = all of it."""
    cost_nano_usd: int = 0
    draft: bytes = b""
    rescues: int = 0
    """How often the answer may be taken up again; not stored: who asks a second time gets none."""
    soft_excess: tuple[Excess, ...] = ()
    """Not stored either."""
    is_hard: bool = True
    """Whether a hard limit counts it, so that every model needs a price; not stored: taken as so."""

    def counters_of(self, model: str) -> tuple[CounterKey, ...]:
        """The counters that an attempt with a model is charged to."""
        if not any(self.selectors):
            return self.counters
        matching = {"", *model_selectors(model)}
        wanted = (*self.selectors, *("" for _ in range(len(self.counters) - len(self.selectors))))
        return tuple(key for key, selector in zip(self.counters, wanted, strict=True) if selector in matching)


@dataclass(frozen=True, slots=True)
class Excess:
    """A soft budget that a request goes beyond."""

    limit: Limit
    used_nano_usd: int


class Entry(NamedTuple):
    """One line of the ledger. Kinds: commit, overrun (the part of it above the reservation; a note), release,
    indeterminate, adjust."""

    org_id: str
    reservation_id: str
    attempt_id: str
    kind: str
    amount_nano_usd: int
    price_version: int
    request_id: str
    counters: tuple[CounterKey, ...]
    provider: str = ""
    model: str = ""
    operation: str = ""
    path: tuple[str, ...] = ()
    """ "team:<id>", …, organisation first."""
    tags: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    """input, input_cached, cache_write, output, reasoning."""


CHARGING = ("commit", "indeterminate", "adjust")
"""Ledger kinds whose amounts make up `committed`."""


class Record(NamedTuple):
    """A sealed record on its way to the outbox."""

    org_id: str
    request_id: str
    sealed: bytes


class Alert(NamedTuple):
    """A threshold that was crossed."""

    key: CounterKey
    threshold_percent: int
    spent_nano_usd: int
    limit_nano_usd: int


def thresholds_crossed(key: CounterKey, counter: Counter) -> list[Alert]:
    """The thresholds that what is committed has reached; sets from where on to ask again."""
    limit = counter.limit
    if counter.next_alert is None or limit is None or counter.committed < counter.next_alert:
        return []
    counter.next_alert = None
    if not limit.limit_nano_usd:
        return []
    crossed = []
    for percent in sorted(limit.thresholds_percent):
        reached_at = -(-limit.limit_nano_usd * percent // 100)
        if counter.committed < reached_at:
            counter.next_alert = reached_at
            break
        crossed.append(Alert(key, percent, counter.committed, limit.limit_nano_usd))
    return crossed
