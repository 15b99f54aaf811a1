"""The router's servicer: proto in, decision out; outcomes in, state out."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dac.router.v1 import router_pb2, router_pb2_grpc
from dac.type.v1.principal_pb2 import Principal
from mesh import telemetry
from mesh.admin_record import admin_change
from mesh.call import current, has_scope, require_principal, require_scope
from mesh.errors import MeshError, invalid
from mesh.ids import uuid7
from mesh.model_book import ModelBook
from services.router import errors
from services.router.catalog.followers import LiveCatalog
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.decision import Decider
from services.router.deciding.latency import Speeds
from services.router.deciding.route_server import answered, asked
from services.router.experiments.arms import Arms, Asking
from services.router.policies.policies import RoutingPolicy
from services.router.policies.policy import find_named, is_auto
from services.router.prompt.read_prompts import ReadPrompts
from services.router.sources.kept import SourceStatus
from services.router.sources_server import shown

STATES = {
    State.CLOSED: router_pb2.Breaker.STATE_CLOSED,
    State.OPEN: router_pb2.Breaker.STATE_OPEN,
    State.HALF_OPEN: router_pb2.Breaker.STATE_HALF_OPEN,
    State.RECOVERING: router_pb2.Breaker.STATE_RECOVERING,
}
_FORCED = {
    router_pb2.Breaker.STATE_UNSPECIFIED: None,
    router_pb2.Breaker.STATE_OPEN: State.OPEN,
    router_pb2.Breaker.STATE_CLOSED: State.CLOSED,
}
MAX_NOTE_CHARS = 200

PolicyFor = Callable[[Principal], RoutingPolicy]
"""The policy in force for a caller."""
Force = Callable[[str, str, State | None], Awaitable[None]]
"""Holds a breaker here and tells the other replicas."""
Tell = Callable[[bytes], Awaitable[None]]
"""Hands a serialised AdminRecord to audit."""


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Decides, learns outcomes, shows its state."""

    def __init__(
        self,
        catalog: LiveCatalog,
        breakers: Breakers,
        config: RouterConfig,
        *,
        decider: Decider | None = None,
        speeds: Speeds | None = None,
        policy_for: PolicyFor | None = None,
        policy_status: Callable[[Principal], router_pb2.PolicyStatus] | None = None,
        learned_status: Callable[[Principal], router_pb2.LearnedStatus] | None = None,
        force: Force | None = None,
        tell: Tell | None = None,
        arms: Arms | None = None,
    ) -> None:
        """Without `force` breakers are held here alone; without `tell` nobody is told who held one;
        without `arms` no experiments run."""
        self._catalog, self._breakers, self._speeds = catalog, breakers, speeds
        self._decider = decider or Decider(config, breakers, speeds)
        self._offline = config.offline
        self._prompts = ReadPrompts(self._decider.predictor)
        self._policy_for, self._force, self._tell = policy_for, force, tell
        self._policy_status, self._learned_status, self._arms = policy_status, learned_status, arms
        self.source_statuses: Callable[[], Sequence[SourceStatus]] = tuple
        """How the public sources of models stand."""
        self.model_book: ModelBook | None = None
        """What files and the API say of models."""

    async def Route(self, request: router_pb2.RouteRequest, context: Any) -> router_pb2.RouteResponse:
        """See RouterService.Route."""
        return self.route(request, require_principal())

    def route(self, request: router_pb2.RouteRequest, principal: Principal | None = None) -> router_pb2.RouteResponse:
        """The whole decision, from request to record; waits for nothing."""
        try:
            policy = self._policy_for(principal) if self._policy_for is not None and principal is not None else None
            org_id = principal.org_id if principal is not None else ""
            ask, features = asked(request, current().request_id, org_id, self._prompts)
            view = self._catalog.view_for(org_id)
            if self._arms is None or principal is None:
                decision = self._decider.decide(view, ask, policy)
            else:
                asking = Asking(request.thread_id, principal.user_id, principal.key_id)
                decision = self._arms.decide(self._decider, view, ask, policy, asking)
        except MeshError as error:
            telemetry.ROUTE_REFUSALS.labels(error.reason.name.lower()).inc()
            raise
        if not ask.dry_run:
            telemetry.observe_route(decision.profile, decision.chain[0].id, decision.basis)
        return answered(decision, features, uuid7())

    async def ReportOutcomes(
        self, request: router_pb2.ReportOutcomesRequest, context: Any
    ) -> router_pb2.ReportOutcomesResponse:
        """See RouterService.ReportOutcomes."""
        require_principal()
        view, speeds = self._catalog.view, self._speeds
        for outcome in request.outcomes:
            # A made-up name must not grow the tables.
            if not view.holds(outcome.model, outcome.provider):
                continue
            self._breakers.record(outcome.model, outcome.provider, ok=outcome.ok, provider_fault=outcome.provider_fault)
            if outcome.ok and speeds is not None:
                speeds.observe(
                    outcome.model,
                    outcome.provider,
                    first_token_ms=outcome.first_token_ms,
                    total_ms=outcome.total_ms,
                    output_tokens=outcome.output_tokens,
                )
        return router_pb2.ReportOutcomesResponse()

    async def ForceBreaker(
        self, request: router_pb2.ForceBreakerRequest, context: Any
    ) -> router_pb2.ForceBreakerResponse:
        """See RouterService.ForceBreaker."""
        actor = require_scope("operator")
        if request.state not in _FORCED:
            raise invalid("state", "state is STATE_OPEN, STATE_CLOSED, or left out: it then decides for itself.")
        view = self._catalog.view
        if is_auto(request.model):
            raise invalid("model", '"model" is missing: name the model whose breaker is meant.')
        model, _ = find_named(view, request.model)
        places = [one.provider for one in model.entry.endpoints]
        if request.provider and request.provider not in places:
            raise errors.not_there(model.id, request.provider, places)
        wanted, changed = (
            _FORCED[request.state],
            [request.provider] if request.provider else list(dict.fromkeys(places)),
        )
        if self._tell is not None and actor.org_id:
            # Before it is done: nobody takes a model out of service unseen.
            before = {one.provider: one.state.value for one in self._breakers.statuses() if one.model == model.id}
            await self._tell(_account(actor.org_id, model.id, changed, before, wanted, request.note[:MAX_NOTE_CHARS]))
        for provider in changed:
            if self._force is not None:
                await self._force(model.id, provider, wanted)
            else:
                self._breakers.force(model.id, provider, wanted)
        return router_pb2.ForceBreakerResponse(
            breakers=[self._breaker(model.id, provider) for provider in changed],
        )

    def _breaker(self, model: str, provider: str) -> router_pb2.Breaker:
        for one in self._shown():
            if one.model == model and one.provider == provider:
                return one
        closed = router_pb2.Breaker.STATE_CLOSED
        return router_pb2.Breaker(model=model, provider=provider, state=closed, traffic_share=1.0)

    def _shown(self) -> list[router_pb2.Breaker]:
        return [
            router_pb2.Breaker(
                model=one.model,
                provider=one.provider,
                state=STATES[one.state],
                failures=one.failures,
                retry_in_s=one.retry_in_s,
                traffic_share=one.share,
                forced=one.forced,
                error_rate=one.error_rate,
                outcomes=one.outcomes,
            )
            for one in self._breakers.statuses()
        ]

    async def GetStatus(self, request: router_pb2.GetStatusRequest, context: Any) -> router_pb2.GetStatusResponse:
        """See RouterService.GetStatus."""
        principal = require_principal()
        view = self._catalog.view
        speeds = self._speeds.all() if self._speeds is not None else {}
        return router_pb2.GetStatusResponse(
            breakers=self._shown(),
            models_known=len(view.by_id),
            models_available=view.available_count,
            providers_configured=sorted(view.configured),
            providers_age_s=self._catalog.providers_age_s,
            prices_age_s=self._catalog.prices_age_s,
            speeds=[
                router_pb2.LiveSpeed(
                    model=model,
                    provider=provider,
                    first_token_p50_ms=one.first_token_ms,
                    first_token_p95_ms=one.first_token_p95_ms,
                    tokens_per_s=one.tokens_per_s,
                    answers=one.answers,
                )
                for (model, provider), one in sorted(speeds.items())
            ],
            policies=self._policy_status(principal) if self._policy_status is not None else None,
            sources=shown(self.source_statuses()),
            models_problem=self._models_problem(principal),
            catalog_age_s=self._catalog_age_s(),
            offline=self._offline,
            learned=self._learned_status(principal) if self._learned_status is not None else None,
        )

    def _catalog_age_s(self) -> float:
        day = self.model_book.read_on if self.model_book is not None else None
        if day is None:
            return 0.0
        return max(0.0, time.time() - dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())

    def _models_problem(self, principal: Principal) -> str:
        book = self.model_book
        return book.problem if book is not None and has_scope(principal, "operator") else ""


def _account(
    org_id: str, model: str, providers: list[str], before: dict[str, str], wanted: State | None, note: str
) -> bytes:
    """What audit is told of a breaker that was held or let go."""
    after = wanted.value if wanted is not None else "automatic"
    change = admin_change(
        "breaker.force",
        f"model:{model}",
        dt.datetime.now(dt.UTC),
        org_id=org_id,
        before={name: before.get(name, State.CLOSED.value) for name in providers},
        after={**dict.fromkeys(providers, after), **({"note": note} if note else {})},
    )
    return change.record
