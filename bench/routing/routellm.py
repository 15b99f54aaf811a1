"""GPT-4 or Mixtral: how much of the gap between them is recovered, and with how many calls to GPT-4.

In-domain: the folds come from the same benchmark, so the figures are not those of routers trained on Arena votes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.routing.fit import fit
from bench.routing.metrics import apgr, cpt, strong_curve
from bench.routing.sets import Results
from bench.routing.ulab import FOLDS, folds, shipped_judgement
from services.router.prompt.quality_model import QualityModel

Floats = npt.NDArray[np.float64]

_RESAMPLES = 200
_RANDOM_ORDERS = 20


def run(results: Results, seed: int, shipped: QualityModel | None) -> dict[str, Any]:
    """All figures of one benchmark."""
    weak, strong = results.scores[:, 0], results.scores[:, 1]
    gain = _gain(results, seed, shipped)
    generator = np.random.default_rng(seed)
    chance = [generator.random(len(gain)) for _ in range(_RANDOM_ORDERS)]
    best = strong - weak
    resampled = []
    for _ in range(_RESAMPLES):
        drawn = generator.integers(0, len(gain), len(gain))
        if strong[drawn].mean() > weak[drawn].mean():
            resampled.append(apgr(gain[drawn], weak[drawn], strong[drawn]))
    shares, reached = strong_curve(gain, weak, strong)
    return {
        "prompts": len(results),
        "weak": float(weak.mean()),
        "strong": float(strong.mean()),
        "apgr": apgr(gain, weak, strong),
        "apgr_ci95": [float(end) for end in np.quantile(resampled, (0.025, 0.975))],
        "cpt50": cpt(gain, weak, strong, 0.5),
        "cpt80": cpt(gain, weak, strong, 0.8),
        "random_apgr": float(np.mean([apgr(order, weak, strong) for order in chance])),
        "random_cpt50": float(np.mean([cpt(order, weak, strong, 0.5) for order in chance])),
        "random_cpt80": float(np.mean([cpt(order, weak, strong, 0.8) for order in chance])),
        "oracle_apgr": apgr(best, weak, strong),
        "oracle_cpt50": cpt(best, weak, strong, 0.5),
        "oracle_cpt80": cpt(best, weak, strong, 0.8),
        "curve": [[float(x), float(y)] for x, y in zip(shares, reached, strict=True)],
    }


def _gain(results: Results, seed: int, shipped: QualityModel | None) -> Floats:
    """Predicted gain of the strong model over the weak one, per prompt, by weights that did not see the prompt."""
    features = results.features()
    names, kinds = results.kind_ids()
    gain = np.zeros(len(results))
    part = folds(len(results), seed)
    if shipped is not None:
        expected, _ = shipped_judgement(shipped, features, results.models)
        return (expected[:, 1] - expected[:, 0]).astype(np.float64)
    for fold in range(FOLDS):
        train, test = part != fold, part == fold
        expert, weights = fit(features[train], kinds[train], results.scores[train], models=results.models, names=names)
        tested = features[test]
        expected, _ = tested.judged(expert, tested.linear(weights))
        gain[test] = expected[:, 1] - expected[:, 0]
    return gain
