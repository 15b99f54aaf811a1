"""Nine open models, fourteen tasks: cross-validation, leave-one-task-out, and what the gate does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.routing.fit import fit
from bench.routing.metrics import bootstrap_ci95
from bench.routing.sets import Features, Results
from services.router.prompt.quality_model import Expert, QualityModel

FOLDS = 5
TRUSTED = 0.5
"""Below this confidence the choice is the best single model."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choices:
    """Per prompt, what was chosen by a rule that saw only the training part."""

    routed: Ints
    single: Ints
    per_kind: Ints


def folds(count: int, seed: int) -> Ints:
    """The fold of each prompt."""
    return np.random.default_rng(seed).permutation(count) % FOLDS


def routed(expected: npt.NDArray[np.float32], confidence: npt.NDArray[np.float32], single: int) -> Ints:
    """The model expected to do best, or the best single one where the gate is shut."""
    chosen: Ints = np.where(confidence >= TRUSTED, expected.argmax(axis=-1), single)
    return chosen


def run(results: Results, seed: int, shipped: QualityModel | None) -> dict[str, Any]:
    """All figures of the set. With `shipped`, the shipped weights choose instead of weights trained on the folds."""
    features = results.features()
    names, kinds = results.kind_ids()
    scores = results.scores
    part = folds(len(results), seed)
    inside = _choose(results, features, [(part != fold, part == fold) for fold in range(FOLDS)], shipped)
    outside = _choose(results, features, [(kinds != kind, kinds == kind) for kind in range(len(names))], None)
    every = np.arange(len(results))
    ours, single = scores[every, inside.routed], scores[every, inside.single]
    gained = ours - single
    low, high = bootstrap_ci95(gained, seed)
    oracle = float(scores.max(axis=1).mean())
    cheapest = results.cost_usd.mean(axis=0)
    by_kind = {
        name: {
            "prompts": int((kinds == kind).sum()),
            "best_single": float(single[kinds == kind].mean()),
            "ours": float(ours[kinds == kind].mean()),
            "left_out": float(scores[every, outside.routed][kinds == kind].mean()),
            "left_out_best_single": float(scores[every, outside.single][kinds == kind].mean()),
        }
        for kind, name in enumerate(names)
    }
    figures = {
        "prompts": len(results),
        "cv_accuracy": float(ours.mean()),
        "gain": float(gained.mean()),
        "ci95": [low, high],
        "random": float(scores.mean()),
        "cheapest": None if np.isnan(cheapest).all() else float(scores[:, int(np.nanargmin(cheapest))].mean()),
        "best_single": float(single.mean()),
        "per_task_best": float(scores[every, inside.per_kind].mean()),
        "oracle": oracle,
        "gap_closed": float(gained.mean() / (oracle - single.mean())),
        "coverage": float((inside.routed != inside.single).mean()),
        "loto_accuracy": float(scores[every, outside.routed].mean()),
        "loto_best_single": float(scores[every, outside.single].mean()),
        "loto_coverage": float((outside.routed != outside.single).mean()),
        "by_task": by_kind,
    }
    return figures


def _choose(
    results: Results,
    features: Features,
    splits: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]],
    shipped: QualityModel | None,
) -> Choices:
    names, kinds = results.kind_ids()
    scores = results.scores
    chosen = Choices(*(np.zeros(len(results), np.int64) for _ in range(3)))
    for train, test in splits:
        single = int(scores[train].mean(axis=0).argmax())
        if shipped is None:
            expert, weights = fit(features[train], kinds[train], scores[train], models=results.models, names=names)
            tested = features[test]
            expected, confidence = tested.judged(expert, tested.linear(weights))
        else:
            expected, confidence = shipped_judgement(shipped, features[test], results.models)
        chosen.routed[test] = routed(expected, confidence, single)
        chosen.single[test] = single
        means = [scores[train & (kinds == k)].mean(axis=0) if (train & (kinds == k)).any() else None
                 for k in range(len(names))]  # fmt: skip
        best = np.array([single if mean is None else int(mean.argmax()) for mean in means])
        chosen.per_kind[test] = best[kinds[test]]
    return chosen


def shipped_judgement(
    shipped: QualityModel, features: Features, models: tuple[str, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Expected scores and confidence of the shipped expert that measured these models, in their order."""
    place, expert = shipped_expert(shipped, models)
    expected, confidence = features.judged_by_all(shipped)[place]
    return expected[:, [expert.models.index(model) for model in models]], confidence


def shipped_expert(shipped: QualityModel, models: tuple[str, ...]) -> tuple[int, Expert]:
    """The expert that knows all of these models."""
    for place, expert in enumerate(shipped.experts):
        if set(models) <= set(expert.models):
            return place, expert
    raise SystemExit(f"the shipped weights know no expert for {', '.join(models)}: train on this folder instead")
