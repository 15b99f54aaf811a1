"""What a record of a request says to the figures: its dimensions, its measures, its durations."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dac.type.v1 import principal_pb2, record_pb2
from mesh.ids import is_uuid
from mesh.usage import answer_tokens, cached_tokens, prompt_tokens
from services.audit.analytics import sketch

MEASURES = (
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
    "reasoning_nano_usd",
    "cache_lookups",
    "cache_hits",
    "coalesced",
    "saved_nano_usd",
    "quality_count",
    "quality_points",
    "quality_squared",
    "fallbacks",
    "attempts",
    "failed_attempts",
    "streams",
    "turns",
    "recalled",
    "tool_calls",
    "clean",
    "clean_nano_usd",
    "clean_input_tokens",
    "clean_output_tokens",
)
"""Sums of whole numbers, in the order of a fact's measures and of the columns. `clean` are the requests that were OK at
their first attempt and asked a provider: what models are compared by. Quality is kept in points of 1/10,000."""
OUTCOMES = ("ok", "client_gone", "refused", "failed", "indeterminate")
"""By number, from 1."""
QUALITY_POINTS = 10_000
MOST = 2**45
"""No measure of one request counts more: no record can make a sum overflow."""
BEFORE_ANSWER = ("context", "route", "cache", "reserve", "save_question", "first_token")
"""The stages whose sum is the time to the first token."""
TOOLS = frozenset({"tool_calls", "tool_use", "function_call"})
SIMPLE, MIDDLING, COMPLEX = 1, 2, 3
MAX_TEXT = 200
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_LOOKED = frozenset(
    {
        record_pb2.CacheRecord.STATUS_MISS,
        record_pb2.CacheRecord.STATUS_HIT,
        record_pb2.CacheRecord.STATUS_STORED,
        record_pb2.CacheRecord.STATUS_COALESCED,
    }
)
_KINDS = {
    principal_pb2.Level.KIND_TEAM: "team",
    principal_pb2.Level.KIND_PROJECT: "project",
    principal_pb2.Level.KIND_USER: "user",
    principal_pb2.Level.KIND_KEY: "key",
}


class Who(NamedTuple):
    """Whose request it was; None = no such level. Teams are nested: the innermost counts."""

    team: str | None
    project: str | None
    user: str | None
    key: str | None


class Tried(NamedTuple):
    """One attempt."""

    model: str
    provider: str
    failed: bool


class Fact(NamedTuple):
    """A request as the figures see it."""

    org_id: str
    at: dt.datetime
    who: Who
    model: str
    provider: str
    intent: str
    complexity: int
    thread_id: str
    measures: tuple[int, ...]
    clean_squared: int
    latency: int | None
    first_token: int | None
    tried: tuple[Tried, ...]


def fact_of(record: record_pb2.RequestRecord) -> Fact:
    """What a record says. Of any record whose organisation is a UUID; it never raises."""
    attempts = record.attempts
    last = attempts[-1] if attempts else None
    ok = record.outcome == record_pb2.OUTCOME_OK
    measures = _measures(record)
    # A name that a client made up and no model answered to must not become a dimension's value.
    model = last.model if last is not None else record.asked_model if ok else ""
    return Fact(
        record.org_id,
        _time(record),
        _who(record.path),
        _text(model),
        _text(last.provider if last is not None else ""),
        _text(record.features.intent),
        _complexity(record.features),
        _text(record.thread_id),
        tuple(_bounded(measures.get(name, 0)) for name in MEASURES),
        _bounded(measures.get("clean_nano_usd", 0)) ** 2,
        _latency(record) if ok else None,
        _first_token(record) if ok else None,
        tuple(Tried(_text(one.model), _text(one.provider), bool(one.reason)) for one in attempts),
    )


def _measures(record: record_pb2.RequestRecord) -> dict[str, int]:
    attempts, status = record.attempts, record.cache.status
    found = {
        "requests": 1,
        "cost_nano_usd": record.cost_nano_usd,
        "reserved_nano_usd": record.reserved_nano_usd,
        "attempts": len(attempts),
        "failed_attempts": sum(1 for one in attempts if one.reason),
        "streams": int(record.stream),
        "turns": int(bool(record.thread_id)),
        "recalled": int(record.context.recalled > 0),
        "tool_calls": int(record.finish_reason in TOOLS),
    }
    if 1 <= record.outcome <= len(OUTCOMES):
        found[OUTCOMES[record.outcome - 1]] = 1
    if len(attempts) > 1:
        first, last = attempts[0], attempts[-1]
        found["fallbacks"] = int((first.model, first.provider) != (last.model, last.provider))
    for attempt in attempts:
        for name, tokens in _tokens(attempt).items():
            found[name] = found.get(name, 0) + tokens
    if status in _LOOKED:
        found["cache_lookups"] = 1
        found["saved_nano_usd"] = max(0, record.cache.saved_nano_usd)
        found["cache_hits"] = int(status == record_pb2.CacheRecord.STATUS_HIT)
        found["coalesced"] = int(status == record_pb2.CacheRecord.STATUS_COALESCED)
    quality = quality_of(record.validation)
    if quality is not None:
        points = round(min(max(quality, 0.0), 1.0) * QUALITY_POINTS)
        found |= {"quality_count": 1, "quality_points": points, "quality_squared": points**2}
    if record.outcome == record_pb2.OUTCOME_OK and len(attempts) == 1 and not attempts[0].reason:
        usage = attempts[0].usage
        found |= {"clean": 1, "clean_nano_usd": record.cost_nano_usd}
        found |= {"clean_input_tokens": prompt_tokens(usage), "clean_output_tokens": answer_tokens(usage)}
    return found


def quality_of(validation: record_pb2.ValidationRecord) -> float | None:
    """The measured quality of the answer, 0–1; None = it was not measured, or is no number."""
    quality = validation.quality if validation.HasField("quality") else None
    return quality if quality is None or quality == quality else None


def _tokens(attempt: record_pb2.AttemptRecord) -> Mapping[str, int]:
    usage = attempt.usage
    written, cached = usage.cache_write_tokens + usage.cache_write_1h_tokens, cached_tokens(usage)
    return {
        "input_tokens": prompt_tokens(usage) - cached - written,
        "input_cached_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": answer_tokens(usage) - usage.reasoning_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "reasoning_nano_usd": sum(line.cost_nano_usd for line in attempt.price_lines if line.bucket == "reasoning"),
    }


def _who(path: Sequence[principal_pb2.Level]) -> Who:
    found = {_KINDS[level.kind]: level.id for level in path if level.kind in _KINDS and is_uuid(level.id)}
    return Who(found.get("team"), found.get("project"), found.get("user"), found.get("key"))


def _complexity(features: record_pb2.Features) -> int:
    """Simple, middling or complex; 0 = the prompt was not read."""
    if not features.intent:
        return 0
    return SIMPLE if features.complexity < 1 / 3 else MIDDLING if features.complexity < 2 / 3 else COMPLEX


def _latency(record: record_pb2.RequestRecord) -> int | None:
    if not record.HasField("started_at") or not record.HasField("ended_at"):
        return None
    return sketch.key_of((record.ended_at.ToNanoseconds() - record.started_at.ToNanoseconds()) / 1e6)


def _first_token(record: record_pb2.RequestRecord) -> int | None:
    if not record.stream or "first_token" not in record.stage_ms:
        return None
    waited = sum(record.stage_ms.get(stage, 0.0) for stage in BEFORE_ANSWER)
    return sketch.key_of(waited) if waited == waited else None


def _time(record: record_pb2.RequestRecord) -> dt.datetime:
    try:
        return record.started_at.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return EPOCH


def _text(text: str) -> str:
    """As PostgreSQL's text can hold it, and no longer than a name is."""
    return text[:MAX_TEXT].replace("\x00", "\ufffd")


def _bounded(value: int) -> int:
    return min(max(value, 0), MOST)
