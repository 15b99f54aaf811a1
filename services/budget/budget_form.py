"""Budgets between the wire and the domain: what a caller may say of one, and how one is shown."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import replace

from dac.budget.v1 import budget_pb2
from dac.type.v1 import principal_pb2
from mesh.ids import is_uuid, uuid7
from services.budget import errors
from services.budget.alerts.alerts import is_address
from services.budget.alerts.forecast import Forecast, forecast
from services.budget.budget_store import Status
from services.budget.ledger.rows import MODEL, TAG, THRESHOLDS_PERCENT, Level, LevelKind, Limit
from services.budget.ledger.windows import UTC, Window, end_of, zone_of

MAX_LIMIT_NANO_USD = 2**62
MAX_THRESHOLDS = 10
MAX_EMAILS = 20
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,200}(/\*)?|[A-Za-z0-9._:@+-]{1,100}/\*")
_TAG = re.compile(r"[a-z0-9_.-]{1,40}=[^,\x00-\x1f\x7f]{1,80}")

SetRequest = budget_pb2.SetBudgetRequest | budget_pb2.CreateBudgetRequest


def limit_of(request: SetRequest, org_id: str) -> Limit:
    """The budget that a caller wishes. Raises INVALID_REQUEST naming the field."""
    window = int(request.window)
    if window not in tuple(Window):
        raise errors.invalid("window", "say WINDOW_NONE, _MINUTE, _HOUR, _DAY, _WEEK or _MONTH")
    is_unset = isinstance(request, budget_pb2.CreateBudgetRequest) and not request.HasField("limit_nano_usd")
    if request.enforcement not in budget_pb2.Enforcement.values():
        raise errors.invalid("enforcement", "say ENFORCEMENT_HARD or ENFORCEMENT_SOFT")
    return Limit(
        uuid7(),
        level_named(request.level, org_id),
        Window(window),
        _amount(request.limit_nano_usd, unlimited=request.unlimited or is_unset),
        zone_named(request.time_zone),
        selector_of(request.model, request.tag),
        request.enforcement != budget_pb2.ENFORCEMENT_SOFT,
        _thresholds(request.thresholds.percent) if request.HasField("thresholds") else THRESHOLDS_PERCENT,
        _emails(request.alert_emails),
    )


def changed(limit: Limit, request: budget_pb2.UpdateBudgetRequest) -> Limit:
    """The budget with what the caller names changed. Raises INVALID_REQUEST naming the field."""
    amount, is_unlimited = limit.limit_nano_usd, limit.limit_nano_usd is None
    if request.HasField("unlimited"):
        is_unlimited = request.unlimited
        amount = amount or 0
        if not is_unlimited and limit.limit_nano_usd is None and not request.HasField("limit_nano_usd"):
            raise errors.invalid("limit_nano_usd", "it is unlimited so far: say the limit")
    elif request.HasField("limit_nano_usd"):
        is_unlimited = False
    if request.HasField("limit_nano_usd"):
        amount = request.limit_nano_usd
    limit = replace(limit, limit_nano_usd=None if is_unlimited else _amount(amount or 0, unlimited=False))
    if request.HasField("enforcement"):
        limit = replace(limit, is_hard=request.enforcement != budget_pb2.ENFORCEMENT_SOFT)
    if request.HasField("thresholds"):
        limit = replace(limit, thresholds_percent=_thresholds(request.thresholds.percent))
    if request.HasField("alert_emails"):
        limit = replace(limit, alert_emails=_emails(request.alert_emails.addresses))
    return limit


def level_named(level: principal_pb2.Level, org_id: str) -> Level:
    """The level that a caller names; the organisation needs no id. Raises INVALID_REQUEST."""
    kind = int(level.kind)
    if kind not in tuple(LevelKind):
        raise errors.invalid("level.kind", "say KIND_ORG, KIND_TEAM, KIND_PROJECT, KIND_USER or KIND_KEY")
    level_id = level.id or (org_id if kind == LevelKind.ORG else "")
    if not is_uuid(level_id):
        raise errors.invalid("level.id", f"{level_id[:80]!r} is not a UUID; GET /v1/keys lists the ids of your keys")
    if kind == LevelKind.ORG and level_id != org_id:
        raise errors.invalid("level.id", f"it must be your own organisation, {org_id}")
    return Level(org_id, kind, level_id)


def _amount(limit_nano_usd: int, *, unlimited: bool) -> int | None:
    if unlimited:
        if limit_nano_usd:
            raise errors.invalid("unlimited", f"a limit of {limit_nano_usd} is said, too; say one of them")
        return None
    if not 0 <= limit_nano_usd <= MAX_LIMIT_NANO_USD:
        raise errors.invalid("limit_nano_usd", f"{limit_nano_usd} is not in 0…{MAX_LIMIT_NANO_USD}")
    return limit_nano_usd


def zone_named(name: str) -> str:
    """The IANA zone that a caller names; UTC if none. Raises INVALID_REQUEST."""
    try:
        zone_of(name)
    except ValueError as error:
        raise errors.invalid("time_zone", str(error)) from None
    return name or UTC


def selector_of(model: str, tag: str) -> str:
    """What a budget is narrowed to. Raises INVALID_REQUEST."""
    if model and tag:
        raise errors.invalid("tag", "a budget is narrowed to a model or to a tag, not to both")
    if model and not _MODEL.fullmatch(model):
        raise errors.invalid("model", f'{model[:80]!r} is no model id such as "openai/gpt-4o", nor "openai/*"')
    if tag and not _TAG.fullmatch(tag):
        raise errors.invalid("tag", f'{tag[:80]!r} is no "key=value" with a key of a-z, 0-9, "_", "." and "-"')
    return MODEL + model if model else TAG + tag if tag else ""


def _thresholds(percent: Iterable[int]) -> tuple[int, ...]:
    found = tuple(sorted(set(percent)))
    if len(found) > MAX_THRESHOLDS or any(not 1 <= one <= 1000 for one in found):
        raise errors.invalid("thresholds.percent", f"at most {MAX_THRESHOLDS} of 1 to 1000 percent, not {found[:20]}")
    return found


def _emails(addresses: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(addresses))
    if len(found) > MAX_EMAILS:
        raise errors.invalid("alert_emails", f"at most {MAX_EMAILS} addresses, not {len(found)}")
    for address in found:
        if not is_address(address):
            raise errors.invalid("alert_emails", f"{address[:80]!r} is not an address such as ops@example.com")
    return found


def to_message(status: Status, now: dt.datetime) -> budget_pb2.Budget:
    """The public form of a budget. The forecast is said where the status knows what was spent recently."""
    limit = status.limit
    kind, _, narrowed = limit.selector.partition(":")
    message = budget_pb2.Budget(
        budget_id=limit.budget_id,
        level=principal_pb2.Level(kind=principal_pb2.Level.Kind.Name(limit.level.kind), id=limit.level.level_id),
        window=budget_pb2.Window.Name(int(limit.window)),
        limit_nano_usd=limit.limit_nano_usd or 0,
        unlimited=limit.limit_nano_usd is None,
        spent_nano_usd=status.spent_nano_usd,
        reserved_nano_usd=status.reserved_nano_usd,
        time_zone=limit.zone,
        model=narrowed if kind == "model" else "",
        tag=narrowed if kind == "tag" else "",
        enforcement=budget_pb2.ENFORCEMENT_HARD if limit.is_hard else budget_pb2.ENFORCEMENT_SOFT,
        thresholds_percent=limit.thresholds_percent,
        alert_emails=limit.alert_emails,
        reached_percent=status.reached_percent,
    )
    if limit.window is not Window.NONE:
        message.window_start.FromDatetime(status.window_start)
    end = end_of(limit.window, status.window_start, limit.zone)
    if end is not None:
        message.resets_at.FromDatetime(end)
    found = forecast_of(status, now)
    if found is not None:
        message.forecast.spent_nano_usd = found.spent_nano_usd
        if found.exhausted_at is not None:
            message.forecast.exhausted_at.FromDatetime(found.exhausted_at)
    return message


def forecast_of(status: Status, now: dt.datetime) -> Forecast | None:
    """Where a budget's pace leads; None while too little is known."""
    if status.recent_nano_usd is None or status.created_at is None:
        return None
    limit = status.limit
    return forecast(
        start=status.window_start,
        end=end_of(limit.window, status.window_start, limit.zone),
        counted_since=status.created_at,
        now=now,
        spent_nano_usd=status.spent_nano_usd,
        recent_nano_usd=status.recent_nano_usd,
        limit_nano_usd=limit.limit_nano_usd,
    )


def public(limit: Limit) -> dict[str, object]:
    """What an administrative record says of a budget."""
    fields: dict[str, object] = {
        "level": LevelKind(limit.level.kind).name.lower(),
        "level_id": limit.level.level_id,
        "window": limit.window.name.lower(),
        "limit_nano_usd": None if limit.limit_nano_usd is None else str(limit.limit_nano_usd),
    }
    plain = Limit(limit.budget_id, limit.level, limit.window, limit.limit_nano_usd)
    for name in ("zone", "selector", "is_hard", "thresholds_percent", "alert_emails", "note"):
        if getattr(limit, name) != getattr(plain, name):
            fields[name] = getattr(limit, name)
    return fields
