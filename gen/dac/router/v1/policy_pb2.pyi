import datetime

from dac.router.v1 import answers_pb2 as _answers_pb2
from dac.router.v1 import entry_pb2 as _entry_pb2
from dac.router.v1 import tenant_rules_pb2 as _tenant_rules_pb2
from dac.type.v1 import principal_pb2 as _principal_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PolicyWeights(_message.Message):
    __slots__ = ("quality", "latency", "cost", "context")
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    quality: float
    latency: float
    cost: float
    context: float
    def __init__(self, quality: _Optional[float] = ..., latency: _Optional[float] = ..., cost: _Optional[float] = ..., context: _Optional[float] = ...) -> None: ...

class PolicyRules(_message.Message):
    __slots__ = ("profile", "weights", "allowed_models", "denied_models", "allowed_providers", "denied_providers", "regions", "min_quality", "max_first_token_ms", "max_latency_ms", "max_cost_nano_usd", "max_cost_usd", "quality_floor_share", "max_quality_drop", "exploration", "max_candidates", "named_fallbacks", "intents", "answers")
    class IntentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PolicyRules
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PolicyRules, _Mapping]] = ...) -> None: ...
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    DENIED_MODELS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    DENIED_PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    MAX_FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FLOOR_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_QUALITY_DROP_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    MAX_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    NAMED_FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    INTENTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    profile: str
    weights: PolicyWeights
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    denied_models: _containers.RepeatedScalarFieldContainer[str]
    allowed_providers: _containers.RepeatedScalarFieldContainer[str]
    denied_providers: _containers.RepeatedScalarFieldContainer[str]
    regions: _containers.RepeatedScalarFieldContainer[str]
    min_quality: float
    max_first_token_ms: float
    max_latency_ms: float
    max_cost_nano_usd: int
    max_cost_usd: float
    quality_floor_share: float
    max_quality_drop: float
    exploration: float
    max_candidates: int
    named_fallbacks: bool
    intents: _containers.MessageMap[str, PolicyRules]
    answers: _answers_pb2.AnswerRules
    def __init__(self, profile: _Optional[str] = ..., weights: _Optional[_Union[PolicyWeights, _Mapping]] = ..., allowed_models: _Optional[_Iterable[str]] = ..., denied_models: _Optional[_Iterable[str]] = ..., allowed_providers: _Optional[_Iterable[str]] = ..., denied_providers: _Optional[_Iterable[str]] = ..., regions: _Optional[_Iterable[str]] = ..., min_quality: _Optional[float] = ..., max_first_token_ms: _Optional[float] = ..., max_latency_ms: _Optional[float] = ..., max_cost_nano_usd: _Optional[int] = ..., max_cost_usd: _Optional[float] = ..., quality_floor_share: _Optional[float] = ..., max_quality_drop: _Optional[float] = ..., exploration: _Optional[float] = ..., max_candidates: _Optional[int] = ..., named_fallbacks: _Optional[bool] = ..., intents: _Optional[_Mapping[str, PolicyRules]] = ..., answers: _Optional[_Union[_answers_pb2.AnswerRules, _Mapping]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "shared", "version", "etag", "rules", "managed_by", "created_at", "changed_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    MANAGED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    shared: bool
    version: int
    etag: str
    rules: PolicyRules
    managed_by: str
    created_at: _timestamp_pb2.Timestamp
    changed_at: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., shared: _Optional[bool] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ..., rules: _Optional[_Union[PolicyRules, _Mapping]] = ..., managed_by: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PolicyVersion(_message.Message):
    __slots__ = ("version", "action", "rules", "actor", "at")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    version: int
    action: str
    rules: PolicyRules
    actor: str
    at: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[int] = ..., action: _Optional[str] = ..., rules: _Optional[_Union[PolicyRules, _Mapping]] = ..., actor: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PolicyAssignment(_message.Message):
    __slots__ = ("level", "policy", "exists", "changed_at")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    level: _principal_pb2.Level
    policy: str
    exists: bool
    changed_at: _timestamp_pb2.Timestamp
    def __init__(self, level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., policy: _Optional[str] = ..., exists: _Optional[bool] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreatePolicyRequest(_message.Message):
    __slots__ = ("name", "rules", "shared", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    rules: PolicyRules
    shared: bool
    request_id: str
    def __init__(self, name: _Optional[str] = ..., rules: _Optional[_Union[PolicyRules, _Mapping]] = ..., shared: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreatePolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdatePolicyRequest(_message.Message):
    __slots__ = ("name", "rules", "shared", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    rules: PolicyRules
    shared: bool
    etag: str
    def __init__(self, name: _Optional[str] = ..., rules: _Optional[_Union[PolicyRules, _Mapping]] = ..., shared: _Optional[bool] = ..., etag: _Optional[str] = ...) -> None: ...

class UpdatePolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class DeletePolicyRequest(_message.Message):
    __slots__ = ("name", "shared", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    shared: bool
    etag: str
    def __init__(self, name: _Optional[str] = ..., shared: _Optional[bool] = ..., etag: _Optional[str] = ...) -> None: ...

class DeletePolicyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPolicyVersionsRequest(_message.Message):
    __slots__ = ("name", "shared", "page_size", "page_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    shared: bool
    page_size: int
    page_token: str
    def __init__(self, name: _Optional[str] = ..., shared: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPolicyVersionsResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[PolicyVersion]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[PolicyVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RollbackPolicyRequest(_message.Message):
    __slots__ = ("name", "version", "shared", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    shared: bool
    etag: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., shared: _Optional[bool] = ..., etag: _Optional[str] = ...) -> None: ...

class RollbackPolicyResponse(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: Policy
    def __init__(self, policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class AssignPolicyRequest(_message.Message):
    __slots__ = ("level", "policy")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    level: _principal_pb2.Level
    policy: str
    def __init__(self, level: _Optional[_Union[_principal_pb2.Level, _Mapping]] = ..., policy: _Optional[str] = ...) -> None: ...

class AssignPolicyResponse(_message.Message):
    __slots__ = ("assignment",)
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    assignment: PolicyAssignment
    def __init__(self, assignment: _Optional[_Union[PolicyAssignment, _Mapping]] = ...) -> None: ...

class UnassignPolicyRequest(_message.Message):
    __slots__ = ("level_id",)
    LEVEL_ID_FIELD_NUMBER: _ClassVar[int]
    level_id: str
    def __init__(self, level_id: _Optional[str] = ...) -> None: ...

class UnassignPolicyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAssignmentsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAssignmentsResponse(_message.Message):
    __slots__ = ("assignments", "next_page_token", "tenant")
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    assignments: _containers.RepeatedCompositeFieldContainer[PolicyAssignment]
    next_page_token: str
    tenant: _tenant_rules_pb2.TenantRules
    def __init__(self, assignments: _Optional[_Iterable[_Union[PolicyAssignment, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., tenant: _Optional[_Union[_tenant_rules_pb2.TenantRules, _Mapping]] = ...) -> None: ...

class OrganisationName(_message.Message):
    __slots__ = ("org_id", "name")
    ORG_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    org_id: str
    name: str
    def __init__(self, org_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class NameOrganisationsRequest(_message.Message):
    __slots__ = ("organisations",)
    ORGANISATIONS_FIELD_NUMBER: _ClassVar[int]
    organisations: _containers.RepeatedCompositeFieldContainer[OrganisationName]
    def __init__(self, organisations: _Optional[_Iterable[_Union[OrganisationName, _Mapping]]] = ...) -> None: ...

class NameOrganisationsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Replayed(_message.Message):
    __slots__ = ("request_id", "asked_model", "intent", "complexity", "input_tokens", "output_tokens", "model", "cost_nano_usd", "path", "allowed_models", "needs_tools", "needs_images", "needs_json")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ASKED_MODEL_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    COMPLEXITY_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_TOOLS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_IMAGES_FIELD_NUMBER: _ClassVar[int]
    NEEDS_JSON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    asked_model: str
    intent: str
    complexity: float
    input_tokens: int
    output_tokens: int
    model: str
    cost_nano_usd: int
    path: _containers.RepeatedScalarFieldContainer[str]
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    needs_tools: bool
    needs_images: bool
    needs_json: bool
    def __init__(self, request_id: _Optional[str] = ..., asked_model: _Optional[str] = ..., intent: _Optional[str] = ..., complexity: _Optional[float] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., model: _Optional[str] = ..., cost_nano_usd: _Optional[int] = ..., path: _Optional[_Iterable[str]] = ..., allowed_models: _Optional[_Iterable[str]] = ..., needs_tools: _Optional[bool] = ..., needs_images: _Optional[bool] = ..., needs_json: _Optional[bool] = ...) -> None: ...

class TestPolicyRequest(_message.Message):
    __slots__ = ("rules", "requests")
    RULES_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    rules: PolicyRules
    requests: _containers.RepeatedCompositeFieldContainer[Replayed]
    def __init__(self, rules: _Optional[_Union[PolicyRules, _Mapping]] = ..., requests: _Optional[_Iterable[_Union[Replayed, _Mapping]]] = ...) -> None: ...

class TestedDecision(_message.Message):
    __slots__ = ("request_id", "asked_model", "answered_model", "model_now", "model_then", "cost_now_nano_usd", "cost_then_nano_usd", "refused_now", "refused_then", "reason_then")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ASKED_MODEL_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_NOW_FIELD_NUMBER: _ClassVar[int]
    MODEL_THEN_FIELD_NUMBER: _ClassVar[int]
    COST_NOW_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    COST_THEN_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    REFUSED_NOW_FIELD_NUMBER: _ClassVar[int]
    REFUSED_THEN_FIELD_NUMBER: _ClassVar[int]
    REASON_THEN_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    asked_model: str
    answered_model: str
    model_now: str
    model_then: str
    cost_now_nano_usd: int
    cost_then_nano_usd: int
    refused_now: str
    refused_then: str
    reason_then: str
    def __init__(self, request_id: _Optional[str] = ..., asked_model: _Optional[str] = ..., answered_model: _Optional[str] = ..., model_now: _Optional[str] = ..., model_then: _Optional[str] = ..., cost_now_nano_usd: _Optional[int] = ..., cost_then_nano_usd: _Optional[int] = ..., refused_now: _Optional[str] = ..., refused_then: _Optional[str] = ..., reason_then: _Optional[str] = ...) -> None: ...

class TestPolicyResponse(_message.Message):
    __slots__ = ("changed", "requests", "rerouted", "refused_now", "refused_then", "cost_was_nano_usd", "cost_now_nano_usd", "cost_then_nano_usd")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REROUTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_NOW_FIELD_NUMBER: _ClassVar[int]
    REFUSED_THEN_FIELD_NUMBER: _ClassVar[int]
    COST_WAS_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    COST_NOW_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    COST_THEN_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    changed: _containers.RepeatedCompositeFieldContainer[TestedDecision]
    requests: int
    rerouted: int
    refused_now: int
    refused_then: int
    cost_was_nano_usd: int
    cost_now_nano_usd: int
    cost_then_nano_usd: int
    def __init__(self, changed: _Optional[_Iterable[_Union[TestedDecision, _Mapping]]] = ..., requests: _Optional[int] = ..., rerouted: _Optional[int] = ..., refused_now: _Optional[int] = ..., refused_then: _Optional[int] = ..., cost_was_nano_usd: _Optional[int] = ..., cost_now_nano_usd: _Optional[int] = ..., cost_then_nano_usd: _Optional[int] = ...) -> None: ...
