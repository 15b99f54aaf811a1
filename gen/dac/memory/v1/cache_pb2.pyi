import datetime

from dac.type.v1 import usage_pb2 as _usage_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_KIND_UNSPECIFIED: _ClassVar[MatchKind]
    MATCH_KIND_EXACT: _ClassVar[MatchKind]
    MATCH_KIND_SEMANTIC: _ClassVar[MatchKind]

class MatchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_MODE_UNSPECIFIED: _ClassVar[MatchMode]
    MATCH_MODE_EXACT_ONLY: _ClassVar[MatchMode]
    MATCH_MODE_DEFAULT: _ClassVar[MatchMode]
    MATCH_MODE_BALANCED: _ClassVar[MatchMode]
MATCH_KIND_UNSPECIFIED: MatchKind
MATCH_KIND_EXACT: MatchKind
MATCH_KIND_SEMANTIC: MatchKind
MATCH_MODE_UNSPECIFIED: MatchMode
MATCH_MODE_EXACT_ONLY: MatchMode
MATCH_MODE_DEFAULT: MatchMode
MATCH_MODE_BALANCED: MatchMode

class CachedAnswer(_message.Message):
    __slots__ = ("openai_json", "model", "provider", "usage", "finish_reason", "cost_nano_usd", "duration_ms", "stream_events")
    OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    STREAM_EVENTS_FIELD_NUMBER: _ClassVar[int]
    openai_json: bytes
    model: str
    provider: str
    usage: _usage_pb2.Usage
    finish_reason: str
    cost_nano_usd: int
    duration_ms: float
    stream_events: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, openai_json: _Optional[bytes] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[str] = ..., cost_nano_usd: _Optional[int] = ..., duration_ms: _Optional[float] = ..., stream_events: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("fingerprint", "scope_key", "prompt", "mode", "min_similarity", "max_age_s", "user_scoped", "models")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SCOPE_KEY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_S_FIELD_NUMBER: _ClassVar[int]
    USER_SCOPED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    scope_key: bytes
    prompt: str
    mode: MatchMode
    min_similarity: float
    max_age_s: float
    user_scoped: bool
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fingerprint: _Optional[bytes] = ..., scope_key: _Optional[bytes] = ..., prompt: _Optional[str] = ..., mode: _Optional[_Union[MatchMode, str]] = ..., min_similarity: _Optional[float] = ..., max_age_s: _Optional[float] = ..., user_scoped: _Optional[bool] = ..., models: _Optional[_Iterable[str]] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("answer", "age_s", "entry_id", "similarity", "kind", "guard", "embedder_id")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_ID_FIELD_NUMBER: _ClassVar[int]
    answer: CachedAnswer
    age_s: float
    entry_id: str
    similarity: float
    kind: MatchKind
    guard: str
    embedder_id: str
    def __init__(self, answer: _Optional[_Union[CachedAnswer, _Mapping]] = ..., age_s: _Optional[float] = ..., entry_id: _Optional[str] = ..., similarity: _Optional[float] = ..., kind: _Optional[_Union[MatchKind, str]] = ..., guard: _Optional[str] = ..., embedder_id: _Optional[str] = ...) -> None: ...

class StoreRequest(_message.Message):
    __slots__ = ("fingerprint", "answer", "lifetime_s", "scope_key", "prompt", "quality", "tags", "user_scoped", "exact_only")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    SCOPE_KEY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    USER_SCOPED_FIELD_NUMBER: _ClassVar[int]
    EXACT_ONLY_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    answer: CachedAnswer
    lifetime_s: float
    scope_key: bytes
    prompt: str
    quality: float
    tags: _containers.RepeatedScalarFieldContainer[str]
    user_scoped: bool
    exact_only: bool
    def __init__(self, fingerprint: _Optional[bytes] = ..., answer: _Optional[_Union[CachedAnswer, _Mapping]] = ..., lifetime_s: _Optional[float] = ..., scope_key: _Optional[bytes] = ..., prompt: _Optional[str] = ..., quality: _Optional[float] = ..., tags: _Optional[_Iterable[str]] = ..., user_scoped: _Optional[bool] = ..., exact_only: _Optional[bool] = ...) -> None: ...

class StoreResponse(_message.Message):
    __slots__ = ("stored", "reason", "entry_id")
    STORED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    stored: bool
    reason: str
    entry_id: str
    def __init__(self, stored: _Optional[bool] = ..., reason: _Optional[str] = ..., entry_id: _Optional[str] = ...) -> None: ...

class GetCacheStatisticsRequest(_message.Message):
    __slots__ = ("days", "org_id")
    DAYS_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    days: int
    org_id: str
    def __init__(self, days: _Optional[int] = ..., org_id: _Optional[str] = ...) -> None: ...

class GuardBlocks(_message.Message):
    __slots__ = ("guard", "blocks")
    GUARD_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    guard: str
    blocks: int
    def __init__(self, guard: _Optional[str] = ..., blocks: _Optional[int] = ...) -> None: ...

class NotStored(_message.Message):
    __slots__ = ("reason", "answers")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    answers: int
    def __init__(self, reason: _Optional[str] = ..., answers: _Optional[int] = ...) -> None: ...

class GetCacheStatisticsResponse(_message.Message):
    __slots__ = ("since", "exact_hits", "semantic_hits", "misses", "hit_rate", "guard_blocks", "saved_nano_usd", "saved_ms", "entries", "bytes", "negative_feedback", "observed_error", "observed_error_low", "observed_error_high", "not_stored", "stored", "embedder_id", "semantic")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EXACT_HITS_FIELD_NUMBER: _ClassVar[int]
    SEMANTIC_HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    GUARD_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    SAVED_MS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_ERROR_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_ERROR_LOW_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_ERROR_HIGH_FIELD_NUMBER: _ClassVar[int]
    NOT_STORED_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_ID_FIELD_NUMBER: _ClassVar[int]
    SEMANTIC_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    exact_hits: int
    semantic_hits: int
    misses: int
    hit_rate: float
    guard_blocks: _containers.RepeatedCompositeFieldContainer[GuardBlocks]
    saved_nano_usd: int
    saved_ms: float
    entries: int
    bytes: int
    negative_feedback: int
    observed_error: float
    observed_error_low: float
    observed_error_high: float
    not_stored: _containers.RepeatedCompositeFieldContainer[NotStored]
    stored: int
    embedder_id: str
    semantic: bool
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exact_hits: _Optional[int] = ..., semantic_hits: _Optional[int] = ..., misses: _Optional[int] = ..., hit_rate: _Optional[float] = ..., guard_blocks: _Optional[_Iterable[_Union[GuardBlocks, _Mapping]]] = ..., saved_nano_usd: _Optional[int] = ..., saved_ms: _Optional[float] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ..., negative_feedback: _Optional[int] = ..., observed_error: _Optional[float] = ..., observed_error_low: _Optional[float] = ..., observed_error_high: _Optional[float] = ..., not_stored: _Optional[_Iterable[_Union[NotStored, _Mapping]]] = ..., stored: _Optional[int] = ..., embedder_id: _Optional[str] = ..., semantic: _Optional[bool] = ...) -> None: ...

class PurgeCacheRequest(_message.Message):
    __slots__ = ("org_id", "model", "tag", "entry_id", "scope_key", "older_than_s", "text", "user_id", "all")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_KEY_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_S_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    model: str
    tag: str
    entry_id: str
    scope_key: bytes
    older_than_s: float
    text: str
    user_id: str
    all: bool
    def __init__(self, org_id: _Optional[str] = ..., model: _Optional[str] = ..., tag: _Optional[str] = ..., entry_id: _Optional[str] = ..., scope_key: _Optional[bytes] = ..., older_than_s: _Optional[float] = ..., text: _Optional[str] = ..., user_id: _Optional[str] = ..., all: _Optional[bool] = ...) -> None: ...

class PurgeCacheResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class ReportCacheFeedbackRequest(_message.Message):
    __slots__ = ("entry_id", "similarity", "request_id")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    similarity: float
    request_id: str
    def __init__(self, entry_id: _Optional[str] = ..., similarity: _Optional[float] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReportCacheFeedbackResponse(_message.Message):
    __slots__ = ("found", "dropped", "min_similarity")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    found: bool
    dropped: bool
    min_similarity: float
    def __init__(self, found: _Optional[bool] = ..., dropped: _Optional[bool] = ..., min_similarity: _Optional[float] = ...) -> None: ...
