from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnswerRules(_message.Message):
    __slots__ = ("persona", "validation", "redaction", "cache")
    PERSONA_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    REDACTION_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    persona: PersonaRules
    validation: ValidationRules
    redaction: RedactionRules
    cache: CacheRules
    def __init__(self, persona: _Optional[_Union[PersonaRules, _Mapping]] = ..., validation: _Optional[_Union[ValidationRules, _Mapping]] = ..., redaction: _Optional[_Union[RedactionRules, _Mapping]] = ..., cache: _Optional[_Union[CacheRules, _Mapping]] = ...) -> None: ...

class PersonaRules(_message.Message):
    __slots__ = ("enabled", "name", "tone", "preamble", "rewrite")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TONE_FIELD_NUMBER: _ClassVar[int]
    PREAMBLE_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    name: str
    tone: str
    preamble: str
    rewrite: bool
    def __init__(self, enabled: _Optional[bool] = ..., name: _Optional[str] = ..., tone: _Optional[str] = ..., preamble: _Optional[str] = ..., rewrite: _Optional[bool] = ...) -> None: ...

class ValidationRules(_message.Message):
    __slots__ = ("enabled", "checks", "action", "min_quality", "streams", "max_retries", "judge_model", "nli", "webhook")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    JUDGE_MODEL_FIELD_NUMBER: _ClassVar[int]
    NLI_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    checks: _containers.RepeatedScalarFieldContainer[str]
    action: str
    min_quality: float
    streams: str
    max_retries: int
    judge_model: str
    nli: bool
    webhook: str
    def __init__(self, enabled: _Optional[bool] = ..., checks: _Optional[_Iterable[str]] = ..., action: _Optional[str] = ..., min_quality: _Optional[float] = ..., streams: _Optional[str] = ..., max_retries: _Optional[int] = ..., judge_model: _Optional[str] = ..., nli: _Optional[bool] = ..., webhook: _Optional[str] = ...) -> None: ...

class RedactionRules(_message.Message):
    __slots__ = ("enabled", "kinds", "action", "restore", "regions", "instead")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    INSTEAD_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    kinds: _containers.RepeatedScalarFieldContainer[str]
    action: str
    restore: bool
    regions: _containers.RepeatedScalarFieldContainer[str]
    instead: bool
    def __init__(self, enabled: _Optional[bool] = ..., kinds: _Optional[_Iterable[str]] = ..., action: _Optional[str] = ..., restore: _Optional[bool] = ..., regions: _Optional[_Iterable[str]] = ..., instead: _Optional[bool] = ...) -> None: ...

class CacheRules(_message.Message):
    __slots__ = ("enabled", "preset", "ttl_s")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    preset: str
    ttl_s: int
    def __init__(self, enabled: _Optional[bool] = ..., preset: _Optional[str] = ..., ttl_s: _Optional[int] = ...) -> None: ...
