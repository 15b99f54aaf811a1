from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordedText(_message.Message):
    __slots__ = ("request", "request_bytes_left_out", "answer", "answer_bytes_left_out", "tool_calls_json")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BYTES_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_JSON_FIELD_NUMBER: _ClassVar[int]
    request: str
    request_bytes_left_out: int
    answer: str
    answer_bytes_left_out: int
    tool_calls_json: str
    def __init__(self, request: _Optional[str] = ..., request_bytes_left_out: _Optional[int] = ..., answer: _Optional[str] = ..., answer_bytes_left_out: _Optional[int] = ..., tool_calls_json: _Optional[str] = ...) -> None: ...

class KeptText(_message.Message):
    __slots__ = ("org_id", "request_id", "salt", "text")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    request_id: str
    salt: bytes
    text: bytes
    def __init__(self, org_id: _Optional[str] = ..., request_id: _Optional[str] = ..., salt: _Optional[bytes] = ..., text: _Optional[bytes] = ...) -> None: ...

class KeepTextsRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedCompositeFieldContainer[KeptText]
    def __init__(self, texts: _Optional[_Iterable[_Union[KeptText, _Mapping]]] = ...) -> None: ...

class KeepTextsResponse(_message.Message):
    __slots__ = ("not_stored_yet",)
    NOT_STORED_YET_FIELD_NUMBER: _ClassVar[int]
    not_stored_yet: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, not_stored_yet: _Optional[_Iterable[str]] = ...) -> None: ...

class GetTextRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class GetTextResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: RecordedText
    def __init__(self, text: _Optional[_Union[RecordedText, _Mapping]] = ...) -> None: ...
