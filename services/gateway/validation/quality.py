"""One figure of an answer's quality: the product of parts, each from 0 to 1.

quality = content · finish · refusal · repetition · language · length · relevance · format · code · arithmetic · support
· toxicity. A part that was not checked is left out: it is no evidence, and no other part weighs more for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from services.gateway.validation import toxicity

RELEVANT = 0.3
"""From this cosine between question and answer on, an answer is about its question."""
IRRELEVANT_PART = 0.5
"""What remains at a cosine of nothing."""
QUESTION_WORDS_MIN = 3
"""A shorter question says too little to be compared."""


def quality(parts: Mapping[str, float]) -> float:
    """The product."""
    return max(0.0, min(1.0, math.prod(parts.values())))


def relevance(question: Sequence[float], answers: Sequence[Sequence[float]]) -> float:
    """The part for a question and the windows of its answer, by the nearest of them."""
    nearest = max(sum(one * other for one, other in zip(question, row, strict=True)) for row in answers)
    return min(1.0, IRRELEVANT_PART + (1 - IRRELEVANT_PART) * max(0.0, nearest) / RELEVANT)


def harmless(score: float) -> float:
    """The part for a score of toxicity."""
    return 1.0 if score < toxicity.FLAG else 1.0 - score
