"""Finding models by words: each must be found in a name, a provider or a capability, and the best fit is first."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from rapidfuzz import fuzz

from mesh.errors import invalid
from services.router.catalog.catalog import KnownModel

MAX_QUERY_CHARS = 200
MAX_WORDS = 10
FIELDS = {"name": 1.0, "provider": 0.8, "capability": 0.7}
"""Where words are looked for, and what a find there is worth."""
BEGINS = 0.8
"""What a word is worth that only begins like the query's."""
NEAR = 80.0
"""How alike (0–100) a misspelt word must be."""
SHORTEST_MISSPELT = 4
"""Letters below which a word is not thought to be misspelt."""
_WORD = re.compile(r"[a-z]+|\d+[a-z]*")


@dataclass(frozen=True)
class Found:
    """A model that fits."""

    model: KnownModel
    score: float
    """0–1."""
    matched: tuple[str, ...]
    """Of FIELDS."""


@functools.lru_cache(maxsize=16384)
def words_of(text: str) -> tuple[str, ...]:
    """Letters and numbers apart, lower case: "Qwen3-8B" is qwen, 3, 8b."""
    return tuple(_WORD.findall(text.lower()))


def search(models: Iterable[KnownModel], query: str) -> list[Found]:
    """The models that fit the query, best first. Raises INVALID_REQUEST for a query without a word."""
    wanted = words_of(query[:MAX_QUERY_CHARS])[:MAX_WORDS]
    if not wanted:
        raise invalid("q", 'q must hold a word to look for, e.g. "claude" or "llama 70b tools"')
    found = [one for model in models if (one := _fit(model, wanted)) is not None]
    return sorted(found, key=lambda one: (-one.score, not one.model.available, -one.model.entry.quality, one.model.id))


def _fit(model: KnownModel, wanted: tuple[str, ...]) -> Found | None:
    entry = model.entry
    names = [entry.model, *entry.aliases, *(one.name for one in model.deployments)]
    fields = {
        "name": {word for name in names for word in words_of(name)},
        "provider": {word for place in model.places for word in words_of(place)},
        "capability": {word for one in entry.capabilities for word in words_of(one)},
    }
    total, matched = 0.0, []
    for word in wanted:
        worth, field = max((_worth(word, words) * FIELDS[name], name) for name, words in fields.items())
        if not worth:
            return None
        total += worth
        matched.append(field)
    # What was typed whole stands before what only holds the same words.
    whole = any(words_of(name) == wanted or words_of(name.rsplit("/", 1)[-1]) == wanted for name in names)
    score = (total / len(wanted) + whole) / 2
    return Found(model, round(score, 4), tuple(dict.fromkeys(matched)))


def _worth(word: str, words: set[str]) -> float:
    if word in words:
        return 1.0
    if any(one.startswith(word) for one in words):
        return BEGINS
    if len(word) < SHORTEST_MISSPELT or word[0].isdigit():
        return 0.0
    best = max((fuzz.ratio(word, one) for one in words), default=0.0)
    return best / 100 * BEGINS if best >= NEAR else 0.0
