import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetPayloadSealingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPayloadSealingResponse(_message.Message):
    __slots__ = ("seal_payloads", "since", "plain_requests", "sealed_requests", "plain_changes", "sealed_changes", "subject_keys", "destroyed_keys")
    SEAL_PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PLAIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SEALED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PLAIN_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SEALED_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KEYS_FIELD_NUMBER: _ClassVar[int]
    DESTROYED_KEYS_FIELD_NUMBER: _ClassVar[int]
    seal_payloads: bool
    since: _timestamp_pb2.Timestamp
    plain_requests: int
    sealed_requests: int
    plain_changes: int
    sealed_changes: int
    subject_keys: int
    destroyed_keys: int
    def __init__(self, seal_payloads: _Optional[bool] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., plain_requests: _Optional[int] = ..., sealed_requests: _Optional[int] = ..., plain_changes: _Optional[int] = ..., sealed_changes: _Optional[int] = ..., subject_keys: _Optional[int] = ..., destroyed_keys: _Optional[int] = ...) -> None: ...

class RewrapPayloadKeysRequest(_message.Message):
    __slots__ = ("limit", "check_only")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CHECK_ONLY_FIELD_NUMBER: _ClassVar[int]
    limit: int
    check_only: bool
    def __init__(self, limit: _Optional[int] = ..., check_only: _Optional[bool] = ...) -> None: ...

class RewrapPayloadKeysResponse(_message.Message):
    __slots__ = ("rotated", "left", "lost", "master_key_id")
    ROTATED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    MASTER_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    rotated: int
    left: int
    lost: int
    master_key_id: str
    def __init__(self, rotated: _Optional[int] = ..., left: _Optional[int] = ..., lost: _Optional[int] = ..., master_key_id: _Optional[str] = ...) -> None: ...
