import datetime

from dac.memory.v1 import conversation_pb2 as _conversation_pb2
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

class SearchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_MODE_UNSPECIFIED: _ClassVar[SearchMode]
    SEARCH_MODE_WORDS: _ClassVar[SearchMode]
    SEARCH_MODE_MEANING: _ClassVar[SearchMode]
SEARCH_MODE_UNSPECIFIED: SearchMode
SEARCH_MODE_WORDS: SearchMode
SEARCH_MODE_MEANING: SearchMode

class SearchMessagesRequest(_message.Message):
    __slots__ = ("thread_id", "query", "mode", "role", "model", "tag", "start_at", "end_at", "all_words", "page_size", "page_token", "user_id", "conversation_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    START_AT_FIELD_NUMBER: _ClassVar[int]
    END_AT_FIELD_NUMBER: _ClassVar[int]
    ALL_WORDS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    query: str
    mode: SearchMode
    role: _containers.RepeatedScalarFieldContainer[str]
    model: _containers.RepeatedScalarFieldContainer[str]
    tag: _containers.RepeatedScalarFieldContainer[str]
    start_at: _timestamp_pb2.Timestamp
    end_at: _timestamp_pb2.Timestamp
    all_words: bool
    page_size: int
    page_token: str
    user_id: str
    conversation_id: str
    def __init__(self, thread_id: _Optional[str] = ..., query: _Optional[str] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., role: _Optional[_Iterable[str]] = ..., model: _Optional[_Iterable[str]] = ..., tag: _Optional[_Iterable[str]] = ..., start_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., all_words: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., user_id: _Optional[str] = ..., conversation_id: _Optional[str] = ...) -> None: ...

class Snippet(_message.Message):
    __slots__ = ("text", "found", "offset")
    class Span(_message.Message):
        __slots__ = ("start", "end")
        START_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        start: int
        end: int
        def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    text: str
    found: _containers.RepeatedCompositeFieldContainer[Snippet.Span]
    offset: int
    def __init__(self, text: _Optional[str] = ..., found: _Optional[_Iterable[_Union[Snippet.Span, _Mapping]]] = ..., offset: _Optional[int] = ...) -> None: ...

class SearchHit(_message.Message):
    __slots__ = ("message", "thread_title", "score", "word_score", "meaning_score", "snippets")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    THREAD_TITLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    WORD_SCORE_FIELD_NUMBER: _ClassVar[int]
    MEANING_SCORE_FIELD_NUMBER: _ClassVar[int]
    SNIPPETS_FIELD_NUMBER: _ClassVar[int]
    message: _conversation_pb2.Message
    thread_title: str
    score: float
    word_score: float
    meaning_score: float
    snippets: _containers.RepeatedCompositeFieldContainer[Snippet]
    def __init__(self, message: _Optional[_Union[_conversation_pb2.Message, _Mapping]] = ..., thread_title: _Optional[str] = ..., score: _Optional[float] = ..., word_score: _Optional[float] = ..., meaning_score: _Optional[float] = ..., snippets: _Optional[_Iterable[_Union[Snippet, _Mapping]]] = ...) -> None: ...

class SearchMessagesResponse(_message.Message):
    __slots__ = ("hits", "next_page_token", "by_meaning", "has_unweighed")
    HITS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BY_MEANING_FIELD_NUMBER: _ClassVar[int]
    HAS_UNWEIGHED_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[SearchHit]
    next_page_token: str
    by_meaning: bool
    has_unweighed: bool
    def __init__(self, hits: _Optional[_Iterable[_Union[SearchHit, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., by_meaning: _Optional[bool] = ..., has_unweighed: _Optional[bool] = ...) -> None: ...

class GetConversationFullRequest(_message.Message):
    __slots__ = ("thread_id", "page_size", "page_token", "include_deleted")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DELETED_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    page_size: int
    page_token: str
    include_deleted: bool
    def __init__(self, thread_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_deleted: _Optional[bool] = ...) -> None: ...

class MessageNode(_message.Message):
    __slots__ = ("message", "child_message_ids", "depth", "active", "head_of_branch_ids")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHILD_MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    HEAD_OF_BRANCH_IDS_FIELD_NUMBER: _ClassVar[int]
    message: _conversation_pb2.Message
    child_message_ids: _containers.RepeatedScalarFieldContainer[str]
    depth: int
    active: bool
    head_of_branch_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, message: _Optional[_Union[_conversation_pb2.Message, _Mapping]] = ..., child_message_ids: _Optional[_Iterable[str]] = ..., depth: _Optional[int] = ..., active: _Optional[bool] = ..., head_of_branch_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetConversationFullResponse(_message.Message):
    __slots__ = ("thread", "branches", "root_message_ids", "nodes", "next_page_token")
    THREAD_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    ROOT_MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    thread: _conversation_pb2.Thread
    branches: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Branch]
    root_message_ids: _containers.RepeatedScalarFieldContainer[str]
    nodes: _containers.RepeatedCompositeFieldContainer[MessageNode]
    next_page_token: str
    def __init__(self, thread: _Optional[_Union[_conversation_pb2.Thread, _Mapping]] = ..., branches: _Optional[_Iterable[_Union[_conversation_pb2.Branch, _Mapping]]] = ..., root_message_ids: _Optional[_Iterable[str]] = ..., nodes: _Optional[_Iterable[_Union[MessageNode, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class TagThreadRequest(_message.Message):
    __slots__ = ("thread_id", "add", "remove")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    add: _containers.RepeatedScalarFieldContainer[str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, thread_id: _Optional[str] = ..., add: _Optional[_Iterable[str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchOperation(_message.Message):
    __slots__ = ("create", "update", "delete", "restore", "tag")
    CREATE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    create: _conversation_pb2.CreateThreadRequest
    update: _conversation_pb2.UpdateThreadRequest
    delete: _conversation_pb2.DeleteThreadRequest
    restore: _conversation_pb2.RestoreThreadRequest
    tag: TagThreadRequest
    def __init__(self, create: _Optional[_Union[_conversation_pb2.CreateThreadRequest, _Mapping]] = ..., update: _Optional[_Union[_conversation_pb2.UpdateThreadRequest, _Mapping]] = ..., delete: _Optional[_Union[_conversation_pb2.DeleteThreadRequest, _Mapping]] = ..., restore: _Optional[_Union[_conversation_pb2.RestoreThreadRequest, _Mapping]] = ..., tag: _Optional[_Union[TagThreadRequest, _Mapping]] = ...) -> None: ...

class BatchConversationsRequest(_message.Message):
    __slots__ = ("operations", "request_id")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[BatchOperation]
    request_id: str
    def __init__(self, operations: _Optional[_Iterable[_Union[BatchOperation, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class BatchError(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class BatchResult(_message.Message):
    __slots__ = ("thread_id", "thread", "error")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    thread: _conversation_pb2.Thread
    error: BatchError
    def __init__(self, thread_id: _Optional[str] = ..., thread: _Optional[_Union[_conversation_pb2.Thread, _Mapping]] = ..., error: _Optional[_Union[BatchError, _Mapping]] = ...) -> None: ...

class BatchConversationsResponse(_message.Message):
    __slots__ = ("results", "succeeded", "failed")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchResult]
    succeeded: int
    failed: int
    def __init__(self, results: _Optional[_Iterable[_Union[BatchResult, _Mapping]]] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class GetConversationStatsRequest(_message.Message):
    __slots__ = ("user_id", "whole_organisation")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    WHOLE_ORGANISATION_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    whole_organisation: bool
    def __init__(self, user_id: _Optional[str] = ..., whole_organisation: _Optional[bool] = ...) -> None: ...

class NamedCount(_message.Message):
    __slots__ = ("name", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class GetConversationStatsResponse(_message.Message):
    __slots__ = ("threads", "deleted_threads", "messages", "partial_messages", "branches", "tokens_estimated", "roles", "models", "tags", "first_message_at", "last_message_at")
    THREADS_FIELD_NUMBER: _ClassVar[int]
    DELETED_THREADS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    FIRST_MESSAGE_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_AT_FIELD_NUMBER: _ClassVar[int]
    threads: int
    deleted_threads: int
    messages: int
    partial_messages: int
    branches: int
    tokens_estimated: int
    roles: _containers.RepeatedCompositeFieldContainer[NamedCount]
    models: _containers.RepeatedCompositeFieldContainer[NamedCount]
    tags: _containers.RepeatedCompositeFieldContainer[NamedCount]
    first_message_at: _timestamp_pb2.Timestamp
    last_message_at: _timestamp_pb2.Timestamp
    def __init__(self, threads: _Optional[int] = ..., deleted_threads: _Optional[int] = ..., messages: _Optional[int] = ..., partial_messages: _Optional[int] = ..., branches: _Optional[int] = ..., tokens_estimated: _Optional[int] = ..., roles: _Optional[_Iterable[_Union[NamedCount, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[NamedCount, _Mapping]]] = ..., tags: _Optional[_Iterable[_Union[NamedCount, _Mapping]]] = ..., first_message_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_message_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExportConversationRequest(_message.Message):
    __slots__ = ("thread_id", "format", "include_deleted")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DELETED_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    format: str
    include_deleted: bool
    def __init__(self, thread_id: _Optional[str] = ..., format: _Optional[str] = ..., include_deleted: _Optional[bool] = ...) -> None: ...

class ConversationFile(_message.Message):
    __slots__ = ("format", "thread", "branches", "messages")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    THREAD_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    format: str
    thread: _conversation_pb2.Thread
    branches: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Branch]
    messages: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Message]
    def __init__(self, format: _Optional[str] = ..., thread: _Optional[_Union[_conversation_pb2.Thread, _Mapping]] = ..., branches: _Optional[_Iterable[_Union[_conversation_pb2.Branch, _Mapping]]] = ..., messages: _Optional[_Iterable[_Union[_conversation_pb2.Message, _Mapping]]] = ...) -> None: ...

class ImportConversationRequest(_message.Message):
    __slots__ = ("format", "thread", "branches", "messages", "markdown", "thread_id")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    THREAD_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MARKDOWN_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    format: str
    thread: _conversation_pb2.Thread
    branches: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Branch]
    messages: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Message]
    markdown: str
    thread_id: str
    def __init__(self, format: _Optional[str] = ..., thread: _Optional[_Union[_conversation_pb2.Thread, _Mapping]] = ..., branches: _Optional[_Iterable[_Union[_conversation_pb2.Branch, _Mapping]]] = ..., messages: _Optional[_Iterable[_Union[_conversation_pb2.Message, _Mapping]]] = ..., markdown: _Optional[str] = ..., thread_id: _Optional[str] = ...) -> None: ...

class ImportConversationResponse(_message.Message):
    __slots__ = ("thread", "created", "message_count", "branch_count", "notes")
    THREAD_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    thread: _conversation_pb2.Thread
    created: bool
    message_count: int
    branch_count: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, thread: _Optional[_Union[_conversation_pb2.Thread, _Mapping]] = ..., created: _Optional[bool] = ..., message_count: _Optional[int] = ..., branch_count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...
