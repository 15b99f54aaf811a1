"""Eleven models with the real cost of each call: AIQ, and the cost of nearly GPT-4's quality.

Quality and cost of every model are predicted per prompt; the router maximises quality − λ·cost, and λ is swept.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.routing.fit import KIND_PENALTY, Matrix, fit, ridge
from bench.routing.metrics import aiq, cost_at, cost_at_mixed
from bench.routing.sets import Features, Results
from bench.routing.ulab import FOLDS, folds
from services.router.prompt.quality_model import QualityModel, odds

Floats = npt.NDArray[np.float64]

_TRADES = np.concatenate(([0.0], np.geomspace(0.05, 2e4, 1200)))
_RESAMPLES = 200


def run(results: Results, seed: int, shipped: QualityModel | None) -> dict[str, Any]:
    """All figures of the set. `shipped` knows none of its models: there, ability alone and the difficulty decide."""
    scores, cost = results.scores, results.cost_usd
    quality, price = _predicted(results, folds(len(results), seed), shipped)
    singles = list(zip(cost.mean(axis=0).tolist(), scores.mean(axis=0).tolist(), strict=True))
    best = int(scores.mean(axis=0).argmax())
    low, high = min(c for c, _ in singles), singles[best][0]
    top = singles[best][1]
    curves = {"ours": _sweep(quality, price, scores, cost), "oracle": _sweep(scores, cost, scores, cost)}
    points = {name: list(zip(c.mean(axis=0), q.mean(axis=0), strict=True)) for name, (c, q) in curves.items()}
    ours = points["ours"]
    interval = _aiq_interval(*curves["ours"], low, high, seed)
    return {
        "prompts": len(results),
        "aiq": aiq(ours, low, high),
        "aiq_ci95": interval,
        "aiq_zero_router": aiq(singles, low, high),
        "aiq_oracle": aiq(points["oracle"], low, high),
        "random": float(scores.mean()),
        "cheapest": singles[int(cost.mean(axis=0).argmin())][1],
        "best_single": top,
        "best_single_model": results.models[best],
        "best_accuracy": max(q for _, q in ours),
        "oracle": float(scores.max(axis=1).mean()),
        "cost_at_95": cost_at(ours, 0.95 * top) / high,
        "cost_at_100": cost_at(ours, top) / high,
        "cost_at_95_mixed": cost_at_mixed(ours, 0.95 * top) / high,
        "cost_at_95_zero_router": cost_at_mixed(singles, 0.95 * top) / high,
        "cost_at_95_oracle": cost_at(points["oracle"], 0.95 * top) / high,
        "curve": [[float(c), float(q)] for c, q in ours],
        "singles": {model: list(point) for model, point in zip(results.models, singles, strict=True)},
    }


def _predicted(results: Results, part: npt.NDArray[np.int64], shipped: QualityModel | None) -> tuple[Floats, Floats]:
    features = results.features()
    names, kinds = results.kind_ids()
    quality, price = np.zeros_like(results.scores), np.zeros_like(results.scores)
    for fold in range(FOLDS):
        train, test = part != fold, part == fold
        expert, weights = fit(features[train], kinds[train], results.scores[train], models=results.models, names=names)
        tested = features[test]
        linear = tested.linear(weights)
        quality[test] = tested.judged(expert, linear)[0]
        if shipped is not None:
            quality[test] = _by_ability(shipped, tested, results.scores[train].mean(axis=0))
        claimed = np.array([names.index(kind) for kind in expert.kinds])[
            (linear[:, : len(expert.kinds)] + expert.shares).argmax(axis=1)
        ]
        price[test] = prices(features.rows, kinds, results.cost_usd, train, test, claimed)
    return quality, price


def prices(
    rows: Matrix, kinds: npt.NDArray[np.int64], cost: Floats, train: npt.NDArray[np.bool_],
    test: npt.NDArray[np.bool_], claimed: npt.NDArray[np.int64],
) -> Floats:  # fmt: skip
    """Predicted cost of each model: the kind's mean and a ridge on the row, both of the logarithm."""
    logs = np.log(np.maximum(cost, 1e-9))
    overall = logs[train].mean(axis=0)
    means = np.array([logs[train & (kinds == k)].mean(axis=0) if (train & (kinds == k)).any() else overall
                      for k in range(int(kinds.max()) + 1)])  # fmt: skip
    targets = (logs[train] - means[kinds[train]]).astype(np.float32)
    weights = ridge(rows[train], targets, np.full(cost.shape[1], KIND_PENALTY, np.float32))
    predicted: Floats = np.exp(means[claimed] + np.asarray(rows[test] @ weights))
    return predicted


def _by_ability(shipped: QualityModel, features: Features, abilities: Floats) -> Floats:
    """Item response with the shipped difficulty."""
    judged = features.judged_by_all(shipped)
    confidence = np.stack([trust for _, trust in judged])
    harder = np.stack(
        [odds(expert.overall.mean()) - odds(expected.mean(axis=1))
         for expert, (expected, _) in zip(shipped.experts, judged, strict=True)]
    )  # fmt: skip
    best = confidence.argmax(axis=0)[None]
    difficulty = (np.take_along_axis(harder, best, 0) * np.take_along_axis(confidence, best, 0))[0]
    expected: Floats = 1 / (1 + np.exp(difficulty[:, None] - odds(abilities)))
    return expected


def _sweep(quality: Floats, price: Floats, scores: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """(prompts, trades) the real cost and the real score of what each trade of quality against cost chooses."""
    every = np.arange(len(scores))
    paid, reached = np.empty((len(scores), len(_TRADES))), np.empty((len(scores), len(_TRADES)))
    for place, trade in enumerate(_TRADES):
        chosen = (quality - trade * price).argmax(axis=1)
        paid[:, place], reached[:, place] = cost[every, chosen], scores[every, chosen]
    return paid, reached


def _aiq_interval(paid: Floats, reached: Floats, low: float, high: float, seed: int) -> list[float]:
    generator, count, found = np.random.default_rng(seed), len(paid), []
    for _ in range(_RESAMPLES):
        weight = np.bincount(generator.integers(0, count, count), minlength=count) / count
        found.append(aiq(list(zip(weight @ paid, weight @ reached, strict=True)), low, high))
    return [float(end) for end in np.quantile(found, (0.025, 0.975))]
