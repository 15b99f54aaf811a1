import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hold(_message.Message):
    __slots__ = ("hold_id", "org_id", "subject", "reason", "actor", "set_at")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    SET_AT_FIELD_NUMBER: _ClassVar[int]
    hold_id: str
    org_id: str
    subject: str
    reason: str
    actor: str
    set_at: _timestamp_pb2.Timestamp
    def __init__(self, hold_id: _Optional[str] = ..., org_id: _Optional[str] = ..., subject: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., set_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EraseRequest(_message.Message):
    __slots__ = ("subject", "basis", "dry_run", "org_id")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    subject: str
    basis: str
    dry_run: bool
    org_id: str
    def __init__(self, subject: _Optional[str] = ..., basis: _Optional[str] = ..., dry_run: _Optional[bool] = ..., org_id: _Optional[str] = ...) -> None: ...

class EraseResponse(_message.Message):
    __slots__ = ("requests", "changes", "waiting", "declarations", "pending")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    DECLARATIONS_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    requests: int
    changes: int
    waiting: int
    declarations: _containers.RepeatedScalarFieldContainer[str]
    pending: int
    def __init__(self, requests: _Optional[int] = ..., changes: _Optional[int] = ..., waiting: _Optional[int] = ..., declarations: _Optional[_Iterable[str]] = ..., pending: _Optional[int] = ...) -> None: ...

class PruneRequest(_message.Message):
    __slots__ = ("before", "with_changes", "dry_run", "org_id")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    WITH_CHANGES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    before: _timestamp_pb2.Timestamp
    with_changes: bool
    dry_run: bool
    org_id: str
    def __init__(self, before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., with_changes: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., org_id: _Optional[str] = ...) -> None: ...

class PruneResponse(_message.Message):
    __slots__ = ("requests", "changes", "waiting", "held", "has_more")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    requests: int
    changes: int
    waiting: int
    held: int
    has_more: bool
    def __init__(self, requests: _Optional[int] = ..., changes: _Optional[int] = ..., waiting: _Optional[int] = ..., held: _Optional[int] = ..., has_more: _Optional[bool] = ...) -> None: ...

class SetHoldRequest(_message.Message):
    __slots__ = ("subject", "reason", "org_id")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    subject: str
    reason: str
    org_id: str
    def __init__(self, subject: _Optional[str] = ..., reason: _Optional[str] = ..., org_id: _Optional[str] = ...) -> None: ...

class SetHoldResponse(_message.Message):
    __slots__ = ("hold",)
    HOLD_FIELD_NUMBER: _ClassVar[int]
    hold: Hold
    def __init__(self, hold: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class LiftHoldRequest(_message.Message):
    __slots__ = ("hold_id", "reason", "org_id")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    hold_id: str
    reason: str
    org_id: str
    def __init__(self, hold_id: _Optional[str] = ..., reason: _Optional[str] = ..., org_id: _Optional[str] = ...) -> None: ...

class LiftHoldResponse(_message.Message):
    __slots__ = ("hold",)
    HOLD_FIELD_NUMBER: _ClassVar[int]
    hold: Hold
    def __init__(self, hold: _Optional[_Union[Hold, _Mapping]] = ...) -> None: ...

class ListHoldsRequest(_message.Message):
    __slots__ = ("org_id",)
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    def __init__(self, org_id: _Optional[str] = ...) -> None: ...

class ListHoldsResponse(_message.Message):
    __slots__ = ("holds",)
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    holds: _containers.RepeatedCompositeFieldContainer[Hold]
    def __init__(self, holds: _Optional[_Iterable[_Union[Hold, _Mapping]]] = ...) -> None: ...
