"""Make the shipped weights: `python -m bench.routing.train --data DIR [--out FILE]`.

Only from sets whose licence allows it: ulab (MIT) and RouteLLM (Apache-2.0). RouterBench declares no licence and is
never trained on here. RouteLLM's subjects are left together: the router's heads need the two models' difference, not
the name of the subject, and the file stays small.
"""

import argparse
from pathlib import Path

import numpy as np

from bench.routing.fit import fit
from bench.routing.sets import Results, routellm, ulab
from services.router.prompt.predictor import WEIGHTS
from services.router.prompt.quality_model import QualityModel

_ROUTELLM_PENALTY = 10.0


def train(folder: Path) -> QualityModel:
    """One expert per set that may be shipped and is there."""
    parts = []
    if (open_models := ulab(folder)) is not None:
        names, kinds = open_models.kind_ids()
        parts.append(fit(open_models.features(), kinds, open_models.scores, models=open_models.models, names=names))
    pairs = [found for found in (routellm(folder, "mmlu"), routellm(folder, "gsm8k")) if found is not None]
    if pairs:
        both = _joined(pairs)
        names, kinds = both.kind_ids()
        parts.append(fit(both.features(), kinds, both.scores, models=both.models, names=names,
                         deviation_penalty=_ROUTELLM_PENALTY))  # fmt: skip
    if not parts:
        raise SystemExit(f"{folder} holds neither the ulab nor the RouteLLM results: nothing that may be shipped")
    return QualityModel(tuple(expert for expert, _ in parts), np.hstack([weights for _, weights in parts]))


def _joined(parts: list[Results]) -> Results:
    return Results(
        "routellm",
        parts[0].models,
        tuple(text for part in parts for text in part.texts),
        tuple(part.name for part in parts for _ in part.texts),
        np.vstack([part.scores for part in parts]),
        np.vstack([part.cost_usd for part in parts]),
    )


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where to write the weights")
    given = parser.parse_args()
    train(given.data).save(given.out)
    print(f"{given.out.name}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
