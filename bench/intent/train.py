"""Makes the shipped weights: `python -m bench.intent.train --data DIR [--out FILE]`.

Trains only on what may be shipped: prompts of our own (`bench/intent/examples`), and from DIR arena-hard v2, CLINC150,
ulab's and RouteLLM's results. LMArena's prompts and MT-Bench's questions, if DIR has them, are not read. The same data
and seed give the same weights.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.intent import data
from bench.intent.examples import Example, graded, typical
from bench.intent.matrix import matrix
from services.router.prompt.prompt import BUCKETS, COLUMNS, INTENTS, WEIGHTS
from services.router.prompt.structure import NAMES

if TYPE_CHECKING:
    import scipy.sparse
    from sklearn.linear_model import LogisticRegression

Matrix = npt.NDArray[np.float64]
SEED = 6
PER_FILE = 2500
PER_GRADE = 25
GRADE_WEIGHT = 4.0
STRENGTH = 3.0
"""Inverse regularisation of the intents."""
PRIOR = {"coding_help": 0.2, "reasoning_math": 0.2, "editing_writing": 0.2, "qa_retrieval": 0.32, "social_chat": 0.08}
"""What share of the training's weight each intent gets: about what assistants are asked, chat above its share."""


def examples(folder: pathlib.Path, per_file: int = PER_FILE) -> list[Example]:
    """Everything the shipped weights may learn from."""
    return [*typical(per_file, SEED), *graded(PER_GRADE, SEED), *data.shippable(folder, SEED)]


def balanced(labels: Sequence[str], weights: Sequence[float]) -> Matrix:
    """`weights`, scaled so that the labels' shares are those of `PRIOR`, 1 on average."""
    given = np.array(weights, np.float64)
    names = np.array(labels)
    shares = {name: PRIOR[name] for name in set(labels)}
    for name, share in shares.items():
        given[names == name] *= share / sum(shares.values()) / given[names == name].sum()
    scaled: Matrix = given * len(given) / given.sum()
    return scaled


def fit_intents(
    rows: scipy.sparse.csr_matrix, labels: Sequence[str], weights: Matrix, strength: float = STRENGTH
) -> LogisticRegression:
    """A multinomial logistic regression on rows of `matrix`."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    return model.fit(rows, list(labels), sample_weight=weights)


def train(made: Sequence[Example]) -> tuple[Matrix, Matrix]:
    """All columns of the weights from examples: one row per feature, and the bias."""
    from sklearn.linear_model import LogisticRegression, Ridge

    rows = matrix([one.text for one in made])
    columns = np.zeros((rows.shape[1], len(COLUMNS)))
    bias = np.zeros(len(COLUMNS))
    known = [place for place, one in enumerate(made) if one.intent]
    labels = [str(made[place].intent) for place in known]
    intents = fit_intents(rows[known], labels, balanced(labels, [made[place].weight for place in known]))
    for place, name in enumerate(intents.classes_):
        columns[:, INTENTS.index(name)], bias[INTENTS.index(name)] = intents.coef_[place], intents.intercept_[place]
    known = [place for place, one in enumerate(made) if one.needs_web is not None]
    web = LogisticRegression(C=2.0, max_iter=300, tol=1e-3).fit(
        rows[known], [made[place].needs_web for place in known], sample_weight=[made[place].weight for place in known]
    )
    columns[:, len(INTENTS)], bias[len(INTENTS)] = web.coef_[0], web.intercept_[0]
    known = [place for place, one in enumerate(made) if one.complexity is not None]
    grades = np.clip([float(made[place].complexity or 0.0) for place in known], 0.02, 0.98)
    # Own grades have weight 1 each, results of single prompts less: noisy labels, and not of what users ask.
    given = [made[place].weight * (GRADE_WEIGHT if made[place].intent is None else 1.0) for place in known]
    graded_by = Ridge(alpha=1.0, solver="sparse_cg", tol=1e-4).fit(
        rows[known], np.log(grades / (1.0 - grades)), sample_weight=given
    )
    columns[:, len(INTENTS) + 1], bias[len(INTENTS) + 1] = graded_by.coef_, graded_by.intercept_
    return columns, bias


def save(columns: Matrix, bias: Matrix, path: pathlib.Path) -> None:
    """Writes a file that `services.router.prompt.prompt.read` reads: the n-grams' part in 255 steps a column."""
    grams = columns[:BUCKETS]
    steps = np.maximum(np.abs(grams).max(axis=0), 1e-9) / 127.0
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        grams=np.rint(grams / steps).astype(np.int8),
        steps=steps.astype(np.float32),
        rows=columns[BUCKETS:].astype(np.float16),
        bias=bias.astype(np.float32),
        names=np.array(NAMES),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.intent.train", description="Train the shipped weights.")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with the public sets")
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="default: where the router reads them")
    options = parser.parse_args()
    made = examples(options.data)
    print(f"{len(made)} examples", file=sys.stderr)
    save(*train(made), options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
