"""What ours is set beside: random, epsilon-greedy, UCB1 and Beta-Thompson, each replayed for all seeds at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pick = Callable[[int, Floats, Floats, np.random.Generator], Ints]
"""Round, pulls and summed rewards (seeds × models) → a model for each seed."""


def pick_random(_: int, pulls: Floats, gained: Floats, random: np.random.Generator) -> Ints:
    """Any."""
    return random.integers(pulls.shape[1], size=len(pulls))


def pick_greedy(epsilon: float) -> Pick:
    """The best mean, and any for a share `epsilon`."""

    def pick(_: int, pulls: Floats, gained: Floats, random: np.random.Generator) -> Ints:
        means = (gained + 1) / (pulls + 2)
        best: Ints = (means + 1e-9 * random.random(means.shape)).argmax(axis=1)
        anyone = random.integers(pulls.shape[1], size=len(pulls))
        return np.where(random.random(len(pulls)) < epsilon, anyone, best)

    return pick


def pick_ucb1(round_: int, pulls: Floats, gained: Floats, random: np.random.Generator) -> Ints:
    """Each once, then the highest upper bound."""
    bounds = gained / np.maximum(pulls, 1) + np.sqrt(2 * np.log(round_ + 1) / np.maximum(pulls, 1))
    chosen: Ints = np.where(pulls == 0, np.inf, bounds).argmax(axis=1)
    return chosen


def pick_thompson(priors: Floats | None = None, strength: float = 2.0) -> Pick:
    """The highest of one draw each from Beta posteriors; without priors Beta(1, 1)."""

    def pick(_: int, pulls: Floats, gained: Floats, random: np.random.Generator) -> Ints:
        prior = strength * (0.5 if priors is None else priors)
        lost = strength - prior + pulls - gained
        chosen: Ints = random.beta(prior + gained, np.maximum(lost, 1e-6)).argmax(axis=1)
        return chosen

    return pick


def replay(rewards: Floats, orders: Ints, pick: Pick, seed: int = 0) -> Ints:
    """The choices, seeds × rounds."""
    random = np.random.default_rng(seed)
    seeds, rounds = orders.shape
    every = np.arange(seeds)
    pulls, gained = np.zeros((seeds, rewards.shape[1])), np.zeros((seeds, rewards.shape[1]))
    chosen = np.zeros((seeds, rounds), dtype=np.int64)
    for round_ in range(rounds):
        arms = chosen[:, round_] = pick(round_, pulls, gained, random)
        pulls[every, arms] += 1
        gained[every, arms] += rewards[orders[:, round_], arms]
    return chosen
