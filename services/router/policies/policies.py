"""Routing policies: what a decision may choose from, what it weighs, and whom a policy is for.

A `RoutingPolicy` is one validated set of rules; a `Policies` holds all of them at one moment and never changes itself,
so a decision asks it without waiting.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.router.deciding.scoring import Weights
from services.router.policies import policy_errors as errors
from services.router.policies.answer_rules import AnswerRules

DEFAULT = "default"
"""The policy of everybody who has no other."""
PROFILE_NAMES = ("quality", "balanced", "speed", "budget", "long_context", "local-preferred", "performance")
"""The profiles that a policy may name; there is a built-in policy of each name."""
INTENTS = ("social_chat", "qa_retrieval", "coding_help", "editing_writing", "reasoning_math")
"""What overrides may be for."""
BUILT_IN, FILE, API = "built_in", "file", "api"
"""Where a policy comes from."""


@functools.lru_cache(maxsize=4096)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(one) for one in patterns))


def matches(patterns: tuple[str, ...], word: str) -> bool:
    """Whether one of the patterns (`openai/*`) is for the word."""
    return bool(patterns) and _pattern(patterns).match(word) is not None


@dataclass(frozen=True)
class RoutingPolicy:
    """One set of rules. Empty lists and zeros bound nothing."""

    name: str = DEFAULT
    version: str = "default"
    """The name with what tells this state of it from others, for records: "strict@4", "strict@file-1a2b3c4d"."""
    profile: str = "balanced"
    """What is weighed when the request names no profile."""
    weights: Weights | None = None
    """Own weights, instead of the profile's."""
    allowed_models: tuple[str, ...] = ()
    """Ids, aliases and patterns."""
    denied_models: tuple[str, ...] = ()
    """They win over allowed ones."""
    allowed_providers: tuple[str, ...] = ()
    denied_providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    """Where a provider must stand, in small letters; one of unknown region is left out."""
    min_quality: float = 0.0
    max_first_token_ms: float = 0.0
    max_latency_ms: float = 0.0
    max_cost_nano_usd: int = 0
    """The most that one request may cost."""
    quality_floor_share: float = 0.5
    """A chosen model has at least this share of the quality of the best allowed one."""
    max_quality_drop: float = 0.25
    """How far below the primary's quality a fallback may stand."""
    bounds_drop: bool = False
    """Whether the policy itself says so: then it binds the `fallbacks:` that the operator wrote behind a model, too."""
    exploration: float = 0.1
    """The largest share of decisions that try a model to learn; 0 = never."""
    max_candidates: int = 4
    named_fallbacks: bool = False
    """Whether a request that names a model may be answered by another one."""
    answers: AnswerRules | None = None
    """What is done with answers; None = nothing."""
    tenant_models: tuple[str, ...] = ()
    """What the operator lets the organisation use, whatever its policies allow."""
    tenant_regions: tuple[str, ...] = ()
    """The same for regions."""
    missing: bool = False
    """The policy that was assigned does not exist: nothing is allowed."""
    by_intent: Mapping[str, RoutingPolicy] = field(default_factory=dict, hash=False)
    """Intent → this policy as it is for that intent."""

    def for_intent(self, intent: str) -> RoutingPolicy:
        """The rules for a prompt of that intent."""
        return self.by_intent.get(intent, self) if self.by_intent else self

    def bars_model(self, model: str, aliases: Iterable[str] = ()) -> str:
        """Why a model may not answer; empty when it may."""
        if self.missing:
            return f'the assigned policy "{self.name}" does not exist'
        if not (self.denied_models or self.allowed_models or self.tenant_models):
            return ""
        names = (model, *aliases)
        if self.denied_models and any(matches(self.denied_models, one) for one in names):
            return f"the policy {self.name} denies it"
        if self.allowed_models and not any(matches(self.allowed_models, one) for one in names):
            return f"the policy {self.name} does not allow it"
        if self.tenant_models and not any(matches(self.tenant_models, one) for one in names):
            return "the organisation may not use it"
        return ""

    def bars_place(self, provider: str, region: str) -> str:
        """Why a model may not be asked at a provider that stands in that region ("" = unknown); empty when it may."""
        if self.denied_providers and matches(self.denied_providers, provider):
            return f"the policy {self.name} denies {provider}"
        if self.allowed_providers and not matches(self.allowed_providers, provider):
            return f"the policy {self.name} does not allow {provider}"
        for regions in (self.regions, self.tenant_regions):
            if regions and not matches(regions, region.lower()):
                return f"{provider} stands in {region or 'an unknown region'}, not in {', '.join(regions)}"
        return ""

    @property
    def bars_places(self) -> bool:
        """Whether `bars_place` can say anything at all."""
        return bool(self.denied_providers or self.allowed_providers or self.regions or self.tenant_regions)


@dataclass(frozen=True)
class TenantRules:
    """What the operator says of one organisation."""

    org_id: str
    policy: str = ""
    """Empty = the default."""
    routing_mode: str = ""
    """A profile that replaces the policy's; empty = the policy's."""
    allowed_models: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    managed_by: str = API


@dataclass(frozen=True)
class Assignment:
    """A policy's name at one level of an organisation."""

    level_kind: int
    """As dac.type.v1.Level.Kind."""
    level_id: str
    policy: str
    managed_by: str = API


@dataclass(frozen=True)
class OrgRules:
    """What is said for one organisation: by its administrators, and by the operator."""

    policies: Mapping[str, RoutingPolicy] = field(default_factory=dict)
    """Its own, by name."""
    assignments: tuple[Assignment, ...] = ()
    tenant: TenantRules | None = None


class Policies:
    """All policies at one moment."""

    def __init__(
        self,
        shared: Mapping[str, RoutingPolicy] | None = None,
        organisations: Mapping[str, OrgRules] | None = None,
        *,
        unread: bool = False,
        waits_for_names: bool = False,
        former: Policies | None = None,
    ) -> None:
        """`shared` are everybody's, by name, "default" among them. `unread`: organisations may have rules that were
        not read yet. `waits_for_names`: the tenants file names organisations that nobody has told the ids of yet.
        `former`: what it shares with these is not worked out again."""
        self.shared = dict(shared) if shared is not None else built_in(RoutingPolicy())
        self.default = self.shared[DEFAULT]
        self.organisations = dict(organisations or {})
        self.unread, self.waits_for_names = unread, waits_for_names
        kept = former if former is not None and former.shared == self.shared else None
        self._by_level: dict[str, dict[str, RoutingPolicy]] = {
            org_id: kept._by_level[org_id]
            if kept is not None and kept.organisations.get(org_id) is rules
            else self._levels(org_id, rules)
            for org_id, rules in self.organisations.items()
        }

    def for_principal(self, org_id: str, path: Sequence[str] = ()) -> RoutingPolicy:
        """The policy in force for a caller: that of the nearest level of its path (organisation first, key last).

        Raises UNAVAILABLE while that cannot be known.
        """
        if self.unread and org_id:
            raise errors.policies_unknown()
        levels = self._by_level.get(org_id)
        if levels is None:
            if self.waits_for_names and org_id:
                raise errors.names_unknown()
            return self.default
        if len(levels) > 1:
            for level_id in reversed(path):
                found = levels.get(level_id)
                if found is not None:
                    return found
        return levels[org_id]

    def named(self, org_id: str, name: str) -> RoutingPolicy | None:
        """What a name means in an organisation: its own policy, else everybody's."""
        rules = self.organisations.get(org_id)
        own = rules.policies.get(name) if rules is not None else None
        return own or self.shared.get(name)

    def missing_names(self) -> list[tuple[str, str]]:
        """(organisation, name) of assignments to policies that do not exist."""
        return sorted(
            (org_id, name)
            for org_id, levels in self._by_level.items()
            for name in {policy.name for policy in levels.values() if policy.missing}
        )

    def _levels(self, org_id: str, rules: OrgRules) -> dict[str, RoutingPolicy]:
        """Level id → policy; the organisation's own level is always there."""
        tenant = rules.tenant or TenantRules(org_id)
        root = self.shared.get(tenant.policy or DEFAULT) or _missing(tenant.policy)
        if tenant.routing_mode:
            root = with_profile(root, tenant.routing_mode)
        levels = {org_id: bounded(root, tenant)}
        # What is worked out for a policy is kept for the object: one for each, whoever is under it.
        made: dict[str, RoutingPolicy] = {}
        for one in rules.assignments:
            # What the operator says of the organisation as a whole is not for its administrators to change.
            if one.level_id == org_id and (tenant.policy or tenant.routing_mode):
                continue
            found = rules.policies.get(one.policy) or self.shared.get(one.policy) or _missing(one.policy)
            levels[one.level_id] = made.setdefault(one.policy, bounded(found, tenant))
        return levels


def _missing(name: str) -> RoutingPolicy:
    return RoutingPolicy(name, f"{name}@missing", missing=True)


def bounded(policy: RoutingPolicy, tenant: TenantRules) -> RoutingPolicy:
    """The policy within what the operator lets the organisation use."""
    if not tenant.allowed_models and not tenant.regions:
        return policy
    bounds = hashlib.sha256(repr((tenant.allowed_models, tenant.regions)).encode()).hexdigest()[:6]
    return _everywhere(
        policy,
        tenant_models=tenant.allowed_models,
        tenant_regions=tenant.regions,
        version=f"{policy.version}&{bounds}",
    )


def with_profile(policy: RoutingPolicy, profile: str) -> RoutingPolicy:
    """The policy with another profile; overrides that name one of their own keep it."""
    before, version = policy.profile, f"{policy.version}+{profile}"
    by_intent = {
        intent: dataclasses.replace(one, version=version)
        if one.weights is not None or one.profile != before
        else dataclasses.replace(one, profile=profile, version=version)
        for intent, one in policy.by_intent.items()
    }
    return dataclasses.replace(policy, profile=profile, weights=None, version=version, by_intent=by_intent)


def _everywhere(policy: RoutingPolicy, **fields: Any) -> RoutingPolicy:
    """The policy with other fields, for every intent."""
    by_intent = {intent: dataclasses.replace(one, **fields) for intent, one in policy.by_intent.items()}
    return dataclasses.replace(policy, by_intent=by_intent, **fields)


def built_in(base: RoutingPolicy) -> dict[str, RoutingPolicy]:
    """The policies that need no file: "default", and one for each profile; all else as in `base`."""
    named = {
        name: dataclasses.replace(base, name=name, version=f"{name}@{BUILT_IN}", profile=name) for name in PROFILE_NAMES
    }
    return {DEFAULT: dataclasses.replace(base, name=DEFAULT, version=f"{DEFAULT}@{BUILT_IN}"), **named}
