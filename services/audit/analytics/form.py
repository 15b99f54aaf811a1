"""Sums as messages, and questions as windows and filters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from dac.audit.v1 import analytics_pb2 as pb
from mesh.ids import is_uuid
from services.audit import errors
from services.audit.analytics import recommendations as rec
from services.audit.analytics import sketch
from services.audit.analytics.cells import Grain
from services.audit.analytics.facts import QUALITY_POINTS
from services.audit.analytics.reading import Sums
from services.audit.analytics.windows import DAY, Window, day_of, window_of

SHARES = (0.5, 0.95, 0.99)
STEPS = {
    Grain.MINUTE: pb.ANALYTICS_STEP_MINUTE,
    Grain.HOUR: pb.ANALYTICS_STEP_HOUR,
    Grain.DAY: pb.ANALYTICS_STEP_DAY,
}
GRAINS = {int(step): grain for grain, step in STEPS.items()}
DIMENSIONS = {
    int(pb.ANALYTICS_DIMENSION_TEAM): "team_id",
    int(pb.ANALYTICS_DIMENSION_PROJECT): "project_id",
    int(pb.ANALYTICS_DIMENSION_USER): "user_id",
    int(pb.ANALYTICS_DIMENSION_KEY): "key_id",
    int(pb.ANALYTICS_DIMENSION_MODEL): "model",
    int(pb.ANALYTICS_DIMENSION_PROVIDER): "provider",
    int(pb.ANALYTICS_DIMENSION_INTENT): "intent",
}
IDS = ("team_id", "project_id", "user_id", "key_id")
MAX_TEXT = 200
PLAIN = (
    "requests",
    "ok",
    "client_gone",
    "refused",
    "failed",
    "indeterminate",
    "input_tokens",
    "input_cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "reserved_nano_usd",
    "cache_lookups",
    "cache_hits",
    "coalesced",
    "saved_nano_usd",
    "quality_count",
    "fallbacks",
    "attempts",
    "failed_attempts",
    "streams",
    "turns",
    "recalled",
    "tool_calls",
)
"""What is a field and a measure of one name."""


def figures(sums: Sums) -> pb.Figures:
    """What requests add up to."""
    found = sums.measures
    made = pb.Figures(**{name: found[name] for name in PLAIN})  # type: ignore[arg-type]
    _percentiles(made.latency, sums.latency)
    _percentiles(made.first_token, sums.first_token)
    if found["cache_lookups"]:
        made.cache_hit_rate = found["cache_hits"] / found["cache_lookups"]
    if found["quality_count"]:
        made.quality = found["quality_points"] / found["quality_count"] / QUALITY_POINTS
    return made


def _percentiles(made: pb.Percentiles, bins: bytes) -> None:
    made.count, (made.p50_ms, made.p95_ms, made.p99_ms) = sketch.percentiles(bins, SHARES)


def series(rows: Sequence[Sums]) -> list[pb.SeriesPoint]:
    """Points in order."""
    made = []
    for row in sorted(rows, key=lambda one: one.value):
        point = pb.SeriesPoint(figures=figures(row))
        point.start_at.FromDatetime(row.value)
        made.append(point)
    return made


def breakdown(dimension: int, rows: Sequence[Sums], count: int) -> pb.Breakdown:
    """The groups that are shown, of so many."""
    return pb.Breakdown(
        dimension=dimension,  # type: ignore[arg-type]
        groups=[pb.DashboardGroup(value=str(row.value or ""), figures=figures(row)) for row in rows],
        left_out=count - len(rows),
    )


def asked_window(request: Any, now: dt.datetime, minutes_from: dt.datetime) -> Window:
    """The window of a request with start_at, end_at, start_date, end_date and step. Raises INVALID_REQUEST."""
    if request.step not in (0, *GRAINS):
        raise errors.invalid("step", f"say one of {', '.join(pb.AnalyticsStep.keys()[1:])}")
    start, end = _moment(request, "start_at"), _moment(request, "end_at")
    if start is None and request.start_date:
        start = day_of(request.start_date, "start_date")
    if end is None and request.end_date:
        end = day_of(request.end_date, "end_date")
        end += DAY if end.year < 9000 else dt.timedelta()
    return window_of(start, end, GRAINS.get(int(request.step)), now, minutes_from)


def asked_days(start_date: str, end_date: str, now: dt.datetime, days: int) -> Window:
    """Whole days, by default the last ones up to now. Raises INVALID_REQUEST."""
    end = day_of(end_date, "end_date") if end_date else now
    end = end + DAY if end_date and end.year < 9000 else end
    start = day_of(start_date, "start_date") if start_date else end - days * DAY
    return window_of(start, end, Grain.DAY, now, now)


def _moment(request: Any, field: str) -> dt.datetime | None:
    if not request.HasField(field):
        return None
    stamp: Timestamp = getattr(request, field)
    try:
        return stamp.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise errors.invalid(field, "it is not a time between the years 1 and 9999") from None


def filters(request: pb.GetDashboardRequest) -> dict[str, str]:
    """Only these values; empty = any. Raises INVALID_REQUEST."""
    found = {name: str(getattr(request, name)) for name in (*IDS, "model", "provider", "intent")}
    for name in IDS:
        team_id(found[name], name)
    for name in ("model", "provider", "intent"):
        if len(found[name]) > MAX_TEXT or "\x00" in found[name]:
            raise errors.invalid(name, f"it must have at most {MAX_TEXT} characters, and no NUL")
    return found


def team_id(text: str, field: str) -> str:
    """An id, or empty. Raises INVALID_REQUEST."""
    if text and not is_uuid(text):
        raise errors.invalid(field, f"{text[:60]!r} is not a UUID")
    return text


def dimensions(group_by: Sequence[int]) -> list[int]:
    """What to break down by; by default the model. Raises INVALID_REQUEST."""
    if any(one not in DIMENSIONS for one in group_by) or len(set(group_by)) < len(group_by):
        raise errors.invalid("group_by", f"name each once, of {', '.join(pb.AnalyticsDimension.keys()[1:])}")
    return list(group_by) or [int(pb.ANALYTICS_DIMENSION_MODEL)]


def preferences(rows: Sequence[tuple[str, str, int]]) -> list[pb.GetMyDashboardResponse.Preference]:
    """Shares of models within their intent."""
    totals: dict[str, int] = {}
    for intent, _, requests in rows:
        totals[intent] = totals.get(intent, 0) + requests
    return [
        pb.GetMyDashboardResponse.Preference(
            intent=intent, model=model, requests=requests, share=requests / totals[intent]
        )
        for intent, model, requests in rows
    ]


def used(found: Mapping[str, int]) -> pb.GetMyDashboardResponse.FeatureUse:
    """How many requests used what."""
    return pb.GetMyDashboardResponse.FeatureUse(
        validated=found["quality_count"],
        **{name: found[name] for name in ("streams", "cache_hits", "coalesced", "turns", "recalled", "tool_calls")},
    )


def recommendation(found: rec.Finding) -> pb.Recommendation:
    """A finding."""
    made = pb.Recommendation(
        recommendation_id=found.finding_id,
        kind=found.kind,  # type: ignore[arg-type]
        summary=found.summary,
        team_id=found.team,
        intent=found.intent,
        current=_side(found.current),
        requests=found.requests,
        saved_share=found.saved_share,
        saved_share_at_least=found.saved_at_least,
        saved_nano_usd=found.saved_nano_usd,
    )
    if found.better != rec.Side():
        made.better.CopyFrom(_side(found.better))
    if found.quality_change is not None:
        made.quality_change = found.quality_change
    if found.quality_at_least is not None:
        made.quality_change_at_least = found.quality_at_least
    return made


def _side(side: rec.Side) -> pb.EvidenceSide:
    count = max(side.requests, 1)
    made = pb.EvidenceSide(
        model=side.model,
        provider=side.provider,
        requests=side.requests,
        cost_nano_usd_per_request=side.cost / count,
        input_tokens_per_request=side.input / count,
        output_tokens_per_request=side.output / count,
        quality_count=side.quality_count,
        attempts=side.attempts,
        failed_attempts=side.failed,
    )
    if side.quality is not None:
        made.quality = side.quality
    return made
