import datetime

from dac.type.v1 import error_pb2 as _error_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProbeResult(_message.Message):
    __slots__ = ("quality", "right", "asked", "speed_tokens_per_s", "first_token_ms", "probed_at", "capabilities")
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    SPEED_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    PROBED_AT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    quality: float
    right: int
    asked: int
    speed_tokens_per_s: float
    first_token_ms: float
    probed_at: _timestamp_pb2.Timestamp
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, quality: _Optional[float] = ..., right: _Optional[int] = ..., asked: _Optional[int] = ..., speed_tokens_per_s: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., probed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class ListedModel(_message.Message):
    __slots__ = ("name", "chats", "embeds", "context_tokens", "max_output_tokens", "capabilities", "capabilities_known", "seen_at", "gone", "probe")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHATS_FIELD_NUMBER: _ClassVar[int]
    EMBEDS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_KNOWN_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    name: str
    chats: bool
    embeds: bool
    context_tokens: int
    max_output_tokens: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    capabilities_known: bool
    seen_at: _timestamp_pb2.Timestamp
    gone: bool
    probe: ProbeResult
    def __init__(self, name: _Optional[str] = ..., chats: _Optional[bool] = ..., embeds: _Optional[bool] = ..., context_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., capabilities_known: _Optional[bool] = ..., seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., gone: _Optional[bool] = ..., probe: _Optional[_Union[ProbeResult, _Mapping]] = ...) -> None: ...

class ProviderListing(_message.Message):
    __slots__ = ("provider", "listed_at", "tried_at", "error", "models", "found", "gone")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    LISTED_AT_FIELD_NUMBER: _ClassVar[int]
    TRIED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    listed_at: _timestamp_pb2.Timestamp
    tried_at: _timestamp_pb2.Timestamp
    error: str
    models: _containers.RepeatedCompositeFieldContainer[ListedModel]
    found: int
    gone: int
    def __init__(self, provider: _Optional[str] = ..., listed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tried_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ListedModel, _Mapping]]] = ..., found: _Optional[int] = ..., gone: _Optional[int] = ...) -> None: ...

class DiscoverRequest(_message.Message):
    __slots__ = ("providers", "probe", "max_nano_usd")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    MAX_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedScalarFieldContainer[str]
    probe: bool
    max_nano_usd: int
    def __init__(self, providers: _Optional[_Iterable[str]] = ..., probe: _Optional[bool] = ..., max_nano_usd: _Optional[int] = ...) -> None: ...

class DiscoveredProvider(_message.Message):
    __slots__ = ("provider", "found", "added", "gone", "dropped", "error", "listed_at")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LISTED_AT_FIELD_NUMBER: _ClassVar[int]
    provider: str
    found: int
    added: _containers.RepeatedScalarFieldContainer[str]
    gone: _containers.RepeatedScalarFieldContainer[str]
    dropped: int
    error: str
    listed_at: _timestamp_pb2.Timestamp
    def __init__(self, provider: _Optional[str] = ..., found: _Optional[int] = ..., added: _Optional[_Iterable[str]] = ..., gone: _Optional[_Iterable[str]] = ..., dropped: _Optional[int] = ..., error: _Optional[str] = ..., listed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ProbedModel(_message.Message):
    __slots__ = ("model", "result", "cost_nano_usd", "why_not")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    WHY_NOT_FIELD_NUMBER: _ClassVar[int]
    model: str
    result: ProbeResult
    cost_nano_usd: int
    why_not: str
    def __init__(self, model: _Optional[str] = ..., result: _Optional[_Union[ProbeResult, _Mapping]] = ..., cost_nano_usd: _Optional[int] = ..., why_not: _Optional[str] = ...) -> None: ...

class DiscoverResponse(_message.Message):
    __slots__ = ("providers", "probed", "cost_nano_usd")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    PROBED_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[DiscoveredProvider]
    probed: _containers.RepeatedCompositeFieldContainer[ProbedModel]
    cost_nano_usd: int
    def __init__(self, providers: _Optional[_Iterable[_Union[DiscoveredProvider, _Mapping]]] = ..., probed: _Optional[_Iterable[_Union[ProbedModel, _Mapping]]] = ..., cost_nano_usd: _Optional[int] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("model", "max_nano_usd")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    model: str
    max_nano_usd: int
    def __init__(self, model: _Optional[str] = ..., max_nano_usd: _Optional[int] = ...) -> None: ...

class ProbeResponse(_message.Message):
    __slots__ = ("probed", "questions")
    PROBED_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    probed: ProbedModel
    questions: _containers.RepeatedCompositeFieldContainer[ProbedQuestion]
    def __init__(self, probed: _Optional[_Union[ProbedModel, _Mapping]] = ..., questions: _Optional[_Iterable[_Union[ProbedQuestion, _Mapping]]] = ...) -> None: ...

class ProbedQuestion(_message.Message):
    __slots__ = ("question", "right", "reason")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    question: str
    right: bool
    reason: _error_pb2.ErrorReason
    def __init__(self, question: _Optional[str] = ..., right: _Optional[bool] = ..., reason: _Optional[_Union[_error_pb2.ErrorReason, str]] = ...) -> None: ...

class ListListingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListListingsResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[ProviderListing]
    def __init__(self, providers: _Optional[_Iterable[_Union[ProviderListing, _Mapping]]] = ...) -> None: ...

class WatchListingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchListingsResponse(_message.Message):
    __slots__ = ("listings",)
    LISTINGS_FIELD_NUMBER: _ClassVar[int]
    listings: _containers.RepeatedCompositeFieldContainer[ProviderListing]
    def __init__(self, listings: _Optional[_Iterable[_Union[ProviderListing, _Mapping]]] = ...) -> None: ...
