"""The catalog's servicer: what is known of models, proto in and proto out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from dac.router.v1 import catalog_pb2, catalog_pb2_grpc
from dac.type.v1.principal_pb2 import Principal
from mesh.call import require_principal, require_scope
from mesh.errors import MeshError, Reason, invalid
from services.router.catalog.catalog import CatalogView, KnownModel
from services.router.catalog.followers import LiveCatalog
from services.router.catalog.listing import ModelFilter, barred_of, is_available, listed
from services.router.catalog.ordering import blended, page_of
from services.router.catalog.provider_figures import Figures, figures
from services.router.catalog.ranking import Ranked, best_at, named, quality_by_intent, ranked
from services.router.catalog.searching import search
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.latency import Speeds
from services.router.deciding.scoring import PROFILES, Scores, Weights
from services.router.policies.intents import intent_of_task
from services.router.policies.policies import RoutingPolicy
from services.router.policies.policy import find_named
from services.router.sources.facts import INTENTS
from services.router.sources.kept import SourceStatus
from services.router.sources_server import shown

RESULTS = 20
"""Search results when the request names no number."""
RANKS = 50
"""Ranked models when the request names no number."""
MOST = 1000
"""The most of either."""


class Refreshing(Protocol):
    """What can ask public sources again."""

    async def refresh(self, names: Sequence[str] = ()) -> list[SourceStatus]:
        """Asks those named, or all, and says how each went."""


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Lists, finds, compares and ranks what is known of models."""

    def __init__(
        self,
        catalog: LiveCatalog,
        breakers: Breakers,
        *,
        default_profile: str = "balanced",
        speeds: Speeds | None = None,
        sources: Refreshing | None = None,
        policy_for: Callable[[Principal], RoutingPolicy] | None = None,
    ) -> None:
        """`policy_for`: the policy in force for a caller; models that it does not allow are not available to them."""
        self._catalog, self._breakers, self._sources = catalog, breakers, sources
        self._policy_for = policy_for
        self._default_profile, self._speeds = default_profile, speeds

    def _view(self) -> CatalogView:
        return self._catalog.view_for(require_principal().org_id)

    def _unhealthy(self) -> set[tuple[str, str]]:
        return {(one.model, one.provider) for one in self._breakers.statuses() if one.state is State.OPEN}

    def _kept_out(self) -> set[tuple[str, str]]:
        """Where the caller gets no answer: behind open breakers, and where its policy or the operator forbids it."""
        found, principal = self._unhealthy(), require_principal()
        if self._policy_for is None:
            return found
        try:
            policy = self._policy_for(principal)
        except MeshError:
            # Not known yet: a request is refused then, and a list shows what there is.
            return found
        view = self._view()
        return found | set(barred_of(view, policy))

    async def ListModels(self, request: catalog_pb2.ListModelsRequest, context: Any) -> catalog_pb2.ListModelsResponse:
        """See CatalogService.ListModels."""
        wanted = ModelFilter(
            provider=request.provider,
            capability=request.capability,
            min_context_tokens=request.min_context_tokens,
            max_output_nano_usd_per_mtok=request.max_output_nano_usd_per_mtok,
            include_unavailable=request.include_unavailable,
            allowed_models=tuple(request.allowed_models),
        )
        unhealthy = self._kept_out()
        models = listed(self._view(), wanted, unhealthy)
        page, next_token = page_of(models, request.page_size, request.page_token, request.order_by)
        return catalog_pb2.ListModelsResponse(
            models=[_shown(model, unhealthy) for model in page], next_page_token=next_token
        )

    async def GetModel(self, request: catalog_pb2.GetModelRequest, context: Any) -> catalog_pb2.GetModelResponse:
        """See CatalogService.GetModel."""
        model, _ = find_named(self._view(), request.model)
        return catalog_pb2.GetModelResponse(
            model=_shown(model, self._kept_out()),
            quality_by_intent=quality_by_intent(model),
            known_as=_known_as(model),
        )

    async def SearchModels(
        self, request: catalog_pb2.SearchModelsRequest, context: Any
    ) -> catalog_pb2.SearchModelsResponse:
        """See CatalogService.SearchModels."""
        wanted = ModelFilter(
            provider=request.provider,
            capability=request.capability,
            include_unavailable=request.include_unavailable,
        )
        unhealthy = self._kept_out()
        found = search(listed(self._view(), wanted, unhealthy), request.q)
        return catalog_pb2.SearchModelsResponse(
            results=[
                catalog_pb2.FoundModel(model=_shown(one.model, unhealthy), score=one.score, matched=one.matched)
                for one in found[: _size(request.page_size, RESULTS)]
            ],
            total=len(found),
        )

    async def CompareModels(
        self, request: catalog_pb2.CompareModelsRequest, context: Any
    ) -> catalog_pb2.CompareModelsResponse:
        """See CatalogService.CompareModels."""
        models, unhealthy = named(self._view(), request.model_ids), self._kept_out()
        return catalog_pb2.CompareModelsResponse(
            models=[
                catalog_pb2.ComparedModel(
                    model=_shown(model, unhealthy),
                    scores=_scores(model.scores),
                    score_by_profile={profile: round(total, 4) for profile, total in model.totals.items()},
                    quality_by_intent=quality_by_intent(model),
                    known_as=_known_as(model),
                )
                for model in models
            ],
            best=best_at(models),
        )

    async def ListProviders(
        self, request: catalog_pb2.ListProvidersRequest, context: Any
    ) -> catalog_pb2.ListProvidersResponse:
        """See CatalogService.ListProviders."""
        live = {} if self._speeds is None else self._speeds.all()
        waits = {place: one.first_token_ms for place, one in live.items()}
        found = figures(self._view(), self._unhealthy(), self._catalog.list_states, waits)
        return catalog_pb2.ListProvidersResponse(providers=[_provider(one) for one in found])

    async def GetRankings(
        self, request: catalog_pb2.GetRankingsRequest, context: Any
    ) -> catalog_pb2.GetRankingsResponse:
        """See CatalogService.GetRankings."""
        wanted = ModelFilter(
            provider=request.provider,
            capability=request.capability,
            include_unavailable=request.include_unavailable,
        )
        profile, unhealthy = request.profile or self._default_profile, self._kept_out()
        intent = intent_of_task(request.intent) or request.intent
        found = ranked(self._view(), profile, intent, wanted, unhealthy)
        return catalog_pb2.GetRankingsResponse(
            profile=profile,
            intent=intent,
            weights=_scores(PROFILES[profile]),
            models=[
                _ranked(rank, one, unhealthy) for rank, one in enumerate(found[: _size(request.page_size, RANKS)], 1)
            ],
            profiles=PROFILES,
            intents=INTENTS,
        )

    async def RefreshSources(
        self, request: catalog_pb2.RefreshSourcesRequest, context: Any
    ) -> catalog_pb2.RefreshSourcesResponse:
        """See CatalogService.RefreshSources."""
        require_scope("admin")
        if self._sources is None:
            raise MeshError(Reason.FAILED_PRECONDITION, "This router has no sources to ask.")
        statuses = await self._sources.refresh(tuple(request.sources))
        return catalog_pb2.RefreshSourcesResponse(sources=shown(statuses))


def _size(asked: int, usual: int) -> int:
    if asked < 0:
        raise invalid("page_size", f"page_size must not be negative, not {asked}")
    return min(asked or usual, MOST)


def _scores(sides: Scores | Weights) -> catalog_pb2.Scores:
    return catalog_pb2.Scores(
        quality=round(sides.quality, 4),
        latency=round(sides.latency, 4),
        cost=round(sides.cost, 4),
        context=round(sides.context, 4),
    )


def _ranked(rank: int, one: Ranked, unhealthy: set[tuple[str, str]]) -> catalog_pb2.RankedModel:
    return catalog_pb2.RankedModel(
        rank=rank, model=_shown(one.model, unhealthy), score=round(one.score, 4), scores=_scores(one.scores)
    )


def _known_as(model: KnownModel) -> list[catalog_pb2.KnownAs]:
    said = () if model.facts is None else model.facts.said
    return [
        catalog_pb2.KnownAs(source=one.source, id=one.id, why=one.why, seen_at=_moment(one.seen_at_s)) for one in said
    ]


def _moment(unix_s: float) -> Timestamp | None:
    if not unix_s:
        return None
    moment = Timestamp()
    moment.FromNanoseconds(int(unix_s * 1e9))
    return moment


def _provider(one: Figures) -> catalog_pb2.ProviderFigures:
    price = None if one.cheapest is None else blended(one.cheapest)
    return catalog_pb2.ProviderFigures(
        provider=one.provider,
        configured=one.configured,
        models=one.models,
        available=one.available,
        breakers_open=one.breakers_open,
        cheapest_model="" if one.cheapest is None else one.cheapest.id,
        cheapest_nano_usd_per_mtok=None if price is None else round(price),
        best_model="" if one.best is None else one.best.id,
        best_quality=0.0 if one.best is None else one.best.entry.quality,
        first_token_ms=one.first_token_ms,
        speed_tokens_per_s=one.speed_tokens_per_s,
        found=one.state.found,
        gone=one.state.gone,
        listed_at=_moment(one.state.listed_at_s),
        tried_at=_moment(one.state.tried_at_s),
        error=one.state.error,
    )


def _shown(model: KnownModel, unhealthy: set[tuple[str, str]]) -> catalog_pb2.Model:
    entry, listed_there = model.entry, model.listed
    return catalog_pb2.Model(
        model=entry.model,
        provider=model.provider,
        upstream_name=model.deployments[0].name,
        context_tokens=entry.context_tokens,
        max_output_tokens=entry.max_output_tokens,
        quality=entry.quality,
        capabilities=entry.capabilities,
        input_nano_usd_per_mtok=model.price.input_nano_usd_per_mtok,
        output_nano_usd_per_mtok=model.price.output_nano_usd_per_mtok,
        available=is_available(model, unhealthy),
        model_class="demo" if model.demo else "standard",
        speed_tokens_per_s=entry.speed_tokens_per_s,
        first_token_ms=entry.first_token_ms,
        aliases=entry.aliases,
        source=entry.source,
        retires_on="" if entry.retires_on is None else entry.retires_on.isoformat(),
        seen_at=None if listed_there is None else _moment(listed_there.seen_at_s),
        probed_at=None
        if listed_there is None or listed_there.probe is None
        else _moment(listed_there.probe.probed_at_s),
    )
