from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LearnedModel(_message.Message):
    __slots__ = ("model", "task_type", "efficiency_score", "confidence", "n", "expected_quality", "catalog_quality", "cost_nano_usd", "latency_ms", "explored_share")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    EFFICIENCY_SCORE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_QUALITY_FIELD_NUMBER: _ClassVar[int]
    CATALOG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    EXPLORED_SHARE_FIELD_NUMBER: _ClassVar[int]
    model: str
    task_type: str
    efficiency_score: float
    confidence: float
    n: float
    expected_quality: float
    catalog_quality: float
    cost_nano_usd: int
    latency_ms: float
    explored_share: float
    def __init__(self, model: _Optional[str] = ..., task_type: _Optional[str] = ..., efficiency_score: _Optional[float] = ..., confidence: _Optional[float] = ..., n: _Optional[float] = ..., expected_quality: _Optional[float] = ..., catalog_quality: _Optional[float] = ..., cost_nano_usd: _Optional[int] = ..., latency_ms: _Optional[float] = ..., explored_share: _Optional[float] = ...) -> None: ...

class GetLearnedRequest(_message.Message):
    __slots__ = ("task_type",)
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    task_type: str
    def __init__(self, task_type: _Optional[str] = ...) -> None: ...

class GetLearnedResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[LearnedModel]
    def __init__(self, models: _Optional[_Iterable[_Union[LearnedModel, _Mapping]]] = ...) -> None: ...

class SubmitFeedbackRequest(_message.Message):
    __slots__ = ("request_id", "rating", "comment", "scale")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    rating: float
    comment: str
    scale: str
    def __init__(self, request_id: _Optional[str] = ..., rating: _Optional[float] = ..., comment: _Optional[str] = ..., scale: _Optional[str] = ...) -> None: ...

class SubmitFeedbackResponse(_message.Message):
    __slots__ = ("model", "task_type")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    model: str
    task_type: str
    def __init__(self, model: _Optional[str] = ..., task_type: _Optional[str] = ...) -> None: ...

class ResetLearnedRequest(_message.Message):
    __slots__ = ("task_type", "model")
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    task_type: str
    model: str
    def __init__(self, task_type: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ResetLearnedResponse(_message.Message):
    __slots__ = ("forgotten",)
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    forgotten: int
    def __init__(self, forgotten: _Optional[int] = ...) -> None: ...
