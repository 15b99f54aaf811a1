"""The router's servicers: proto in, decision out; and how the service is put together."""

from __future__ import annotations

import functools
import time
from typing import Any

import grpc.aio

from dac.router.v1 import catalog_pb2_grpc, router_pb2, router_pb2_grpc
from dac.type.v1 import deployment_pb2, record_pb2
from mesh import telemetry
from mesh.call import require_principal
from mesh.catalog import DeploymentEntry
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.redis import connect
from mesh.service import Context, Service
from services.router.breakers import Breakers, State
from services.router.catalog import CatalogView, KnownModel
from services.router.catalog_server import CatalogServicer
from services.router.config import RouterConfig
from services.router.decision import MAX_RECORDED, Decision, decide
from services.router.followers import Followers, LiveCatalog
from services.router.hints import BreakerHints
from services.router.policy import Ask, policy_version

MAX_RECORD_BYTES = 4096
MAX_REASON_CHARS = 800
MAX_EXCLUDED_CHARS = 120
_STATES = {
    State.CLOSED: router_pb2.Breaker.STATE_CLOSED,
    State.OPEN: router_pb2.Breaker.STATE_OPEN,
    State.HALF_OPEN: router_pb2.Breaker.STATE_HALF_OPEN,
}
_OPENNESS = {State.CLOSED: 0.0, State.HALF_OPEN: 0.5, State.OPEN: 1.0}


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Decides, learns outcomes, shows its state."""

    def __init__(self, catalog: LiveCatalog, breakers: Breakers, config: RouterConfig) -> None:
        self._catalog, self._breakers, self._config = catalog, breakers, config
        self._policy_version = policy_version(config)

    async def Route(self, request: router_pb2.RouteRequest, context: Any) -> router_pb2.RouteResponse:
        """See RouterService.Route."""
        return self.route(request, require_principal().org_id)

    def route(self, request: router_pb2.RouteRequest, org_id: str = "") -> router_pb2.RouteResponse:
        """The whole decision, from request to record; waits for nothing."""
        ask = Ask(
            model=request.model,
            profile=request.profile,
            input_tokens=max(0, request.input_tokens),
            max_output_tokens=max(0, request.max_output_tokens),
            needs_tools=request.needs_tools,
            needs_images=request.needs_images,
            needs_json=request.needs_json,
            needs_embeddings=request.needs_embeddings,
            needs_audio=request.needs_audio,
            allowed_models=tuple(request.allowed_models),
        )
        try:
            decision = decide(self._catalog.view_for(org_id), ask, self._config, self._breakers)
        except MeshError as error:
            telemetry.ROUTE_REFUSALS.labels(error.reason.name.lower()).inc()
            raise
        telemetry.observe_route(decision.profile, decision.chain[0].id, decision.basis)
        return router_pb2.RouteResponse(
            candidates=[_candidate(model) for model in decision.chain], route=self._record(decision)
        )

    def _record(self, decision: Decision) -> record_pb2.RouteRecord:
        looked_at = [(model, "") for model in decision.chain] + decision.left_out
        record = record_pb2.RouteRecord(
            decision_id=uuid7(),
            profile=decision.profile,
            policy_version=self._policy_version,
            reason=decision.reason[:MAX_REASON_CHARS],
            candidates=[_recorded(model, decision.profile, why) for model, why in looked_at[:MAX_RECORDED]],
        )
        while len(record.candidates) > 1 and record.ByteSize() > MAX_RECORD_BYTES:
            del record.candidates[-1]
        return record

    async def ReportOutcomes(
        self, request: router_pb2.ReportOutcomesRequest, context: Any
    ) -> router_pb2.ReportOutcomesResponse:
        """See RouterService.ReportOutcomes."""
        require_principal()
        view = self._catalog.view
        for outcome in request.outcomes:
            # A made-up name must not grow the table of breakers.
            if view.holds(outcome.model, outcome.provider):
                self._breakers.record(
                    outcome.model, outcome.provider, ok=outcome.ok, provider_fault=outcome.provider_fault
                )
        return router_pb2.ReportOutcomesResponse()

    async def GetStatus(self, request: router_pb2.GetStatusRequest, context: Any) -> router_pb2.GetStatusResponse:
        """See RouterService.GetStatus."""
        require_principal()
        view = self._catalog.view
        return router_pb2.GetStatusResponse(
            breakers=[
                router_pb2.Breaker(
                    model=one.model,
                    provider=one.provider,
                    state=_STATES[one.state],
                    failures=one.failures,
                    retry_in_s=one.retry_in_s,
                )
                for one in self._breakers.statuses()
            ],
            models_known=len(view.by_id),
            models_available=view.available_count,
            providers_configured=sorted(view.configured),
            providers_age_s=self._catalog.providers_age_s,
            prices_age_s=self._catalog.prices_age_s,
        )


def _candidate(model: KnownModel) -> router_pb2.Candidate:
    entry, first = model.entry, model.deployments[0]
    return router_pb2.Candidate(
        model=entry.model,
        provider=first.provider,
        upstream_name=first.name,
        context_tokens=entry.context_tokens,
        max_output_tokens=entry.max_output_tokens,
        quality=entry.quality,
        deployments=[_deployment(one) for one in model.deployments] if len(model.deployments) > 1 else (),
        sticky=entry.sticky,
    )


def _deployment(one: DeploymentEntry) -> deployment_pb2.Deployment:
    return deployment_pb2.Deployment(
        provider=one.provider, upstream_name=one.name, weight=one.weight, priority=one.priority
    )


def _recorded(model: KnownModel, profile: str, why: str) -> record_pb2.RouteCandidate:
    scores = model.scores
    return record_pb2.RouteCandidate(
        model=model.id,
        provider=model.provider,
        score=model.totals[profile],
        quality_score=scores.quality,
        latency_score=scores.latency,
        cost_score=scores.cost,
        context_score=scores.context,
        excluded=why[:MAX_EXCLUDED_CHARS],
    )


class RouterService:
    """The service as the mesh runs it."""

    def __init__(
        self,
        router: RouterServicer,
        catalog_servicer: CatalogServicer,
        catalog: LiveCatalog,
        followers: Followers,
        hints: BreakerHints | None = None,
    ) -> None:
        self.router, self.catalog_servicer = router, catalog_servicer
        self._catalog, self._followers, self._hints = catalog, followers, hints

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        router_pb2_grpc.add_RouterServiceServicer_to_server(self.router, server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(self.catalog_servicer, server)

    async def start(self) -> None:
        """Begins to follow provider and budget, and to exchange hints when there is a Redis."""
        if self._hints is not None:
            await self._hints.start()
        self._followers.start()

    async def close(self) -> None:
        """Stops following and listening."""
        await self._followers.close()
        if self._hints is not None:
            await self._hints.close()

    async def health(self) -> None:
        """Raises UNAVAILABLE when no model is known at all; old news is shown by GetStatus and is no failure."""
        if not self._catalog.view.by_id:
            raise MeshError(Reason.UNAVAILABLE, "The catalog is empty: add models to the configuration under models:.")


def build(context: Context) -> Service:
    """The router from its context; opens nothing."""
    config: RouterConfig = context.config
    breakers = Breakers(time.monotonic, failures=config.breaker_failures, open_s=config.breaker_open_s)
    catalog = LiveCatalog(context.models, context.providers, config, time.monotonic)

    def forget_gone(view: CatalogView) -> None:
        breakers.keep_only(view.holdings())

    def hear_open(model: str, provider: str) -> None:
        if catalog.view.holds(model, provider):
            breakers.hear_open(model, provider)

    catalog.on_change = forget_gone
    telemetry.BREAKER_OPEN.watch(
        context.name, lambda: [((one.model, one.provider), _OPENNESS[one.state]) for one in breakers.statuses()]
    )
    telemetry.MODELS_AVAILABLE.watch(context.name, lambda: [((), catalog.view.available_count)])
    hints = None
    if context.redis_url:
        hints = BreakerHints(functools.partial(connect, context.redis_url), context.instance or uuid7(), hear_open)
        breakers.on_open = hints.announce
    return RouterService(
        RouterServicer(catalog, breakers, config),
        CatalogServicer(catalog, breakers, default_profile=config.default_profile),
        catalog,
        Followers(catalog, context.channel_to, config),
        hints,
    )
