"""What a model is worth under a profile: scores from 0 to 1 against fixed references.

A score never looks at the other candidates, so adding a model to the house changes no other model's score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

CHEAPEST_USD_PER_MTOK = 0.05
"""Blended price that scores 1; cheaper scores 1 too."""
DEAREST_USD_PER_MTOK = 60.0
"""Blended price that scores 0, and what an unknown price counts as."""
INPUT_SHARE = 0.75
"""Weight of the input price in the blend: 3 input tokens to 1 output token."""
FASTEST_ANSWER_S = 0.5
"""Expected time for a whole answer that scores 1."""
SLOWEST_ANSWER_S = 30.0
"""Expected time that scores 0."""
ANSWER_TOKENS = 300
"""Length of the answer that the latency score imagines."""
UNKNOWN_LATENCY_SCORE = 0.5
"""What a model of unknown speed scores."""
SMALLEST_CONTEXT_TOKENS = 8_000
"""Context window that scores 0."""
LARGEST_CONTEXT_TOKENS = 1_000_000
"""Context window that scores 1."""
TYPICAL_FIRST_TOKEN_MS = 1_000.0
"""Assumed when only the speed is known."""
NANO_USD = 1_000_000_000


@dataclass(frozen=True)
class Weights:
    """How much each side of a model counts; they sum to 1."""

    quality: float
    latency: float
    cost: float
    context: float = 0.0


PROFILES: Mapping[str, Weights] = {
    "quality": Weights(0.8, 0.1, 0.1),
    "balanced": Weights(0.4, 0.3, 0.3),
    "speed": Weights(0.1, 0.7, 0.2),
    "budget": Weights(0.1, 0.1, 0.8),
    "long_context": Weights(0.3, 0.2, 0.2, 0.3),
    "local-preferred": Weights(0.25, 0.15, 0.6),
    "performance": Weights(0.6, 0.35, 0.05),
}
"""The profiles."""
FREE_FIRST = frozenset({"local-preferred"})
"""Profiles that take what costs nothing before what costs something."""
DIFFICULTY = 1.5
"""How far, in log-odds, the easiest and the hardest prompt stand from one of middle difficulty."""
SURE = 0.01
"""No quality is taken as nearer to 0 or 1 than this."""
LONG_TOKENS = 16_000
"""Prompts above this count as long: the size of the window weighs, whatever the profile."""
LONGEST_TOKENS = 128_000
"""Prompts from here on count as long altogether."""
LONG_TURNS = 20
"""Conversations of so many turns count as long, too."""
LONG_SHARE = 0.3
"""What the window weighs for the longest ones."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The four sides of a model, each 0–1."""

    quality: float
    latency: float
    cost: float
    context: float

    def under(self, weights: Weights) -> float:
        """The weighted sum, 0–1."""
        return (
            weights.quality * self.quality
            + weights.latency * self.latency
            + weights.cost * self.cost
            + weights.context * self.context
        )


def log_odds(quality: float) -> float:
    """A quality as log-odds: the scale on which a prompt's difficulty is taken off a model's ability."""
    sure = min(1 - SURE, max(SURE, quality))
    return math.log(sure / (1 - sure))


def ease(complexity: float) -> float:
    """What a prompt of that complexity (0–1) adds to a model's ability: more for simple ones, less for complex ones.

    On a simple prompt all models do well and differ little, so that their price decides; on a complex one they differ
    much. At 0.5 the quality is that of the catalog.
    """
    return DIFFICULTY * (1 - 2 * min(1.0, max(0.0, complexity)))


def length_share(input_tokens: int, turns: int) -> float:
    """What the window must weigh for a request of that length, 0 to LONG_SHARE."""
    by_size = log_scale(input_tokens, LONG_TOKENS, LONGEST_TOKENS)
    by_turns = log_scale(turns, LONG_TURNS / 2, LONG_TURNS * 2)
    return LONG_SHARE * max(by_size, by_turns)


def for_length(weights: Weights, share: float) -> Weights:
    """The weights with at least that share for the window, the others scaled down."""
    if share <= weights.context:
        return weights
    rest = (1 - share) / (1 - weights.context)
    return Weights(weights.quality * rest, weights.latency * rest, weights.cost * rest, share)


def log_scale(value: float, zero: float, one: float) -> float:
    """0 at `zero`, 1 at `one`, logarithmic between them and clamped outside."""
    if value <= 0:
        return 1.0 if one < zero else 0.0
    return min(1.0, max(0.0, math.log(value / zero) / math.log(one / zero)))


def cost_score(input_nano_usd_per_mtok: int | None, output_nano_usd_per_mtok: int | None) -> float:
    """1 = free or cheapest. A price that is unknown counts as the dearest."""
    if input_nano_usd_per_mtok is None or output_nano_usd_per_mtok is None:
        return 0.0
    blended = (INPUT_SHARE * input_nano_usd_per_mtok + (1 - INPUT_SHARE) * output_nano_usd_per_mtok) / NANO_USD
    return log_scale(blended, DEAREST_USD_PER_MTOK, CHEAPEST_USD_PER_MTOK)


def latency_score(speed_tokens_per_s: float, first_token_ms: float) -> float:
    """1 = a whole answer in half a second. A speed that is unknown counts as the middle."""
    if speed_tokens_per_s <= 0:
        return UNKNOWN_LATENCY_SCORE
    expected_s = (first_token_ms or TYPICAL_FIRST_TOKEN_MS) / 1000 + ANSWER_TOKENS / speed_tokens_per_s
    return log_scale(expected_s, SLOWEST_ANSWER_S, FASTEST_ANSWER_S)


def context_score(context_tokens: int) -> float:
    """1 = a window of a million tokens."""
    return log_scale(context_tokens, SMALLEST_CONTEXT_TOKENS, LARGEST_CONTEXT_TOKENS)


def score(
    *,
    quality: float,
    speed_tokens_per_s: float,
    first_token_ms: float,
    context_tokens: int,
    input_nano_usd_per_mtok: int | None,
    output_nano_usd_per_mtok: int | None,
) -> Scores:
    """All four sides of one model."""
    return Scores(
        quality=min(1.0, max(0.0, quality)),
        latency=latency_score(speed_tokens_per_s, first_token_ms),
        cost=cost_score(input_nano_usd_per_mtok, output_nano_usd_per_mtok),
        context=context_score(context_tokens),
    )
