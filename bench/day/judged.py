"""What the predictor said of each prompt before it saw an answer to it, beside how each model really did.

Made by cross-validation from a folder of public results; what may be shipped of it (figures, no text) is beside this
file, so that the day can be replayed without the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.day.prices import cost_usd

Table = npt.NDArray[np.float32]
Column = npt.NDArray[np.float32]
SHIPPED = Path(__file__).with_name("judged.npz")
SHIPPABLE = ("ulab", "mmlu", "gsm8k")
"""Sets whose licence (MIT, Apache-2.0) lets their figures be shipped."""
_FIELDS = ("expected", "confidence", "price", "score", "cost", "part")


@dataclass(frozen=True)
class Judged:
    """One set: N prompts, M models."""

    name: str
    models: tuple[str, ...]
    expected: Table
    """(N, M) quality expected of each model, by a predictor that was not trained on the prompt."""
    confidence: Column
    """(N) How far that is to be believed, 0–1."""
    price: Table
    """(N, M) US dollars expected."""
    score: Table
    """(N, M) How it did, 0–1."""
    cost: Table
    """(N, M) US dollars it cost."""
    part: npt.NDArray[np.int8]
    """(N) The fold that the prompt was kept back in."""

    def __len__(self) -> int:
        return len(self.part)


def shipped() -> list[Judged]:
    """What comes with DAC."""
    return load(SHIPPED)


def load(path: Path) -> list[Judged]:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return [
            Judged(
                str(name),
                tuple(str(model) for model in stored[f"{name}.models"]),
                *(stored[f"{name}.{field}"].astype(np.int8 if field == "part" else np.float32) for field in _FIELDS),
            )
            for name in stored["names"]
        ]


def save(sets: list[Judged], path: Path) -> None:
    """Writes the sets, prices and qualities in half precision, costs in millionths of a dollar."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"names": np.array([one.name for one in sets])}
    for one in sets:
        arrays[f"{one.name}.models"] = np.array(one.models)
        for field in _FIELDS:
            values = getattr(one, field)
            arrays[f"{one.name}.{field}"] = values if field in ("part", "price", "cost") else values.astype(np.float16)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def judge(folder: Path, seed: int) -> list[Judged]:
    """All sets of a folder, by cross-validation."""
    # The shipped figures need none of what fitting needs.
    from bench.routing.fit import fit
    from bench.routing.routerbench import prices
    from bench.routing.sets import routellm, routerbench, ulab
    from bench.routing.ulab import FOLDS, folds

    found = [ulab(folder), routellm(folder, "mmlu"), routellm(folder, "gsm8k"), routerbench(folder)]
    judged = []
    for results in (one for one in found if one is not None):
        features, (names, kinds) = results.features(), results.kind_ids()
        part = folds(len(results), seed)
        shape = results.scores.shape
        listed = results.name in SHIPPABLE
        cost = _listed(results.models, results.texts) if listed else results.cost_usd
        expected, confidence = np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)
        price = cost.astype(np.float32)
        for fold in range(FOLDS):
            train, test = part != fold, part == fold
            expert, weights = fit(
                features[train], kinds[train], results.scores[train], models=results.models, names=names
            )
            tested = features[test]
            linear = tested.linear(weights)
            expected[test], confidence[test] = tested.judged(expert, linear)
            if not listed:
                claims = linear[:, : len(expert.kinds)] + expert.shares
                claimed = np.array([names.index(kind) for kind in expert.kinds])[claims.argmax(axis=1)]
                price[test] = prices(features.rows, kinds, results.cost_usd, train, test, claimed)
        judged.append(
            Judged(
                results.name, results.models, expected, confidence, price,
                results.scores.astype(np.float32), cost.astype(np.float32), part.astype(np.int8),
            )
        )  # fmt: skip
    return judged


def _listed(models: tuple[str, ...], texts: tuple[str, ...]) -> npt.NDArray[np.float64]:
    return np.array([[cost_usd(model, len(text.encode())) for model in models] for text in texts])
