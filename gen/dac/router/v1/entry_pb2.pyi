import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelEntry(_message.Message):
    __slots__ = ("model", "provider", "name", "context_tokens", "max_output_tokens", "quality", "speed_tokens_per_s", "first_token_ms", "capabilities", "model_class", "prices", "fallbacks", "deployments", "sticky", "identities", "retires_on", "aliases")
    class IdentitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    SPEED_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    MODEL_CLASS_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    STICKY_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    RETIRES_ON_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    name: str
    context_tokens: int
    max_output_tokens: int
    quality: float
    speed_tokens_per_s: float
    first_token_ms: float
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    model_class: str
    prices: _containers.RepeatedCompositeFieldContainer[EntryPrice]
    fallbacks: _containers.RepeatedScalarFieldContainer[str]
    deployments: _containers.RepeatedCompositeFieldContainer[EntryDeployment]
    sticky: bool
    identities: _containers.ScalarMap[str, str]
    retires_on: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., name: _Optional[str] = ..., context_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., quality: _Optional[float] = ..., speed_tokens_per_s: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., capabilities: _Optional[_Iterable[str]] = ..., model_class: _Optional[str] = ..., prices: _Optional[_Iterable[_Union[EntryPrice, _Mapping]]] = ..., fallbacks: _Optional[_Iterable[str]] = ..., deployments: _Optional[_Iterable[_Union[EntryDeployment, _Mapping]]] = ..., sticky: _Optional[bool] = ..., identities: _Optional[_Mapping[str, str]] = ..., retires_on: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ...) -> None: ...

class EntryPrice(_message.Message):
    __slots__ = ("nano_usd_per_mtok", "usd_per_mtok", "free", "valid_from")
    class NanoUsdPerMtokEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class UsdPerMtokEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NANO_USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    USD_PER_MTOK_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    VALID_FROM_FIELD_NUMBER: _ClassVar[int]
    nano_usd_per_mtok: _containers.ScalarMap[str, int]
    usd_per_mtok: _containers.ScalarMap[str, str]
    free: bool
    valid_from: _timestamp_pb2.Timestamp
    def __init__(self, nano_usd_per_mtok: _Optional[_Mapping[str, int]] = ..., usd_per_mtok: _Optional[_Mapping[str, str]] = ..., free: _Optional[bool] = ..., valid_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EntryDeployment(_message.Message):
    __slots__ = ("provider", "name", "weight", "priority", "prices")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    provider: str
    name: str
    weight: float
    priority: int
    prices: _containers.RepeatedCompositeFieldContainer[EntryPrice]
    def __init__(self, provider: _Optional[str] = ..., name: _Optional[str] = ..., weight: _Optional[float] = ..., priority: _Optional[int] = ..., prices: _Optional[_Iterable[_Union[EntryPrice, _Mapping]]] = ...) -> None: ...

class KeptModel(_message.Message):
    __slots__ = ("entry", "version", "etag", "created_at", "changed_at")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    entry: ModelEntry
    version: int
    etag: str
    created_at: _timestamp_pb2.Timestamp
    changed_at: _timestamp_pb2.Timestamp
    def __init__(self, entry: _Optional[_Union[ModelEntry, _Mapping]] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("version", "action", "entry", "actor", "at")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    version: int
    action: str
    entry: ModelEntry
    actor: str
    at: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., action: _Optional[str] = ..., entry: _Optional[_Union[ModelEntry, _Mapping]] = ..., actor: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateModelRequest(_message.Message):
    __slots__ = ("entry", "request_id")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    entry: ModelEntry
    request_id: str
    def __init__(self, entry: _Optional[_Union[ModelEntry, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: KeptModel
    def __init__(self, model: _Optional[_Union[KeptModel, _Mapping]] = ...) -> None: ...

class UpdateModelRequest(_message.Message):
    __slots__ = ("model", "entry", "etag")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    model: str
    entry: ModelEntry
    etag: str
    def __init__(self, model: _Optional[str] = ..., entry: _Optional[_Union[ModelEntry, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class UpdateModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: KeptModel
    def __init__(self, model: _Optional[_Union[KeptModel, _Mapping]] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("model", "etag")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    model: str
    etag: str
    def __init__(self, model: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelVersionsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelVersionsResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RollbackModelRequest(_message.Message):
    __slots__ = ("model", "version", "etag")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    etag: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class RollbackModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: KeptModel
    def __init__(self, model: _Optional[_Union[KeptModel, _Mapping]] = ...) -> None: ...

class ListKeptModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "model")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    model: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ListKeptModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[KeptModel]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[KeptModel, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
