import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnalyticsDimension(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANALYTICS_DIMENSION_UNSPECIFIED: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_TEAM: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_PROJECT: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_USER: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_KEY: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_MODEL: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_PROVIDER: _ClassVar[AnalyticsDimension]
    ANALYTICS_DIMENSION_INTENT: _ClassVar[AnalyticsDimension]

class AnalyticsStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANALYTICS_STEP_UNSPECIFIED: _ClassVar[AnalyticsStep]
    ANALYTICS_STEP_MINUTE: _ClassVar[AnalyticsStep]
    ANALYTICS_STEP_HOUR: _ClassVar[AnalyticsStep]
    ANALYTICS_STEP_DAY: _ClassVar[AnalyticsStep]

class RecommendationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECOMMENDATION_KIND_UNSPECIFIED: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_ROUTE: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_REASONING: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_PROVIDER_ERRORS: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_UNUSED_RESERVATION: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_CACHE: _ClassVar[RecommendationKind]
ANALYTICS_DIMENSION_UNSPECIFIED: AnalyticsDimension
ANALYTICS_DIMENSION_TEAM: AnalyticsDimension
ANALYTICS_DIMENSION_PROJECT: AnalyticsDimension
ANALYTICS_DIMENSION_USER: AnalyticsDimension
ANALYTICS_DIMENSION_KEY: AnalyticsDimension
ANALYTICS_DIMENSION_MODEL: AnalyticsDimension
ANALYTICS_DIMENSION_PROVIDER: AnalyticsDimension
ANALYTICS_DIMENSION_INTENT: AnalyticsDimension
ANALYTICS_STEP_UNSPECIFIED: AnalyticsStep
ANALYTICS_STEP_MINUTE: AnalyticsStep
ANALYTICS_STEP_HOUR: AnalyticsStep
ANALYTICS_STEP_DAY: AnalyticsStep
RECOMMENDATION_KIND_UNSPECIFIED: RecommendationKind
RECOMMENDATION_KIND_ROUTE: RecommendationKind
RECOMMENDATION_KIND_REASONING: RecommendationKind
RECOMMENDATION_KIND_PROVIDER_ERRORS: RecommendationKind
RECOMMENDATION_KIND_UNUSED_RESERVATION: RecommendationKind
RECOMMENDATION_KIND_CACHE: RecommendationKind

class Percentiles(_message.Message):
    __slots__ = ("count", "p50_ms", "p95_ms", "p99_ms")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    def __init__(self, count: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ...) -> None: ...

class Figures(_message.Message):
    __slots__ = ("requests", "ok", "client_gone", "refused", "failed", "indeterminate", "input_tokens", "input_cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_nano_usd", "reserved_nano_usd", "latency", "first_token", "cache_lookups", "cache_hits", "coalesced", "cache_hit_rate", "saved_nano_usd", "quality_count", "quality", "fallbacks", "attempts", "failed_attempts", "streams", "turns", "recalled", "tool_calls")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    CLIENT_GONE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    INDETERMINATE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    RESERVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CACHE_LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    COALESCED_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    QUALITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    requests: int
    ok: int
    client_gone: int
    refused: int
    failed: int
    indeterminate: int
    input_tokens: int
    input_cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int
    reserved_nano_usd: int
    latency: Percentiles
    first_token: Percentiles
    cache_lookups: int
    cache_hits: int
    coalesced: int
    cache_hit_rate: float
    saved_nano_usd: int
    quality_count: int
    quality: float
    fallbacks: int
    attempts: int
    failed_attempts: int
    streams: int
    turns: int
    recalled: int
    tool_calls: int
    def __init__(self, requests: _Optional[int] = ..., ok: _Optional[int] = ..., client_gone: _Optional[int] = ..., refused: _Optional[int] = ..., failed: _Optional[int] = ..., indeterminate: _Optional[int] = ..., input_tokens: _Optional[int] = ..., input_cached_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., reserved_nano_usd: _Optional[int] = ..., latency: _Optional[_Union[Percentiles, _Mapping]] = ..., first_token: _Optional[_Union[Percentiles, _Mapping]] = ..., cache_lookups: _Optional[int] = ..., cache_hits: _Optional[int] = ..., coalesced: _Optional[int] = ..., cache_hit_rate: _Optional[float] = ..., saved_nano_usd: _Optional[int] = ..., quality_count: _Optional[int] = ..., quality: _Optional[float] = ..., fallbacks: _Optional[int] = ..., attempts: _Optional[int] = ..., failed_attempts: _Optional[int] = ..., streams: _Optional[int] = ..., turns: _Optional[int] = ..., recalled: _Optional[int] = ..., tool_calls: _Optional[int] = ...) -> None: ...

class SeriesPoint(_message.Message):
    __slots__ = ("start_at", "figures")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    figures: Figures
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., figures: _Optional[_Union[Figures, _Mapping]] = ...) -> None: ...

class DashboardGroup(_message.Message):
    __slots__ = ("value", "figures")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    value: str
    figures: Figures
    def __init__(self, value: _Optional[str] = ..., figures: _Optional[_Union[Figures, _Mapping]] = ...) -> None: ...

class Breakdown(_message.Message):
    __slots__ = ("dimension", "groups", "left_out")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    dimension: AnalyticsDimension
    groups: _containers.RepeatedCompositeFieldContainer[DashboardGroup]
    left_out: int
    def __init__(self, dimension: _Optional[_Union[AnalyticsDimension, str]] = ..., groups: _Optional[_Iterable[_Union[DashboardGroup, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class GetDashboardRequest(_message.Message):
    __slots__ = ("start_at", "end_at", "start_date", "end_date", "group_by", "step", "team_id", "project_id", "user_id", "key_id", "model", "provider", "intent", "limit")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    START_DATE_FIELD_NUMBER: _ClassVar[int]
    END_DATE_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TEAM_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    start_date: str
    end_date: str
    group_by: _containers.RepeatedScalarFieldContainer[AnalyticsDimension]
    step: AnalyticsStep
    team_id: str
    project_id: str
    user_id: str
    key_id: str
    model: str
    provider: str
    intent: str
    limit: int
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_date: _Optional[str] = ..., end_date: _Optional[str] = ..., group_by: _Optional[_Iterable[_Union[AnalyticsDimension, str]]] = ..., step: _Optional[_Union[AnalyticsStep, str]] = ..., team_id: _Optional[str] = ..., project_id: _Optional[str] = ..., user_id: _Optional[str] = ..., key_id: _Optional[str] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., intent: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class GetDashboardResponse(_message.Message):
    __slots__ = ("start_at", "end_at", "step", "total", "before", "series", "breakdowns")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    BREAKDOWNS_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    step: AnalyticsStep
    total: Figures
    before: Figures
    series: _containers.RepeatedCompositeFieldContainer[SeriesPoint]
    breakdowns: _containers.RepeatedCompositeFieldContainer[Breakdown]
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[_Union[AnalyticsStep, str]] = ..., total: _Optional[_Union[Figures, _Mapping]] = ..., before: _Optional[_Union[Figures, _Mapping]] = ..., series: _Optional[_Iterable[_Union[SeriesPoint, _Mapping]]] = ..., breakdowns: _Optional[_Iterable[_Union[Breakdown, _Mapping]]] = ...) -> None: ...

class GetMyDashboardRequest(_message.Message):
    __slots__ = ("start_at", "end_at", "start_date", "end_date", "step")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    START_DATE_FIELD_NUMBER: _ClassVar[int]
    END_DATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    start_date: str
    end_date: str
    step: AnalyticsStep
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_date: _Optional[str] = ..., end_date: _Optional[str] = ..., step: _Optional[_Union[AnalyticsStep, str]] = ...) -> None: ...

class GetMyDashboardResponse(_message.Message):
    __slots__ = ("start_at", "end_at", "step", "total", "before", "series", "breakdowns", "preferences", "conversations", "features")
    class Preference(_message.Message):
        __slots__ = ("intent", "model", "requests", "share")
        INTENT_FIELD_NUMBER: _ClassVar[int]
        MODEL_FIELD_NUMBER: _ClassVar[int]
        REQUESTS_FIELD_NUMBER: _ClassVar[int]
        SHARE_FIELD_NUMBER: _ClassVar[int]
        intent: str
        model: str
        requests: int
        share: float
        def __init__(self, intent: _Optional[str] = ..., model: _Optional[str] = ..., requests: _Optional[int] = ..., share: _Optional[float] = ...) -> None: ...
    class Conversations(_message.Message):
        __slots__ = ("threads", "turns", "turns_per_thread", "longest_turns", "requests_by_hour")
        THREADS_FIELD_NUMBER: _ClassVar[int]
        TURNS_FIELD_NUMBER: _ClassVar[int]
        TURNS_PER_THREAD_FIELD_NUMBER: _ClassVar[int]
        LONGEST_TURNS_FIELD_NUMBER: _ClassVar[int]
        REQUESTS_BY_HOUR_FIELD_NUMBER: _ClassVar[int]
        threads: int
        turns: int
        turns_per_thread: float
        longest_turns: int
        requests_by_hour: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, threads: _Optional[int] = ..., turns: _Optional[int] = ..., turns_per_thread: _Optional[float] = ..., longest_turns: _Optional[int] = ..., requests_by_hour: _Optional[_Iterable[int]] = ...) -> None: ...
    class FeatureUse(_message.Message):
        __slots__ = ("streams", "cache_hits", "coalesced", "turns", "recalled", "tool_calls", "validated")
        STREAMS_FIELD_NUMBER: _ClassVar[int]
        CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
        COALESCED_FIELD_NUMBER: _ClassVar[int]
        TURNS_FIELD_NUMBER: _ClassVar[int]
        RECALLED_FIELD_NUMBER: _ClassVar[int]
        TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
        VALIDATED_FIELD_NUMBER: _ClassVar[int]
        streams: int
        cache_hits: int
        coalesced: int
        turns: int
        recalled: int
        tool_calls: int
        validated: int
        def __init__(self, streams: _Optional[int] = ..., cache_hits: _Optional[int] = ..., coalesced: _Optional[int] = ..., turns: _Optional[int] = ..., recalled: _Optional[int] = ..., tool_calls: _Optional[int] = ..., validated: _Optional[int] = ...) -> None: ...
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    BREAKDOWNS_FIELD_NUMBER: _ClassVar[int]
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    step: AnalyticsStep
    total: Figures
    before: Figures
    series: _containers.RepeatedCompositeFieldContainer[SeriesPoint]
    breakdowns: _containers.RepeatedCompositeFieldContainer[Breakdown]
    preferences: _containers.RepeatedCompositeFieldContainer[GetMyDashboardResponse.Preference]
    conversations: GetMyDashboardResponse.Conversations
    features: GetMyDashboardResponse.FeatureUse
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[_Union[AnalyticsStep, str]] = ..., total: _Optional[_Union[Figures, _Mapping]] = ..., before: _Optional[_Union[Figures, _Mapping]] = ..., series: _Optional[_Iterable[_Union[SeriesPoint, _Mapping]]] = ..., breakdowns: _Optional[_Iterable[_Union[Breakdown, _Mapping]]] = ..., preferences: _Optional[_Iterable[_Union[GetMyDashboardResponse.Preference, _Mapping]]] = ..., conversations: _Optional[_Union[GetMyDashboardResponse.Conversations, _Mapping]] = ..., features: _Optional[_Union[GetMyDashboardResponse.FeatureUse, _Mapping]] = ...) -> None: ...

class EvidenceSide(_message.Message):
    __slots__ = ("model", "provider", "requests", "cost_nano_usd_per_request", "input_tokens_per_request", "output_tokens_per_request", "quality_count", "quality", "attempts", "failed_attempts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    QUALITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    requests: int
    cost_nano_usd_per_request: float
    input_tokens_per_request: float
    output_tokens_per_request: float
    quality_count: int
    quality: float
    attempts: int
    failed_attempts: int
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., requests: _Optional[int] = ..., cost_nano_usd_per_request: _Optional[float] = ..., input_tokens_per_request: _Optional[float] = ..., output_tokens_per_request: _Optional[float] = ..., quality_count: _Optional[int] = ..., quality: _Optional[float] = ..., attempts: _Optional[int] = ..., failed_attempts: _Optional[int] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("recommendation_id", "kind", "summary", "team_id", "intent", "current", "better", "requests", "saved_share", "saved_share_at_least", "saved_nano_usd", "quality_change", "quality_change_at_least")
    RECOMMENDATION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TEAM_ID_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    BETTER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SAVED_SHARE_FIELD_NUMBER: _ClassVar[int]
    SAVED_SHARE_AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    QUALITY_CHANGE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_CHANGE_AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    recommendation_id: str
    kind: RecommendationKind
    summary: str
    team_id: str
    intent: str
    current: EvidenceSide
    better: EvidenceSide
    requests: int
    saved_share: float
    saved_share_at_least: float
    saved_nano_usd: int
    quality_change: float
    quality_change_at_least: float
    def __init__(self, recommendation_id: _Optional[str] = ..., kind: _Optional[_Union[RecommendationKind, str]] = ..., summary: _Optional[str] = ..., team_id: _Optional[str] = ..., intent: _Optional[str] = ..., current: _Optional[_Union[EvidenceSide, _Mapping]] = ..., better: _Optional[_Union[EvidenceSide, _Mapping]] = ..., requests: _Optional[int] = ..., saved_share: _Optional[float] = ..., saved_share_at_least: _Optional[float] = ..., saved_nano_usd: _Optional[int] = ..., quality_change: _Optional[float] = ..., quality_change_at_least: _Optional[float] = ...) -> None: ...

class MissingEvidence(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: RecommendationKind
    message: str
    def __init__(self, kind: _Optional[_Union[RecommendationKind, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ListRecommendationsRequest(_message.Message):
    __slots__ = ("start_date", "end_date", "team_id")
    START_DATE_FIELD_NUMBER: _ClassVar[int]
    END_DATE_FIELD_NUMBER: _ClassVar[int]
    TEAM_ID_FIELD_NUMBER: _ClassVar[int]
    start_date: str
    end_date: str
    team_id: str
    def __init__(self, start_date: _Optional[str] = ..., end_date: _Optional[str] = ..., team_id: _Optional[str] = ...) -> None: ...

class ListRecommendationsResponse(_message.Message):
    __slots__ = ("start_at", "end_at", "recommendations", "missing", "requests")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    missing: _containers.RepeatedCompositeFieldContainer[MissingEvidence]
    requests: int
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., missing: _Optional[_Iterable[_Union[MissingEvidence, _Mapping]]] = ..., requests: _Optional[int] = ...) -> None: ...

class RebuildAnalyticsRequest(_message.Message):
    __slots__ = ("start_date", "end_date")
    START_DATE_FIELD_NUMBER: _ClassVar[int]
    END_DATE_FIELD_NUMBER: _ClassVar[int]
    start_date: str
    end_date: str
    def __init__(self, start_date: _Optional[str] = ..., end_date: _Optional[str] = ...) -> None: ...

class RebuildAnalyticsResponse(_message.Message):
    __slots__ = ("date", "requests")
    DATE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    date: str
    requests: int
    def __init__(self, date: _Optional[str] = ..., requests: _Optional[int] = ...) -> None: ...
