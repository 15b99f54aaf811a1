import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MergePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MERGE_POLICY_UNSPECIFIED: _ClassVar[MergePolicy]
    MERGE_POLICY_APPEND: _ClassVar[MergePolicy]
    MERGE_POLICY_FAST_FORWARD: _ClassVar[MergePolicy]
MERGE_POLICY_UNSPECIFIED: MergePolicy
MERGE_POLICY_APPEND: MergePolicy
MERGE_POLICY_FAST_FORWARD: MergePolicy

class Thread(_message.Message):
    __slots__ = ("thread_id", "title", "created_at", "updated_at", "message_count", "conversation_id", "user_id", "tags", "model", "parameters", "active_branch_id", "deleted_at", "version", "agent_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    title: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    message_count: int
    conversation_id: str
    user_id: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    model: str
    parameters: _struct_pb2.Struct
    active_branch_id: str
    deleted_at: _timestamp_pb2.Timestamp
    version: int
    agent_id: str
    def __init__(self, thread_id: _Optional[str] = ..., title: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message_count: _Optional[int] = ..., conversation_id: _Optional[str] = ..., user_id: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., active_branch_id: _Optional[str] = ..., deleted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[int] = ..., agent_id: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("message_id", "thread_id", "role", "text", "openai_json", "tokens_estimated", "request_id", "model", "created_at", "parent_message_id", "status", "finish_reason", "replaces_message_id", "copied_from_message_id", "branch_id", "deleted_at")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Message.Status]
        STATUS_COMPLETE: _ClassVar[Message.Status]
        STATUS_PARTIAL: _ClassVar[Message.Status]
    STATUS_UNSPECIFIED: Message.Status
    STATUS_COMPLETE: Message.Status
    STATUS_PARTIAL: Message.Status
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
    TOKENS_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PARENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    REPLACES_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    COPIED_FROM_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    DELETED_AT_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    thread_id: str
    role: str
    text: str
    openai_json: str
    tokens_estimated: int
    request_id: str
    model: str
    created_at: _timestamp_pb2.Timestamp
    parent_message_id: str
    status: Message.Status
    finish_reason: str
    replaces_message_id: str
    copied_from_message_id: str
    branch_id: str
    deleted_at: _timestamp_pb2.Timestamp
    def __init__(self, message_id: _Optional[str] = ..., thread_id: _Optional[str] = ..., role: _Optional[str] = ..., text: _Optional[str] = ..., openai_json: _Optional[str] = ..., tokens_estimated: _Optional[int] = ..., request_id: _Optional[str] = ..., model: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., parent_message_id: _Optional[str] = ..., status: _Optional[_Union[Message.Status, str]] = ..., finish_reason: _Optional[str] = ..., replaces_message_id: _Optional[str] = ..., copied_from_message_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., deleted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("branch_id", "name", "head_message_id", "forked_from_message_id", "active", "created_at", "updated_at")
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    HEAD_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FORKED_FROM_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    branch_id: str
    name: str
    head_message_id: str
    forked_from_message_id: str
    active: bool
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, branch_id: _Optional[str] = ..., name: _Optional[str] = ..., head_message_id: _Optional[str] = ..., forked_from_message_id: _Optional[str] = ..., active: _Optional[bool] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateThreadRequest(_message.Message):
    __slots__ = ("title", "thread_id", "conversation_id", "tags", "model", "parameters", "agent_id")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    title: str
    thread_id: str
    conversation_id: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    model: str
    parameters: _struct_pb2.Struct
    agent_id: str
    def __init__(self, title: _Optional[str] = ..., thread_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., agent_id: _Optional[str] = ...) -> None: ...

class CreateThreadResponse(_message.Message):
    __slots__ = ("thread",)
    THREAD_FIELD_NUMBER: _ClassVar[int]
    thread: Thread
    def __init__(self, thread: _Optional[_Union[Thread, _Mapping]] = ...) -> None: ...

class GetThreadRequest(_message.Message):
    __slots__ = ("thread_id",)
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    def __init__(self, thread_id: _Optional[str] = ...) -> None: ...

class GetThreadResponse(_message.Message):
    __slots__ = ("thread",)
    THREAD_FIELD_NUMBER: _ClassVar[int]
    thread: Thread
    def __init__(self, thread: _Optional[_Union[Thread, _Mapping]] = ...) -> None: ...

class ListThreadsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "tag", "search", "model", "deleted", "user_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    tag: _containers.RepeatedScalarFieldContainer[str]
    search: str
    model: str
    deleted: bool
    user_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., tag: _Optional[_Iterable[str]] = ..., search: _Optional[str] = ..., model: _Optional[str] = ..., deleted: _Optional[bool] = ..., user_id: _Optional[str] = ...) -> None: ...

class ListThreadsResponse(_message.Message):
    __slots__ = ("threads", "next_page_token")
    THREADS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    threads: _containers.RepeatedCompositeFieldContainer[Thread]
    next_page_token: str
    def __init__(self, threads: _Optional[_Iterable[_Union[Thread, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateThreadRequest(_message.Message):
    __slots__ = ("thread_id", "title", "tags", "model", "parameters", "version", "clear")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    title: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    model: str
    parameters: _struct_pb2.Struct
    version: int
    clear: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, thread_id: _Optional[str] = ..., title: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., model: _Optional[str] = ..., parameters: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., version: _Optional[int] = ..., clear: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateThreadResponse(_message.Message):
    __slots__ = ("thread",)
    THREAD_FIELD_NUMBER: _ClassVar[int]
    thread: Thread
    def __init__(self, thread: _Optional[_Union[Thread, _Mapping]] = ...) -> None: ...

class DeleteThreadRequest(_message.Message):
    __slots__ = ("thread_id", "erase")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    ERASE_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    erase: bool
    def __init__(self, thread_id: _Optional[str] = ..., erase: _Optional[bool] = ...) -> None: ...

class DeleteThreadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RestoreThreadRequest(_message.Message):
    __slots__ = ("thread_id",)
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    def __init__(self, thread_id: _Optional[str] = ...) -> None: ...

class RestoreThreadResponse(_message.Message):
    __slots__ = ("thread",)
    THREAD_FIELD_NUMBER: _ClassVar[int]
    thread: Thread
    def __init__(self, thread: _Optional[_Union[Thread, _Mapping]] = ...) -> None: ...

class ListMessagesRequest(_message.Message):
    __slots__ = ("thread_id", "page_size", "page_token", "branch_id", "all", "include_deleted")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DELETED_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    page_size: int
    page_token: str
    branch_id: str
    all: bool
    include_deleted: bool
    def __init__(self, thread_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., branch_id: _Optional[str] = ..., all: _Optional[bool] = ..., include_deleted: _Optional[bool] = ...) -> None: ...

class ListMessagesResponse(_message.Message):
    __slots__ = ("messages", "next_page_token")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    next_page_token: str
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetMessageRequest(_message.Message):
    __slots__ = ("thread_id", "message_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    message_id: str
    def __init__(self, thread_id: _Optional[str] = ..., message_id: _Optional[str] = ...) -> None: ...

class GetMessageResponse(_message.Message):
    __slots__ = ("message", "sibling_message_ids")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SIBLING_MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    message: Message
    sibling_message_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., sibling_message_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateMessageRequest(_message.Message):
    __slots__ = ("thread_id", "message_id", "text", "content", "openai_json", "branch_name", "request_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    OPENAI_JSON_FIELD_NUMBER: _ClassVar[int]
    BRANCH_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    message_id: str
    text: str
    content: str
    openai_json: str
    branch_name: str
    request_id: str
    def __init__(self, thread_id: _Optional[str] = ..., message_id: _Optional[str] = ..., text: _Optional[str] = ..., content: _Optional[str] = ..., openai_json: _Optional[str] = ..., branch_name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateMessageResponse(_message.Message):
    __slots__ = ("message", "branch")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    message: Message
    branch: Branch
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., branch: _Optional[_Union[Branch, _Mapping]] = ...) -> None: ...

class DeleteMessageRequest(_message.Message):
    __slots__ = ("thread_id", "message_id", "erase")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ERASE_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    message_id: str
    erase: bool
    def __init__(self, thread_id: _Optional[str] = ..., message_id: _Optional[str] = ..., erase: _Optional[bool] = ...) -> None: ...

class DeleteMessageResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBranchesRequest(_message.Message):
    __slots__ = ("thread_id",)
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    def __init__(self, thread_id: _Optional[str] = ...) -> None: ...

class ListBranchesResponse(_message.Message):
    __slots__ = ("branches",)
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Branch]
    def __init__(self, branches: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ...) -> None: ...

class CreateBranchRequest(_message.Message):
    __slots__ = ("thread_id", "name", "message_id", "activate", "request_id", "parent_message_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    name: str
    message_id: str
    activate: bool
    request_id: str
    parent_message_id: str
    def __init__(self, thread_id: _Optional[str] = ..., name: _Optional[str] = ..., message_id: _Optional[str] = ..., activate: _Optional[bool] = ..., request_id: _Optional[str] = ..., parent_message_id: _Optional[str] = ...) -> None: ...

class CreateBranchResponse(_message.Message):
    __slots__ = ("branch",)
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    branch: Branch
    def __init__(self, branch: _Optional[_Union[Branch, _Mapping]] = ...) -> None: ...

class ActivateBranchRequest(_message.Message):
    __slots__ = ("thread_id", "branch_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    branch_id: str
    def __init__(self, thread_id: _Optional[str] = ..., branch_id: _Optional[str] = ...) -> None: ...

class ActivateBranchResponse(_message.Message):
    __slots__ = ("branch",)
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    branch: Branch
    def __init__(self, branch: _Optional[_Union[Branch, _Mapping]] = ...) -> None: ...

class MergeBranchRequest(_message.Message):
    __slots__ = ("thread_id", "branch_id", "target_branch_id", "policy", "request_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    branch_id: str
    target_branch_id: str
    policy: MergePolicy
    request_id: str
    def __init__(self, thread_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., target_branch_id: _Optional[str] = ..., policy: _Optional[_Union[MergePolicy, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class MergeBranchResponse(_message.Message):
    __slots__ = ("branch", "message_ids")
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    branch: Branch
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, branch: _Optional[_Union[Branch, _Mapping]] = ..., message_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class GetBranchStatsRequest(_message.Message):
    __slots__ = ("thread_id", "branch_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    branch_id: str
    def __init__(self, thread_id: _Optional[str] = ..., branch_id: _Optional[str] = ...) -> None: ...

class GetBranchStatsResponse(_message.Message):
    __slots__ = ("branch", "message_count", "user_messages", "assistant_messages", "partial_messages", "tokens_estimated", "ahead_of_main", "behind_main", "models", "first_message_at", "last_message_at")
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    USER_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    ASSISTANT_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    AHEAD_OF_MAIN_FIELD_NUMBER: _ClassVar[int]
    BEHIND_MAIN_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FIRST_MESSAGE_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_AT_FIELD_NUMBER: _ClassVar[int]
    branch: Branch
    message_count: int
    user_messages: int
    assistant_messages: int
    partial_messages: int
    tokens_estimated: int
    ahead_of_main: int
    behind_main: int
    models: _containers.RepeatedScalarFieldContainer[str]
    first_message_at: _timestamp_pb2.Timestamp
    last_message_at: _timestamp_pb2.Timestamp
    def __init__(self, branch: _Optional[_Union[Branch, _Mapping]] = ..., message_count: _Optional[int] = ..., user_messages: _Optional[int] = ..., assistant_messages: _Optional[int] = ..., partial_messages: _Optional[int] = ..., tokens_estimated: _Optional[int] = ..., ahead_of_main: _Optional[int] = ..., behind_main: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., first_message_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_message_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeleteBranchRequest(_message.Message):
    __slots__ = ("thread_id", "branch_id", "erase")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    ERASE_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    branch_id: str
    erase: bool
    def __init__(self, thread_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., erase: _Optional[bool] = ...) -> None: ...

class DeleteBranchResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AppendMessagesRequest(_message.Message):
    __slots__ = ("thread_id", "request_id", "messages", "parent_message_id", "branch_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    request_id: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    parent_message_id: str
    branch_id: str
    def __init__(self, thread_id: _Optional[str] = ..., request_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., parent_message_id: _Optional[str] = ..., branch_id: _Optional[str] = ...) -> None: ...

class AppendMessagesResponse(_message.Message):
    __slots__ = ("message_ids", "branch_id")
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    branch_id: str
    def __init__(self, message_ids: _Optional[_Iterable[str]] = ..., branch_id: _Optional[str] = ...) -> None: ...

class OpenTurnRequest(_message.Message):
    __slots__ = ("thread_id", "request_id", "messages", "max_tokens", "max_messages", "parent_message_id", "branch_id", "agent_id")
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARENT_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    thread_id: str
    request_id: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    max_tokens: int
    max_messages: int
    parent_message_id: str
    branch_id: str
    agent_id: str
    def __init__(self, thread_id: _Optional[str] = ..., request_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., max_tokens: _Optional[int] = ..., max_messages: _Optional[int] = ..., parent_message_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class OpenTurnResponse(_message.Message):
    __slots__ = ("window", "window_tokens", "message_ids", "branch_id", "thread")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_FIELD_NUMBER: _ClassVar[int]
    window: _containers.RepeatedCompositeFieldContainer[Message]
    window_tokens: int
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    branch_id: str
    thread: Thread
    def __init__(self, window: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., window_tokens: _Optional[int] = ..., message_ids: _Optional[_Iterable[str]] = ..., branch_id: _Optional[str] = ..., thread: _Optional[_Union[Thread, _Mapping]] = ...) -> None: ...
