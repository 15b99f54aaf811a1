"""RequestRecord ↔ domain: what an attempt used, the costs that budget writes into the record, and its size."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable

from dac.type.v1 import error_pb2, record_pb2, usage_pb2
from mesh.usage import answer_tokens
from services.budget.ledger.operations import About, Attempt, Settlement
from services.budget.ledger.rows import LevelKind, State
from services.budget.prices.money import Usage
from services.budget.prices.rates import BUCKETS

BOUND_MESSAGE = "Its end was never reported, so the reserved amount, the most it can have cost, was charged."
MAX_RECORD_BYTES = 256 * 1024
"""A record is told to others with at most this many bytes; what it says of money is never cut."""
MAX_TEXT_CHARS = 256
MAX_ATTEMPT_ID_CHARS = 128
MAX_TIER_CHARS = 32
MAX_PRICE_LINES = len(BUCKETS)
TRIMMED = "trimmed"
"""The tag that says what was cut: "messages", "details" or "attempts"."""
OVERRUN, CHARGE = "overrun_nano_usd", "charge"
OWN_TAGS = frozenset({TRIMMED, OVERRUN, CHARGE})
"""Tags that budget itself puts on a record."""
MAX_TAGS = 16
_KINDS = {int(kind): kind.name.lower() for kind in LevelKind}


def attempts_of(record: record_pb2.RequestRecord) -> tuple[Attempt, ...]:
    """What the record's attempts used."""
    return tuple([_attempt_of(attempt) for attempt in record.attempts])


def _attempt_of(attempt: record_pb2.AttemptRecord) -> Attempt:
    used = attempt.usage
    return Attempt(
        # It becomes text and part of a key: PostgreSQL takes neither a NUL nor any length there.
        attempt.attempt_id[:MAX_ATTEMPT_ID_CHARS].replace("\x00", "\ufffd"),
        attempt.provider.replace("\x00", "\ufffd"),
        attempt.model.replace("\x00", "\ufffd"),
        _usage_of(used),
        attempt.reason == error_pb2.ERROR_REASON_UNSPECIFIED or answer_tokens(used) > 0,
    )


def tags_of(record: record_pb2.RequestRecord) -> tuple[str, ...]:
    """What the caller marked the request with, each "key=value"."""
    if not record.tags:
        return ()
    told = sorted(f"{key}={value}"[:MAX_TEXT_CHARS] for key, value in record.tags.items() if key not in OWN_TAGS)
    return tuple(tag for tag in told[:MAX_TAGS] if "\x00" not in tag)


def about(record: record_pb2.RequestRecord) -> About:
    """What the ledger's lines say of the request."""
    path = _path(tuple([(level.kind, level.id) for level in record.path]))
    return About(record.operation[:MAX_TEXT_CHARS].replace("\x00", "") or "chat", path, tags_of(record))


def _usage_of(used: usage_pb2.Usage) -> Usage:
    return Usage(
        used.input_tokens,
        used.input_cached_tokens,
        used.cache_write_tokens,
        used.output_tokens,
        used.reasoning_tokens,
        used.audio_seconds,
        used.input_characters,
        used.cache_write_1h_tokens,
        used.input_audio_tokens,
        used.input_audio_cached_tokens,
        used.input_image_tokens,
        used.output_audio_tokens,
        used.output_image_tokens,
        # Names a price's tier: no longer than such a name may be.
        used.service_tier[:MAX_TIER_CHARS],
    )


@functools.lru_cache(maxsize=4096)
def _path(levels: tuple[tuple[int, str], ...]) -> tuple[str, ...]:
    return tuple(f"{_KINDS.get(kind, 'level')}:{level_id}" for kind, level_id in levels)


def draft_with(path: bytes, draft: record_pb2.RequestRecord) -> bytes:
    """A draft with the caller's path, bounded. The path comes serialised: messages put together are one."""
    draft.ClearField("path")
    sealed = draft.SerializeToString() + path
    return sealed if len(sealed) <= MAX_RECORD_BYTES else bounded(record_pb2.RequestRecord.FromString(sealed))


def bounded(record: record_pb2.RequestRecord) -> bytes:
    """The record, serialised. Too large a one loses its attempts' messages, then its details, then its attempts."""
    sealed = record.SerializeToString()
    if len(sealed) <= MAX_RECORD_BYTES:
        return sealed
    trimmed = record_pb2.RequestRecord()
    trimmed.CopyFrom(record)
    for attempt in trimmed.attempts:
        attempt.message = ""
    trimmed.tags[TRIMMED] = "messages"
    if trimmed.ByteSize() > MAX_RECORD_BYTES:
        _cut_details(trimmed)
    if trimmed.ByteSize() > MAX_RECORD_BYTES:
        trimmed = _sums_of(trimmed)
    return trimmed.SerializeToString()


def _cut_details(record: record_pb2.RequestRecord) -> None:
    """Cuts texts short and takes out what explains the request but is no part of its account."""
    overrun = record.tags.get(OVERRUN, "")
    for field in ("route", "features", "validation", "stage_ms", "tags", "context"):
        record.ClearField(field)
    record.tags[TRIMMED] = "details"
    if overrun:
        record.tags[OVERRUN] = overrun
    _shorten(record)
    for attempt in record.attempts:
        _shorten(attempt)


def _shorten(message: record_pb2.RequestRecord | record_pb2.AttemptRecord | record_pb2.PriceLine) -> None:
    for field, value in message.ListFields():
        if isinstance(value, str):
            setattr(message, field.name, value[:MAX_TEXT_CHARS])


def _sums_of(record: record_pb2.RequestRecord) -> record_pb2.RequestRecord:
    """Only the fields whose size is known, and the last attempt: the one that answered."""
    made = record_pb2.RequestRecord(tags=record.tags)
    for field, value in record.ListFields():
        if isinstance(value, int | str):
            setattr(made, field.name, value)
        elif field.name in ("started_at", "ended_at", "cache"):
            getattr(made, field.name).CopyFrom(value)
    made.attempts.extend(record.attempts[-1:])
    for attempt in made.attempts:
        del attempt.price_lines[MAX_PRICE_LINES:]
        for line in attempt.price_lines:
            _shorten(line)
    made.tags[TRIMMED] = "attempts"
    made.DiscardUnknownFields()
    return made


def sealer(record: record_pb2.RequestRecord) -> Callable[[Settlement], bytes]:
    """A function that writes the costs into `record` and serialises it."""

    def seal(settlement: Settlement) -> bytes:
        record.cost_nano_usd = settlement.cost_nano_usd
        record.reserved_nano_usd = settlement.reserved_nano_usd
        for attempt, charge in zip(record.attempts, settlement.charges, strict=True):
            attempt.price_version = charge.price_version
            attempt.cost_nano_usd = charge.cost_nano_usd
            if attempt.price_lines:
                del attempt.price_lines[:]
            for bucket, tokens, rate, cost in charge.lines:
                attempt.price_lines.add(bucket=bucket, tokens=tokens, nano_usd_per_mtok=rate, cost_nano_usd=cost)
        if settlement.cost_nano_usd > settlement.reserved_nano_usd and record.reservation_id:
            record.tags[OVERRUN] = str(settlement.cost_nano_usd - settlement.reserved_nano_usd)
        return bounded(record)

    return seal


def bound_sealer(
    draft: bytes, *, org_id: str, request_id: str, reservation_id: str, ended_at: dt.datetime
) -> Callable[[Settlement], bytes]:
    """A function that makes the record of a request whose end nobody reported."""

    def seal(settlement: Settlement) -> bytes:
        record = record_pb2.RequestRecord.FromString(draft)
        record.org_id, record.request_id, record.reservation_id = org_id, request_id, reservation_id
        record.outcome = record_pb2.OUTCOME_INDETERMINATE
        record.cost_nano_usd = settlement.cost_nano_usd
        record.reserved_nano_usd = settlement.reserved_nano_usd
        record.message = BOUND_MESSAGE
        record.tags[CHARGE] = "bound"
        record.ended_at.FromDatetime(ended_at)
        assert settlement.state is State.INDETERMINATE
        return bounded(record)

    return seal
