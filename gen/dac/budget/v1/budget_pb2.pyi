import datetime

from dac.type.v1 import principal_pb2 as _principal_pb2
from dac.type.v1 import record_pb2 as _record_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Window(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WINDOW_UNSPECIFIED: _ClassVar[Window]
    WINDOW_NONE: _ClassVar[Window]
    WINDOW_DAY: _ClassVar[Window]
    WINDOW_MONTH: _ClassVar[Window]
    WINDOW_MINUTE: _ClassVar[Window]
    WINDOW_HOUR: _ClassVar[Window]
    WINDOW_WEEK: _ClassVar[Window]

class Enforcement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENFORCEMENT_UNSPECIFIED: _ClassVar[Enforcement]
    ENFORCEMENT_HARD: _ClassVar[Enforcement]
    ENFORCEMENT_SOFT: _ClassVar[Enforcement]
WINDOW_UNSPECIFIED: Window
WINDOW_NONE: Window
WINDOW_DAY: Window
WINDOW_MONTH: Window
WINDOW_MINUTE: Window
WINDOW_HOUR: Window
WINDOW_WEEK: Window
ENFORCEMENT_UNSPECIFIED: Enforcement
ENFORCEMENT_HARD: Enforcement
ENFORCEMENT_SOFT: Enforcement

class PricedCandidate(_message.Message):
    __slots__ = ("provider", "model")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("request_id", "candidates", "input_tokens", "input_tokens_max", "max_output_tokens", "body_hash", "ttl_s", "draft", "rescues", "audio_seconds_max", "input_characters_max", "stream", "asked_output_tokens", "names_service_tier")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_MAX_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BODY_HASH_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    RESCUES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_MAX_FIELD_NUMBER: _ClassVar[int]
    INPUT_CHARACTERS_MAX_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ASKED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NAMES_SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[PricedCandidate]
    input_tokens: int
    input_tokens_max: int
    max_output_tokens: int
    body_hash: bytes
    ttl_s: float
    draft: _record_pb2.RequestRecord
    rescues: int
    audio_seconds_max: int
    input_characters_max: int
    stream: bool
    asked_output_tokens: int
    names_service_tier: bool
    def __init__(self, request_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[PricedCandidate, _Mapping]]] = ..., input_tokens: _Optional[int] = ..., input_tokens_max: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., body_hash: _Optional[bytes] = ..., ttl_s: _Optional[float] = ..., draft: _Optional[_Union[_record_pb2.RequestRecord, _Mapping]] = ..., rescues: _Optional[int] = ..., audio_seconds_max: _Optional[int] = ..., input_characters_max: _Optional[int] = ..., stream: _Optional[bool] = ..., asked_output_tokens: _Optional[int] = ..., names_service_tier: _Optional[bool] = ...) -> None: ...

class RateLimitState(_message.Message):
    __slots__ = ("requests_limit", "requests_remaining", "requests_reset_s", "tokens_limit", "tokens_remaining", "tokens_reset_s")
    REQUESTS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_REMAINING_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_RESET_S_FIELD_NUMBER: _ClassVar[int]
    TOKENS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_REMAINING_FIELD_NUMBER: _ClassVar[int]
    TOKENS_RESET_S_FIELD_NUMBER: _ClassVar[int]
    requests_limit: int
    requests_remaining: int
    requests_reset_s: float
    tokens_limit: int
    tokens_remaining: int
    tokens_reset_s: float
    def __init__(self, requests_limit: _Optional[int] = ..., requests_remaining: _Optional[int] = ..., requests_reset_s: _Optional[float] = ..., tokens_limit: _Optional[int] = ..., tokens_remaining: _Optional[int] = ..., tokens_reset_s: _Optional[float] = ...) -> None: ...

class SoftExcess(_message.Message):
    __slots__ = ("budget_id", "level", "limit_nano_usd", "used_nano_usd")
    BUDGET_ID_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    USED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    budget_id: str
    level: _principal_pb2.Level
    limit_nano_usd: int
    used_nano_usd: int
    def __init__(self, budget_id: _Optional[str] = ..., level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., limit_nano_usd: _Optional[int] = ..., used_nano_usd: _Optional[int] = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ("reservation_id", "reservation_secret", "reserved_nano_usd", "output_cap_tokens", "price_version", "expires_at", "rates", "uncovered", "rescues", "covered_output_tokens", "soft_excess", "rate_limit")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_SECRET_FIELD_NUMBER: _ClassVar[int]
    RESERVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CAP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    UNCOVERED_FIELD_NUMBER: _ClassVar[int]
    RESCUES_FIELD_NUMBER: _ClassVar[int]
    COVERED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SOFT_EXCESS_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    reservation_id: str
    reservation_secret: bytes
    reserved_nano_usd: int
    output_cap_tokens: int
    price_version: int
    expires_at: _timestamp_pb2.Timestamp
    rates: _containers.RepeatedCompositeFieldContainer[CandidateRates]
    uncovered: _containers.RepeatedCompositeFieldContainer[PricedCandidate]
    rescues: int
    covered_output_tokens: int
    soft_excess: _containers.RepeatedCompositeFieldContainer[SoftExcess]
    rate_limit: RateLimitState
    def __init__(self, reservation_id: _Optional[str] = ..., reservation_secret: _Optional[bytes] = ..., reserved_nano_usd: _Optional[int] = ..., output_cap_tokens: _Optional[int] = ..., price_version: _Optional[int] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rates: _Optional[_Iterable[_Union[CandidateRates, _Mapping]]] = ..., uncovered: _Optional[_Iterable[_Union[PricedCandidate, _Mapping]]] = ..., rescues: _Optional[int] = ..., covered_output_tokens: _Optional[int] = ..., soft_excess: _Optional[_Iterable[_Union[SoftExcess, _Mapping]]] = ..., rate_limit: _Optional[_Union[RateLimitState, _Mapping]] = ...) -> None: ...

class CandidateRates(_message.Message):
    __slots__ = ("provider", "model", "price_version", "input", "input_cached", "cache_write", "output", "reasoning", "request", "audio_second", "input_character", "cache_write_1h", "input_audio", "input_audio_cached", "input_image", "output_audio", "output_image", "instead", "service_tier", "above_tokens")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    INPUT_CACHED_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECOND_FIELD_NUMBER: _ClassVar[int]
    INPUT_CHARACTER_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_1H_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_CACHED_FIELD_NUMBER: _ClassVar[int]
    INPUT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_AUDIO_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    INSTEAD_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    ABOVE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    price_version: int
    input: int
    input_cached: int
    cache_write: int
    output: int
    reasoning: int
    request: int
    audio_second: int
    input_character: int
    cache_write_1h: int
    input_audio: int
    input_audio_cached: int
    input_image: int
    output_audio: int
    output_image: int
    instead: _containers.RepeatedCompositeFieldContainer[CandidateRates]
    service_tier: str
    above_tokens: int
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., price_version: _Optional[int] = ..., input: _Optional[int] = ..., input_cached: _Optional[int] = ..., cache_write: _Optional[int] = ..., output: _Optional[int] = ..., reasoning: _Optional[int] = ..., request: _Optional[int] = ..., audio_second: _Optional[int] = ..., input_character: _Optional[int] = ..., cache_write_1h: _Optional[int] = ..., input_audio: _Optional[int] = ..., input_audio_cached: _Optional[int] = ..., input_image: _Optional[int] = ..., output_audio: _Optional[int] = ..., output_image: _Optional[int] = ..., instead: _Optional[_Iterable[_Union[CandidateRates, _Mapping]]] = ..., service_tier: _Optional[str] = ..., above_tokens: _Optional[int] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("reservation_id", "reservation_secret", "record")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_SECRET_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    reservation_id: str
    reservation_secret: bytes
    record: _record_pb2.RequestRecord
    def __init__(self, reservation_id: _Optional[str] = ..., reservation_secret: _Optional[bytes] = ..., record: _Optional[_Union[_record_pb2.RequestRecord, _Mapping]] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("cost_nano_usd",)
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    cost_nano_usd: int
    def __init__(self, cost_nano_usd: _Optional[int] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("reservation_id", "reservation_secret", "record")
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_SECRET_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    reservation_id: str
    reservation_secret: bytes
    record: _record_pb2.RequestRecord
    def __init__(self, reservation_id: _Optional[str] = ..., reservation_secret: _Optional[bytes] = ..., record: _Optional[_Union[_record_pb2.RequestRecord, _Mapping]] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExtendRequest(_message.Message):
    __slots__ = ("org_id", "request_id", "reservation_id", "reservation_secret", "provider", "model", "output_tokens", "ttl_s", "again", "input_tokens_max", "max_output_tokens")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_SECRET_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_MAX_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    request_id: str
    reservation_id: str
    reservation_secret: bytes
    provider: str
    model: str
    output_tokens: int
    ttl_s: float
    again: _containers.RepeatedCompositeFieldContainer[PricedCandidate]
    input_tokens_max: int
    max_output_tokens: int
    def __init__(self, org_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reservation_id: _Optional[str] = ..., reservation_secret: _Optional[bytes] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., output_tokens: _Optional[int] = ..., ttl_s: _Optional[float] = ..., again: _Optional[_Iterable[_Union[PricedCandidate, _Mapping]]] = ..., input_tokens_max: _Optional[int] = ..., max_output_tokens: _Optional[int] = ...) -> None: ...

class ExtendResponse(_message.Message):
    __slots__ = ("reserved_nano_usd", "covered_output_tokens", "expires_at")
    RESERVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    COVERED_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    reserved_nano_usd: int
    covered_output_tokens: int
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, reserved_nano_usd: _Optional[int] = ..., covered_output_tokens: _Optional[int] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AdjustRequest(_message.Message):
    __slots__ = ("adjustment_id", "request_id", "attempt_id", "amount_nano_usd", "reason")
    ADJUSTMENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    adjustment_id: str
    request_id: str
    attempt_id: str
    amount_nano_usd: int
    reason: str
    def __init__(self, adjustment_id: _Optional[str] = ..., request_id: _Optional[str] = ..., attempt_id: _Optional[str] = ..., amount_nano_usd: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class AdjustResponse(_message.Message):
    __slots__ = ("cost_nano_usd",)
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    cost_nano_usd: int
    def __init__(self, cost_nano_usd: _Optional[int] = ...) -> None: ...

class SessionCall(_message.Message):
    __slots__ = ("call_id", "signed_principal", "reserve", "commit", "release", "extend", "traceparent")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNED_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    signed_principal: bytes
    reserve: ReserveRequest
    commit: CommitRequest
    release: ReleaseRequest
    extend: ExtendRequest
    traceparent: str
    def __init__(self, call_id: _Optional[int] = ..., signed_principal: _Optional[bytes] = ..., reserve: _Optional[_Union[ReserveRequest, _Mapping]] = ..., commit: _Optional[_Union[CommitRequest, _Mapping]] = ..., release: _Optional[_Union[ReleaseRequest, _Mapping]] = ..., extend: _Optional[_Union[ExtendRequest, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[SessionCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[SessionCall, _Mapping]]] = ...) -> None: ...

class SessionReply(_message.Message):
    __slots__ = ("call_id", "error", "reserve", "commit", "release", "extend")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    call_id: int
    error: _status_pb2.Status
    reserve: ReserveResponse
    commit: CommitResponse
    release: ReleaseResponse
    extend: ExtendResponse
    def __init__(self, call_id: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., reserve: _Optional[_Union[ReserveResponse, _Mapping]] = ..., commit: _Optional[_Union[CommitResponse, _Mapping]] = ..., release: _Optional[_Union[ReleaseResponse, _Mapping]] = ..., extend: _Optional[_Union[ExtendResponse, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("replies",)
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[SessionReply]
    def __init__(self, replies: _Optional[_Iterable[_Union[SessionReply, _Mapping]]] = ...) -> None: ...

class Forecast(_message.Message):
    __slots__ = ("spent_nano_usd", "exhausted_at")
    SPENT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTED_AT_FIELD_NUMBER: _ClassVar[int]
    spent_nano_usd: int
    exhausted_at: _timestamp_pb2.Timestamp
    def __init__(self, spent_nano_usd: _Optional[int] = ..., exhausted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("budget_id", "level", "window", "limit_nano_usd", "spent_nano_usd", "reserved_nano_usd", "resets_at", "time_zone", "model", "tag", "enforcement", "unlimited", "thresholds_percent", "alert_emails", "window_start", "reached_percent", "forecast")
    BUDGET_ID_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    SPENT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    RESERVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    RESETS_AT_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_PERCENT_FIELD_NUMBER: _ClassVar[int]
    ALERT_EMAILS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_START_FIELD_NUMBER: _ClassVar[int]
    REACHED_PERCENT_FIELD_NUMBER: _ClassVar[int]
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    budget_id: str
    level: _principal_pb2.Level
    window: Window
    limit_nano_usd: int
    spent_nano_usd: int
    reserved_nano_usd: int
    resets_at: _timestamp_pb2.Timestamp
    time_zone: str
    model: str
    tag: str
    enforcement: Enforcement
    unlimited: bool
    thresholds_percent: _containers.RepeatedScalarFieldContainer[int]
    alert_emails: _containers.RepeatedScalarFieldContainer[str]
    window_start: _timestamp_pb2.Timestamp
    reached_percent: _containers.RepeatedScalarFieldContainer[int]
    forecast: Forecast
    def __init__(self, budget_id: _Optional[str] = ..., level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., window: _Optional[_Union[Window, str]] = ..., limit_nano_usd: _Optional[int] = ..., spent_nano_usd: _Optional[int] = ..., reserved_nano_usd: _Optional[int] = ..., resets_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_zone: _Optional[str] = ..., model: _Optional[str] = ..., tag: _Optional[str] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., unlimited: _Optional[bool] = ..., thresholds_percent: _Optional[_Iterable[int]] = ..., alert_emails: _Optional[_Iterable[str]] = ..., window_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reached_percent: _Optional[_Iterable[int]] = ..., forecast: _Optional[_Union[Forecast, _Mapping]] = ...) -> None: ...

class Thresholds(_message.Message):
    __slots__ = ("percent",)
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    percent: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, percent: _Optional[_Iterable[int]] = ...) -> None: ...

class Emails(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class SetBudgetRequest(_message.Message):
    __slots__ = ("level", "window", "limit_nano_usd", "time_zone", "model", "tag", "enforcement", "unlimited", "thresholds", "alert_emails")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    ALERT_EMAILS_FIELD_NUMBER: _ClassVar[int]
    level: _principal_pb2.Level
    window: Window
    limit_nano_usd: int
    time_zone: str
    model: str
    tag: str
    enforcement: Enforcement
    unlimited: bool
    thresholds: Thresholds
    alert_emails: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., window: _Optional[_Union[Window, str]] = ..., limit_nano_usd: _Optional[int] = ..., time_zone: _Optional[str] = ..., model: _Optional[str] = ..., tag: _Optional[str] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., unlimited: _Optional[bool] = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ..., alert_emails: _Optional[_Iterable[str]] = ...) -> None: ...

class SetBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class CreateBudgetRequest(_message.Message):
    __slots__ = ("level", "window", "limit_nano_usd", "time_zone", "model", "tag", "enforcement", "unlimited", "thresholds", "alert_emails")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    ALERT_EMAILS_FIELD_NUMBER: _ClassVar[int]
    level: _principal_pb2.Level
    window: Window
    limit_nano_usd: int
    time_zone: str
    model: str
    tag: str
    enforcement: Enforcement
    unlimited: bool
    thresholds: Thresholds
    alert_emails: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., window: _Optional[_Union[Window, str]] = ..., limit_nano_usd: _Optional[int] = ..., time_zone: _Optional[str] = ..., model: _Optional[str] = ..., tag: _Optional[str] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., unlimited: _Optional[bool] = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ..., alert_emails: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class GetBudgetRequest(_message.Message):
    __slots__ = ("budget_id",)
    BUDGET_ID_FIELD_NUMBER: _ClassVar[int]
    budget_id: str
    def __init__(self, budget_id: _Optional[str] = ...) -> None: ...

class GetBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class UpdateBudgetRequest(_message.Message):
    __slots__ = ("budget_id", "limit_nano_usd", "unlimited", "enforcement", "thresholds", "alert_emails")
    BUDGET_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    ALERT_EMAILS_FIELD_NUMBER: _ClassVar[int]
    budget_id: str
    limit_nano_usd: int
    unlimited: bool
    enforcement: Enforcement
    thresholds: Thresholds
    alert_emails: Emails
    def __init__(self, budget_id: _Optional[str] = ..., limit_nano_usd: _Optional[int] = ..., unlimited: _Optional[bool] = ..., enforcement: _Optional[_Union[Enforcement, str]] = ..., thresholds: _Optional[_Union[Thresholds, _Mapping]] = ..., alert_emails: _Optional[_Union[Emails, _Mapping]] = ...) -> None: ...

class UpdateBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class StopSpendingRequest(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class StopSpendingResponse(_message.Message):
    __slots__ = ("stopped_at",)
    STOPPED_AT_FIELD_NUMBER: _ClassVar[int]
    stopped_at: _timestamp_pb2.Timestamp
    def __init__(self, stopped_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ResumeSpendingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeSpendingResponse(_message.Message):
    __slots__ = ("was_stopped",)
    WAS_STOPPED_FIELD_NUMBER: _ClassVar[int]
    was_stopped: bool
    def __init__(self, was_stopped: _Optional[bool] = ...) -> None: ...

class ListBudgetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBudgetsResponse(_message.Message):
    __slots__ = ("budgets", "next_page_token")
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    next_page_token: str
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteBudgetRequest(_message.Message):
    __slots__ = ("budget_id",)
    BUDGET_ID_FIELD_NUMBER: _ClassVar[int]
    budget_id: str
    def __init__(self, budget_id: _Optional[str] = ...) -> None: ...

class DeleteBudgetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyLedgerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyLedgerResponse(_message.Message):
    __slots__ = ("differences", "ledger_rows", "open_reservations")
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    LEDGER_ROWS_FIELD_NUMBER: _ClassVar[int]
    OPEN_RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    differences: _containers.RepeatedScalarFieldContainer[str]
    ledger_rows: int
    open_reservations: int
    def __init__(self, differences: _Optional[_Iterable[str]] = ..., ledger_rows: _Optional[int] = ..., open_reservations: _Optional[int] = ...) -> None: ...
