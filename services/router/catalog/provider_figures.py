"""Providers in figures: what each offers, how it does, and what its list said."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.router.catalog.catalog import CatalogView, KnownModel
from services.router.catalog.listed import ListState
from services.router.catalog.listing import Unhealthy
from services.router.catalog.ordering import blended


@dataclass(frozen=True)
class Figures:
    """One provider."""

    provider: str
    configured: bool
    models: int
    available: int
    breakers_open: int
    cheapest: KnownModel | None
    best: KnownModel | None
    first_token_ms: float
    """0 = unknown."""
    speed_tokens_per_s: float
    """0 = unknown."""
    state: ListState


def figures(
    view: CatalogView,
    unhealthy: Unhealthy,
    lists: Mapping[str, ListState],
    live_first_token_ms: Mapping[tuple[str, str], float] | None = None,
) -> list[Figures]:
    """Every provider that is configured, listed or described, by name. Live waits count before the catalog's."""
    at: dict[str, list[KnownModel]] = {name: [] for name in (*view.configured, *lists)}
    for model in view.by_id.values():
        for place in {one.provider for one in model.entry.endpoints}:
            at.setdefault(place, []).append(model)
    live = live_first_token_ms or {}
    return [_one(name, models, view, unhealthy, lists, live) for name, models in sorted(at.items())]


def _one(
    provider: str,
    models: list[KnownModel],
    view: CatalogView,
    unhealthy: Unhealthy,
    lists: Mapping[str, ListState],
    live: Mapping[tuple[str, str], float],
) -> Figures:
    there = [model for model in models if model.available and provider in model.places]
    priced = [(price, model.id, model) for model in models if model.chats and (price := blended(model)) is not None]
    return Figures(
        provider=provider,
        configured=provider in view.configured,
        models=len(models),
        available=sum(1 for model in there if (model.id, provider) not in unhealthy),
        breakers_open=sum(1 for model in models if (model.id, provider) in unhealthy),
        cheapest=min(priced)[2] if priced else None,
        best=max(models, key=lambda model: (model.entry.quality, model.id)) if models else None,
        first_token_ms=_median(live.get((model.id, provider), model.entry.first_token_ms) for model in models),
        speed_tokens_per_s=_median(model.entry.speed_tokens_per_s for model in models),
        state=lists.get(provider, ListState()),
    )


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if value]
    return round(statistics.median(known), 1) if known else 0.0
