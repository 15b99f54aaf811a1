"""The live catalog: what files say of models, joined with what provider and budget last said.

A `CatalogView` is built when any of the three changes and never changes itself; decisions only read it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from mesh.catalog import DeploymentEntry, ModelEntry
from services.router.scoring import PROFILES, Scores, score

AGGREGATORS = frozenset({"openrouter"})
"""Providers that resell others' models: a bare model name means the native provider first."""
NOT_CHAT_MARKS = (
    "embed",
    "whisper",
    "tts",
    "dall-e",
    "image",
    "moderation",
    "audio",
    "realtime",
    "transcribe",
    "rerank",
    "sora",
    "veo-",
    "imagen",
    "lyria",
    "-live",
    "davinci",
    "babbage",
    "bge-",
    "all-minilm",
)
"""Parts of names of models that do not chat; a provider lists them beside those that do."""
EMBEDDINGS = "embeddings"
"""The capability of models that embed."""
DISCOVERED_CAPABILITIES = ("tools", "json")
"""Assumed of a model that a provider listed and no catalog knows."""


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


@dataclasses.dataclass(frozen=True)
class PriceView:
    """Prices in force, nano-USD per million tokens; None = unknown."""

    input_nano_usd_per_mtok: int | None
    output_nano_usd_per_mtok: int | None


UNKNOWN_PRICE = PriceView(None, None)


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

    @property
    def provider(self) -> str:
        """The first of them."""
        return self.places[0]

    @property
    def id(self) -> str:
        """The DAC id."""
        return self.entry.model

    @property
    def embeds(self) -> bool:
        """Whether it makes embeddings."""
        return EMBEDDINGS in self.entry.capabilities

    @property
    def chats(self) -> bool:
        """Whether it chats: a model whose only capability is embeddings does not."""
        return set(self.entry.capabilities) != {EMBEDDINGS}


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

    def holds(self, model: str, provider: str) -> bool:
        """Whether the model is known and stands at that provider."""
        known = self.by_id.get(model)
        return known is not None and any(one.provider == provider for one in known.entry.endpoints)

    def holdings(self) -> set[tuple[str, str]]:
        """Every model at every provider where it stands."""
        return {(model.id, one.provider) for model in self.by_id.values() for one in model.entry.endpoints}


def price_of(buckets: Mapping[str, int]) -> PriceView:
    """Input and output prices from buckets. No bucket at all = free; a price per request only = no price per token."""
    if not buckets or ("request" in buckets and not {"input", "output"} & set(buckets)):
        return PriceView(0, 0)
    return PriceView(buckets.get("input"), buckets.get("output"))


def is_chat_model(upstream: str) -> bool:
    """Whether a listed name looks like a model that chats."""
    lowered = upstream.lower()
    return not any(mark in lowered for mark in NOT_CHAT_MARKS)


def plain_name(upstream: str) -> str:
    """An upstream name without what providers put around it in lists (`models/…`, `…:latest`)."""
    return upstream.removeprefix("models/").removesuffix(":latest")


def serves(provider: ProviderView, upstream: str) -> bool:
    """Whether the provider's list, if it has one, holds the model; a dated snapshot of it counts."""
    if not provider.upstream_models:
        return True
    wanted = plain_name(upstream)
    return any(name == wanted or name.startswith(wanted + "-20") for name in map(plain_name, provider.upstream_models))


def discovered(
    providers: Iterable[ProviderView], known: Iterable[ModelEntry], *, quality: float, context_tokens: int
) -> list[ModelEntry]:
    """Entries for models that configured providers list and the catalog lacks."""
    names = {(one.provider, plain_name(one.name)) for entry in known for one in entry.endpoints}
    made = []
    for provider in providers:
        for upstream in provider.upstream_models if provider.enabled else ():
            name = upstream.removeprefix("models/")
            if (provider.provider, plain_name(upstream)) in names or not is_chat_model(name):
                continue
            names.add((provider.provider, plain_name(upstream)))
            made.append(
                ModelEntry(
                    model=f"{provider.provider}/{name}",
                    provider=provider.provider,
                    name=name,
                    quality=quality,
                    context_tokens=context_tokens,
                    capabilities=DISCOVERED_CAPABILITIES,
                    model_class=provider.model_class,
                    source="catalog",
                )
            )
    return made


def build_view(
    entries: Iterable[ModelEntry],
    providers: Mapping[str, ProviderView],
    prices: Mapping[tuple[str, str], PriceView],
    *,
    discovered_quality: float = 0.5,
    discovered_context_tokens: int = 8192,
) -> CatalogView:
    """Joins the three sources. `prices` are keyed by (provider, DAC id or upstream name) and win over the entries'."""
    listed = list(entries)
    listed += discovered(
        providers.values(), listed, quality=discovered_quality, context_tokens=discovered_context_tokens
    )
    models = {entry.model: _known(entry, providers, prices) for entry in listed}
    by_upstream: dict[str, list[KnownModel]] = {}
    for model in models.values():
        whole = {one.name for one in model.entry.endpoints}
        for name in whole | {name.rsplit("/", 1)[-1] for name in whole}:
            by_upstream.setdefault(name, []).append(model)
    usable = [model for model in models.values() if model.available]
    chatting = [model for model in usable if model.chats]
    return CatalogView(
        by_id=models,
        by_upstream={name: tuple(found) for name, found in by_upstream.items()},
        by_alias={alias: model for model in models.values() for alias in model.entry.aliases},
        ranked={
            profile: tuple(sorted(chatting, key=lambda model: (-model.totals[profile], model.id)))
            for profile in PROFILES
        },
        by_quality=tuple(sorted(models.values(), key=lambda model: (-model.entry.quality, model.id))),
        configured=frozenset(name for name, provider in providers.items() if provider.enabled),
        available_count=len(usable),
    )


def _known(
    entry: ModelEntry, providers: Mapping[str, ProviderView], prices: Mapping[tuple[str, str], PriceView]
) -> KnownModel:
    endpoints = sorted(entry.endpoints, key=lambda one: one.priority)
    problems = [_problem(one, providers.get(one.provider)) for one in endpoints]
    usable = [one for one, problem in zip(endpoints, problems, strict=True) if not problem]
    standing = tuple(usable or endpoints)
    first = standing[0]
    price = prices.get((first.provider, entry.model)) or prices.get((first.provider, first.name))
    if price is None:
        price = UNKNOWN_PRICE if first.price is None else price_of(first.price.nano_usd_per_mtok)
    scores = score(
        quality=entry.quality,
        speed_tokens_per_s=entry.speed_tokens_per_s,
        first_token_ms=entry.first_token_ms,
        context_tokens=entry.context_tokens,
        input_nano_usd_per_mtok=price.input_nano_usd_per_mtok,
        output_nano_usd_per_mtok=price.output_nano_usd_per_mtok,
    )
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
    )


def _problem(place: DeploymentEntry, provider: ProviderView | None) -> str:
    """Why a model cannot be asked there; empty when it can."""
    if provider is None:
        return f"provider {place.provider} is not configured"
    if not provider.enabled:
        return f"provider {place.provider} is disabled"
    return "" if serves(provider, place.name) else f"provider {place.provider} does not list {place.name}"
