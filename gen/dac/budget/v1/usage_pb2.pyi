import datetime

from dac.budget.v1 import budget_pb2 as _budget_pb2
from dac.type.v1 import principal_pb2 as _principal_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Dimension(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIMENSION_UNSPECIFIED: _ClassVar[Dimension]
    DIMENSION_TEAM: _ClassVar[Dimension]
    DIMENSION_PROJECT: _ClassVar[Dimension]
    DIMENSION_USER: _ClassVar[Dimension]
    DIMENSION_KEY: _ClassVar[Dimension]
    DIMENSION_MODEL: _ClassVar[Dimension]
    DIMENSION_PROVIDER: _ClassVar[Dimension]
    DIMENSION_OPERATION: _ClassVar[Dimension]
    DIMENSION_TAG: _ClassVar[Dimension]
DIMENSION_UNSPECIFIED: Dimension
DIMENSION_TEAM: Dimension
DIMENSION_PROJECT: Dimension
DIMENSION_USER: Dimension
DIMENSION_KEY: Dimension
DIMENSION_MODEL: Dimension
DIMENSION_PROVIDER: Dimension
DIMENSION_OPERATION: Dimension
DIMENSION_TAG: Dimension

class UsageRow(_message.Message):
    __slots__ = ("start", "group", "requests", "input_tokens", "input_cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_nano_usd")
    START_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    group: _containers.RepeatedScalarFieldContainer[str]
    requests: int
    input_tokens: int
    input_cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., group: _Optional[_Iterable[str]] = ..., requests: _Optional[int] = ..., input_tokens: _Optional[int] = ..., input_cached_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ...) -> None: ...

class QueryUsageRequest(_message.Message):
    __slots__ = ("start_at", "end_at", "group_by", "step", "time_zone", "level", "model", "tag_key", "page_size", "page_token", "provider", "tag")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_KEY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    group_by: _containers.RepeatedScalarFieldContainer[Dimension]
    step: _budget_pb2.Window
    time_zone: str
    level: _principal_pb2.Level
    model: str
    tag_key: str
    page_size: int
    page_token: str
    provider: str
    tag: str
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., group_by: _Optional[_Iterable[_Union[Dimension, str]]] = ..., step: _Optional[_Union[_budget_pb2.Window, str]] = ..., time_zone: _Optional[str] = ..., level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., model: _Optional[str] = ..., tag_key: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., provider: _Optional[str] = ..., tag: _Optional[str] = ...) -> None: ...

class QueryUsageResponse(_message.Message):
    __slots__ = ("rows", "next_page_token", "total")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[UsageRow]
    next_page_token: str
    total: UsageRow
    def __init__(self, rows: _Optional[_Iterable[_Union[UsageRow, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[_Union[UsageRow, _Mapping]] = ...) -> None: ...

class ExportUsageRequest(_message.Message):
    __slots__ = ("start_at", "end_at", "group_by", "step", "time_zone", "level", "model", "tag_key", "format", "provider", "tag")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_KEY_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    group_by: _containers.RepeatedScalarFieldContainer[Dimension]
    step: _budget_pb2.Window
    time_zone: str
    level: _principal_pb2.Level
    model: str
    tag_key: str
    format: str
    provider: str
    tag: str
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., group_by: _Optional[_Iterable[_Union[Dimension, str]]] = ..., step: _Optional[_Union[_budget_pb2.Window, str]] = ..., time_zone: _Optional[str] = ..., level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., model: _Optional[str] = ..., tag_key: _Optional[str] = ..., format: _Optional[str] = ..., provider: _Optional[str] = ..., tag: _Optional[str] = ...) -> None: ...

class GetBudgetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBudgetStatusResponse(_message.Message):
    __slots__ = ("budgets", "stopped_at", "stop_reason", "today_nano_usd", "month_nano_usd")
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    STOPPED_AT_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    TODAY_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    MONTH_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[_budget_pb2.Budget]
    stopped_at: _timestamp_pb2.Timestamp
    stop_reason: str
    today_nano_usd: int
    month_nano_usd: int
    def __init__(self, budgets: _Optional[_Iterable[_Union[_budget_pb2.Budget, _Mapping]]] = ..., stopped_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stop_reason: _Optional[str] = ..., today_nano_usd: _Optional[int] = ..., month_nano_usd: _Optional[int] = ...) -> None: ...

class GetMyUsageRequest(_message.Message):
    __slots__ = ("start_at", "end_at")
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    def __init__(self, start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetMyUsageResponse(_message.Message):
    __slots__ = ("rows", "total")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[UsageRow]
    total: UsageRow
    def __init__(self, rows: _Optional[_Iterable[_Union[UsageRow, _Mapping]]] = ..., total: _Optional[_Union[UsageRow, _Mapping]] = ...) -> None: ...

class GetMyBalanceRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Balance(_message.Message):
    __slots__ = ("budget_id", "level", "model", "tag", "limit_nano_usd", "spent_nano_usd", "reserved_nano_usd", "remaining_nano_usd", "resets_at", "enforcement")
    BUDGET_ID_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    LIMIT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    SPENT_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    RESERVED_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    REMAINING_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    RESETS_AT_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    budget_id: str
    level: _principal_pb2.Level
    model: str
    tag: str
    limit_nano_usd: int
    spent_nano_usd: int
    reserved_nano_usd: int
    remaining_nano_usd: int
    resets_at: _timestamp_pb2.Timestamp
    enforcement: _budget_pb2.Enforcement
    def __init__(self, budget_id: _Optional[str] = ..., level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., model: _Optional[str] = ..., tag: _Optional[str] = ..., limit_nano_usd: _Optional[int] = ..., spent_nano_usd: _Optional[int] = ..., reserved_nano_usd: _Optional[int] = ..., remaining_nano_usd: _Optional[int] = ..., resets_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., enforcement: _Optional[_Union[_budget_pb2.Enforcement, str]] = ...) -> None: ...

class GetMyBalanceResponse(_message.Message):
    __slots__ = ("balances", "remaining_nano_usd", "stopped_at")
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    REMAINING_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    STOPPED_AT_FIELD_NUMBER: _ClassVar[int]
    balances: _containers.RepeatedCompositeFieldContainer[Balance]
    remaining_nano_usd: int
    stopped_at: _timestamp_pb2.Timestamp
    def __init__(self, balances: _Optional[_Iterable[_Union[Balance, _Mapping]]] = ..., remaining_nano_usd: _Optional[int] = ..., stopped_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
