"""Which models belong in a list."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from services.router.catalog.catalog import CatalogView, KnownModel
from services.router.policies.policies import RoutingPolicy
from services.router.policies.policy import may_ask

Unhealthy = Set[tuple[str, str]]
"""(model, provider) behind an open breaker, or kept from the caller."""


@dataclass(frozen=True)
class ModelFilter:
    """What to list; empty or 0 = any."""

    provider: str = ""
    capability: str = ""
    min_context_tokens: int = 0
    max_output_nano_usd_per_mtok: int = 0
    include_unavailable: bool = False
    allowed_models: tuple[str, ...] = ()
    """Ids and patterns, as a key has them."""

    def takes(self, model: KnownModel, *, available: bool) -> bool:
        """Whether the model belongs in the list. A price limit leaves out models of unknown price."""
        entry, output_price = model.entry, model.price.output_nano_usd_per_mtok
        limit = self.max_output_nano_usd_per_mtok
        return (
            (available or self.include_unavailable)
            and may_ask(model, self.allowed_models)
            and (not self.provider or self.provider in model.places)
            and (not self.capability or self.capability in entry.capabilities)
            and entry.context_tokens >= self.min_context_tokens
            and (not limit or (output_price is not None and output_price <= limit))
        )


def listed(view: CatalogView, wanted: ModelFilter, unhealthy: Unhealthy) -> list[KnownModel]:
    """The models that the filter takes, best quality first; those in `unhealthy` count as not available."""
    return [model for model in view.by_quality if wanted.takes(model, available=is_available(model, unhealthy))]


def barred_of(view: CatalogView, policy: RoutingPolicy) -> Iterator[tuple[str, str]]:
    """Every model at every place where the policy's lists, or the operator's, do not allow it."""
    for model in view.by_quality:
        no_model = policy.bars_model(model.id, model.entry.aliases)
        for place in model.places:
            if no_model or policy.bars_place(place, view.regions.get(place, "")):
                yield model.id, place


def is_available(model: KnownModel, unhealthy: Unhealthy) -> bool:
    """Whether it can be asked somewhere where it is not in `unhealthy`."""
    return model.available and any((model.id, place) not in unhealthy for place in model.places)
