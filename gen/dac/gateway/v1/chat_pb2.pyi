from dac.type.v1 import chat_pb2 as _chat_pb2
from dac.type.v1 import record_pb2 as _record_pb2
from dac.type.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TypedMessage(_message.Message):
    __slots__ = ("role", "content")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class TypedChat(_message.Message):
    __slots__ = ("model", "messages", "temperature", "max_output_tokens", "stream")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[TypedMessage]
    temperature: float
    max_output_tokens: int
    stream: bool
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[TypedMessage, _Mapping]]] = ..., temperature: _Optional[float] = ..., max_output_tokens: _Optional[int] = ..., stream: _Optional[bool] = ...) -> None: ...

class ChatRequest(_message.Message):
    __slots__ = ("openai_json", "typed", "thread_id", "profile", "enable_cache", "client_request_id")
    OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
    TYPED_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_CACHE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    openai_json: bytes
    typed: TypedChat
    thread_id: str
    profile: str
    enable_cache: bool
    client_request_id: str
    def __init__(self, openai_json: _Optional[bytes] = ..., typed: _Optional[_Union[TypedChat, _Mapping]] = ..., thread_id: _Optional[str] = ..., profile: _Optional[str] = ..., enable_cache: _Optional[bool] = ..., client_request_id: _Optional[str] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("head", "frames", "finish")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    head: Head
    frames: _chat_pb2.Frames
    finish: Finish
    def __init__(self, head: _Optional[_Union[Head, _Mapping]] = ..., frames: _Optional[_Union[_chat_pb2.Frames, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("request_id", "model", "provider", "route")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    provider: str
    route: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., route: _Optional[str] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("usage", "usage_source", "finish_reason", "cost_nano_usd", "text", "validation")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    usage: _usage_pb2.Usage
    usage_source: _usage_pb2.UsageSource
    finish_reason: str
    cost_nano_usd: int
    text: str
    validation: _record_pb2.ValidationRecord
    def __init__(self, usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., usage_source: _Optional[_Union[_usage_pb2.UsageSource, str]] = ..., finish_reason: _Optional[str] = ..., cost_nano_usd: _Optional[int] = ..., text: _Optional[str] = ..., validation: _Optional[_Union[_record_pb2.ValidationRecord, _Mapping]] = ...) -> None: ...
