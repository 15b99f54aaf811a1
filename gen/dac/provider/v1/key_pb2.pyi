import datetime

from dac.provider.v1 import provider_pb2 as _provider_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AddProviderRequest(_message.Message):
    __slots__ = ("provider", "kind", "base_url", "api_key", "skip_test")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    SKIP_TEST_FIELD_NUMBER: _ClassVar[int]
    provider: str
    kind: str
    base_url: str
    api_key: str
    skip_test: bool
    def __init__(self, provider: _Optional[str] = ..., kind: _Optional[str] = ..., base_url: _Optional[str] = ..., api_key: _Optional[str] = ..., skip_test: _Optional[bool] = ...) -> None: ...

class AddProviderResponse(_message.Message):
    __slots__ = ("provider", "test_ms")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    TEST_MS_FIELD_NUMBER: _ClassVar[int]
    provider: _provider_pb2.ProviderStatus
    test_ms: float
    def __init__(self, provider: _Optional[_Union[_provider_pb2.ProviderStatus, _Mapping]] = ..., test_ms: _Optional[float] = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers", "next_page_token")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[_provider_pb2.ProviderStatus]
    next_page_token: str
    def __init__(self, providers: _Optional[_Iterable[_Union[_provider_pb2.ProviderStatus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RemoveProviderRequest(_message.Message):
    __slots__ = ("provider",)
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    provider: str
    def __init__(self, provider: _Optional[str] = ...) -> None: ...

class RemoveProviderResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProviderKey(_message.Message):
    __slots__ = ("key_id", "org_id", "provider", "key_hint", "is_active", "weight", "created_at", "changed_at", "unusable_because")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    KEY_HINT_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    UNUSABLE_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    org_id: str
    provider: str
    key_hint: str
    is_active: bool
    weight: int
    created_at: _timestamp_pb2.Timestamp
    changed_at: _timestamp_pb2.Timestamp
    unusable_because: str
    def __init__(self, key_id: _Optional[str] = ..., org_id: _Optional[str] = ..., provider: _Optional[str] = ..., key_hint: _Optional[str] = ..., is_active: _Optional[bool] = ..., weight: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unusable_because: _Optional[str] = ...) -> None: ...

class CreateProviderKeyRequest(_message.Message):
    __slots__ = ("org_id", "provider", "api_key", "is_active", "weight", "request_id")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    provider: str
    api_key: str
    is_active: bool
    weight: int
    request_id: str
    def __init__(self, org_id: _Optional[str] = ..., provider: _Optional[str] = ..., api_key: _Optional[str] = ..., is_active: _Optional[bool] = ..., weight: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateProviderKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: ProviderKey
    def __init__(self, key: _Optional[_Union[ProviderKey, _Mapping]] = ...) -> None: ...

class ListProviderKeysRequest(_message.Message):
    __slots__ = ("org_id", "provider", "page_size", "page_token")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    provider: str
    page_size: int
    page_token: str
    def __init__(self, org_id: _Optional[str] = ..., provider: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProviderKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[ProviderKey]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[ProviderKey, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateProviderKeyRequest(_message.Message):
    __slots__ = ("org_id", "key_id", "provider", "api_key", "is_active", "weight")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    key_id: str
    provider: str
    api_key: str
    is_active: bool
    weight: int
    def __init__(self, org_id: _Optional[str] = ..., key_id: _Optional[str] = ..., provider: _Optional[str] = ..., api_key: _Optional[str] = ..., is_active: _Optional[bool] = ..., weight: _Optional[int] = ...) -> None: ...

class UpdateProviderKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: ProviderKey
    def __init__(self, key: _Optional[_Union[ProviderKey, _Mapping]] = ...) -> None: ...

class DeleteProviderKeyRequest(_message.Message):
    __slots__ = ("org_id", "key_id", "provider")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    key_id: str
    provider: str
    def __init__(self, org_id: _Optional[str] = ..., key_id: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class DeleteProviderKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RotateProviderKeysRequest(_message.Message):
    __slots__ = ("limit", "check_only")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CHECK_ONLY_FIELD_NUMBER: _ClassVar[int]
    limit: int
    check_only: bool
    def __init__(self, limit: _Optional[int] = ..., check_only: _Optional[bool] = ...) -> None: ...

class RotateProviderKeysResponse(_message.Message):
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
