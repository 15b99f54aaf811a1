"""What a policy would change: requests that were made, decided anew under the present policies and under another one.

Nothing is sent, no breaker's trial is given out, and the seeds are the requests' own, so that chance falls alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView
from services.router.deciding.constraints import cost_nano_usd
from services.router.deciding.decision import Decider
from services.router.policies.intents import intent_of_task
from services.router.policies.policies import Policies, RoutingPolicy
from services.router.policies.policy import Ask

MOST_REQUESTS = 1000
REST_EVERY = 20
"""So many decisions are made before others get their turn."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made."""

    request_id: str
    model: str
    intent: str
    complexity: float | None
    input_tokens: int
    output_tokens: int
    answered_model: str
    cost_nano_usd: int
    path: tuple[str, ...] = ()
    allowed_models: tuple[str, ...] = ()
    needs_tools: bool = False
    needs_images: bool = False
    needs_json: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request would be decided."""

    model: str = ""
    cost_nano_usd: int | None = None
    refused: str = ""
    reason: str = ""


@dataclass(slots=True)
class Changes:
    """What would change."""

    changed: list[tuple[Asked, Answer, Answer]] = field(default_factory=list)
    """The request, how it would be decided now, and how under the policy."""
    rerouted: int = 0
    refused_now: int = 0
    refused_then: int = 0
    cost_was: int = 0
    cost_now: int = 0
    cost_then: int = 0


class Trial:
    """Decides by what the router knows at this moment."""

    def __init__(self, decider: Decider, view_for: Callable[[str], CatalogView]) -> None:
        self._decider, self._view_for = decider, view_for

    async def run(self, policies: Policies, org_id: str, tried: RoutingPolicy, requests: Iterable[Asked]) -> Changes:
        """Every request under the policy in force for it, and under `tried`."""
        found, view = Changes(), self._view_for(org_id)
        for number, one in enumerate(requests):
            if number % REST_EVERY == REST_EVERY - 1:
                await asyncio.sleep(0)
            now = self._decided(view, org_id, one, policies.for_principal(org_id, one.path))
            then = self._decided(view, org_id, one, tried)
            found.rerouted += bool(now.model and then.model and now.model != then.model)
            found.refused_now += bool(now.refused)
            found.refused_then += bool(then.refused)
            if now.cost_nano_usd is not None and then.cost_nano_usd is not None:
                # Sums are only worth comparing over the same requests.
                found.cost_was += one.cost_nano_usd
                found.cost_now += now.cost_nano_usd
                found.cost_then += then.cost_nano_usd
            if now.model != then.model or bool(now.refused) != bool(then.refused):
                found.changed.append((one, now, then))
        return found

    def _decided(self, view: CatalogView, org_id: str, one: Asked, policy: RoutingPolicy) -> Answer:
        ask = Ask(
            model=one.model,
            input_tokens=one.input_tokens,
            needs_tools=one.needs_tools,
            needs_images=one.needs_images,
            needs_json=one.needs_json,
            intent=intent_of_task(one.intent),
            complexity=one.complexity,
            allowed_models=one.allowed_models,
            seed=one.request_id,
            org_id=org_id,
            dry_run=True,
        )
        try:
            decision = self._decider.decide(view, ask, policy)
        except MeshError as error:
            if error.reason is Reason.INTERNAL:
                raise
            return Answer(refused=error.message)
        primary = decision.chain[0]
        cost = cost_nano_usd(primary, one.input_tokens, one.output_tokens)
        return Answer(primary.id, cost, reason=decision.reason)
