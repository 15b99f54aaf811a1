import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "verifier_key", "size", "cosigned_checkpoint", "witnesses", "start")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    checkpoint: str
    verifier_key: str
    size: int
    cosigned_checkpoint: str
    witnesses: _containers.RepeatedScalarFieldContainer[str]
    start: int
    def __init__(self, checkpoint: _Optional[str] = ..., verifier_key: _Optional[str] = ..., size: _Optional[int] = ..., cosigned_checkpoint: _Optional[str] = ..., witnesses: _Optional[_Iterable[str]] = ..., start: _Optional[int] = ...) -> None: ...

class GetInclusionProofRequest(_message.Message):
    __slots__ = ("record_id", "wait_s")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    wait_s: float
    def __init__(self, record_id: _Optional[str] = ..., wait_s: _Optional[float] = ...) -> None: ...

class GetInclusionProofResponse(_message.Message):
    __slots__ = ("index", "org_seq", "leaf", "salt", "record", "proof")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ORG_SEQ_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    index: int
    org_seq: int
    leaf: str
    salt: bytes
    record: bytes
    proof: str
    def __init__(self, index: _Optional[int] = ..., org_seq: _Optional[int] = ..., leaf: _Optional[str] = ..., salt: _Optional[bytes] = ..., record: _Optional[bytes] = ..., proof: _Optional[str] = ...) -> None: ...

class GetConsistencyProofRequest(_message.Message):
    __slots__ = ("size", "to_size")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TO_SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    to_size: int
    def __init__(self, size: _Optional[int] = ..., to_size: _Optional[int] = ...) -> None: ...

class GetConsistencyProofResponse(_message.Message):
    __slots__ = ("hashes", "checkpoint")
    HASHES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: str
    def __init__(self, hashes: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[str] = ...) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ("cosigned",)
    COSIGNED_FIELD_NUMBER: _ClassVar[int]
    cosigned: bool
    def __init__(self, cosigned: _Optional[bool] = ...) -> None: ...

class ReadLogRequest(_message.Message):
    __slots__ = ("first", "end")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    first: int
    end: int
    def __init__(self, first: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class GetStartRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStartResponse(_message.Message):
    __slots__ = ("start", "size", "next_start", "waits_for", "due_at", "archived", "archived_at", "leaves_kept_days", "needs_archive")
    START_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NEXT_START_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_AT_FIELD_NUMBER: _ClassVar[int]
    LEAVES_KEPT_DAYS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    start: int
    size: int
    next_start: int
    waits_for: str
    due_at: _timestamp_pb2.Timestamp
    archived: int
    archived_at: _timestamp_pb2.Timestamp
    leaves_kept_days: int
    needs_archive: bool
    def __init__(self, start: _Optional[int] = ..., size: _Optional[int] = ..., next_start: _Optional[int] = ..., waits_for: _Optional[str] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., archived: _Optional[int] = ..., archived_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., leaves_kept_days: _Optional[int] = ..., needs_archive: _Optional[bool] = ...) -> None: ...

class ReportArchiveRequest(_message.Message):
    __slots__ = ("checkpoint",)
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: str
    def __init__(self, checkpoint: _Optional[str] = ...) -> None: ...

class ReportArchiveResponse(_message.Message):
    __slots__ = ("archived",)
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    archived: int
    def __init__(self, archived: _Optional[int] = ...) -> None: ...

class ReadFileRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...
