import datetime

from dac.type.v1 import chat_pb2 as _chat_pb2
from dac.type.v1 import error_pb2 as _error_pb2
from dac.type.v1 import principal_pb2 as _principal_pb2
from dac.type.v1 import usage_pb2 as _usage_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_OK: _ClassVar[Outcome]
    OUTCOME_CLIENT_GONE: _ClassVar[Outcome]
    OUTCOME_REFUSED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_INDETERMINATE: _ClassVar[Outcome]

class Rescue(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESCUE_UNSPECIFIED: _ClassVar[Rescue]
    RESCUE_PREFILL: _ClassVar[Rescue]
    RESCUE_INSTRUCTION: _ClassVar[Rescue]
    RESCUE_RESTART: _ClassVar[Rescue]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_OK: Outcome
OUTCOME_CLIENT_GONE: Outcome
OUTCOME_REFUSED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_INDETERMINATE: Outcome
RESCUE_UNSPECIFIED: Rescue
RESCUE_PREFILL: Rescue
RESCUE_INSTRUCTION: Rescue
RESCUE_RESTART: Rescue

class PriceLine(_message.Message):
    __slots__ = ("bucket", "tokens", "nano_usd_per_mtok", "cost_nano_usd")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NANO_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    tokens: int
    nano_usd_per_mtok: int
    cost_nano_usd: int
    def __init__(self, bucket: _Optional[str] = ..., tokens: _Optional[int] = ..., nano_usd_per_mtok: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ...) -> None: ...

class AttemptRecord(_message.Message):
    __slots__ = ("attempt_id", "provider", "model", "started_at", "first_token_ms", "ended_at", "status_code", "reason", "message", "usage", "usage_source", "price_version", "cost_nano_usd", "price_lines", "finish_reason", "rescue", "provider_key_id")
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRICE_VERSION_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    PRICE_LINES_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    RESCUE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    attempt_id: str
    provider: str
    model: str
    started_at: _timestamp_pb2.Timestamp
    first_token_ms: float
    ended_at: _timestamp_pb2.Timestamp
    status_code: int
    reason: _error_pb2.ErrorReason
    message: str
    usage: _usage_pb2.Usage
    usage_source: _usage_pb2.UsageSource
    price_version: int
    cost_nano_usd: int
    price_lines: _containers.RepeatedCompositeFieldContainer[PriceLine]
    finish_reason: str
    rescue: Rescue
    provider_key_id: str
    def __init__(self, attempt_id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., first_token_ms: _Optional[float] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status_code: _Optional[int] = ..., reason: _Optional[_Union[_error_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., usage_source: _Optional[_Union[_usage_pb2.UsageSource, str]] = ..., price_version: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., price_lines: _Optional[_Iterable[_Union[PriceLine, _Mapping]]] = ..., finish_reason: _Optional[str] = ..., rescue: _Optional[_Union[Rescue, str]] = ..., provider_key_id: _Optional[str] = ...) -> None: ...

class RouteCandidate(_message.Message):
    __slots__ = ("model", "provider", "score", "quality_score", "latency_score", "cost_score", "context_score", "excluded", "prior_quality")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_SCORE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_SCORE_FIELD_NUMBER: _ClassVar[int]
    COST_SCORE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_SCORE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    PRIOR_QUALITY_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    score: float
    quality_score: float
    latency_score: float
    cost_score: float
    context_score: float
    excluded: str
    prior_quality: float
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., score: _Optional[float] = ..., quality_score: _Optional[float] = ..., latency_score: _Optional[float] = ..., cost_score: _Optional[float] = ..., context_score: _Optional[float] = ..., excluded: _Optional[str] = ..., prior_quality: _Optional[float] = ...) -> None: ...

class RouteRecord(_message.Message):
    __slots__ = ("decision_id", "profile", "policy_version", "reason", "candidates", "basis", "fitting", "left_out", "explored", "experiment", "shadow")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    FITTING_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    EXPLORED_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    profile: str
    policy_version: str
    reason: str
    candidates: _containers.RepeatedCompositeFieldContainer[RouteCandidate]
    basis: str
    fitting: int
    left_out: int
    explored: bool
    experiment: ExperimentRecord
    shadow: ShadowRecord
    def __init__(self, decision_id: _Optional[str] = ..., profile: _Optional[str] = ..., policy_version: _Optional[str] = ..., reason: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[RouteCandidate, _Mapping]]] = ..., basis: _Optional[str] = ..., fitting: _Optional[int] = ..., left_out: _Optional[int] = ..., explored: _Optional[bool] = ..., experiment: _Optional[_Union[ExperimentRecord, _Mapping]] = ..., shadow: _Optional[_Union[ShadowRecord, _Mapping]] = ...) -> None: ...

class ExperimentRecord(_message.Message):
    __slots__ = ("experiment_id", "arm", "step", "refused")
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    arm: str
    step: int
    refused: bool
    def __init__(self, experiment_id: _Optional[str] = ..., arm: _Optional[str] = ..., step: _Optional[int] = ..., refused: _Optional[bool] = ...) -> None: ...

class ShadowRecord(_message.Message):
    __slots__ = ("experiment_id", "policy_version", "model", "quality", "cost_nano_usd", "chosen_quality", "chosen_cost_nano_usd", "priced", "agreed", "latency_ms", "chosen_latency_ms")
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    PRICED_FIELD_NUMBER: _ClassVar[int]
    AGREED_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    policy_version: str
    model: str
    quality: float
    cost_nano_usd: int
    chosen_quality: float
    chosen_cost_nano_usd: int
    priced: bool
    agreed: bool
    latency_ms: float
    chosen_latency_ms: float
    def __init__(self, experiment_id: _Optional[str] = ..., policy_version: _Optional[str] = ..., model: _Optional[str] = ..., quality: _Optional[float] = ..., cost_nano_usd: _Optional[int] = ..., chosen_quality: _Optional[float] = ..., chosen_cost_nano_usd: _Optional[int] = ..., priced: _Optional[bool] = ..., agreed: _Optional[bool] = ..., latency_ms: _Optional[float] = ..., chosen_latency_ms: _Optional[float] = ...) -> None: ...

class Features(_message.Message):
    __slots__ = ("intent", "complexity", "language", "input_tokens_estimated", "intent_confidence", "needs_web", "needs_tools", "needs_images", "needs_json", "long_context")
    INTENT_FIELD_NUMBER: _ClassVar[int]
    COMPLEXITY_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    INTENT_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_WEB_FIELD_NUMBER: _ClassVar[int]
    NEEDS_TOOLS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEEDS_JSON_FIELD_NUMBER: _ClassVar[int]
    LONG_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    intent: str
    complexity: float
    language: str
    input_tokens_estimated: int
    intent_confidence: float
    needs_web: bool
    needs_tools: bool
    needs_images: bool
    needs_json: bool
    long_context: bool
    def __init__(self, intent: _Optional[str] = ..., complexity: _Optional[float] = ..., language: _Optional[str] = ..., input_tokens_estimated: _Optional[int] = ..., intent_confidence: _Optional[float] = ..., needs_web: _Optional[bool] = ..., needs_tools: _Optional[bool] = ..., needs_images: _Optional[bool] = ..., needs_json: _Optional[bool] = ..., long_context: _Optional[bool] = ...) -> None: ...

class CacheRecord(_message.Message):
    __slots__ = ("status", "similarity", "saved_nano_usd", "kind", "entry_id", "leader_request_id", "saved_ms")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[CacheRecord.Status]
        STATUS_OFF: _ClassVar[CacheRecord.Status]
        STATUS_MISS: _ClassVar[CacheRecord.Status]
        STATUS_HIT: _ClassVar[CacheRecord.Status]
        STATUS_STORED: _ClassVar[CacheRecord.Status]
        STATUS_COALESCED: _ClassVar[CacheRecord.Status]
    STATUS_UNSPECIFIED: CacheRecord.Status
    STATUS_OFF: CacheRecord.Status
    STATUS_MISS: CacheRecord.Status
    STATUS_HIT: CacheRecord.Status
    STATUS_STORED: CacheRecord.Status
    STATUS_COALESCED: CacheRecord.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    SAVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    LEADER_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SAVED_MS_FIELD_NUMBER: _ClassVar[int]
    status: CacheRecord.Status
    similarity: float
    saved_nano_usd: int
    kind: str
    entry_id: str
    leader_request_id: str
    saved_ms: float
    def __init__(self, status: _Optional[_Union[CacheRecord.Status, str]] = ..., similarity: _Optional[float] = ..., saved_nano_usd: _Optional[int] = ..., kind: _Optional[str] = ..., entry_id: _Optional[str] = ..., leader_request_id: _Optional[str] = ..., saved_ms: _Optional[float] = ...) -> None: ...

class ValidatedAnswer(_message.Message):
    __slots__ = ("attempt_id", "model", "quality", "status", "given")
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    attempt_id: str
    model: str
    quality: float
    status: str
    given: bool
    def __init__(self, attempt_id: _Optional[str] = ..., model: _Optional[str] = ..., quality: _Optional[float] = ..., status: _Optional[str] = ..., given: _Optional[bool] = ...) -> None: ...

class ValidationRecord(_message.Message):
    __slots__ = ("policy", "scores", "action", "quality", "status", "checks", "findings", "mode", "answers", "note")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class ChecksEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FindingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    policy: str
    scores: _containers.ScalarMap[str, float]
    action: str
    quality: float
    status: str
    checks: _containers.ScalarMap[str, str]
    findings: _containers.ScalarMap[str, int]
    mode: str
    answers: _containers.RepeatedCompositeFieldContainer[ValidatedAnswer]
    note: str
    def __init__(self, policy: _Optional[str] = ..., scores: _Optional[_Mapping[str, float]] = ..., action: _Optional[str] = ..., quality: _Optional[float] = ..., status: _Optional[str] = ..., checks: _Optional[_Mapping[str, str]] = ..., findings: _Optional[_Mapping[str, int]] = ..., mode: _Optional[str] = ..., answers: _Optional[_Iterable[_Union[ValidatedAnswer, _Mapping]]] = ..., note: _Optional[str] = ...) -> None: ...

class PersonaRecord(_message.Message):
    __slots__ = ("applied", "rewritten")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    applied: bool
    rewritten: int
    def __init__(self, applied: _Optional[bool] = ..., rewritten: _Optional[int] = ...) -> None: ...

class ContextRecord(_message.Message):
    __slots__ = ("source", "messages", "tokens", "recalled", "summarised", "left_out", "saved", "user_message_id", "message_id")
    class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SOURCE_UNSPECIFIED: _ClassVar[ContextRecord.Source]
        SOURCE_MEMORY: _ClassVar[ContextRecord.Source]
        SOURCE_WINDOW: _ClassVar[ContextRecord.Source]
        SOURCE_NONE: _ClassVar[ContextRecord.Source]
    SOURCE_UNSPECIFIED: ContextRecord.Source
    SOURCE_MEMORY: ContextRecord.Source
    SOURCE_WINDOW: ContextRecord.Source
    SOURCE_NONE: ContextRecord.Source
    class Saved(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SAVED_UNSPECIFIED: _ClassVar[ContextRecord.Saved]
        SAVED_WHOLE: _ClassVar[ContextRecord.Saved]
        SAVED_PARTIAL: _ClassVar[ContextRecord.Saved]
        SAVED_LATER: _ClassVar[ContextRecord.Saved]
        SAVED_QUESTION: _ClassVar[ContextRecord.Saved]
        SAVED_REFUSED: _ClassVar[ContextRecord.Saved]
    SAVED_UNSPECIFIED: ContextRecord.Saved
    SAVED_WHOLE: ContextRecord.Saved
    SAVED_PARTIAL: ContextRecord.Saved
    SAVED_LATER: ContextRecord.Saved
    SAVED_QUESTION: ContextRecord.Saved
    SAVED_REFUSED: ContextRecord.Saved
    class Omitted(_message.Message):
        __slots__ = ("kind", "count", "tokens", "why")
        KIND_FIELD_NUMBER: _ClassVar[int]
        COUNT_FIELD_NUMBER: _ClassVar[int]
        TOKENS_FIELD_NUMBER: _ClassVar[int]
        WHY_FIELD_NUMBER: _ClassVar[int]
        kind: str
        count: int
        tokens: int
        why: str
        def __init__(self, kind: _Optional[str] = ..., count: _Optional[int] = ..., tokens: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    SUMMARISED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    USER_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    source: ContextRecord.Source
    messages: int
    tokens: int
    recalled: int
    summarised: bool
    left_out: _containers.RepeatedCompositeFieldContainer[ContextRecord.Omitted]
    saved: ContextRecord.Saved
    user_message_id: str
    message_id: str
    def __init__(self, source: _Optional[_Union[ContextRecord.Source, str]] = ..., messages: _Optional[int] = ..., tokens: _Optional[int] = ..., recalled: _Optional[int] = ..., summarised: _Optional[bool] = ..., left_out: _Optional[_Iterable[_Union[ContextRecord.Omitted, _Mapping]]] = ..., saved: _Optional[_Union[ContextRecord.Saved, str]] = ..., user_message_id: _Optional[str] = ..., message_id: _Optional[str] = ...) -> None: ...

class RedactionRecord(_message.Message):
    __slots__ = ("kinds", "restored", "action")
    class KindsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KINDS_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.ScalarMap[str, int]
    restored: bool
    action: str
    def __init__(self, kinds: _Optional[_Mapping[str, int]] = ..., restored: _Optional[bool] = ..., action: _Optional[str] = ...) -> None: ...

class RequestRecord(_message.Message):
    __slots__ = ("request_id", "org_id", "path", "asked_model", "dialect_in", "dialect_out", "route", "features", "attempts", "cache", "validation", "outcome", "finish_reason", "stage_ms", "tags", "started_at", "ended_at", "reserved_nano_usd", "cost_nano_usd", "client_request_id", "stream", "reason", "message", "thread_id", "reservation_id", "http_status", "trace_id", "operation", "context", "persona", "redaction", "text_commitment")
    class StageMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ASKED_MODEL_FIELD_NUMBER: _ClassVar[int]
    DIALECT_IN_FIELD_NUMBER: _ClassVar[int]
    DIALECT_OUT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    STAGE_MS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    RESERVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    CLIENT_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PERSONA_FIELD_NUMBER: _ClassVar[int]
    REDACTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    org_id: str
    path: _containers.RepeatedCompositeFieldContainer[_principal_pb2.Level]
    asked_model: str
    dialect_in: _chat_pb2.Dialect
    dialect_out: _chat_pb2.Dialect
    route: RouteRecord
    features: Features
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptRecord]
    cache: CacheRecord
    validation: ValidationRecord
    outcome: Outcome
    finish_reason: str
    stage_ms: _containers.ScalarMap[str, float]
    tags: _containers.ScalarMap[str, str]
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    reserved_nano_usd: int
    cost_nano_usd: int
    client_request_id: str
    stream: bool
    reason: _error_pb2.ErrorReason
    message: str
    thread_id: str
    reservation_id: str
    http_status: int
    trace_id: str
    operation: str
    context: ContextRecord
    persona: PersonaRecord
    redaction: RedactionRecord
    text_commitment: bytes
    def __init__(self, request_id: _Optional[str] = ..., org_id: _Optional[str] = ..., path: _Optional[_Iterable[_Union[_principal_pb2.Level, _Mapping]]] = ..., asked_model: _Optional[str] = ..., dialect_in: _Optional[_Union[_chat_pb2.Dialect, str]] = ..., dialect_out: _Optional[_Union[_chat_pb2.Dialect, str]] = ..., route: _Optional[_Union[RouteRecord, _Mapping]] = ..., features: _Optional[_Union[Features, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[AttemptRecord, _Mapping]]] = ..., cache: _Optional[_Union[CacheRecord, _Mapping]] = ..., validation: _Optional[_Union[ValidationRecord, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., finish_reason: _Optional[str] = ..., stage_ms: _Optional[_Mapping[str, float]] = ..., tags: _Optional[_Mapping[str, str]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reserved_nano_usd: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ..., client_request_id: _Optional[str] = ..., stream: _Optional[bool] = ..., reason: _Optional[_Union[_error_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ..., thread_id: _Optional[str] = ..., reservation_id: _Optional[str] = ..., http_status: _Optional[int] = ..., trace_id: _Optional[str] = ..., operation: _Optional[str] = ..., context: _Optional[_Union[ContextRecord, _Mapping]] = ..., persona: _Optional[_Union[PersonaRecord, _Mapping]] = ..., redaction: _Optional[_Union[RedactionRecord, _Mapping]] = ..., text_commitment: _Optional[bytes] = ...) -> None: ...

class AdminRecord(_message.Message):
    __slots__ = ("record_id", "org_id", "actor", "action", "target", "before_json", "after_json", "at", "request_id")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BEFORE_JSON_FIELD_NUMBER: _ClassVar[int]
    AFTER_JSON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    org_id: str
    actor: str
    action: str
    target: str
    before_json: str
    after_json: str
    at: _timestamp_pb2.Timestamp
    request_id: str
    def __init__(self, record_id: _Optional[str] = ..., org_id: _Optional[str] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., target: _Optional[str] = ..., before_json: _Optional[str] = ..., after_json: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...
