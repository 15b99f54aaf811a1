from dac.type.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FetchRecordsRequest(_message.Message):
    __slots__ = ("consumer", "cursor", "limit", "wait_s")
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    consumer: str
    cursor: str
    limit: int
    wait_s: float
    def __init__(self, consumer: _Optional[str] = ..., cursor: _Optional[str] = ..., limit: _Optional[int] = ..., wait_s: _Optional[float] = ...) -> None: ...

class FetchRecordsResponse(_message.Message):
    __slots__ = ("records", "cursor")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.RequestRecord]
    cursor: str
    def __init__(self, records: _Optional[_Iterable[_Union[_record_pb2.RequestRecord, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...
