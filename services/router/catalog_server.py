"""The catalog's servicer: what is known of models, proto in and proto out."""

from __future__ import annotations

from typing import Any

from dac.router.v1 import catalog_pb2, catalog_pb2_grpc
from mesh.call import require_principal
from services.router.breakers import Breakers, State
from services.router.catalog import KnownModel
from services.router.followers import LiveCatalog
from services.router.listing import ModelFilter, is_available, listed, page_of
from services.router.policy import find_named


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Lists what is known of models."""

    def __init__(self, catalog: LiveCatalog, breakers: Breakers) -> None:
        self._catalog, self._breakers = catalog, breakers

    def _unhealthy(self) -> set[tuple[str, str]]:
        return {(one.model, one.provider) for one in self._breakers.statuses() if one.state is State.OPEN}

    async def ListModels(self, request: catalog_pb2.ListModelsRequest, context: Any) -> catalog_pb2.ListModelsResponse:
        """See CatalogService.ListModels."""
        view = self._catalog.view_for(require_principal().org_id)
        wanted = ModelFilter(
            provider=request.provider,
            capability=request.capability,
            min_context_tokens=request.min_context_tokens,
            max_output_nano_usd_per_mtok=request.max_output_nano_usd_per_mtok,
            include_unavailable=request.include_unavailable,
        )
        unhealthy = self._unhealthy()
        models = listed(view, wanted, unhealthy)
        page, next_token = page_of(models, request.page_size, request.page_token)
        return catalog_pb2.ListModelsResponse(
            models=[_shown(model, unhealthy) for model in page], next_page_token=next_token
        )

    async def GetModel(self, request: catalog_pb2.GetModelRequest, context: Any) -> catalog_pb2.GetModelResponse:
        """See CatalogService.GetModel."""
        view = self._catalog.view_for(require_principal().org_id)
        model, _ = find_named(view, request.model)
        return catalog_pb2.GetModelResponse(model=_shown(model, self._unhealthy()))


def _shown(model: KnownModel, unhealthy: set[tuple[str, str]]) -> catalog_pb2.Model:
    entry = model.entry
    made = catalog_pb2.Model(
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
    )
    listed = model.listed
    if listed is not None and listed.seen_at_s:
        made.seen_at.FromNanoseconds(int(listed.seen_at_s * 1e9))
    if listed is not None and listed.probe is not None:
        made.probed_at.FromNanoseconds(int(listed.probe.probed_at_s * 1e9))
    return made
