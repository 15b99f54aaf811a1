import datetime

from dac.provider.v1 import discovery_pb2 as _discovery_pb2
from dac.type.v1 import chat_pb2 as _chat_pb2
from dac.type.v1 import deployment_pb2 as _deployment_pb2
from dac.type.v1 import error_pb2 as _error_pb2
from dac.type.v1 import record_pb2 as _record_pb2
from dac.type.v1 import usage_pb2 as _usage_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AudioTask(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIO_TASK_UNSPECIFIED: _ClassVar[AudioTask]
    AUDIO_TASK_TRANSCRIPTION: _ClassVar[AudioTask]
    AUDIO_TASK_TRANSLATION: _ClassVar[AudioTask]
    AUDIO_TASK_SPEECH: _ClassVar[AudioTask]
AUDIO_TASK_UNSPECIFIED: AudioTask
AUDIO_TASK_TRANSCRIPTION: AudioTask
AUDIO_TASK_TRANSLATION: AudioTask
AUDIO_TASK_SPEECH: AudioTask

class GenerateCandidate(_message.Message):
    __slots__ = ("model", "provider", "upstream_name", "output_cap_tokens", "deployments", "context_tokens", "sticky")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CAP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STICKY_FIELD_NUMBER: _ClassVar[int]
    model: str
    provider: str
    upstream_name: str
    output_cap_tokens: int
    deployments: _containers.RepeatedCompositeFieldContainer[_deployment_pb2.Deployment]
    context_tokens: int
    sticky: bool
    def __init__(self, model: _Optional[str] = ..., provider: _Optional[str] = ..., upstream_name: _Optional[str] = ..., output_cap_tokens: _Optional[int] = ..., deployments: _Optional[_Iterable[_Union[_deployment_pb2.Deployment, _Mapping]]] = ..., context_tokens: _Optional[int] = ..., sticky: _Optional[bool] = ...) -> None: ...

class Deadlines(_message.Message):
    __slots__ = ("connect_s", "first_token_s", "idle_s", "total_s")
    CONNECT_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_S_FIELD_NUMBER: _ClassVar[int]
    IDLE_S_FIELD_NUMBER: _ClassVar[int]
    TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float
    def __init__(self, connect_s: _Optional[float] = ..., first_token_s: _Optional[float] = ..., idle_s: _Optional[float] = ..., total_s: _Optional[float] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("request_id", "input", "dialect_in", "dialect_out", "candidates", "deadlines", "stream", "include_usage", "need_text", "answer_model", "rescues", "hedge_after_s", "anthropic_beta")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DIALECT_IN_FIELD_NUMBER: _ClassVar[int]
    DIALECT_OUT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_USAGE_FIELD_NUMBER: _ClassVar[int]
    NEED_TEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_MODEL_FIELD_NUMBER: _ClassVar[int]
    RESCUES_FIELD_NUMBER: _ClassVar[int]
    HEDGE_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    ANTHROPIC_BETA_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    input: bytes
    dialect_in: _chat_pb2.Dialect
    dialect_out: _chat_pb2.Dialect
    candidates: _containers.RepeatedCompositeFieldContainer[GenerateCandidate]
    deadlines: Deadlines
    stream: bool
    include_usage: bool
    need_text: bool
    answer_model: str
    rescues: int
    hedge_after_s: float
    anthropic_beta: str
    def __init__(self, request_id: _Optional[str] = ..., input: _Optional[bytes] = ..., dialect_in: _Optional[_Union[_chat_pb2.Dialect, str]] = ..., dialect_out: _Optional[_Union[_chat_pb2.Dialect, str]] = ..., candidates: _Optional[_Iterable[_Union[GenerateCandidate, _Mapping]]] = ..., deadlines: _Optional[_Union[Deadlines, _Mapping]] = ..., stream: _Optional[bool] = ..., include_usage: _Optional[bool] = ..., need_text: _Optional[bool] = ..., answer_model: _Optional[str] = ..., rescues: _Optional[int] = ..., hedge_after_s: _Optional[float] = ..., anthropic_beta: _Optional[str] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("attempt", "frames", "finish", "failure")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    attempt: AttemptStarted
    frames: _chat_pb2.Frames
    finish: GenerateFinish
    failure: GenerateFailure
    def __init__(self, attempt: _Optional[_Union[AttemptStarted, _Mapping]] = ..., frames: _Optional[_Union[_chat_pb2.Frames, _Mapping]] = ..., finish: _Optional[_Union[GenerateFinish, _Mapping]] = ..., failure: _Optional[_Union[GenerateFailure, _Mapping]] = ...) -> None: ...

class AttemptStarted(_message.Message):
    __slots__ = ("attempt_id", "model", "provider", "before", "rescue")
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    RESCUE_FIELD_NUMBER: _ClassVar[int]
    attempt_id: str
    model: str
    provider: str
    before: _containers.RepeatedCompositeFieldContainer[_record_pb2.AttemptRecord]
    rescue: _record_pb2.Rescue
    def __init__(self, attempt_id: _Optional[str] = ..., model: _Optional[str] = ..., provider: _Optional[str] = ..., before: _Optional[_Iterable[_Union[_record_pb2.AttemptRecord, _Mapping]]] = ..., rescue: _Optional[_Union[_record_pb2.Rescue, str]] = ...) -> None: ...

class GenerateFinish(_message.Message):
    __slots__ = ("usage", "usage_source", "finish_reason", "text", "tool_calls_json", "attempts")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_JSON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    usage: _usage_pb2.Usage
    usage_source: _usage_pb2.UsageSource
    finish_reason: str
    text: str
    tool_calls_json: str
    attempts: _containers.RepeatedCompositeFieldContainer[_record_pb2.AttemptRecord]
    def __init__(self, usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., usage_source: _Optional[_Union[_usage_pb2.UsageSource, str]] = ..., finish_reason: _Optional[str] = ..., text: _Optional[str] = ..., tool_calls_json: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[_record_pb2.AttemptRecord, _Mapping]]] = ...) -> None: ...

class GenerateFailure(_message.Message):
    __slots__ = ("reason", "message", "status_code", "retry_after_s", "after_first_token", "attempts", "provider_error_json")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ERROR_JSON_FIELD_NUMBER: _ClassVar[int]
    reason: _error_pb2.ErrorReason
    message: str
    status_code: int
    retry_after_s: float
    after_first_token: bool
    attempts: _containers.RepeatedCompositeFieldContainer[_record_pb2.AttemptRecord]
    provider_error_json: bytes
    def __init__(self, reason: _Optional[_Union[_error_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ..., status_code: _Optional[int] = ..., retry_after_s: _Optional[float] = ..., after_first_token: _Optional[bool] = ..., attempts: _Optional[_Iterable[_Union[_record_pb2.AttemptRecord, _Mapping]]] = ..., provider_error_json: _Optional[bytes] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("request_id", "input", "candidates", "deadlines", "vectors", "input_tokens")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    input: bytes
    candidates: _containers.RepeatedCompositeFieldContainer[GenerateCandidate]
    deadlines: Deadlines
    vectors: int
    input_tokens: int
    def __init__(self, request_id: _Optional[str] = ..., input: _Optional[bytes] = ..., candidates: _Optional[_Iterable[_Union[GenerateCandidate, _Mapping]]] = ..., deadlines: _Optional[_Union[Deadlines, _Mapping]] = ..., vectors: _Optional[int] = ..., input_tokens: _Optional[int] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("answer", "failure")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    answer: EmbedAnswer
    failure: GenerateFailure
    def __init__(self, answer: _Optional[_Union[EmbedAnswer, _Mapping]] = ..., failure: _Optional[_Union[GenerateFailure, _Mapping]] = ...) -> None: ...

class EmbedAnswer(_message.Message):
    __slots__ = ("body", "usage", "usage_source", "attempts")
    BODY_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    USAGE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    usage: _usage_pb2.Usage
    usage_source: _usage_pb2.UsageSource
    attempts: _containers.RepeatedCompositeFieldContainer[_record_pb2.AttemptRecord]
    def __init__(self, body: _Optional[bytes] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., usage_source: _Optional[_Union[_usage_pb2.UsageSource, str]] = ..., attempts: _Optional[_Iterable[_Union[_record_pb2.AttemptRecord, _Mapping]]] = ...) -> None: ...

class FormPart(_message.Message):
    __slots__ = ("name", "filename", "content_type", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    filename: str
    content_type: str
    data: bytes
    def __init__(self, name: _Optional[str] = ..., filename: _Optional[str] = ..., content_type: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class AudioRequest(_message.Message):
    __slots__ = ("request_id", "task", "input", "form", "candidates", "deadlines", "stream", "bound")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    task: AudioTask
    input: bytes
    form: _containers.RepeatedCompositeFieldContainer[FormPart]
    candidates: _containers.RepeatedCompositeFieldContainer[GenerateCandidate]
    deadlines: Deadlines
    stream: bool
    bound: _usage_pb2.Usage
    def __init__(self, request_id: _Optional[str] = ..., task: _Optional[_Union[AudioTask, str]] = ..., input: _Optional[bytes] = ..., form: _Optional[_Iterable[_Union[FormPart, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[GenerateCandidate, _Mapping]]] = ..., deadlines: _Optional[_Union[Deadlines, _Mapping]] = ..., stream: _Optional[bool] = ..., bound: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ...) -> None: ...

class AudioResponse(_message.Message):
    __slots__ = ("attempt", "bytes", "finish", "failure")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    attempt: AttemptStarted
    bytes: AudioBytes
    finish: GenerateFinish
    failure: GenerateFailure
    def __init__(self, attempt: _Optional[_Union[AttemptStarted, _Mapping]] = ..., bytes: _Optional[_Union[AudioBytes, _Mapping]] = ..., finish: _Optional[_Union[GenerateFinish, _Mapping]] = ..., failure: _Optional[_Union[GenerateFailure, _Mapping]] = ...) -> None: ...

class AudioBytes(_message.Message):
    __slots__ = ("data", "content_type")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    content_type: str
    def __init__(self, data: _Optional[bytes] = ..., content_type: _Optional[str] = ...) -> None: ...

class ProviderStatus(_message.Message):
    __slots__ = ("provider", "kind", "enabled", "managed_by", "upstream_models", "model_class", "changed_at", "key_hint", "org_ids", "audio", "region")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    MANAGED_BY_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_MODELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_CLASS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    KEY_HINT_FIELD_NUMBER: _ClassVar[int]
    ORG_IDS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    provider: str
    kind: str
    enabled: bool
    managed_by: str
    upstream_models: _containers.RepeatedScalarFieldContainer[str]
    model_class: str
    changed_at: _timestamp_pb2.Timestamp
    key_hint: str
    org_ids: _containers.RepeatedScalarFieldContainer[str]
    audio: _containers.RepeatedScalarFieldContainer[str]
    region: str
    def __init__(self, provider: _Optional[str] = ..., kind: _Optional[str] = ..., enabled: _Optional[bool] = ..., managed_by: _Optional[str] = ..., upstream_models: _Optional[_Iterable[str]] = ..., model_class: _Optional[str] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_hint: _Optional[str] = ..., org_ids: _Optional[_Iterable[str]] = ..., audio: _Optional[_Iterable[str]] = ..., region: _Optional[str] = ...) -> None: ...

class WatchProvidersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchProvidersResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[ProviderStatus]
    def __init__(self, providers: _Optional[_Iterable[_Union[ProviderStatus, _Mapping]]] = ...) -> None: ...
