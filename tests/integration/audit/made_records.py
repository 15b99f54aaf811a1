"""Records that Hypothesis makes, and the plain recount that figures are held to."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from dac.type.v1 import error_pb2, principal_pb2, record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.call import Call, serving
from mesh.ids import uuid7

TEAMS, PROJECTS, USERS, KEYS = ([uuid7() for _ in range(count)] for count in (2, 2, 3, 4))
MODELS = (("openai/gpt-4o-mini", "openai"), ("anthropic/claude-haiku", "anthropic"), ("local/tiny", "local"))
INTENTS = ("", "qa_retrieval", "coding_help")
DAY = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def as_caller(org_id: str, *scopes: str, user_id: str = "") -> Any:
    """Acts for the organisation, as one of its users if said."""
    principal = principal_pb2.Principal(
        kind=principal_pb2.Principal.KIND_USER_KEY, org_id=org_id, user_id=user_id, scopes=scopes
    )
    if user_id:
        principal.path.append(level(principal_pb2.Level.KIND_USER, user_id))
    return serving(Call(request_id=uuid7(), principal=principal))


def level(kind: int, level_id: str) -> Level:
    """One step of a path."""
    return Level(kind=kind, id=level_id)  # type: ignore[arg-type]


@st.composite
def attempts(draw: st.DrawFn) -> record_pb2.AttemptRecord:
    model, provider = draw(st.sampled_from(MODELS))
    made = record_pb2.AttemptRecord(model=model, provider=provider, attempt_id=uuid7())
    if draw(st.integers(0, 3)) == 0:
        made.reason = error_pb2.ERROR_REASON_UNAVAILABLE
    usage = made.usage
    usage.input_tokens, usage.input_cached_tokens = draw(st.integers(0, 5000)), draw(st.integers(0, 500))
    usage.output_tokens, usage.reasoning_tokens = draw(st.integers(0, 3000)), draw(st.sampled_from([0, 0, 700]))
    usage.cache_write_1h_tokens = draw(st.sampled_from([0, 0, 64]))
    return made


@st.composite
def records(draw: st.DrawFn, org_id: str) -> record_pb2.RequestRecord:
    """A request of the organisation, on one of two days."""
    made = record_pb2.RequestRecord(org_id=org_id, request_id=uuid7(), asked_model="auto")
    made.path.append(level(principal_pb2.Level.KIND_ORG, org_id))
    for kind, known in zip((2, 3, 4, 5), (TEAMS, PROJECTS, USERS, KEYS), strict=True):
        chosen = draw(st.sampled_from([None, *known]))
        if chosen:
            made.path.append(level(kind, chosen))
    made.outcome = draw(st.sampled_from([1, 1, 1, 2, 3, 4, 5]))  # type: ignore[assignment]
    made.attempts.extend(draw(st.lists(attempts(), max_size=3)))
    made.cost_nano_usd = draw(st.integers(0, 10**10))
    made.reserved_nano_usd = made.cost_nano_usd * 3
    made.features.intent = draw(st.sampled_from(INTENTS))
    made.features.complexity = draw(st.floats(0, 1))
    made.cache.status = draw(st.integers(0, 5))  # type: ignore[assignment]
    made.cache.saved_nano_usd = draw(st.integers(0, 10**7))
    if draw(st.booleans()):
        made.validation.quality = draw(st.integers(0, 1000)) / 1000
    made.stream = draw(st.booleans())
    made.thread_id = draw(st.sampled_from(["", "thread-a", "thread-b"]))
    made.finish_reason = draw(st.sampled_from(["stop", "tool_calls"]))
    begun = DAY + dt.timedelta(milliseconds=draw(st.integers(0, 2 * 86_400_000 - 1)))
    made.started_at.FromDatetime(begun)
    made.ended_at.FromDatetime(begun + dt.timedelta(milliseconds=draw(st.integers(1, 100_000))))
    made.stage_ms["route"], made.stage_ms["first_token"] = 1.5, draw(st.floats(0.1, 5000))
    return made


def recount(found: list[record_pb2.RequestRecord]) -> dict[str, Any]:
    """What the records add up to, counted one by one and without anything of the product."""
    tried = [one for record in found for one in record.attempts]
    looked = [record for record in found if record.cache.status >= 2]
    return {
        "requests": len(found),
        **{
            name: sum(record.outcome == number for record in found)
            for number, name in enumerate(("ok", "client_gone", "refused", "failed", "indeterminate"), 1)
        }
        | {
            "input_tokens": sum(one.usage.input_tokens for one in tried),
            "input_cached_tokens": sum(one.usage.input_cached_tokens for one in tried),
            "cache_write_tokens": sum(one.usage.cache_write_1h_tokens for one in tried),
            "output_tokens": sum(one.usage.output_tokens for one in tried),
            "reasoning_tokens": sum(one.usage.reasoning_tokens for one in tried),
            "cost_nano_usd": sum(record.cost_nano_usd for record in found),
            "reserved_nano_usd": sum(record.reserved_nano_usd for record in found),
            # Off and unset are no look at the cache.
            "cache_lookups": len(looked),
            "cache_hits": sum(record.cache.status == 3 for record in looked),
            "coalesced": sum(record.cache.status == 5 for record in looked),
            "saved_nano_usd": sum(record.cache.saved_nano_usd for record in looked),
            "quality_count": sum(record.validation.HasField("quality") for record in found),
            "fallbacks": sum(
                (record.attempts[0].model, record.attempts[0].provider)
                != (record.attempts[-1].model, record.attempts[-1].provider)
                for record in found
                if record.attempts
            ),
            "attempts": len(tried),
            "failed_attempts": sum(one.reason != 0 for one in tried),
            "streams": sum(record.stream for record in found),
            "turns": sum(bool(record.thread_id) for record in found),
            "recalled": 0,
            "tool_calls": sum(record.finish_reason == "tool_calls" for record in found),
        },
    }


def model_of(record: record_pb2.RequestRecord) -> str:
    """The value of the dimension."""
    if record.attempts:
        return record.attempts[-1].model
    return record.asked_model if record.outcome == 1 else ""


def id_of(record: record_pb2.RequestRecord, kind: int) -> str:
    """The id of the level; empty = none."""
    return next((one.id for one in record.path if one.kind == kind), "")
