from dac.provider.v1 import provider_pb2 as _provider_pb2
from google.api import annotations_pb2 as _annotations_pb2
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
