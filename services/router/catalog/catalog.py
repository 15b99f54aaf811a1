"""The live catalog: what files say of models, joined with what provider and budget last said.

A `CatalogView` is built when any of the three changes and never changes itself; decisions only read it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

from mesh.catalog import OWN, DeploymentEntry, ModelEntry
from mesh.model_links import never_chats
from services.router.catalog.listed import LISTED, ListedView, Lists, entries_of, filled
from services.router.deciding.scoring import PROFILES, Scores, score
from services.router.sources.facts import Facts, filled_from

AGGREGATORS = frozenset({"openrouter"})
"""Providers that resell others' models: a bare model name means the native provider first."""


@dataclasses.dataclass(frozen=True)
class ProviderView:
    """A provider as provider (or a file) last described it."""

    provider: str
    enabled: bool
    upstream_models: tuple[str, ...] = ()
    """Empty = not listed: the catalog decides."""
    model_class: str = "standard"
    org_ids: frozenset[str] = frozenset()
    """While it is not enabled: the organisations that have keys of their own for it."""
    audio: frozenset[str] | None = None
    """What it has of OpenAI's audio; None = not heard yet."""
    region: str = ""
    """Where it stands, in small letters; empty = not said."""


@dataclasses.dataclass(frozen=True)
class PriceView:
    """Prices in force, nano-USD per million tokens; None = unknown."""

    input_nano_usd_per_mtok: int | None
    output_nano_usd_per_mtok: int | None


UNKNOWN_PRICE = PriceView(None, None)
OTHER_MEASURES = frozenset({"audio_second", "input_character"})
"""Buckets in place of tokens: what a token costs is then not known, and certainly not nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class KnownModel:
    """A model with everything a decision asks of it worked out beforehand."""

    entry: ModelEntry
    price: PriceView
    scores: Scores
    totals: Mapping[str, float]
    """Profile → score."""
    available: bool
    unavailable_because: str
    """Empty when available."""
    demo: bool
    deployments: tuple[DeploymentEntry, ...]
    """Where it can be asked, those asked first in front; without any, where it stands by its entry."""
    places: tuple[str, ...]
    """The providers of these."""
    listed: ListedView | None = None
    """What its provider's list says of it."""
    facts: Facts | None = None
    """What public sources say of it."""

    def quality_for(self, intent: str) -> float:
        """0–1 for an intent: its quality, moved by as much as sources say that it is better or worse at that. A quality
        that the operator wrote holds for every intent."""
        if self.facts is None or (self.entry.source in OWN and "quality" not in self.entry.left_open):
            return self.entry.quality
        return min(1.0, max(0.0, self.entry.quality + self.facts.lean(intent)))

    @property
    def unproven(self) -> bool:
        """Known only from its provider's list, and never asked the graded questions."""
        return self.entry.source == LISTED and (self.listed is None or self.listed.probe is None)

    def retires_by(self, day: dt.date) -> bool:
        """Whether its provider no longer serves it on that day."""
        return self.entry.retires_on is not None and self.entry.retires_on <= day

    @property
    def provider(self) -> str:
        """The first of them."""
        return self.places[0]

    @property
    def id(self) -> str:
        """The DAC id."""
        return self.entry.model

    def can(self, capability: str) -> bool:
        """Whether it has the capability."""
        return capability in self.entry.capabilities

    @property
    def chats(self) -> bool:
        """Whether it chats: a model that only makes embeddings, or only hears or speaks, does not."""
        return not never_chats(self.entry.capabilities)


@dataclasses.dataclass(frozen=True, eq=False)
class CatalogView:
    """All models at one moment."""

    by_id: Mapping[str, KnownModel]
    by_upstream: Mapping[str, tuple[KnownModel, ...]]
    """Upstream names, whole and without the vendor's part, to the models of that name."""
    by_alias: Mapping[str, KnownModel]
    """The operator's other names to their models."""
    ranked: Mapping[str, tuple[KnownModel, ...]]
    """Profile → available models that chat, best first."""
    by_quality: tuple[KnownModel, ...]
    """All models, best quality first."""
    configured: frozenset[str]
    """Providers that are configured and enabled."""
    available_count: int
    unproven: tuple[KnownModel, ...] = ()
    """Available models that chat and that auto leaves out, because only a list knows them."""
    retired: tuple[KnownModel, ...] = ()
    """Available models that chat and that auto leaves out, because their day has come."""
    audio: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """What every provider that was heard of has of OpenAI's audio."""
    prices: Mapping[tuple[str, str], PriceView] = dataclasses.field(default_factory=dict)
    """As budget told them."""
    regions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Where providers stand, as far as that is known."""

    def holds(self, model: str, provider: str) -> bool:
        """Whether the model is known and stands at that provider."""
        known = self.by_id.get(model)
        return known is not None and any(one.provider == provider for one in known.entry.endpoints)

    def holdings(self) -> set[tuple[str, str]]:
        """Every model at every provider where it stands."""
        return {(model.id, one.provider) for model in self.by_id.values() for one in model.entry.endpoints}


def price_of(buckets: Mapping[str, int]) -> PriceView:
    """Input and output prices from buckets. No bucket at all = free; a price per request only = no price per token."""
    if not buckets or ("request" in buckets and not {"input", "output", *OTHER_MEASURES} & set(buckets)):
        return PriceView(0, 0)
    return PriceView(buckets.get("input"), buckets.get("output"))


def build_view(
    entries: Iterable[ModelEntry],
    providers: Mapping[str, ProviderView],
    prices: Mapping[tuple[str, str], PriceView],
    *,
    lists: Mapping[str, Sequence[ListedView]] | None = None,
    discovered_quality: float = 0.1,
    discovered_context_tokens: int = 8192,
    auto_unprobed: bool = False,
    regions: Mapping[str, str] | None = None,
    facts: Mapping[str, Facts] | None = None,
    today: dt.date | None = None,
) -> CatalogView:
    """Joins what files, lists, budget and public sources (`facts`, by DAC id) say. `prices` are keyed by (provider,
    DAC id or upstream name) and win over the entries'. `today`: the day (UTC) by which models are retired; None = none
    is."""
    known = list(entries)
    said = Lists({name: provider.upstream_models for name, provider in providers.items()}, lists)
    enabled = {name: provider.model_class for name, provider in providers.items() if provider.enabled}
    known += entries_of(enabled, said, known, quality=discovered_quality, context_tokens=discovered_context_tokens)
    facts = facts or {}
    models = {entry.model: _known(entry, providers, prices, said, facts.get(entry.model)) for entry in known}
    usable = [model for model in models.values() if model.available]
    chatting = [model for model in usable if model.chats]
    retired: list[KnownModel] = []
    if today is not None:
        retired = [model for model in chatting if model.retires_by(today)]
        chatting = [model for model in chatting if not model.retires_by(today)]
    unproven = [] if auto_unprobed else [model for model in chatting if model.unproven]
    if unproven:
        chatting = [model for model in chatting if not model.unproven]
    return CatalogView(
        by_id=models,
        by_upstream=_by_upstream(models.values()),
        by_alias={alias: model for model in models.values() for alias in model.entry.aliases},
        ranked={
            profile: tuple(sorted(chatting, key=lambda model: (-model.totals[profile], model.id)))
            for profile in PROFILES
        },
        by_quality=tuple(sorted(models.values(), key=lambda model: (-model.entry.quality, model.id))),
        configured=frozenset(name for name, provider in providers.items() if provider.enabled),
        available_count=len(usable),
        unproven=tuple(sorted(unproven, key=lambda model: model.id)),
        retired=tuple(retired),
        audio={name: one.audio for name, one in providers.items() if one.audio is not None},
        prices=prices,
        regions=regions or {},
    )


def _by_upstream(models: Iterable[KnownModel]) -> dict[str, tuple[KnownModel, ...]]:
    """Models by what their providers call them. Where a file or the catalog has the name, lists do not compete."""
    found: dict[str, list[KnownModel]] = {}
    described: set[str] = set()
    for model in models:
        whole = {one.name for one in model.entry.endpoints}
        for name in whole | {name.rsplit("/", 1)[-1] for name in whole}:
            # Described models come first.
            if model.entry.source != LISTED:
                described.add(name)
            elif name in described:
                continue
            found.setdefault(name, []).append(model)
    return {name: tuple(rows) for name, rows in found.items()}


def _known(
    entry: ModelEntry,
    providers: Mapping[str, ProviderView],
    prices: Mapping[tuple[str, str], PriceView],
    lists: Lists,
    facts: Facts | None,
) -> KnownModel:
    endpoints = sorted(entry.endpoints, key=lambda one: one.priority)
    problems = [
        _problem(one, providers.get(one.provider)) or lists.problem(one.provider, one.name, entry.source)
        for one in endpoints
    ]
    usable = [one for one, problem in zip(endpoints, problems, strict=True) if not problem]
    standing = tuple(usable or endpoints)
    first = standing[0]
    listed = lists.find(first.provider, first.name)
    entry = filled_from(filled(entry, listed), facts)
    price = _price_at(first, entry, prices)
    scores = _scores(entry, price)
    views = [providers[one.provider] for one in standing if one.provider in providers]
    return KnownModel(
        entry=entry,
        price=price,
        scores=scores,
        totals={profile: scores.under(weights) for profile, weights in PROFILES.items()},
        available=bool(usable),
        unavailable_because="" if usable else "; ".join(problems),
        demo=entry.model_class == "demo" or (bool(views) and all(view.model_class == "demo" for view in views)),
        deployments=standing,
        places=tuple(dict.fromkeys(one.provider for one in standing)),
        listed=listed,
        facts=facts,
    )


def _price_at(place: DeploymentEntry, entry: ModelEntry, prices: Mapping[tuple[str, str], PriceView]) -> PriceView:
    price = prices.get((place.provider, entry.model)) or prices.get((place.provider, place.name))
    if price is None:
        price = UNKNOWN_PRICE if place.price is None else price_of(place.price.nano_usd_per_mtok)
    return price


def _scores(entry: ModelEntry, price: PriceView) -> Scores:
    return score(
        quality=entry.quality,
        speed_tokens_per_s=entry.speed_tokens_per_s,
        first_token_ms=entry.first_token_ms,
        context_tokens=entry.context_tokens,
        input_nano_usd_per_mtok=price.input_nano_usd_per_mtok,
        output_nano_usd_per_mtok=price.output_nano_usd_per_mtok,
    )


def narrowed(view: CatalogView, model: KnownModel, left: Sequence[DeploymentEntry]) -> KnownModel:
    """The model at some of its places alone, at what it costs there."""
    if len(left) == len(model.deployments):
        return model
    price = _price_at(left[0], model.entry, view.prices)
    scores = _scores(model.entry, price)
    return dataclasses.replace(
        model,
        price=price,
        scores=scores,
        totals={profile: scores.under(weights) for profile, weights in PROFILES.items()},
        deployments=tuple(left),
        places=tuple(dict.fromkeys(one.provider for one in left)),
    )


def _problem(place: DeploymentEntry, provider: ProviderView | None) -> str:
    """Why a model cannot be asked there; empty when it can."""
    if provider is None:
        return f"provider {place.provider} is not configured"
    return "" if provider.enabled else f"provider {place.provider} is disabled"
