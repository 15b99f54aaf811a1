"""The router's own learning in the replay: the same object that decisions ask in the live service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.bandit.sets import Matrix
from services.router.learning.drift import ChangeWatch
from services.router.learning.learning import Key, Learned, LearningRules, Observation, reward, seed_of

ORG = "org"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Play:
    """How a set is played."""

    priors: Sequence[float]
    rules: LearningRules = field(default_factory=LearningRules)
    explore_share: float = 0.1
    per_intent: bool = True
    watched: bool = True
    arrives: int = -1
    """A model that is there from half-time on only."""
    swapped: tuple[int, int] = (-1, -1)
    """Two models that change places at half-time."""


@dataclass(frozen=True)
class Played:
    """What was chosen, seeds × rounds, and which of it were departures."""

    chosen: Ints
    explored: NDArray[np.bool_]


def replay(matrix: Matrix, orders: Ints, play: Play) -> Played:
    """Plays the set once for each order of its prompts."""
    chosen = np.zeros(orders.shape, dtype=np.int64)
    explored = np.zeros(orders.shape, dtype=np.bool_)
    for row, order in enumerate(orders):
        chosen[row], explored[row] = _once(matrix, order, play, row)
    return Played(chosen, explored)


def _once(matrix: Matrix, order: Ints, play: Play, row: int) -> tuple[Ints, NDArray[np.bool_]]:
    learned, watch = Learned(play.rules), ChangeWatch(play.rules)
    chosen = np.zeros(len(order), dtype=np.int64)
    explored = np.zeros(len(order), dtype=np.bool_)
    half = len(order) // 2
    everyone = list(range(len(matrix.models)))
    early = [arm for arm in everyone if arm != play.arrives]
    places = dict(zip(everyone, everyone, strict=True))
    first, second = play.swapped
    for round_, prompt in enumerate(order):
        if round_ == half and first >= 0:
            places[first], places[second] = second, first
        arms = early if round_ < half else everyone
        intent = matrix.intent_names[matrix.intents[prompt]] if play.per_intent else ""
        found = learned.adjust(
            ORG,
            intent,
            [matrix.models[arm] for arm in arms],
            [play.priors[arm] for arm in arms],
            seed_of(f"{row}:{round_}"),
            play.explore_share,
        )
        arm = arms[int(np.argmax(found.values))]
        chosen[round_], explored[round_] = arm, found.explored
        score = float(matrix.scores[prompt, places[arm]])
        one = Observation(
            Key(ORG, intent, matrix.models[arm]),
            reward(succeeded=True, expected=play.priors[arm], graded=(score,)),
            play.priors[arm],
            float(matrix.cost_usd[prompt, places[arm]]),
            explored=found.explored,
        )
        learned.add([one], watch.see(one, learned.known(one.key)) if play.watched else 0.0)
    return chosen, explored
