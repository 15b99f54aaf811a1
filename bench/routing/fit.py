"""Fitting an expert: ridge regressions from a prompt's row to the kinds of prompts and to each model's deviation.

The strengths are constants, picked once by a handful of trials and the same for every set and fold: weak for the kinds,
which words give away; strong for the deviations, of which words say little.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.routing.sets import Features
from services.router.prompt.ngrams import BUCKETS
from services.router.prompt.quality_features import BUCKETS as COLUMNS_OF_WORDS
from services.router.prompt.quality_model import Expert

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Matrix = Any
"""A scipy.sparse.csr_array; scipy brings no types."""

KIND_PENALTY = 0.3
DEVIATION_PENALTY = 12.0
_SMALL_KIND = 20.0  # A kind's mean counts as much as this many prompts of the models' overall mean.
_ALIKE = (0.01, 0.04)  # Quantiles, among a kind's own prompts, where confidence begins and is full: of structure …
_FAMILIAR = (0.003, 0.02)  # … and of known n-grams.
_ALIKE_SLACK, _FAMILIAR_SLACK = 0.002, 0.02  # Confidence begins this much earlier: kinds may have one form only.
_KNOWN_FROM, _KNOWN_SHARE = 2, 0.001  # An n-gram is known from this many prompts on, or this share of them.
_ITERATIONS = 25


def ridge(rows: Matrix, targets: Floats, penalties: Floats) -> Floats:
    """Ridge regression by conjugate gradients, every column of the targets with a penalty of its own."""
    turned = rows.T.tocsr()
    weights = np.zeros((rows.shape[1], targets.shape[1]), np.float32)
    residual = np.asarray(turned @ targets, dtype=np.float32)
    direction, squares = residual.copy(), (residual * residual).sum(axis=0)
    enough = 1e-7 * squares
    for _ in range(_ITERATIONS):
        applied = turned @ (rows @ direction) + penalties * direction
        step = squares / np.maximum((direction * applied).sum(axis=0), 1e-20)
        weights += step * direction
        residual -= step * applied
        now = (residual * residual).sum(axis=0)
        if np.all(now <= enough):
            break
        direction = residual + (now / np.maximum(squares, 1e-20)) * direction
        squares = now
    return weights


def fit(
    features: Features,
    kinds: Ints,
    scores: npt.NDArray[np.float64],
    *,
    models: tuple[str, ...],
    names: tuple[str, ...],
    deviation_penalty: float = DEVIATION_PENALTY,
) -> tuple[Expert, Floats]:
    """An expert and its weights. `kinds` are places in `names`; kinds without a prompt are left out."""
    present, kinds = np.unique(kinds, return_inverse=True)
    names = tuple(names[place] for place in present)
    member = np.eye(len(names), dtype=np.float32)[kinds]
    counts = member.sum(axis=0)
    overall = scores.mean(axis=0)
    means = (member.T @ scores + _SMALL_KIND * overall) / (counts[:, None] + _SMALL_KIND)
    shares = member.mean(axis=0)
    targets = np.hstack([member - shares, scores - means[kinds]]).astype(np.float32)
    penalties = np.array([KIND_PENALTY] * len(names) + [deviation_penalty] * scores.shape[1], np.float32)
    weights = ridge(features.rows, targets, penalties)
    prototypes, alike = _likeness(features.rows, kinds, member, counts)
    known, familiar = _familiarity(features, kinds, len(names))
    weights = np.hstack([weights, prototypes])
    cuts = np.vstack([alike, familiar])
    shares, means, overall = (part.astype(np.float32) for part in (shares, means, overall))
    return Expert(models, names, shares, means, overall, cuts, known), weights.astype(np.float32)


def _likeness(rows: Matrix, kinds: Ints, member: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """The mean structure of each kind, and how like it its own prompts are when they are left out of the mean."""
    built = rows.copy()
    built.data = np.where(built.indices >= COLUMNS_OF_WORDS, built.data, np.float32(0.0))
    built.eliminate_zeros()
    sums = np.asarray(built.T @ member)
    own = np.asarray(built.multiply(built).sum(axis=1)).ravel()
    alike = np.asarray(built @ sums)[np.arange(len(kinds)), kinds]
    left_out = (alike - own) / np.maximum(counts[kinds] - 1, 1.0)
    return (sums / counts).astype(np.float32), _cuts(left_out, kinds, len(counts), _ALIKE, _ALIKE_SLACK)


def _familiarity(features: Features, kinds: Ints, count: int) -> tuple[npt.NDArray[np.bool_], Floats]:
    """The n-grams that occur often enough to be known, and how much each kind's prompts know of themselves so."""
    prompts = np.zeros(BUCKETS, np.int64)
    for ids in features.ids:
        prompts[ids] += 1
    enough = max(_KNOWN_FROM, round(_KNOWN_SHARE * len(features.ids)))
    # A prompt is left out of its own count.
    left_out = np.array([np.count_nonzero(prompts[ids] > enough) / max(len(ids), 1) for ids in features.ids])
    return prompts >= enough, _cuts(left_out, kinds, count, _FAMILIAR, _FAMILIAR_SLACK)


def _cuts(values: npt.NDArray[Any], kinds: Ints, count: int, quantiles: tuple[float, float], slack: float) -> Floats:
    cuts = np.array([np.quantile(values[kinds == kind], quantiles) for kind in range(count)], np.float32).T
    cuts[0] -= np.float32(slack)
    return cuts
