"""From choices to figures: regret, the last quarter, how soon a model is adopted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WINDOW = 50
"""Decisions in which a majority counts."""
QUARTERS = (10, 25, 50, 100)
CURVE_POINTS = 60


def orders_of(rounds: int, seeds: int) -> Ints:
    """The order of the prompts, for each seed."""
    return np.array([np.random.default_rng(seed).permutation(rounds) for seed in range(seeds)])


def regret(rewards: Floats, orders: Ints, chosen: Ints) -> dict[str, Any]:
    """Against the best fixed model of the whole set, on the same prompts in the same order; means over the seeds."""
    got = np.take_along_axis(rewards[orders], chosen[:, :, None], axis=2)[:, :, 0]
    best = rewards[orders, int(rewards.mean(axis=0).argmax())]
    behind = (best - got).cumsum(axis=1).mean(axis=0)
    rounds = orders.shape[1]
    last = slice(rounds - rounds // 4, rounds)
    gain = (got[:, last] - best[:, last]).mean(axis=1)
    return {
        "mean": round(float(got.mean()), 4),
        "regret": {str(share): round(float(behind[rounds * share // 100 - 1]), 1) for share in QUARTERS},
        "curve": [
            (step, round(float(behind[step - 1]), 1))
            for step in np.linspace(1, rounds, CURVE_POINTS, dtype=int).tolist()
        ],
        "last_quarter": round(float(got[:, last].mean()), 4),
        "last_quarter_gain": round(float(gain.mean()), 4),
        "last_quarter_gain_ci95": round(float(1.96 * gain.std(ddof=1) / np.sqrt(len(gain))), 4) if len(gain) > 1 else 0,
    }


def adoption(chosen: Ints, arm: int, since: int) -> dict[str, Any]:
    """Decisions after `since` until the model has the majority of the last `WINDOW`, over the seeds."""
    rounds = []
    for row in chosen[:, since:] == arm:
        total = np.concatenate(([0], row.cumsum()))
        ahead = np.maximum(np.arange(len(row) + 1) - WINDOW, 0)
        held = np.flatnonzero(total - total[ahead] > WINDOW / 2)
        rounds.append(int(held[0]) if held.size else len(row))
    return {
        "mean": round(float(np.mean(rounds)), 1),
        "median": float(np.median(rounds)),
        "p90": float(np.quantile(rounds, 0.9)),
        "slowest": max(rounds),
    }
