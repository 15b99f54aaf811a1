"""The day itself: which requests come, which model each one gets, what that costs and how good the answers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.day.judged import Judged

REQUESTS = 10_000
REPEATS = 0.31
"""The share of requests that somebody asked before, word for word: about 31 % of users' queries repeat (MeanCache,
arXiv 2403.02694)."""
MAX_LOSS = 0.008
"""How much quality the router may give up for cost, on the prompts that it learned the exchange from."""
NEAR = 0.01
"""A choice is near the best when its answer is at most one point worse."""
TRUSTED = 0.5
"""Below this confidence the choice is the best single model."""
EXCHANGES = np.concatenate(([0.0], np.geomspace(0.01, 1e5, 160)))
"""Points of quality that a dollar may cost, as tried."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chosen:
    """Per prompt of a set: what the router takes, and what always-the-best-single does."""

    routed: Ints
    single: Ints


def singles(judged: Judged) -> Ints:
    """Per prompt, the model that does best on the other folds."""
    found = np.zeros(len(judged), np.int64)
    for fold in np.unique(judged.part):
        train = judged.part != fold
        found[judged.part == fold] = int(judged.score[train].mean(axis=0).argmax())
    return found


def choices(judged: Judged, exchange: float, single: Ints) -> Ints:
    """Per prompt, the model with the most expected quality for its price, or the best single one where in doubt."""
    best: Ints = (judged.expected - np.float32(exchange) * judged.price).argmax(axis=1)
    return np.where(judged.confidence >= TRUSTED, best, single)


def routed(sets: list[Judged]) -> list[Chosen]:
    """All choices. The exchange of quality for money is one for all sets, and each fold's is learned on the others."""
    single = [singles(one) for one in sets]
    tried = [[choices(one, exchange, best) for exchange in EXCHANGES] for one, best in zip(sets, single, strict=True)]
    taken = [best.copy() for best in single]
    for fold in range(1 + max(int(one.part.max()) for one in sets)):
        kept = _exchange([one.part != fold for one in sets], sets, single, tried)
        for place, one in enumerate(sets):
            mine = one.part == fold
            if kept is not None:
                taken[place][mine] = tried[place][kept][mine]
    return [Chosen(a, b) for a, b in zip(taken, single, strict=True)]


def _exchange(
    train: list[npt.NDArray[np.bool_]], sets: list[Judged], single: list[Ints], tried: list[list[Ints]]
) -> int | None:
    """The place of the cheapest exchange that loses no more than may be lost; None = all lose more."""
    count = sum(int(mask.sum()) for mask in train)
    floor = sum(_sum(one.score, best, mask) for one, best, mask in zip(sets, single, train, strict=True))
    found, cheapest = None, np.inf
    for place in range(len(EXCHANGES)):
        reached = sum(_sum(one.score, t[place], mask) for one, t, mask in zip(sets, tried, train, strict=True))
        paid = sum(_sum(one.cost, t[place], mask) for one, t, mask in zip(sets, tried, train, strict=True))
        if reached >= floor - MAX_LOSS * count and paid < cheapest:
            found, cheapest = place, paid
    return found


def _sum(values: npt.NDArray[np.float32], chosen: Ints, mask: npt.NDArray[np.bool_]) -> float:
    return float(values[np.arange(len(chosen)), chosen][mask].sum(dtype=np.float64))


def requests(sizes: list[int], seed: int, count: int = REQUESTS) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The day's prompts, as places in all sets one behind the other, and which of them were asked before."""
    generator = np.random.default_rng(seed)
    fresh = generator.permutation(sum(sizes))
    asked, again = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    used = 0
    for place in range(count):
        again[place] = place > 0 and (generator.random() < REPEATS or used == len(fresh))
        if again[place]:
            asked[place] = asked[int(generator.integers(place))]
        else:
            asked[place] = fresh[used]
            used += 1
    return asked, again


def run(sets: list[Judged], seed: int, count: int = REQUESTS) -> dict[str, Any]:
    """The whole day: for each way of answering its cost and quality, and what it saves."""
    chosen = routed(sets)
    asked, again = requests([len(one) for one in sets], seed, count)
    ours = _of([(one, by.routed) for one, by in zip(sets, chosen, strict=True)])
    best = _of([(one, by.single) for one, by in zip(sets, chosen, strict=True)])
    baseline = float(best.cost[asked].sum())
    first = ~again

    def way(of: _Answers, paying: npt.NDArray[np.bool_] | None = None) -> dict[str, float]:
        cost = of.cost[asked] if paying is None else of.cost[asked] * paying
        paid = float(cost.sum())
        return {"cost_usd": paid, "quality": float(of.score[asked].mean()), "saved": 1 - paid / baseline}

    ways = {
        "best_single": way(best),
        "exact_cache": way(best, first),
        "routing": way(ours),
        "routing_and_exact_cache": way(ours, first),
    }
    near = ours.score[asked] >= best.score[asked] - NEAR
    models = sorted({model for one in sets for model in one.models})
    return {
        "requests": count,
        "distinct": int(first.sum()),
        "repeated": float(again.mean()),
        "models": len(models),
        "ways": ways,
        "saved_by_routing": ways["routing"]["saved"],
        "saved_in_all": ways["routing_and_exact_cache"]["saved"],
        "points_lost": 100 * (ways["best_single"]["quality"] - ways["routing"]["quality"]),
        "near_best": float(near.mean()),
        "routed_elsewhere": float(ours.elsewhere[asked].mean()),
        "sets": {
            one.name: {
                "prompts": len(one),
                "saved": 1 - _sum(one.cost, by.routed, _all(one)) / _sum(one.cost, by.single, _all(one)),
                "quality": _sum(one.score, by.routed, _all(one)) / len(one),
                "best_single": _sum(one.score, by.single, _all(one)) / len(one),
            }
            for one, by in zip(sets, chosen, strict=True)
        },
    }


@dataclass(frozen=True)
class _Answers:
    cost: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    elsewhere: npt.NDArray[np.bool_]


def _of(parts: list[tuple[Judged, Ints]]) -> _Answers:
    cost, score, elsewhere = [], [], []
    for one, chosen in parts:
        every = np.arange(len(one))
        cost.append(one.cost[every, chosen].astype(np.float64))
        score.append(one.score[every, chosen].astype(np.float64))
        elsewhere.append(chosen != singles(one))
    return _Answers(np.concatenate(cost), np.concatenate(score), np.concatenate(elsewhere))


def _all(one: Judged) -> npt.NDArray[np.bool_]:
    return np.ones(len(one), np.bool_)
