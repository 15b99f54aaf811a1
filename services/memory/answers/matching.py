"""When two questions may share an answer: alike enough, and nothing tells them apart.

Two ways lead to a hit. Word for word: every word of one has its partner in the other (the same word, a synonym, a slip
of the pen), and no guard fires; then similarity only has to agree. By meaning, in the balanced mode: no guard fires,
nothing narrows the question, and similarity is high.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.memory.answers.guards import between
from services.memory.answers.likeness import is_narrowed, rest
from services.memory.answers.questions import taken_apart
from services.memory.answers.vocabulary import known_words

WORDING = "wording"
"""The guard's name when words are left over that have no partner."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Cosines of one embedder; those of different embedders say nothing about each other."""

    mended: float
    """When every word has its partner, some of them mistyped."""
    alike: float
    """When every word has its partner as it stands."""
    meaning: float
    """When words are left over, in the balanced mode."""


BY_EMBEDDER = (
    ("minilm-l6-int8:", Thresholds(0.50, 0.70, 0.84)),
    ("hashed-ngrams:", Thresholds(0.50, 0.60, 0.92)),
)
UNKNOWN_EMBEDDER = Thresholds(0.80, 0.80, 0.95)


def thresholds_of(embedder_id: str) -> Thresholds:
    """What an embedder's similarities must reach; strict for one that nobody has measured."""
    return next((found for prefix, found in BY_EMBEDDER if embedder_id.startswith(prefix)), UNKNOWN_EMBEDDER)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer may be shared."""

    serves: bool
    guard: str = ""
    """What holds a question back that is alike enough."""


NOT_ALIKE = Verdict(False)
SERVES = Verdict(True)


def judge(asked: str, stored: str, similarity: float, thresholds: Thresholds, *, balanced: bool) -> Verdict:
    """Whether the answer to `stored` answers `asked`."""
    if similarity < thresholds.mended:
        return NOT_ALIKE
    a, b = taken_apart(asked), taken_apart(stored)
    guard = between(a, b)
    if guard is not None:
        return Verdict(False, guard) if similarity >= thresholds.alike else NOT_ALIKE
    left_over = rest(a, b, known_words())
    if left_over.is_nothing and similarity >= (thresholds.mended if left_over.mended else thresholds.alike):
        return SERVES
    if similarity < thresholds.meaning:
        return NOT_ALIKE
    return SERVES if balanced and not is_narrowed(a, b, left_over) else Verdict(False, WORDING)
