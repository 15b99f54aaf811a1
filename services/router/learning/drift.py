"""Notices that a model is no longer what it was: its newest outcomes against all that is remembered of it.

Fading alone would have to be quick to follow a change and slow to learn well. Here memory fades slowly, and when a
model's newest outcomes differ from its record by more than chance would have it, the intent's clock is put forward:
what was known of all its models then counts little, and they are tried anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.router.learning.learning import Key, LearningRules, Observation, Sums

WINDOW = 50
"""How many of a model's outcomes the newest are, about."""
FEWEST = 10.0
"""With fewer of them nothing is said."""
RECORD = 30.0
"""How much must be remembered to speak of a change."""
SURPRISE = 3.5
"""How many standard errors apart the two must be."""
KEPT = 5.0
"""How many outcomes the changed model's record is worth afterwards."""
LEAST_VARIANCE = 0.02
"""Of one outcome; a record without a single failure must not make the first one a change."""


@dataclass(slots=True)
class _Newest:
    outcomes: float = 0.0
    surplus: float = 0.0


class ChangeWatch:
    """The newest outcomes of every model under every intent, in memory: after a restart it looks anew."""

    def __init__(self, rules: LearningRules) -> None:
        self._rules = rules
        self._newest: dict[Key, _Newest] = {}

    def see(self, one: Observation, record: Sums) -> float:
        """Takes an outcome; returns by how much the intent's clock goes forward, 0 when nothing has changed.

        `record`: what was known of the model before it.
        """
        if self._rules.discount >= 1:
            return 0.0
        newest = self._newest.setdefault(one.key, _Newest())
        newest.outcomes = newest.outcomes * (1 - 1 / WINDOW) + 1
        newest.surplus = newest.surplus * (1 - 1 / WINDOW) + one.quality - one.expected
        if newest.outcomes < FEWEST or record.outcomes < RECORD:
            return 0.0
        mean = record.quality / record.outcomes
        variance = max(mean * (1 - mean), LEAST_VARIANCE)
        apart = newest.surplus / newest.outcomes - (record.quality - record.expected) / record.outcomes
        if abs(apart) <= SURPRISE * math.sqrt(variance * (1 / newest.outcomes + 1 / record.outcomes)):
            return 0.0
        for key in [key for key in self._newest if key[:2] == one.key[:2]]:
            del self._newest[key]
        return math.log(KEPT / record.outcomes) / math.log(self._rules.discount)
