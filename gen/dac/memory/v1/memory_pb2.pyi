import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemoryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMORY_KIND_UNSPECIFIED: _ClassVar[MemoryKind]
    MEMORY_KIND_TURN: _ClassVar[MemoryKind]
    MEMORY_KIND_FACT: _ClassVar[MemoryKind]
    MEMORY_KIND_NOTE: _ClassVar[MemoryKind]
MEMORY_KIND_UNSPECIFIED: MemoryKind
MEMORY_KIND_TURN: MemoryKind
MEMORY_KIND_FACT: MemoryKind
MEMORY_KIND_NOTE: MemoryKind

class Memory(_message.Message):
    __slots__ = ("memory_id", "kind", "text", "speaker", "role", "user_id", "agent_id", "thread_id", "occurred_at", "created_at", "updated_at", "valid_from", "valid_to", "superseded_by", "source_ids", "confidence", "pinned", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    VALID_FROM_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_BY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IDS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    kind: MemoryKind
    text: str
    speaker: str
    role: str
    user_id: str
    agent_id: str
    thread_id: str
    occurred_at: _timestamp_pb2.Timestamp
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    valid_from: _timestamp_pb2.Timestamp
    valid_to: _timestamp_pb2.Timestamp
    superseded_by: str
    source_ids: _containers.RepeatedScalarFieldContainer[str]
    confidence: float
    pinned: bool
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, memory_id: _Optional[str] = ..., kind: _Optional[_Union[MemoryKind, str]] = ..., text: _Optional[str] = ..., speaker: _Optional[str] = ..., role: _Optional[str] = ..., user_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., thread_id: _Optional[str] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., superseded_by: _Optional[str] = ..., source_ids: _Optional[_Iterable[str]] = ..., confidence: _Optional[float] = ..., pinned: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class NewMemory(_message.Message):
    __slots__ = ("kind", "text", "speaker", "role", "user_id", "agent_id", "thread_id", "occurred_at", "valid_from", "valid_to", "source_ids", "confidence", "pinned", "metadata", "supersedes")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    VALID_FROM_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IDS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDES_FIELD_NUMBER: _ClassVar[int]
    kind: MemoryKind
    text: str
    speaker: str
    role: str
    user_id: str
    agent_id: str
    thread_id: str
    occurred_at: _timestamp_pb2.Timestamp
    valid_from: _timestamp_pb2.Timestamp
    valid_to: _timestamp_pb2.Timestamp
    source_ids: _containers.RepeatedScalarFieldContainer[str]
    confidence: float
    pinned: bool
    metadata: _containers.ScalarMap[str, str]
    supersedes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[MemoryKind, str]] = ..., text: _Optional[str] = ..., speaker: _Optional[str] = ..., role: _Optional[str] = ..., user_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., thread_id: _Optional[str] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source_ids: _Optional[_Iterable[str]] = ..., confidence: _Optional[float] = ..., pinned: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ..., supersedes: _Optional[_Iterable[str]] = ...) -> None: ...

class MemoryFilter(_message.Message):
    __slots__ = ("user_id", "agent_id", "thread_id", "kinds", "occurred_from", "occurred_before", "valid_at", "metadata", "memory_ids")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_FROM_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    VALID_AT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    agent_id: str
    thread_id: str
    kinds: _containers.RepeatedScalarFieldContainer[MemoryKind]
    occurred_from: _timestamp_pb2.Timestamp
    occurred_before: _timestamp_pb2.Timestamp
    valid_at: _timestamp_pb2.Timestamp
    metadata: _containers.ScalarMap[str, str]
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., thread_id: _Optional[str] = ..., kinds: _Optional[_Iterable[_Union[MemoryKind, str]]] = ..., occurred_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., occurred_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., memory_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RememberRequest(_message.Message):
    __slots__ = ("memories", "request_id")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[NewMemory]
    request_id: str
    def __init__(self, memories: _Optional[_Iterable[_Union[NewMemory, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RememberResponse(_message.Message):
    __slots__ = ("memories",)
    class Remembered(_message.Message):
        __slots__ = ("memory_id", "stored", "why")
        MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
        STORED_FIELD_NUMBER: _ClassVar[int]
        WHY_FIELD_NUMBER: _ClassVar[int]
        memory_id: str
        stored: bool
        why: str
        def __init__(self, memory_id: _Optional[str] = ..., stored: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[RememberResponse.Remembered]
    def __init__(self, memories: _Optional[_Iterable[_Union[RememberResponse.Remembered, _Mapping]]] = ...) -> None: ...

class RecallRequest(_message.Message):
    __slots__ = ("query", "top_k", "filter", "all_agents", "include_superseded")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALL_AGENTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    query: str
    top_k: int
    filter: MemoryFilter
    all_agents: bool
    include_superseded: bool
    def __init__(self, query: _Optional[str] = ..., top_k: _Optional[int] = ..., filter: _Optional[_Union[MemoryFilter, _Mapping]] = ..., all_agents: _Optional[bool] = ..., include_superseded: _Optional[bool] = ...) -> None: ...

class RecallResponse(_message.Message):
    __slots__ = ("memories", "embedder_id", "not_embedded")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_ID_FIELD_NUMBER: _ClassVar[int]
    NOT_EMBEDDED_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[Recalled]
    embedder_id: str
    not_embedded: int
    def __init__(self, memories: _Optional[_Iterable[_Union[Recalled, _Mapping]]] = ..., embedder_id: _Optional[str] = ..., not_embedded: _Optional[int] = ...) -> None: ...

class Recalled(_message.Message):
    __slots__ = ("memory", "score", "bm25", "cosine")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BM25_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    score: float
    bm25: float
    cosine: float
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., score: _Optional[float] = ..., bm25: _Optional[float] = ..., cosine: _Optional[float] = ...) -> None: ...

class ListMemoriesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: MemoryFilter
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[MemoryFilter, _Mapping]] = ...) -> None: ...

class ListMemoriesResponse(_message.Message):
    __slots__ = ("memories", "next_page_token")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[Memory]
    next_page_token: str
    def __init__(self, memories: _Optional[_Iterable[_Union[Memory, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetMemoryRequest(_message.Message):
    __slots__ = ("memory_id",)
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    def __init__(self, memory_id: _Optional[str] = ...) -> None: ...

class GetMemoryResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ...) -> None: ...

class UpdateMemoryRequest(_message.Message):
    __slots__ = ("memory_id", "text", "valid_from", "valid_to", "superseded_by", "confidence", "pinned", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VALID_FROM_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_BY_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    text: str
    valid_from: _timestamp_pb2.Timestamp
    valid_to: _timestamp_pb2.Timestamp
    superseded_by: str
    confidence: float
    pinned: bool
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, memory_id: _Optional[str] = ..., text: _Optional[str] = ..., valid_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., superseded_by: _Optional[str] = ..., confidence: _Optional[float] = ..., pinned: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class UpdateMemoryResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ...) -> None: ...

class DeleteMemoryRequest(_message.Message):
    __slots__ = ("memory_id",)
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    def __init__(self, memory_id: _Optional[str] = ...) -> None: ...

class DeleteMemoryResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteMemoriesRequest(_message.Message):
    __slots__ = ("filter",)
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: MemoryFilter
    def __init__(self, filter: _Optional[_Union[MemoryFilter, _Mapping]] = ...) -> None: ...

class DeleteMemoriesResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    def __init__(self, deleted: _Optional[int] = ...) -> None: ...

class GetMemoryHistoryRequest(_message.Message):
    __slots__ = ("memory_id",)
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    def __init__(self, memory_id: _Optional[str] = ...) -> None: ...

class GetMemoryHistoryResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[MemoryChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[MemoryChange, _Mapping]]] = ...) -> None: ...

class MemoryChange(_message.Message):
    __slots__ = ("changed_at", "action", "memory", "key_id")
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    changed_at: _timestamp_pb2.Timestamp
    action: str
    memory: Memory
    key_id: str
    def __init__(self, changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[str] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., key_id: _Optional[str] = ...) -> None: ...

class ExportMemoriesRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: MemoryFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[MemoryFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ExportMemoriesResponse(_message.Message):
    __slots__ = ("jsonl", "count", "next_page_token")
    JSONL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jsonl: str
    count: int
    next_page_token: str
    def __init__(self, jsonl: _Optional[str] = ..., count: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class EraseMemoriesRequest(_message.Message):
    __slots__ = ("filter", "everything")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    filter: MemoryFilter
    everything: bool
    def __init__(self, filter: _Optional[_Union[MemoryFilter, _Mapping]] = ..., everything: _Optional[bool] = ...) -> None: ...

class EraseMemoriesResponse(_message.Message):
    __slots__ = ("erased",)
    ERASED_FIELD_NUMBER: _ClassVar[int]
    erased: int
    def __init__(self, erased: _Optional[int] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("user_id", "agent_id", "max_facts")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_FACTS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    agent_id: str
    max_facts: int
    def __init__(self, user_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., max_facts: _Optional[int] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("facts", "counts")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FACTS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    facts: _containers.RepeatedCompositeFieldContainer[Memory]
    counts: _containers.ScalarMap[str, int]
    def __init__(self, facts: _Optional[_Iterable[_Union[Memory, _Mapping]]] = ..., counts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ContextMessage(_message.Message):
    __slots__ = ("role", "text", "openai_json", "kind", "message_id", "tokens")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ContextMessage.Kind]
        KIND_SYSTEM: _ClassVar[ContextMessage.Kind]
        KIND_SYSTEM_BLOCK: _ClassVar[ContextMessage.Kind]
        KIND_SUMMARY: _ClassVar[ContextMessage.Kind]
        KIND_WINDOW: _ClassVar[ContextMessage.Kind]
        KIND_NEW: _ClassVar[ContextMessage.Kind]
    KIND_UNSPECIFIED: ContextMessage.Kind
    KIND_SYSTEM: ContextMessage.Kind
    KIND_SYSTEM_BLOCK: ContextMessage.Kind
    KIND_SUMMARY: ContextMessage.Kind
    KIND_WINDOW: ContextMessage.Kind
    KIND_NEW: ContextMessage.Kind
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    role: str
    text: str
    openai_json: str
    kind: ContextMessage.Kind
    message_id: str
    tokens: int
    def __init__(self, role: _Optional[str] = ..., text: _Optional[str] = ..., openai_json: _Optional[str] = ..., kind: _Optional[_Union[ContextMessage.Kind, str]] = ..., message_id: _Optional[str] = ..., tokens: _Optional[int] = ...) -> None: ...

class BuildContextRequest(_message.Message):
    __slots__ = ("thread_id", "parent_message_id", "request_id", "messages", "max_tokens", "max_messages", "model", "recall", "agent_id")
    class NewMessage(_message.Message):
        __slots__ = ("role", "text", "openai_json", "tokens")
        ROLE_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
        TOKENS_FIELD_NUMBER: _ClassVar[int]
        role: str
        text: str
        openai_json: str
        tokens: int
        def __init__(self, role: _Optional[str] = ..., text: _Optional[str] = ..., openai_json: _Optional[str] = ..., tokens: _Optional[int] = ...) -> None: ...
    class RecallOptions(_message.Message):
        __slots__ = ("enabled", "across_threads", "top_k")
        ENABLED_FIELD_NUMBER: _ClassVar[int]
        ACROSS_THREADS_FIELD_NUMBER: _ClassVar[int]
        TOP_K_FIELD_NUMBER: _ClassVar[int]
        enabled: bool
        across_threads: bool
        top_k: int
        def __init__(self, enabled: _Optional[bool] = ..., across_threads: _Optional[bool] = ..., top_k: _Optional[int] = ...) -> None: ...
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    parent_message_id: str
    request_id: str
    messages: _containers.RepeatedCompositeFieldContainer[BuildContextRequest.NewMessage]
    max_tokens: int
    max_messages: int
    model: str
    recall: BuildContextRequest.RecallOptions
    agent_id: str
    def __init__(self, thread_id: _Optional[str] = ..., parent_message_id: _Optional[str] = ..., request_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[BuildContextRequest.NewMessage, _Mapping]]] = ..., max_tokens: _Optional[int] = ..., max_messages: _Optional[int] = ..., model: _Optional[str] = ..., recall: _Optional[_Union[BuildContextRequest.RecallOptions, _Mapping]] = ..., agent_id: _Optional[str] = ...) -> None: ...

class BuildContextResponse(_message.Message):
    __slots__ = ("messages", "tokens", "left_out", "recalled", "private", "counted_by", "over_budget")
    class LeftOut(_message.Message):
        __slots__ = ("kind", "count", "tokens", "why")
        KIND_FIELD_NUMBER: _ClassVar[int]
        COUNT_FIELD_NUMBER: _ClassVar[int]
        TOKENS_FIELD_NUMBER: _ClassVar[int]
        WHY_FIELD_NUMBER: _ClassVar[int]
        kind: ContextMessage.Kind
        count: int
        tokens: int
        why: str
        def __init__(self, kind: _Optional[_Union[ContextMessage.Kind, str]] = ..., count: _Optional[int] = ..., tokens: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...
    class Used(_message.Message):
        __slots__ = ("memory_id", "score", "across_threads")
        MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
        SCORE_FIELD_NUMBER: _ClassVar[int]
        ACROSS_THREADS_FIELD_NUMBER: _ClassVar[int]
        memory_id: str
        score: float
        across_threads: bool
        def __init__(self, memory_id: _Optional[str] = ..., score: _Optional[float] = ..., across_threads: _Optional[bool] = ...) -> None: ...
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    COUNTED_BY_FIELD_NUMBER: _ClassVar[int]
    OVER_BUDGET_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ContextMessage]
    tokens: int
    left_out: _containers.RepeatedCompositeFieldContainer[BuildContextResponse.LeftOut]
    recalled: _containers.RepeatedCompositeFieldContainer[BuildContextResponse.Used]
    private: bool
    counted_by: str
    over_budget: bool
    def __init__(self, messages: _Optional[_Iterable[_Union[ContextMessage, _Mapping]]] = ..., tokens: _Optional[int] = ..., left_out: _Optional[_Iterable[_Union[BuildContextResponse.LeftOut, _Mapping]]] = ..., recalled: _Optional[_Iterable[_Union[BuildContextResponse.Used, _Mapping]]] = ..., private: _Optional[bool] = ..., counted_by: _Optional[str] = ..., over_budget: _Optional[bool] = ...) -> None: ...

class GetSummaryRequest(_message.Message):
    __slots__ = ("thread_id", "head_message_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    HEAD_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    head_message_id: str
    def __init__(self, thread_id: _Optional[str] = ..., head_message_id: _Optional[str] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("text", "until_message_id", "messages_covered", "written_by", "written_at")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_COVERED_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    text: str
    until_message_id: str
    messages_covered: int
    written_by: str
    written_at: _timestamp_pb2.Timestamp
    def __init__(self, text: _Optional[str] = ..., until_message_id: _Optional[str] = ..., messages_covered: _Optional[int] = ..., written_by: _Optional[str] = ..., written_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetSummaryResponse(_message.Message):
    __slots__ = ("summary",)
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    summary: Summary
    def __init__(self, summary: _Optional[_Union[Summary, _Mapping]] = ...) -> None: ...

class UpdateSummaryRequest(_message.Message):
    __slots__ = ("thread_id", "text", "until_message_id", "written_by")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    text: str
    until_message_id: str
    written_by: str
    def __init__(self, thread_id: _Optional[str] = ..., text: _Optional[str] = ..., until_message_id: _Optional[str] = ..., written_by: _Optional[str] = ...) -> None: ...

class UpdateSummaryResponse(_message.Message):
    __slots__ = ("summary",)
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    summary: Summary
    def __init__(self, summary: _Optional[_Union[Summary, _Mapping]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("vectors", "embedder_id", "dimensions", "semantic")
    class Vector(_message.Message):
        __slots__ = ("values",)
        VALUES_FIELD_NUMBER: _ClassVar[int]
        values: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_ID_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    SEMANTIC_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedCompositeFieldContainer[EmbedResponse.Vector]
    embedder_id: str
    dimensions: int
    semantic: bool
    def __init__(self, vectors: _Optional[_Iterable[_Union[EmbedResponse.Vector, _Mapping]]] = ..., embedder_id: _Optional[str] = ..., dimensions: _Optional[int] = ..., semantic: _Optional[bool] = ...) -> None: ...
