"""Which policy decides for a request while experiments run: in memory, one lookup and one hash."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView
from services.router.deciding.constraints import cost_nano_usd
from services.router.deciding.decision import Decider
from services.router.deciding.sheet import Decision
from services.router.experiments.experiments import Part, ShadowChoice, Tried
from services.router.policies.policies import Policies, RoutingPolicy, bounded
from services.router.policies.policy import Ask, is_auto

_log = logging.getLogger(__name__)


class OrgTrials(NamedTuple):
    """What counts for an organisation's decisions just now."""

    live: Tried | None = None
    shadow: Tried | None = None


class Asking(NamedTuple):
    """Who asks: an arm is theirs."""

    thread: str = ""
    end_user: str = ""
    user: str = ""
    key: str = ""

    @property
    def unit(self) -> str:
        """Who it is, as far as it is known; empty = the request alone."""
        return self.thread or self.end_user or self.user or self.key


class Arms:
    """The experiments in force; `by_org` is replaced whole, so a decision waits for nothing."""

    def __init__(self, policies: Callable[[], Policies], default_output_tokens: int) -> None:
        self.by_org: Mapping[str, OrgTrials] = {}
        self._policies, self._output_tokens = policies, default_output_tokens
        self._made: dict[tuple[str, str], RoutingPolicy | None] = {}
        self._made_of: Policies | None = None

    def decide(
        self, decider: Decider, view: CatalogView, ask: Ask, policy: RoutingPolicy | None, asking: Asking
    ) -> Decision:
        """The decision by the arm's policy, with what stands on the record of it. Raises as `Decider.decide`."""
        trials = self.by_org.get(ask.org_id)
        if trials is None or policy is None or ask.special:
            return decider.decide(view, ask, policy)
        decision, live, shadow = None, trials.live, trials.shadow
        if live is not None and self._takes(live, ask, policy):
            decision = self._by_arm(decider, view, ask, policy, live, asking)
        if decision is None:
            decision = decider.decide(view, ask, policy)
        # What a tried policy decided is not what the policy in force would have chosen.
        by_tried = decision.part is not None and decision.part.arm == "b" and not decision.part.refused
        if shadow is not None and not by_tried and self._takes(shadow, ask, policy):
            decision.shadow = self._beside(decider, view, ask, decision, shadow, asking)
        return decision

    def exists(self, org_id: str, name: str) -> bool:
        """Whether there is a policy to try."""
        return self._tried(org_id, name) is not None

    def _takes(self, tried: Tried, ask: Ask, policy: RoutingPolicy) -> bool:
        """Whether a request takes part: while it is measured, only those whose model is the router's to choose."""
        if not tried.takes(policy.name) or not (tried.promoted or is_auto(ask.model)):
            return False
        policies = self._policies()
        rules = policies.organisations.get(ask.org_id)
        tenant = rules.tenant if rules is not None else None
        # What the operator says of the organisation as a whole is not for its administrators to change.
        by_operator = tenant is not None and bool(tenant.policy or tenant.routing_mode)
        return not (by_operator and policy is policies.for_principal(ask.org_id))

    def _by_arm(
        self, decider: Decider, view: CatalogView, ask: Ask, policy: RoutingPolicy, live: Tried, asking: Asking
    ) -> Decision | None:
        tried = self._tried(ask.org_id, live.plan.policy)
        if tried is None:
            return None
        arm = live.arm(asking.unit, ask.seed)
        if live.promoted:
            # Nothing is measured any more: its word is the policy's, refusals included.
            return decider.decide(view, ask, tried)
        part = Part(live.experiment_id, arm, live.step)
        if arm == "b":
            try:
                decision = decider.decide(view, ask, tried)
            except MeshError as error:
                if error.reason is Reason.INTERNAL:
                    raise
                # Nobody is refused because something is tried.
                part = part._replace(refused=True)
            else:
                decision.part = part
                return decision
        decision = decider.decide(view, ask, policy)
        decision.part = part
        return decision

    def _beside(
        self, decider: Decider, view: CatalogView, ask: Ask, decision: Decision, shadow: Tried, asking: Asking
    ) -> ShadowChoice | None:
        """What the tried policy would have chosen; it changes nothing and never fails."""
        tried = self._tried(ask.org_id, shadow.plan.policy)
        if tried is None or shadow.arm(asking.unit, ask.seed) == "a":
            return None
        try:
            other = decider.decide(view, msgspec.structs.replace(ask, dry_run=True), tried)
        except MeshError:
            return ShadowChoice(shadow.experiment_id, tried.version, "")
        except Exception:
            _log.exception("a shadow's decision failed")
            return None
        output = ask.max_output_tokens or self._output_tokens
        chosen, model = decision.chain[0], other.chain[0]
        expected_ms, chosen_ms = other.whole_ms(model, output), decision.whole_ms(chosen, output)
        timed = not (math.isnan(expected_ms) or math.isnan(chosen_ms))
        return ShadowChoice(
            shadow.experiment_id,
            other.policy_version,
            model.id,
            other.sides(model).quality,
            cost_nano_usd(model, ask.input_tokens, output),
            decision.sides(chosen).quality,
            cost_nano_usd(chosen, ask.input_tokens, output),
            agreed=model.id == chosen.id,
            latency_ms=expected_ms if timed else 0.0,
            chosen_latency_ms=chosen_ms if timed else 0.0,
        )

    def _tried(self, org_id: str, name: str) -> RoutingPolicy | None:
        """The policy of that name within what the operator lets the organisation use; one object while it is the same,
        for what is worked out for it is kept with the object."""
        policies = self._policies()
        if policies is not self._made_of:
            self._made, self._made_of = {}, policies
        key = (org_id, name)
        if key not in self._made:
            found, rules = policies.named(org_id, name), policies.organisations.get(org_id)
            if found is not None and found.missing:
                found = None
            if found is not None and rules is not None and rules.tenant is not None:
                found = bounded(found, rules.tenant)
            self._made[key] = found
        return self._made[key]
