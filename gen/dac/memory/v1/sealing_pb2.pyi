from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetSealStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SealedTable(_message.Message):
    __slots__ = ("table", "plain_rows", "sealed_rows", "earlier_rows")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    PLAIN_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEALED_ROWS_FIELD_NUMBER: _ClassVar[int]
    EARLIER_ROWS_FIELD_NUMBER: _ClassVar[int]
    table: str
    plain_rows: int
    sealed_rows: int
    earlier_rows: int
    def __init__(self, table: _Optional[str] = ..., plain_rows: _Optional[int] = ..., sealed_rows: _Optional[int] = ..., earlier_rows: _Optional[int] = ...) -> None: ...

class GetSealStatusResponse(_message.Message):
    __slots__ = ("encrypt_text", "key_id", "tables")
    ENCRYPT_TEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    encrypt_text: bool
    key_id: str
    tables: _containers.RepeatedCompositeFieldContainer[SealedTable]
    def __init__(self, encrypt_text: _Optional[bool] = ..., key_id: _Optional[str] = ..., tables: _Optional[_Iterable[_Union[SealedTable, _Mapping]]] = ...) -> None: ...

class RotateDataKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RotateDataKeyResponse(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class RewrapDataKeysRequest(_message.Message):
    __slots__ = ("limit", "check_only")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CHECK_ONLY_FIELD_NUMBER: _ClassVar[int]
    limit: int
    check_only: bool
    def __init__(self, limit: _Optional[int] = ..., check_only: _Optional[bool] = ...) -> None: ...

class RewrapDataKeysResponse(_message.Message):
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

class EraseOrganisationRequest(_message.Message):
    __slots__ = ("org_id",)
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    def __init__(self, org_id: _Optional[str] = ...) -> None: ...

class EraseOrganisationResponse(_message.Message):
    __slots__ = ("deleted_rows", "destroyed_keys")
    DELETED_ROWS_FIELD_NUMBER: _ClassVar[int]
    DESTROYED_KEYS_FIELD_NUMBER: _ClassVar[int]
    deleted_rows: int
    destroyed_keys: int
    def __init__(self, deleted_rows: _Optional[int] = ..., destroyed_keys: _Optional[int] = ...) -> None: ...
