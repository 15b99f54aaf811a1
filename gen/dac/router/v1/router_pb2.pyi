from dac.type.v1 import deployment_pb2 as _deployment_pb2
from dac.type.v1 import record_pb2 as _record_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteRequest(_message.Message):
    __slots__ = ("model", "profile", "input_tokens", "max_output_tokens", "needs_tools", "needs_images", "needs_json", "stream", "allowed_models", "needs_embeddings", "needs_audio")
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
    def __init__(self, model: _Optional[str] = ..., profile: _Optional[str] = ..., input_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., needs_tools: _Optional[bool] = ..., needs_images: _Optional[bool] = ..., needs_json: _Optional[bool] = ..., stream: _Optional[bool] = ..., allowed_models: _Optional[_Iterable[str]] = ..., needs_embeddings: _Optional[bool] = ..., needs_audio: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("candidates", "route")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    route: _record_pb2.RouteRecord
    def __init__(self, candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., route: _Optional[_Union[_record_pb2.RouteRecord, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("model", "provider", "state", "failures", "retry_in_s")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Breaker.State]
        STATE_CLOSED: _ClassVar[Breaker.State]
        STATE_OPEN: _ClassVar[Breaker.State]
        STATE_HALF_OPEN: _ClassVar[Breaker.State]
    STATE_UNSPECIFIED: Breaker.State
    STATE_CLOSED: Breaker.State
    STATE_OPEN: Breaker.State
    STATE_HALF_OPEN: Breaker.State
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    RETRY_IN_S_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    state: Breaker.State
    failures: int
    retry_in_s: float
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., state: _Optional[_Union[Breaker.State, str]] = ..., failures: _Optional[int] = ..., retry_in_s: _Optional[float] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("breakers", "models_known", "models_available", "providers_configured", "providers_age_s", "prices_age_s", "policies")
    BREAKERS_FIELD_NUMBER: _ClassVar[int]
    MODELS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    MODELS_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_AGE_S_FIELD_NUMBER: _ClassVar[int]
    PRICES_AGE_S_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    breakers: _containers.RepeatedCompositeFieldContainer[Breaker]
    models_known: int
    models_available: int
    providers_configured: _containers.RepeatedScalarFieldContainer[str]
    providers_age_s: float
    prices_age_s: float
    policies: PolicyStatus
    def __init__(self, breakers: _Optional[_Iterable[_Union[Breaker, _Mapping]]] = ..., models_known: _Optional[int] = ..., models_available: _Optional[int] = ..., providers_configured: _Optional[_Iterable[str]] = ..., providers_age_s: _Optional[float] = ..., prices_age_s: _Optional[float] = ..., policies: _Optional[_Union[PolicyStatus, _Mapping]] = ...) -> None: ...

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
