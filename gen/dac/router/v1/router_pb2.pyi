from dac.router.v1 import answers_pb2 as _answers_pb2
from dac.router.v1 import source_pb2 as _source_pb2
from dac.type.v1 import deployment_pb2 as _deployment_pb2
from dac.type.v1 import record_pb2 as _record_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteRequest(_message.Message):
    __slots__ = ("model", "profile", "input_tokens", "max_output_tokens", "needs_tools", "needs_images", "needs_json", "stream", "allowed_models", "needs_embeddings", "needs_audio", "prompt", "turns", "task_type", "request_id", "max_cost_nano_usd", "max_first_token_ms", "max_latency_ms", "min_quality", "regions", "dry_run", "messages", "thread_id", "end_user")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_TOOLS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEEDS_JSON_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_AUDIO_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    END_USER_FIELD_NUMBER: _ClassVar[int]
    model: str
    profile: str
    input_tokens: int
    max_output_tokens: int
    needs_tools: bool
    needs_images: bool
    needs_json: bool
    stream: bool
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    needs_embeddings: bool
    needs_audio: str
    prompt: str
    turns: int
    task_type: str
    request_id: str
    max_cost_nano_usd: int
    max_first_token_ms: float
    max_latency_ms: float
    min_quality: float
    regions: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    messages: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    thread_id: str
    end_user: str
    def __init__(self, model: _Optional[str] = ..., profile: _Optional[str] = ..., input_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., needs_tools: _Optional[bool] = ..., needs_images: _Optional[bool] = ..., needs_json: _Optional[bool] = ..., stream: _Optional[bool] = ..., allowed_models: _Optional[_Iterable[str]] = ..., needs_embeddings: _Optional[bool] = ..., needs_audio: _Optional[str] = ..., prompt: _Optional[str] = ..., turns: _Optional[int] = ..., task_type: _Optional[str] = ..., request_id: _Optional[str] = ..., max_cost_nano_usd: _Optional[int] = ..., max_first_token_ms: _Optional[float] = ..., max_latency_ms: _Optional[float] = ..., min_quality: _Optional[float] = ..., regions: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ..., messages: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., thread_id: _Optional[str] = ..., end_user: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("model", "provider", "upstream_name", "context_tokens", "max_output_tokens", "quality", "deployments", "sticky")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    STICKY_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    upstream_name: str
    context_tokens: int
    max_output_tokens: int
    quality: float
    deployments: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.Deployment]
    sticky: bool
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., upstream_name: _Optional[str] = ..., context_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., quality: _Optional[float] = ..., deployments: _Optional[_Iterable[_Union[_deployment_pb2.Deployment, _Mapping]]] = ..., sticky: _Optional[bool] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("candidates", "route", "features", "answers")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    route: _record_pb2.RouteRecord
    features: _record_pb2.Features
    answers: _answers_pb2.AnswerRules
    def __init__(self, candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., route: _Optional[_Union[_record_pb2.RouteRecord, _Mapping]] = ..., features: _Optional[_Union[_record_pb2.Features, _Mapping]] = ..., answers: _Optional[_Union[_answers_pb2.AnswerRules, _Mapping]] = ...) -> None: ...

class AttemptOutcome(_message.Message):
    __slots__ = ("model", "provider", "ok", "provider_fault", "first_token_ms", "total_ms", "output_tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FAULT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    ok: bool
    provider_fault: bool
    first_token_ms: float
    total_ms: float
    output_tokens: int
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., ok: _Optional[bool] = ..., provider_fault: _Optional[bool] = ..., first_token_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class ReportOutcomesRequest(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[AttemptOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[AttemptOutcome, _Mapping]]] = ...) -> None: ...

class ReportOutcomesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Breaker(_message.Message):
    __slots__ = ("model", "provider", "state", "failures", "retry_in_s", "traffic_share", "forced", "error_rate", "outcomes")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Breaker.State]
        STATE_CLOSED: _ClassVar[Breaker.State]
        STATE_OPEN: _ClassVar[Breaker.State]
        STATE_HALF_OPEN: _ClassVar[Breaker.State]
        STATE_RECOVERING: _ClassVar[Breaker.State]
    STATE_UNSPECIFIED: Breaker.State
    STATE_CLOSED: Breaker.State
    STATE_OPEN: Breaker.State
    STATE_HALF_OPEN: Breaker.State
    STATE_RECOVERING: Breaker.State
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    RETRY_IN_S_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_SHARE_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    state: Breaker.State
    failures: int
    retry_in_s: float
    traffic_share: float
    forced: bool
    error_rate: float
    outcomes: int
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., state: _Optional[_Union[Breaker.State, str]] = ..., failures: _Optional[int] = ..., retry_in_s: _Optional[float] = ..., traffic_share: _Optional[float] = ..., forced: _Optional[bool] = ..., error_rate: _Optional[float] = ..., outcomes: _Optional[int] = ...) -> None: ...

class ForceBreakerRequest(_message.Message):
    __slots__ = ("model", "provider", "state", "note")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    state: Breaker.State
    note: str
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., state: _Optional[_Union[Breaker.State, str]] = ..., note: _Optional[str] = ...) -> None: ...

class ForceBreakerResponse(_message.Message):
    __slots__ = ("breakers",)
    BREAKERS_FIELD_NUMBER: _ClassVar[int]
    breakers: _containers.RepeatedCompositeFieldContainer[Breaker]
    def __init__(self, breakers: _Optional[_Iterable[_Union[Breaker, _Mapping]]] = ...) -> None: ...

class LiveSpeed(_message.Message):
    __slots__ = ("model", "provider", "first_token_p50_ms", "first_token_p95_ms", "tokens_per_s", "answers")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_P50_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_P95_MS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    first_token_p50_ms: float
    first_token_p95_ms: float
    tokens_per_s: float
    answers: int
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., first_token_p50_ms: _Optional[float] = ..., first_token_p95_ms: _Optional[float] = ..., tokens_per_s: _Optional[float] = ..., answers: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("breakers", "models_known", "models_available", "providers_configured", "providers_age_s", "prices_age_s", "speeds", "policies", "sources", "learned", "models_problem", "catalog_age_s", "offline")
    BREAKERS_FIELD_NUMBER: _ClassVar[int]
    MODELS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    MODELS_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_AGE_S_FIELD_NUMBER: _ClassVar[int]
    PRICES_AGE_S_FIELD_NUMBER: _ClassVar[int]
    SPEEDS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LEARNED_FIELD_NUMBER: _ClassVar[int]
    MODELS_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CATALOG_AGE_S_FIELD_NUMBER: _ClassVar[int]
    OFFLINE_FIELD_NUMBER: _ClassVar[int]
    breakers: _containers.RepeatedCompositeFieldContainer[Breaker]
    models_known: int
    models_available: int
    providers_configured: _containers.RepeatedScalarFieldContainer[str]
    providers_age_s: float
    prices_age_s: float
    speeds: _containers.RepeatedCompositeFieldContainer[LiveSpeed]
    policies: PolicyStatus
    sources: _containers.RepeatedCompositeFieldContainer[_source_pb2.SourceStatus]
    learned: LearnedStatus
    models_problem: str
    catalog_age_s: float
    offline: bool
    def __init__(self, breakers: _Optional[_Iterable[_Union[Breaker, _Mapping]]] = ..., models_known: _Optional[int] = ..., models_available: _Optional[int] = ..., providers_configured: _Optional[_Iterable[str]] = ..., providers_age_s: _Optional[float] = ..., prices_age_s: _Optional[float] = ..., speeds: _Optional[_Iterable[_Union[LiveSpeed, _Mapping]]] = ..., policies: _Optional[_Union[PolicyStatus, _Mapping]] = ..., sources: _Optional[_Iterable[_Union[_source_pb2.SourceStatus, _Mapping]]] = ..., learned: _Optional[_Union[LearnedStatus, _Mapping]] = ..., models_problem: _Optional[str] = ..., catalog_age_s: _Optional[float] = ..., offline: _Optional[bool] = ...) -> None: ...

class LearnedStatus(_message.Message):
    __slots__ = ("models", "task_types", "n", "organisations", "age_s")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPES_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    ORGANISATIONS_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    models: int
    task_types: int
    n: float
    organisations: int
    age_s: float
    def __init__(self, models: _Optional[int] = ..., task_types: _Optional[int] = ..., n: _Optional[float] = ..., organisations: _Optional[int] = ..., age_s: _Optional[float] = ...) -> None: ...

class PolicyStatus(_message.Message):
    __slots__ = ("shared", "organisations", "files_problem", "age_s", "missing")
    SHARED_FIELD_NUMBER: _ClassVar[int]
    ORGANISATIONS_FIELD_NUMBER: _ClassVar[int]
    FILES_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    shared: int
    organisations: int
    files_problem: str
    age_s: float
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, shared: _Optional[int] = ..., organisations: _Optional[int] = ..., files_problem: _Optional[str] = ..., age_s: _Optional[float] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...
