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

class ExperimentStep(_message.Message):
    __slots__ = ("share", "min_requests", "min_s")
    SHARE_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MIN_S_FIELD_NUMBER: _ClassVar[int]
    share: float
    min_requests: int
    min_s: float
    def __init__(self, share: _Optional[float] = ..., min_requests: _Optional[int] = ..., min_s: _Optional[float] = ...) -> None: ...

class ExperimentArm(_message.Message):
    __slots__ = ("arm", "requests", "errors", "error_rate", "latency_ms", "latency_p95_ms", "first_token_ms", "cost_nano_usd", "quality", "graded", "fallbacks", "fallback_rate")
    ARM_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    GRADED_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_RATE_FIELD_NUMBER: _ClassVar[int]
    arm: str
    requests: int
    errors: int
    error_rate: float
    latency_ms: float
    latency_p95_ms: float
    first_token_ms: float
    cost_nano_usd: int
    quality: float
    graded: int
    fallbacks: int
    fallback_rate: float
    def __init__(self, arm: _Optional[str] = ..., requests: _Optional[int] = ..., errors: _Optional[int] = ..., error_rate: _Optional[float] = ..., latency_ms: _Optional[float] = ..., latency_p95_ms: _Optional[float] = ..., first_token_ms: _Optional[float] = ..., cost_nano_usd: _Optional[int] = ..., quality: _Optional[float] = ..., graded: _Optional[int] = ..., fallbacks: _Optional[int] = ..., fallback_rate: _Optional[float] = ...) -> None: ...

class ExperimentComparison(_message.Message):
    __slots__ = ("metric", "a", "b", "p_value", "always_valid_p", "verdict")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    ALWAYS_VALID_P_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    metric: str
    a: float
    b: float
    p_value: float
    always_valid_p: float
    verdict: str
    def __init__(self, metric: _Optional[str] = ..., a: _Optional[float] = ..., b: _Optional[float] = ..., p_value: _Optional[float] = ..., always_valid_p: _Optional[float] = ..., verdict: _Optional[str] = ...) -> None: ...

class ExperimentFigures(_message.Message):
    __slots__ = ("step", "arms", "comparisons")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    step: int
    arms: _containers.RepeatedCompositeFieldContainer[ExperimentArm]
    comparisons: _containers.RepeatedCompositeFieldContainer[ExperimentComparison]
    def __init__(self, step: _Optional[int] = ..., arms: _Optional[_Iterable[_Union[ExperimentArm, _Mapping]]] = ..., comparisons: _Optional[_Iterable[_Union[ExperimentComparison, _Mapping]]] = ...) -> None: ...

class Experiment(_message.Message):
    __slots__ = ("experiment_id", "name", "kind", "policy", "control", "share", "steps", "metric", "alpha", "max_requests", "sticky_by", "state", "verdict", "reason", "step", "share_now", "agreement", "figures", "created_at", "step_at", "ended_at", "etag", "policy_missing", "guards", "warnings")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Experiment.Kind]
        KIND_AB: _ClassVar[Experiment.Kind]
        KIND_SHADOW: _ClassVar[Experiment.Kind]
        KIND_CANARY: _ClassVar[Experiment.Kind]
    KIND_UNSPECIFIED: Experiment.Kind
    KIND_AB: Experiment.Kind
    KIND_SHADOW: Experiment.Kind
    KIND_CANARY: Experiment.Kind
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Experiment.State]
        STATE_RUNNING: _ClassVar[Experiment.State]
        STATE_STOPPED: _ClassVar[Experiment.State]
        STATE_CONCLUDED: _ClassVar[Experiment.State]
        STATE_ROLLED_BACK: _ClassVar[Experiment.State]
        STATE_PROMOTED: _ClassVar[Experiment.State]
    STATE_UNSPECIFIED: Experiment.State
    STATE_RUNNING: Experiment.State
    STATE_STOPPED: Experiment.State
    STATE_CONCLUDED: Experiment.State
    STATE_ROLLED_BACK: Experiment.State
    STATE_PROMOTED: Experiment.State
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    STICKY_BY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SHARE_NOW_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    POLICY_MISSING_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    name: str
    kind: Experiment.Kind
    policy: str
    control: str
    share: float
    steps: _containers.RepeatedCompositeFieldContainer[ExperimentStep]
    metric: str
    alpha: float
    max_requests: int
    sticky_by: str
    state: Experiment.State
    verdict: str
    reason: str
    step: int
    share_now: float
    agreement: float
    figures: _containers.RepeatedCompositeFieldContainer[ExperimentFigures]
    created_at: _timestamp_pb2.Timestamp
    step_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    etag: str
    policy_missing: bool
    guards: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, experiment_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[Experiment.Kind, str]] = ..., policy: _Optional[str] = ..., control: _Optional[str] = ..., share: _Optional[float] = ..., steps: _Optional[_Iterable[_Union[ExperimentStep, _Mapping]]] = ..., metric: _Optional[str] = ..., alpha: _Optional[float] = ..., max_requests: _Optional[int] = ..., sticky_by: _Optional[str] = ..., state: _Optional[_Union[Experiment.State, str]] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., step: _Optional[int] = ..., share_now: _Optional[float] = ..., agreement: _Optional[float] = ..., figures: _Optional[_Iterable[_Union[ExperimentFigures, _Mapping]]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., policy_missing: _Optional[bool] = ..., guards: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateExperimentRequest(_message.Message):
    __slots__ = ("name", "kind", "policy", "control", "share", "steps", "metric", "alpha", "max_requests", "sticky_by", "request_id", "guards")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    STICKY_BY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: Experiment.Kind
    policy: str
    control: str
    share: float
    steps: _containers.RepeatedCompositeFieldContainer[ExperimentStep]
    metric: str
    alpha: float
    max_requests: int
    sticky_by: str
    request_id: str
    guards: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[Experiment.Kind, str]] = ..., policy: _Optional[str] = ..., control: _Optional[str] = ..., share: _Optional[float] = ..., steps: _Optional[_Iterable[_Union[ExperimentStep, _Mapping]]] = ..., metric: _Optional[str] = ..., alpha: _Optional[float] = ..., max_requests: _Optional[int] = ..., sticky_by: _Optional[str] = ..., request_id: _Optional[str] = ..., guards: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateExperimentResponse(_message.Message):
    __slots__ = ("experiment",)
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    experiment: Experiment
    def __init__(self, experiment: _Optional[_Union[Experiment, _Mapping]] = ...) -> None: ...

class GetExperimentRequest(_message.Message):
    __slots__ = ("experiment_id",)
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    def __init__(self, experiment_id: _Optional[str] = ...) -> None: ...

class GetExperimentResponse(_message.Message):
    __slots__ = ("experiment",)
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    experiment: Experiment
    def __init__(self, experiment: _Optional[_Union[Experiment, _Mapping]] = ...) -> None: ...

class ListExperimentsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExperimentsResponse(_message.Message):
    __slots__ = ("experiments", "next_page_token")
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    experiments: _containers.RepeatedCompositeFieldContainer[Experiment]
    next_page_token: str
    def __init__(self, experiments: _Optional[_Iterable[_Union[Experiment, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateExperimentRequest(_message.Message):
    __slots__ = ("experiment_id", "state", "etag", "note")
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    state: Experiment.State
    etag: str
    note: str
    def __init__(self, experiment_id: _Optional[str] = ..., state: _Optional[_Union[Experiment.State, str]] = ..., etag: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class UpdateExperimentResponse(_message.Message):
    __slots__ = ("experiment",)
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    experiment: Experiment
    def __init__(self, experiment: _Optional[_Union[Experiment, _Mapping]] = ...) -> None: ...

class DeleteExperimentRequest(_message.Message):
    __slots__ = ("experiment_id",)
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    def __init__(self, experiment_id: _Optional[str] = ...) -> None: ...

class DeleteExperimentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
