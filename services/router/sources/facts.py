"""What all sources together say of one model, and how good that makes it for an intent, from 0 to 1.

Every figure becomes a quality by a fixed scale of its own (`SCALES`), so that a model's quality never depends on which
other models are known. The scales were laid so that they agree with each other on the models of the shipped catalog.
An intent weighs the figures that speak of it (`WEIGHTS`), and is drawn to the overall figure the more, the less is
known of it (`PRIOR_WEIGHT`). A rating with a wide interval weighs less.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping
from typing import Any

from mesh.catalog import ModelEntry
from services.router.sources import Elo

INTENTS = ("coding_help", "reasoning_math", "editing_writing", "qa_retrieval", "social_chat")
"""The intents that a quality is known for; anything else gets the overall one."""
SURE_ELO_POINTS = 25.0
"""A half-width of this many points halves the weight of a rating."""
PRIOR_WEIGHT = 1.0
"""The weight of the overall figure within that of an intent."""

Scale = tuple[tuple[float, float], ...]
ELO_SCALE: Scale = ((1000.0, 0.02), (1100.0, 0.2), (1200.0, 0.38), (1300.0, 0.56), (1400.0, 0.75), (1500.0, 0.95))
"""Ratings to quality; beyond the ends it goes on flat."""
SCALES: Mapping[str, Scale] = {
    "gpqa": ((0.25, 0.1), (0.42, 0.45), (0.6, 0.62), (0.8, 0.78), (0.94, 0.96)),
    "mmlu_pro": ((0.1, 0.03), (0.4, 0.3), (0.65, 0.46), (0.75, 0.58), (0.83, 0.74), (0.92, 0.97)),
    "livecodebench": ((0.0, 0.1), (0.23, 0.46), (0.46, 0.62), (0.7, 0.74), (0.9, 0.93)),
    "scicode": ((0.0, 0.2), (0.2, 0.5), (0.4, 0.74), (0.61, 0.97)),
    "swe_bench_pro": ((0.1, 0.6), (0.55, 0.9), (0.8, 0.97)),
    "aime_2024": ((0.0, 0.35), (0.12, 0.48), (0.5, 0.65), (0.85, 0.77), (1.0, 0.9)),
    "aime_2025": ((0.0, 0.4), (0.15, 0.5), (0.5, 0.66), (0.85, 0.79), (1.0, 0.92)),
    "hle": ((0.0, 0.4), (0.05, 0.6), (0.2, 0.76), (0.4, 0.9), (0.56, 0.98)),
    "ifbench": ((0.2, 0.4), (0.4, 0.65), (0.6, 0.77), (0.78, 0.88)),
    "legalbench": ((0.4, 0.3), (0.65, 0.6), (0.8, 0.77), (0.89, 0.93)),
    "tau2": ((0.1, 0.5), (0.3, 0.62), (0.8, 0.84), (1.0, 0.95)),
    "open_llm_ifeval": ((0.15, 0.02), (0.3, 0.08), (0.6, 0.36), (0.9, 0.54)),
    "open_llm_bbh": ((0.29, 0.03), (0.48, 0.36), (0.7, 0.54)),
    "open_llm_math": ((0.0, 0.08), (0.2, 0.38), (0.5, 0.53), (0.65, 0.6)),
    "open_llm_gpqa": ((0.24, 0.05), (0.29, 0.32), (0.36, 0.55)),
    "open_llm_mmlu_pro": ((0.11, 0.03), (0.33, 0.36), (0.53, 0.52), (0.6, 0.58)),
}
"""Benchmark → points of (figure, quality), straight lines between them."""
WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "": {
        **{"elo:overall": 2, "elo:hard": 1, "mmlu_pro": 1.5, "gpqa": 1.5, "livecodebench": 1, "scicode": 0.5},
        **{"ifbench": 0.5, "legalbench": 0.5, "hle": 0.5, "tau2": 0.5},
        **{"open_llm_ifeval": 1, "open_llm_bbh": 1, "open_llm_mmlu_pro": 1, "open_llm_math": 0.5, "open_llm_gpqa": 0.5},
    },
    "coding_help": {"elo:coding": 2, "livecodebench": 1.5, "scicode": 1, "swe_bench_pro": 1, "elo:hard": 0.5},
    "reasoning_math": {
        **{"elo:math": 1.5, "aime_2025": 1.5, "aime_2024": 0.5, "gpqa": 1, "hle": 0.5, "elo:hard": 0.5},
        **{"open_llm_math": 1.5, "open_llm_bbh": 0.5, "open_llm_gpqa": 0.5},
    },
    "editing_writing": {
        **{"elo:creative_writing": 2, "elo:instruction_following": 1, "ifbench": 1, "open_llm_ifeval": 1.5},
    },
    "qa_retrieval": {
        **{"elo:overall": 1, "mmlu_pro": 1.5, "gpqa": 1, "legalbench": 1, "hle": 0.5, "tau2": 0.5},
        **{"open_llm_mmlu_pro": 1.5, "open_llm_bbh": 0.5},
    },
    "social_chat": {"elo:overall": 1.5, "elo:multi_turn": 1.5, "elo:creative_writing": 0.5, "open_llm_ifeval": 1},
}
"""Intent ("" = overall) → figure → weight. `elo:` before a category of ratings."""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """One record that was joined to a model, and why it is thought to be the same model."""

    source: str
    id: str
    why: str
    seen_at_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What sources say of one model; empty, 0 and None = none of them says it."""

    context_tokens: int = 0
    max_output_tokens: int = 0
    capabilities: tuple[str, ...] | None = None
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    licence: str = ""
    open_weights: bool | None = None
    parameters: int = 0
    quantization: str = ""
    hugging_face_id: str = ""
    speed_tokens_per_s: float = 0.0
    first_token_ms: float = 0.0
    nano_usd_per_mtok: Mapping[str, int] | None = None
    """What was published where this model is served; what is charged stands in budget's price book."""
    elo: Mapping[str, Elo] = dataclasses.field(default_factory=dict)
    benchmarks: Mapping[str, float] = dataclasses.field(default_factory=dict)
    quality: float | None = None
    """0–1 overall; None = no source measured it."""
    quality_by_intent: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """One for each of INTENTS, or none at all."""
    said: tuple[Said, ...] = ()

    def quality_for(self, intent: str) -> float | None:
        """0–1 for an intent; the overall one for an intent that is not known; None = no source measured it."""
        return self.quality_by_intent.get(intent, self.quality)

    def lean(self, intent: str) -> float:
        """How much better (or worse) than overall it is for an intent: to be added to a quality from elsewhere."""
        found = self.quality_by_intent.get(intent)
        return 0.0 if found is None or self.quality is None else found - self.quality

    @property
    def seen_at_s(self) -> float:
        """When the oldest of what was joined was said; 0 = nothing was."""
        return min((one.seen_at_s for one in self.said), default=0.0)


FILLING = ("tools", "images", "json", "reasoning")
"""The capabilities that facts may add to a model that somebody described; what it is for, they do not change."""


def filled_from(entry: ModelEntry, facts: Facts | None) -> ModelEntry:
    """The entry with what nobody said (`left_open`, or 0) taken from facts. What somebody said stays."""
    if facts is None:
        return entry
    changes: dict[str, Any] = {}
    for name in ("max_output_tokens", "speed_tokens_per_s", "first_token_ms"):
        if not getattr(entry, name) and getattr(facts, name):
            changes[name] = getattr(facts, name)
    if entry.speed_tokens_per_s and "first_token_ms" in changes:
        # The pair comes from one measurement.
        del changes["first_token_ms"]
    if "context_tokens" in entry.left_open and facts.context_tokens:
        changes["context_tokens"] = facts.context_tokens
    if "quality" in entry.left_open and facts.quality is not None:
        changes["quality"] = round(facts.quality, 4)
    if "capabilities" in entry.left_open and facts.capabilities is not None:
        own = tuple(one for one in entry.capabilities if one not in FILLING)
        changes["capabilities"] = own + tuple(one for one in FILLING if one in facts.capabilities)
    return dataclasses.replace(entry, **changes) if changes else entry


def measured(elo: Mapping[str, Elo], benchmarks: Mapping[str, float]) -> tuple[float | None, dict[str, float]]:
    """(overall quality, quality by intent) from ratings and benchmark figures. Without a figure that counts: none."""
    figures: dict[str, tuple[float, float]] = {}
    for category, rating in elo.items():
        weight = 1 / (1 + (rating.half_width / SURE_ELO_POINTS) ** 2)
        figures[f"elo:{category}"] = (on_scale(rating.rating, ELO_SCALE), weight)
    for name, value in benchmarks.items():
        if name in SCALES:
            figures[name] = (on_scale(value, SCALES[name]), 1.0)
    overall = _mean(figures, WEIGHTS[""])
    if overall is None:
        # Nothing that speaks of the whole: what speaks of parts must do.
        every = {name: max(one.get(name, 0.0) for one in WEIGHTS.values()) for name in figures}
        overall = _mean(figures, every)
    if overall is None:
        return None, {}
    return overall[0], {intent: _drawn(_mean(figures, WEIGHTS[intent]), overall[0]) for intent in INTENTS}


def on_scale(value: float, scale: Scale) -> float:
    """The quality of a figure: straight lines between the scale's points, flat beyond them."""
    at = bisect.bisect_left(scale, (value,))
    if at == 0:
        return scale[0][1]
    if at == len(scale):
        return scale[-1][1]
    (left, low), (right, high) = scale[at - 1], scale[at]
    return low + (high - low) * (value - left) / (right - left)


def _mean(figures: Mapping[str, tuple[float, float]], weights: Mapping[str, float]) -> tuple[float, float] | None:
    """(weighted mean, weight) of the figures that have a weight; None when none has."""
    total = together = 0.0
    for name, weight in weights.items():
        if name in figures and weight:
            quality, sureness = figures[name]
            total += weight * sureness
            together += weight * sureness * quality
    return (together / total, total) if total else None


def _drawn(found: tuple[float, float] | None, overall: float) -> float:
    if found is None:
        return overall
    quality, weight = found
    return (quality * weight + overall * PRIOR_WEIGHT) / (weight + PRIOR_WEIGHT)
