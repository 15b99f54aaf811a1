"""Domain values of provider as protos, for those who send them."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import timestamp_pb2

from dac.provider.v1 import provider_pb2
from dac.type.v1 import record_pb2, usage_pb2
from services.provider.calling import events
from services.provider.kinds import audio_of
from services.provider.registry import Provider

_SELDOM = (
    *("input_cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_seconds", "input_characters"),
    *("cache_write_1h_tokens", "input_audio_tokens", "input_audio_cached_tokens", "input_image_tokens"),
    *("output_audio_tokens", "output_image_tokens", "service_tier"),
)


def usage_message(usage: events.Usage) -> usage_pb2.Usage:
    """Its proto."""
    made = usage_pb2.Usage()
    fill_usage(made, usage)
    return made


def fill_usage(made: usage_pb2.Usage, usage: events.Usage) -> None:
    """Writes it into a proto that says nothing yet. (In its place: a message put together of ready parts takes several
    times as long, here and below.)"""
    made.input_tokens, made.output_tokens = usage.input_tokens, usage.output_tokens
    for name in _SELDOM:
        if count := getattr(usage, name):
            setattr(made, name, count)


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
    made = record_pb2.AttemptRecord()
    fill_attempt(made, attempt)
    return made


def fill_attempt(made: record_pb2.AttemptRecord, attempt: events.Attempt) -> None:
    """Writes it into a proto that says nothing yet."""
    made.attempt_id, made.provider, made.model = attempt.attempt_id, attempt.provider, attempt.model
    made.first_token_ms, made.status_code = attempt.first_token_ms, attempt.status_code
    made.reason, made.rescue = int(attempt.reason), int(attempt.rescue)  # type: ignore[assignment]
    made.usage_source = source_number(attempt.usage_source)
    made.message, made.finish_reason = attempt.message, attempt.finish_reason
    made.provider_key_id = attempt.provider_key_id
    made.usage.SetInParent()
    fill_usage(made.usage, attempt.usage)
    _fill_time(made.started_at, int(attempt.started_at_s * 1e9))
    _fill_time(made.ended_at, int(attempt.ended_at_s * 1e9))


def _fill_time(made: timestamp_pb2.Timestamp, at_ns: int) -> None:
    made.SetInParent()
    made.seconds, made.nanos = divmod(at_ns, 1_000_000_000)


def started_message(event: events.Started) -> provider_pb2.AttemptStarted:
    """An attempt's beginning."""
    made = provider_pb2.AttemptStarted()
    fill_started(made, event)
    return made


def fill_started(made: provider_pb2.AttemptStarted, event: events.Started) -> None:
    """Writes it into a proto that says nothing yet."""
    made.attempt_id, made.model, made.provider = event.attempt_id, event.model, event.provider
    made.rescue = int(event.rescue)  # type: ignore[assignment]
    for one in event.before:
        fill_attempt(made.before.add(), one)


def finish_message(event: events.Finish) -> provider_pb2.GenerateFinish:
    """The end of a good answer."""
    made = provider_pb2.GenerateFinish()
    fill_finish(made, event)
    return made


def fill_finish(made: provider_pb2.GenerateFinish, event: events.Finish) -> None:
    """Writes it into a proto that says nothing yet."""
    made.usage.SetInParent()
    fill_usage(made.usage, event.usage)
    made.usage_source = source_number(event.usage_source)
    made.finish_reason, made.text, made.tool_calls_json = event.finish_reason, event.text, event.tool_calls_json
    for one in event.attempts:
        fill_attempt(made.attempts.add(), one)


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


def generate_response(event: events.Event) -> provider_pb2.GenerateResponse:
    """An event on its way to the caller."""
    made = provider_pb2.GenerateResponse()
    if isinstance(event, events.Frames):
        frames = made.frames
        frames.data, frames.events = event
    elif isinstance(event, events.Started):
        fill_started(made.attempt, event)
    elif isinstance(event, events.Finish):
        fill_finish(made.finish, event)
    else:
        made.failure.CopyFrom(failure_message(event))
    return made


def provider_status(provider: Provider, org_ids: Sequence[str] = ()) -> provider_pb2.ProviderStatus:
    """A provider as its callers see it."""
    made = provider_pb2.ProviderStatus(
        provider=provider.entry.provider,
        kind=provider.entry.kind,
        enabled=provider.enabled,
        managed_by=provider.entry.managed_by,
        upstream_models=provider.upstream_models,
        model_class=provider.entry.model_class,
        key_hint=provider.key_hint,
        org_ids=org_ids,
        audio=audio_of(provider.entry),
        region=provider.entry.region,
    )
    made.changed_at.FromDatetime(provider.changed_at)
    return made
