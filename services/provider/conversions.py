"""Domain values of provider as protos, for those who send them."""

from typing import Any

from dac.type.v1 import record_pb2, usage_pb2
from services.provider import events


def usage_message(usage: events.Usage) -> usage_pb2.Usage:
    """Its proto."""
    return usage_pb2.Usage(
        input_tokens=usage.input_tokens,
        input_cached_tokens=usage.input_cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def source_number(source: events.UsageSource) -> Any:
    """Its number in the proto."""
    return int(source)


def attempt_record(attempt: events.Attempt) -> record_pb2.AttemptRecord:
    """Its proto."""
    made = record_pb2.AttemptRecord(
        attempt_id=attempt.attempt_id,
        provider=attempt.provider,
        model=attempt.model,
        first_token_ms=attempt.first_token_ms,
        status_code=attempt.status_code,
        reason=int(attempt.reason),  # type: ignore[arg-type]
        message=attempt.message,
        usage=usage_message(attempt.usage),
        usage_source=source_number(attempt.usage_source),
        finish_reason=attempt.finish_reason,
        rescue=int(attempt.rescue),  # type: ignore[arg-type]
        provider_key_id=attempt.provider_key_id,
    )
    made.started_at.FromNanoseconds(int(attempt.started_at_s * 1e9))
    made.ended_at.FromNanoseconds(int(attempt.ended_at_s * 1e9))
    return made
