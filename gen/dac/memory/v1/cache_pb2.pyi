from dac.type.v1 import usage_pb2 as _usage_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CachedAnswer(_message.Message):
    __slots__ = ("openai_json", "model", "provider", "usage", "finish_reason", "cost_nano_usd")
    OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    openai_json: bytes
    model: str
    provider: str
    usage: _usage_pb2.Usage
    finish_reason: str
    cost_nano_usd: int
    def __init__(self, openai_json: _Optional[bytes] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[str] = ..., cost_nano_usd: _Optional[int] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("fingerprint",)
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    def __init__(self, fingerprint: _Optional[bytes] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("answer", "age_s")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    answer: CachedAnswer
    age_s: float
    def __init__(self, answer: _Optional[_Union[CachedAnswer, _Mapping]] = ..., age_s: _Optional[float] = ...) -> None: ...

class StoreRequest(_message.Message):
    __slots__ = ("fingerprint", "answer", "lifetime_s")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    answer: CachedAnswer
    lifetime_s: float
    def __init__(self, fingerprint: _Optional[bytes] = ..., answer: _Optional[_Union[CachedAnswer, _Mapping]] = ..., lifetime_s: _Optional[float] = ...) -> None: ...

class StoreResponse(_message.Message):
    __slots__ = ("stored",)
    STORED_FIELD_NUMBER: _ClassVar[int]
    stored: bool
    def __init__(self, stored: _Optional[bool] = ...) -> None: ...
