"""A budget's threshold that was crossed, as those who are told of it see it: a signed event, a mail."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import Any

from services.budget.alerts.forecast import Forecast
from services.budget.errors import usd
from services.budget.ledger.rows import LevelKind, Limit

EVENT = "budget.threshold"
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")


@dataclass(frozen=True, slots=True)
class Alert:
    """A threshold that was crossed, and the budget it belongs to as it is now."""

    alert_id: str
    """The same at every try."""
    limit: Limit
    window_start: dt.datetime
    threshold_percent: int
    spent_nano_usd: int
    """When it was crossed."""
    limit_nano_usd: int
    """When it was crossed."""
    at: dt.datetime
    resets_at: dt.datetime | None
    forecast: Forecast | None = None


def is_address(text: str) -> bool:
    """Whether a mail can be sent there; nothing that passes can end a header or name a second recipient."""
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


def event_of(alert: Alert) -> bytes:
    """The body of a webhook. 64-bit integers are text, as in all of the API's JSON."""
    limit = alert.limit
    kind, _, narrowed = limit.selector.partition(":")
    found: dict[str, Any] = {
        "event": EVENT,
        "id": alert.alert_id,
        "org_id": limit.level.org_id,
        "budget": {
            "budget_id": limit.budget_id,
            "window": f"WINDOW_{limit.window.name}",
            "time_zone": limit.zone,
            "model": narrowed if kind == "model" else "",
            "tag": narrowed if kind == "tag" else "",
            "enforcement": f"ENFORCEMENT_{'HARD' if limit.is_hard else 'SOFT'}",
        },
        "level": {"kind": f"KIND_{LevelKind(limit.level.kind).name}", "id": limit.level.level_id},
        "threshold_percent": alert.threshold_percent,
        "spent_nano_usd": str(alert.spent_nano_usd),
        "limit_nano_usd": str(alert.limit_nano_usd),
        "at": _time(alert.at),
        "window_start": _time(alert.window_start),
        "resets_at": _time(alert.resets_at),
        "forecast": None,
    }
    if alert.forecast is not None:
        exhausted_at = _time(alert.forecast.exhausted_at)
        found["forecast"] = {"spent_nano_usd": str(alert.forecast.spent_nano_usd), "exhausted_at": exhausted_at}
    return json.dumps(found, separators=(",", ":")).encode()


def subject_of(alert: Alert) -> str:
    """A mail's subject."""
    level = LevelKind(alert.limit.level.kind).name.lower()
    return f"DAC: {alert.threshold_percent} % of a budget of {level} {alert.limit.level.level_id} is spent"


def text_of(alert: Alert) -> str:
    """A mail's text."""
    limit = alert.limit
    _, _, narrowed = limit.selector.partition(":")
    lines = [
        f"{usd(alert.spent_nano_usd)} of {usd(alert.limit_nano_usd)} were spent at {_time(alert.at)}, which is at "
        f"least {alert.threshold_percent} %.",
        "",
        f"Level:        {LevelKind(limit.level.kind).name.lower()} {limit.level.level_id}",
        f"Organisation: {limit.level.org_id}",
        f"Budget:       {limit.budget_id}",
        f"Window:       {limit.window.name.lower()}, {limit.zone}",
        *([f"Only for:     {narrowed}"] if narrowed else []),
        f"Resets:       {_time(alert.resets_at) or 'never'}",
    ]
    if alert.forecast is not None:
        ahead = alert.forecast.exhausted_at
        lines.append(
            f"At this pace: {usd(alert.forecast.spent_nano_usd)} at the end of the window"
            + (f"; nothing is left from {_time(ahead)}" if ahead else "")
        )
    lines += ["", _consequence(limit), ""]
    return "\n".join(lines)


def _consequence(limit: Limit) -> str:
    if limit.is_hard:
        return "It is a hard budget: requests that no longer fit are refused."
    return "It is a soft budget: requests go on."


def _time(moment: dt.datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
