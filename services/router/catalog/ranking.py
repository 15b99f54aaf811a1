"""Models in order of merit under a profile and for an intent, and models side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mesh.errors import invalid
from services.router import errors
from services.router.catalog.catalog import CatalogView, KnownModel
from services.router.catalog.listing import ModelFilter, Unhealthy, is_available
from services.router.catalog.ordering import blended
from services.router.deciding.scoring import PROFILES, Scores
from services.router.policies.policy import find_named
from services.router.sources.facts import INTENTS

FEWEST_COMPARED = 2
MOST_COMPARED = 10


@dataclass(frozen=True)
class Ranked:
    """A model with what it is worth."""

    model: KnownModel
    scores: Scores
    score: float


def ranked(view: CatalogView, profile: str, intent: str, wanted: ModelFilter, unhealthy: Unhealthy) -> list[Ranked]:
    """The models that chat, best first. Demo models stand behind all others. Raises INVALID_REQUEST."""
    weights = PROFILES.get(profile)
    if weights is None:
        raise errors.unknown_profile(profile, PROFILES)
    if intent and intent not in INTENTS:
        raise invalid("intent", f'There is no intent "{intent[:60]}": use one of {", ".join(INTENTS)}.')
    left_out = {model.id for model in (*view.unproven, *view.retired)}
    made = []
    for model in view.by_quality:
        if not model.chats or model.id in left_out:
            continue
        if wanted.takes(model, available=is_available(model, unhealthy)):
            scores = scores_for(model, intent)
            made.append(Ranked(model, scores, scores.under(weights)))
    return sorted(made, key=lambda one: (one.model.demo, -one.score, one.model.id))


def scores_for(model: KnownModel, intent: str) -> Scores:
    """The sides of a model for an intent; "" = overall."""
    return dataclasses.replace(model.scores, quality=model.quality_for(intent)) if intent else model.scores


def quality_by_intent(model: KnownModel) -> dict[str, float]:
    """Intent → quality, 0–1."""
    return {intent: round(model.quality_for(intent), 4) for intent in INTENTS}


def named(view: CatalogView, names: Iterable[str]) -> list[KnownModel]:
    """The models to compare, each once. Raises INVALID_REQUEST or MODEL_NOT_FOUND."""
    asked = [one.strip() for name in names for one in name.split(",") if one.strip()]
    if len(asked) > MOST_COMPARED:
        raise invalid("model_ids", f"model_ids: at most {MOST_COMPARED} models can be compared, not {len(asked)}")
    models = list({model.id: model for model in (find_named(view, name)[0] for name in asked)}.values())
    if len(models) < FEWEST_COMPARED:
        raise invalid(
            "model_ids",
            "model_ids: name at least two different models, e.g. ?model_ids=openai/gpt-4o,anthropic/claude-sonnet-4-5",
        )
    return models


def best_at(models: Sequence[KnownModel]) -> dict[str, str]:
    """Measure → the one model that is best at it."""
    measures: dict[str, Callable[[KnownModel], float | None]] = {
        "quality": lambda model: model.entry.quality,
        "price": lambda model: None if (price := blended(model)) is None else -price,
        "context": lambda model: model.entry.context_tokens,
        "speed": lambda model: model.entry.speed_tokens_per_s or None,
        "first_token": lambda model: -model.entry.first_token_ms or None,
    }
    for profile in PROFILES:
        measures[f"profile:{profile}"] = lambda model, profile=profile: model.totals[profile]  # type: ignore[misc]
    for intent in INTENTS:
        measures[f"intent:{intent}"] = lambda model, intent=intent: model.quality_for(intent)  # type: ignore[misc]
    found = {}
    for measure, of in measures.items():
        values = sorted(((value, model.id) for model in models if (value := of(model)) is not None), reverse=True)
        if values and (len(values) == 1 or values[0][0] > values[1][0]):
            found[measure] = values[0][1]
    return found
