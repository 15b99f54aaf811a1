from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValidateRequest(_message.Message):
    __slots__ = ("text", "question", "context", "task_type", "schema", "checks", "min_quality", "finish_reason", "nli")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    NLI_FIELD_NUMBER: _ClassVar[int]
    text: str
    question: str
    context: _containers.RepeatedScalarFieldContainer[str]
    task_type: str
    schema: _struct_pb2.Struct
    checks: _containers.RepeatedScalarFieldContainer[str]
    min_quality: float
    finish_reason: str
    nli: bool
    def __init__(self, text: _Optional[str] = ..., question: _Optional[str] = ..., context: _Optional[_Iterable[str]] = ..., task_type: _Optional[str] = ..., schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., checks: _Optional[_Iterable[str]] = ..., min_quality: _Optional[float] = ..., finish_reason: _Optional[str] = ..., nli: _Optional[bool] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("check", "severity", "message", "start", "end")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    check: str
    severity: str
    message: str
    start: int
    end: int
    def __init__(self, check: _Optional[str] = ..., severity: _Optional[str] = ..., message: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class ValidateResponse(_message.Message):
    __slots__ = ("status", "quality", "scores", "checks", "findings", "parts", "duration_ms")
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
    class PartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    status: str
    quality: float
    scores: _containers.ScalarMap[str, float]
    checks: _containers.ScalarMap[str, str]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    parts: _containers.ScalarMap[str, float]
    duration_ms: float
    def __init__(self, status: _Optional[str] = ..., quality: _Optional[float] = ..., scores: _Optional[_Mapping[str, float]] = ..., checks: _Optional[_Mapping[str, str]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., parts: _Optional[_Mapping[str, float]] = ..., duration_ms: _Optional[float] = ...) -> None: ...
