"""Domain values of provider as protos, for those who send them."""

from typing import Any

from dac.provider.v1 import provider_pb2
from dac.type.v1 import record_pb2, usage_pb2
from services.provider import events

_SELDOM = (
    *("cache_write_1h_tokens", "input_audio_tokens", "input_audio_cached_tokens", "input_image_tokens"),
    *("output_audio_tokens", "output_image_tokens", "service_tier"),
)


def usage_message(usage: events.Usage) -> usage_pb2.Usage:
    """Its proto."""
    made = usage_pb2.Usage(
        input_tokens=usage.input_tokens,
        input_cached_tokens=usage.input_cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        audio_seconds=usage.audio_seconds,
        input_characters=usage.input_characters,
    )
    for name in _SELDOM:
        if count := getattr(usage, name):
            setattr(made, name, count)
    return made


def usage_of(usage: usage_pb2.Usage) -> events.Usage:
    """The other way; nothing is below 0."""
    told: dict[str, Any] = {
        field.name: value if isinstance(value, str) else max(0, value) for field, value in usage.ListFields()
    }
    return events.Usage(**told)


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


def started_message(event: events.Started) -> provider_pb2.AttemptStarted:
    """An attempt's beginning."""
    return provider_pb2.AttemptStarted(
        attempt_id=event.attempt_id,
        model=event.model,
        provider=event.provider,
        before=[attempt_record(one) for one in event.before],
        rescue=int(event.rescue),  # type: ignore[arg-type]
    )


def finish_message(event: events.Finish) -> provider_pb2.GenerateFinish:
    """The end of a good answer."""
    return provider_pb2.GenerateFinish(
        usage=usage_message(event.usage),
        usage_source=source_number(event.usage_source),
        finish_reason=event.finish_reason,
        text=event.text,
        tool_calls_json=event.tool_calls_json,
        attempts=[attempt_record(one) for one in event.attempts],
    )


def failure_message(failure: events.Failure) -> provider_pb2.GenerateFailure:
    """The end of a failed one."""
    return provider_pb2.GenerateFailure(
        reason=int(failure.reason),  # type: ignore[arg-type]
        message=failure.message,
        status_code=failure.status_code,
        retry_after_s=failure.retry_after_s,
        after_first_token=failure.after_first_token,
        attempts=[attempt_record(one) for one in failure.attempts],
        provider_error_json=failure.provider_error_json,
    )
