import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Level(_message.Message):
    __slots__ = ("kind", "id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Level.Kind]
        KIND_ORG: _ClassVar[Level.Kind]
        KIND_TEAM: _ClassVar[Level.Kind]
        KIND_PROJECT: _ClassVar[Level.Kind]
        KIND_USER: _ClassVar[Level.Kind]
        KIND_KEY: _ClassVar[Level.Kind]
    KIND_UNSPECIFIED: Level.Kind
    KIND_ORG: Level.Kind
    KIND_TEAM: Level.Kind
    KIND_PROJECT: Level.Kind
    KIND_USER: Level.Kind
    KIND_KEY: Level.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: Level.Kind
    id: str
    def __init__(self, kind: _Optional[_Union[Level.Kind, str]] = ..., id: _Optional[str] = ...) -> None: ...

class Principal(_message.Message):
    __slots__ = ("kind", "org_id", "team_id", "project_id", "user_id", "key_id", "scopes", "policy_version", "issued_at", "expires_at", "issuer", "path", "service")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Principal.Kind]
        KIND_USER_KEY: _ClassVar[Principal.Kind]
        KIND_USER: _ClassVar[Principal.Kind]
        KIND_SERVICE: _ClassVar[Principal.Kind]
        KIND_OPERATOR: _ClassVar[Principal.Kind]
    KIND_UNSPECIFIED: Principal.Kind
    KIND_USER_KEY: Principal.Kind
    KIND_USER: Principal.Kind
    KIND_SERVICE: Principal.Kind
    KIND_OPERATOR: Principal.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    TEAM_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    kind: Principal.Kind
    org_id: str
    team_id: str
    project_id: str
    user_id: str
    key_id: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    policy_version: int
    issued_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    issuer: str
    path: _containers.RepeatedCompositeFieldContainer[Level]
    service: str
    def __init__(self, kind: _Optional[_Union[Principal.Kind, str]] = ..., org_id: _Optional[str] = ..., team_id: _Optional[str] = ..., project_id: _Optional[str] = ..., user_id: _Optional[str] = ..., key_id: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., policy_version: _Optional[int] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., issuer: _Optional[str] = ..., path: _Optional[_Iterable[_Union[Level, _Mapping]]] = ..., service: _Optional[str] = ...) -> None: ...

class SignedPrincipal(_message.Message):
    __slots__ = ("principal", "signature", "signing_key_id")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    principal: bytes
    signature: bytes
    signing_key_id: str
    def __init__(self, principal: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., signing_key_id: _Optional[str] = ...) -> None: ...
