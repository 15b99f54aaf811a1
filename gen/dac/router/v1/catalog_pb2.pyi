import datetime

from dac.router.v1 import source_pb2 as _source_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("model", "provider", "upstream_name", "context_tokens", "max_output_tokens", "quality", "capabilities", "input_nano_usd_per_mtok", "output_nano_usd_per_mtok", "available", "model_class", "speed_tokens_per_s", "first_token_ms", "aliases", "source", "seen_at", "probed_at", "retires_on")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    INPUT_NANO_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NANO_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_CLASS_FIELD_NUMBER: _ClassVar[int]
    SPEED_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    PROBED_AT_FIELD_NUMBER: _ClassVar[int]
    RETIRES_ON_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    upstream_name: str
    context_tokens: int
    max_output_tokens: int
    quality: float
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    input_nano_usd_per_mtok: int
    output_nano_usd_per_mtok: int
    available: bool
    model_class: str
    speed_tokens_per_s: float
    first_token_ms: float
    aliases: _containers.RepeatedScalarFieldContainer[str]
    source: str
    seen_at: _timestamp_pb2.Timestamp
    probed_at: _timestamp_pb2.Timestamp
    retires_on: str
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., upstream_name: _Optional[str] = ..., context_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., quality: _Optional[float] = ..., capabilities: _Optional[_Iterable[str]] = ..., input_nano_usd_per_mtok: _Optional[int] = ..., output_nano_usd_per_mtok: _Optional[int] = ..., available: _Optional[bool] = ..., model_class: _Optional[str] = ..., speed_tokens_per_s: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., aliases: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., probed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retires_on: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "provider", "capability", "min_context_tokens", "max_output_nano_usd_per_mtok", "include_unavailable", "order_by", "allowed_models")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    MIN_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_NANO_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    provider: str
    capability: str
    min_context_tokens: int
    max_output_nano_usd_per_mtok: int
    include_unavailable: bool
    order_by: str
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., provider: _Optional[str] = ..., capability: _Optional[str] = ..., min_context_tokens: _Optional[int] = ..., max_output_nano_usd_per_mtok: _Optional[int] = ..., include_unavailable: _Optional[bool] = ..., order_by: _Optional[str] = ..., allowed_models: _Optional[_Iterable[str]] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "quality_by_intent", "known_as")
    class QualityByIntentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_BY_INTENT_FIELD_NUMBER: _ClassVar[int]
    KNOWN_AS_FIELD_NUMBER: _ClassVar[int]
    model: Model
    quality_by_intent: _containers.ScalarMap[str, float]
    known_as: _containers.RepeatedCompositeFieldContainer[KnownAs]
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., quality_by_intent: _Optional[_Mapping[str, float]] = ..., known_as: _Optional[_Iterable[_Union[KnownAs, _Mapping]]] = ...) -> None: ...

class KnownAs(_message.Message):
    __slots__ = ("source", "id", "why", "seen_at")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    source: str
    id: str
    why: str
    seen_at: _timestamp_pb2.Timestamp
    def __init__(self, source: _Optional[str] = ..., id: _Optional[str] = ..., why: _Optional[str] = ..., seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SearchModelsRequest(_message.Message):
    __slots__ = ("q", "provider", "capability", "include_unavailable", "page_size")
    Q_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    q: str
    provider: str
    capability: str
    include_unavailable: bool
    page_size: int
    def __init__(self, q: _Optional[str] = ..., provider: _Optional[str] = ..., capability: _Optional[str] = ..., include_unavailable: _Optional[bool] = ..., page_size: _Optional[int] = ...) -> None: ...

class SearchModelsResponse(_message.Message):
    __slots__ = ("results", "total")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[FoundModel]
    total: int
    def __init__(self, results: _Optional[_Iterable[_Union[FoundModel, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class FoundModel(_message.Message):
    __slots__ = ("model", "score", "matched")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    model: Model
    score: float
    matched: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., score: _Optional[float] = ..., matched: _Optional[_Iterable[str]] = ...) -> None: ...

class CompareModelsRequest(_message.Message):
    __slots__ = ("model_ids",)
    MODEL_IDS_FIELD_NUMBER: _ClassVar[int]
    model_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CompareModelsResponse(_message.Message):
    __slots__ = ("models", "best")
    class BestEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODELS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ComparedModel]
    best: _containers.ScalarMap[str, str]
    def __init__(self, models: _Optional[_Iterable[_Union[ComparedModel, _Mapping]]] = ..., best: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ComparedModel(_message.Message):
    __slots__ = ("model", "scores", "score_by_profile", "quality_by_intent", "known_as")
    class ScoreByProfileEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class QualityByIntentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    SCORE_BY_PROFILE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_BY_INTENT_FIELD_NUMBER: _ClassVar[int]
    KNOWN_AS_FIELD_NUMBER: _ClassVar[int]
    model: Model
    scores: Scores
    score_by_profile: _containers.ScalarMap[str, float]
    quality_by_intent: _containers.ScalarMap[str, float]
    known_as: _containers.RepeatedCompositeFieldContainer[KnownAs]
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., scores: _Optional[_Union[Scores, _Mapping]] = ..., score_by_profile: _Optional[_Mapping[str, float]] = ..., quality_by_intent: _Optional[_Mapping[str, float]] = ..., known_as: _Optional[_Iterable[_Union[KnownAs, _Mapping]]] = ...) -> None: ...

class Scores(_message.Message):
    __slots__ = ("quality", "latency", "cost", "context")
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    quality: float
    latency: float
    cost: float
    context: float
    def __init__(self, quality: _Optional[float] = ..., latency: _Optional[float] = ..., cost: _Optional[float] = ..., context: _Optional[float] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[ProviderFigures]
    def __init__(self, providers: _Optional[_Iterable[_Union[ProviderFigures, _Mapping]]] = ...) -> None: ...

class ProviderFigures(_message.Message):
    __slots__ = ("provider", "configured", "models", "available", "breakers_open", "cheapest_model", "cheapest_nano_usd_per_mtok", "best_quality", "best_model", "first_token_ms", "speed_tokens_per_s", "found", "gone", "listed_at", "tried_at", "error")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    BREAKERS_OPEN_FIELD_NUMBER: _ClassVar[int]
    CHEAPEST_MODEL_FIELD_NUMBER: _ClassVar[int]
    CHEAPEST_NANO_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    BEST_QUALITY_FIELD_NUMBER: _ClassVar[int]
    BEST_MODEL_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    SPEED_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    LISTED_AT_FIELD_NUMBER: _ClassVar[int]
    TRIED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    provider: str
    configured: bool
    models: int
    available: int
    breakers_open: int
    cheapest_model: str
    cheapest_nano_usd_per_mtok: int
    best_quality: float
    best_model: str
    first_token_ms: float
    speed_tokens_per_s: float
    found: int
    gone: int
    listed_at: _timestamp_pb2.Timestamp
    tried_at: _timestamp_pb2.Timestamp
    error: str
    def __init__(self, provider: _Optional[str] = ..., configured: _Optional[bool] = ..., models: _Optional[int] = ..., available: _Optional[int] = ..., breakers_open: _Optional[int] = ..., cheapest_model: _Optional[str] = ..., cheapest_nano_usd_per_mtok: _Optional[int] = ..., best_quality: _Optional[float] = ..., best_model: _Optional[str] = ..., first_token_ms: _Optional[float] = ..., speed_tokens_per_s: _Optional[float] = ..., found: _Optional[int] = ..., gone: _Optional[int] = ..., listed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tried_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class GetRankingsRequest(_message.Message):
    __slots__ = ("profile", "intent", "provider", "capability", "include_unavailable", "page_size")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    profile: str
    intent: str
    provider: str
    capability: str
    include_unavailable: bool
    page_size: int
    def __init__(self, profile: _Optional[str] = ..., intent: _Optional[str] = ..., provider: _Optional[str] = ..., capability: _Optional[str] = ..., include_unavailable: _Optional[bool] = ..., page_size: _Optional[int] = ...) -> None: ...

class GetRankingsResponse(_message.Message):
    __slots__ = ("profile", "intent", "weights", "models", "profiles", "intents")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    profile: str
    intent: str
    weights: Scores
    models: _containers.RepeatedCompositeFieldContainer[RankedModel]
    profiles: _containers.RepeatedScalarFieldContainer[str]
    intents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, profile: _Optional[str] = ..., intent: _Optional[str] = ..., weights: _Optional[_Union[Scores, _Mapping]] = ..., models: _Optional[_Iterable[_Union[RankedModel, _Mapping]]] = ..., profiles: _Optional[_Iterable[str]] = ..., intents: _Optional[_Iterable[str]] = ...) -> None: ...

class RankedModel(_message.Message):
    __slots__ = ("rank", "model", "score", "scores")
    RANK_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    rank: int
    model: Model
    score: float
    scores: Scores
    def __init__(self, rank: _Optional[int] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., score: _Optional[float] = ..., scores: _Optional[_Union[Scores, _Mapping]] = ...) -> None: ...

class RefreshSourcesRequest(_message.Message):
    __slots__ = ("sources",)
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sources: _Optional[_Iterable[str]] = ...) -> None: ...

class RefreshSourcesResponse(_message.Message):
    __slots__ = ("sources",)
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[_source_pb2.SourceStatus]
    def __init__(self, sources: _Optional[_Iterable[_Union[_source_pb2.SourceStatus, _Mapping]]] = ...) -> None: ...
