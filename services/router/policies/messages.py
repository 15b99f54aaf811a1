"""Policies between the wire and the domain."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from dac.router.v1 import policy_pb2, tenant_rules_pb2
from mesh.errors import invalid
from services.router.policies.form import decode
from services.router.policies.policies import API, PROFILE_NAMES, RoutingPolicy, TenantRules
from services.router.policies.store import PolicyRow, VersionRow
from services.router.policies.trial import Asked, Changes

MOST_TOKENS = 1_000_000_000
"""More than any request has; budget counts no more either."""

MAX_REASON_CHARS = 300


def rules_said(rules: policy_pb2.PolicyRules) -> dict[str, Any]:
    """What a message says, as a file would: what is not set is not said."""
    said: dict[str, Any] = json_format.MessageToDict(rules, preserving_proto_field_name=True)
    return _numbers(said)


def _numbers(said: dict[str, Any]) -> dict[str, Any]:
    """64-bit numbers are text in protobuf's JSON."""
    if "max_cost_nano_usd" in said:
        said["max_cost_nano_usd"] = int(said["max_cost_nano_usd"])
    cache = said.get("answers", {}).get("cache", {})
    if "ttl_s" in cache:
        cache["ttl_s"] = int(cache["ttl_s"])
    for over in said.get("intents", {}).values():
        _numbers(over)
    return said


def rules_message(written: Mapping[str, Any]) -> policy_pb2.PolicyRules:
    """What was written, as a message; what this program does not know is left out."""
    return json_format.ParseDict(dict(written), policy_pb2.PolicyRules(), ignore_unknown_fields=True)


def of_row(row: PolicyRow, *, shared: bool) -> policy_pb2.Policy:
    """A policy that the API made."""
    message = policy_pb2.Policy(
        name=row.name,
        shared=shared,
        version=row.version,
        etag=row.etag,
        rules=rules_message(decode(row.document)),
        managed_by=API,
    )
    message.created_at.FromDatetime(row.created_at)
    message.changed_at.FromDatetime(row.changed_at)
    return message


def of_policy(policy: RoutingPolicy, written: Mapping[str, Any] | None, managed_by: str) -> policy_pb2.Policy:
    """A policy of a file (`written`), or a built-in one."""
    rules = rules_message(written) if written is not None else _built_in(policy)
    return policy_pb2.Policy(name=policy.name, shared=True, etag=policy.version, rules=rules, managed_by=managed_by)


def _built_in(policy: RoutingPolicy) -> policy_pb2.PolicyRules:
    assert policy.profile in PROFILE_NAMES
    return policy_pb2.PolicyRules(
        profile=policy.profile,
        quality_floor_share=policy.quality_floor_share,
        max_quality_drop=policy.max_quality_drop,
        exploration=policy.exploration,
        max_candidates=policy.max_candidates,
        named_fallbacks=policy.named_fallbacks,
    )


def of_version(row: VersionRow) -> policy_pb2.PolicyVersion:
    """A state that a policy was in."""
    message = policy_pb2.PolicyVersion(version=row.version, action=row.action, actor=row.actor)
    if row.document:
        message.rules.CopyFrom(rules_message(decode(row.document)))
    message.at.FromDatetime(row.at)
    return message


def of_assignment(
    level_kind: int, level_id: str, policy: str, *, exists: bool, at: dt.datetime | None
) -> policy_pb2.PolicyAssignment:
    """A policy at a level."""
    message = policy_pb2.PolicyAssignment(policy=policy, exists=exists)
    message.level.kind = level_kind  # type: ignore[assignment]
    message.level.id = level_id
    if at is not None:
        message.changed_at.FromDatetime(at)
    return message


def of_tenant(rules: TenantRules) -> tenant_rules_pb2.TenantRules:
    """What the operator says of an organisation."""
    return tenant_rules_pb2.TenantRules(
        org_id=rules.org_id,
        policy=rules.policy,
        routing_mode=rules.routing_mode,
        allowed_models=rules.allowed_models,
        regions=rules.regions,
        managed_by=rules.managed_by,
    )


def of_tenant_version(org_id: str, row: VersionRow) -> tenant_rules_pb2.TenantRulesVersion:
    """A state of what was said of an organisation."""
    message = tenant_rules_pb2.TenantRulesVersion(version=row.version, action=row.action, actor=row.actor)
    if said := decode(row.document):
        message.rules.CopyFrom(tenant_rules_pb2.TenantRules(org_id=org_id, managed_by=API, **said))
    message.at.FromDatetime(row.at)
    return message


def asked_of(one: policy_pb2.Replayed) -> Asked:
    """A request that was made. Raises INVALID_REQUEST."""
    for field in ("input_tokens", "output_tokens"):
        if getattr(one, field) > MOST_TOKENS:
            raise invalid(f"requests.{field}", f"At most {MOST_TOKENS} tokens, not {getattr(one, field)}.")
    return Asked(
        request_id=one.request_id,
        model=one.asked_model,
        intent=one.intent,
        complexity=one.complexity if one.HasField("complexity") else None,
        input_tokens=max(0, one.input_tokens),
        output_tokens=max(0, one.output_tokens),
        answered_model=one.model,
        cost_nano_usd=one.cost_nano_usd,
        path=tuple(one.path),
        allowed_models=tuple(one.allowed_models),
        needs_tools=one.needs_tools,
        needs_images=one.needs_images,
        needs_json=one.needs_json,
    )


def changes_message(found: Changes, requests: int) -> policy_pb2.TestPolicyResponse:
    """What a policy would change."""
    return policy_pb2.TestPolicyResponse(
        changed=[
            policy_pb2.TestedDecision(
                request_id=one.request_id,
                asked_model=one.model,
                answered_model=one.answered_model,
                model_now=now.model,
                model_then=then.model,
                cost_now_nano_usd=now.cost_nano_usd,
                cost_then_nano_usd=then.cost_nano_usd,
                refused_now=now.refused[:MAX_REASON_CHARS],
                refused_then=then.refused[:MAX_REASON_CHARS],
                reason_then=then.reason[:MAX_REASON_CHARS],
            )
            for one, now, then in found.changed
        ],
        requests=requests,
        rerouted=found.rerouted,
        refused_now=found.refused_now,
        refused_then=found.refused_then,
        cost_was_nano_usd=found.cost_was,
        cost_now_nano_usd=found.cost_now,
        cost_then_nano_usd=found.cost_then,
    )
