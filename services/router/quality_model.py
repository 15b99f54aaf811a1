"""The arrays behind the quality predictor: linear scores of a prompt's row, and what they mean.

One expert per set of public results. Each knows kinds of prompts (the tasks of its set) and, per kind, how well each
measured model did. A prompt's expected scores are the mean of the kinds it looks like plus a small correction read
from its words. Its confidence comes from two questions: does any kind claim the prompt, and is it built as the prompts
of that kind are built, compared with how much those differ among themselves?
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from services.router.quality_features import BUCKETS, COLUMNS, Row

Array = npt.NDArray[np.float32]

SHARPNESS = np.float32(10.0)
"""How strongly the kind with the highest score counts above the others."""
_CLAIM_FROM, _CLAIM_FULL = np.float32(0.25), np.float32(0.45)  # A prompt of a known kind scores near 1 for it.
_LOW, _HIGH = np.float32(0.02), np.float32(0.98)


@dataclass(frozen=True)
class Expert:
    """What was learned from one set of results. Kinds K, models M; its columns in the weights are K + M + K."""

    models: tuple[str, ...]
    """Normalised names of the measured models, M."""
    kinds: tuple[str, ...]
    """Names of the kinds of prompts, K."""
    shares: Array
    """(K) How much of the set is of this kind: the intercept of the kinds' scores."""
    means: Array
    """(K, M) Mean score of each model on each kind, drawn to the model's mean where the kind is small."""
    overall: Array
    """(M) Mean score of each model."""
    cuts: Array
    """(2, K) Likeness in structure at which confidence begins and at which it is full."""

    @property
    def width(self) -> int:
        """Columns in the weights."""
        return 2 * len(self.kinds) + len(self.models)

    def judge(self, scores: Array) -> tuple[Array, Array]:
        """(…, M) expected scores, about 0–1, and (…) confidence 0–1 from (…, width) linear scores."""
        kinds, models = len(self.kinds), len(self.models)
        claims = scores[..., :kinds] + self.shares
        shares = np.exp(SHARPNESS * (claims - claims.max(axis=-1, keepdims=True)))
        shares /= shares.sum(axis=-1, keepdims=True)
        expected = shares @ self.means + scores[..., kinds : kinds + models]
        best = claims.argmax(axis=-1)
        likeness = np.take_along_axis(scores[..., kinds + models :], best[..., None], axis=-1)[..., 0]
        from_, full = self.cuts[0][best], self.cuts[1][best]
        alike = (likeness - from_) / np.maximum(full - from_, np.float32(1e-6))
        claimed = (claims.max(axis=-1) - _CLAIM_FROM) / (_CLAIM_FULL - _CLAIM_FROM)
        return expected, np.clip(np.minimum(alike, claimed), 0.0, 1.0)


@dataclass(frozen=True)
class Scores:
    """What the model says about one prompt."""

    difficulty: float
    """Log odds by which the measured models do worse than on average, of the most confident expert."""
    confidence: float
    """0 to 1, of the most confident expert."""
    heads: Array
    """Per measured model of all experts, log odds by which it does better here than its mean and the difficulty say."""


class QualityModel:
    """All experts and their weights."""

    def __init__(self, experts: tuple[Expert, ...], weights: Array) -> None:
        """`weights`: (`COLUMNS`, sum of widths), the experts side by side."""
        if weights.shape != (COLUMNS, sum(expert.width for expert in experts)):
            raise ValueError(f"the weights are {weights.shape}, not {COLUMNS} rows of the experts' width: train again")
        self.experts = experts
        self.measured = tuple(name for expert in experts for name in expert.models)
        self.weights = weights
        # What describes structure alone has no words to it: those columns are left out of the long half.
        spoken: list[int] = []
        at = 0
        for expert in experts:
            spoken.extend(range(at, at + expert.width - len(expert.kinds)))
            at += expert.width
        self._spoken = np.array(spoken)
        self._words = np.ascontiguousarray(weights[:BUCKETS, self._spoken], dtype=np.float32)
        self._structure = np.ascontiguousarray(weights[BUCKETS:], dtype=np.float32)

    def linear(self, row: Row) -> Array:
        """The linear scores of one row, all experts side by side."""
        structural = len(row.columns) - row.words
        scores: Array = row.weights[-structural:] @ self._structure.take(row.columns[-structural:] - BUCKETS, axis=0)
        if row.words:
            words = self._words.take(row.columns[: row.words], axis=0).sum(axis=0)
            scores[self._spoken] += words * row.weights[0]
        return scores

    def judgements(self, scores: Array) -> list[tuple[Array, Array]]:
        """`Expert.judge` of each expert, in order."""
        found, at = [], 0
        for expert in self.experts:
            found.append(expert.judge(scores[..., at : at + expert.width]))
            at += expert.width
        return found

    def scores(self, row: Row) -> Scores:
        """What is known about one prompt."""
        best, difficulty, heads = 0.0, 0.0, []
        for expert, (expected, confidence) in zip(self.experts, self.judgements(self.linear(row)), strict=True):
            harder = float(_odds(expert.overall.mean()) - _odds(expected.mean()))
            trust = float(confidence)
            heads.append((_odds(expected) - _odds(expert.overall) + np.float32(harder)) * np.float32(trust > 0))
            if trust > best:
                best, difficulty = trust, harder
        return Scores(difficulty, best, np.concatenate(heads))

    def save(self, path: Path) -> None:
        """Write the weights in half precision."""
        described = [{"models": expert.models, "kinds": expert.kinds} for expert in self.experts]
        arrays: dict[str, npt.NDArray[Any]] = {"weights": self.weights.astype(np.float16)}
        for place, expert in enumerate(self.experts):
            for name in _ARRAYS:
                arrays[f"{name}{place}"] = getattr(expert, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays["experts"] = np.array(json.dumps(described))
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            described: list[Mapping[str, list[str]]] = json.loads(str(stored["experts"]))
            experts = tuple(
                Expert(
                    tuple(names["models"]),
                    tuple(names["kinds"]),
                    **{name: stored[f"{name}{place}"].astype(np.float32) for name in _ARRAYS},
                )
                for place, names in enumerate(described)
            )
            return cls(experts, stored["weights"].astype(np.float32))


_ARRAYS = ("shares", "means", "overall", "cuts")


def _odds(probability: Any) -> Any:
    """Log odds, of probabilities kept off 0 and 1."""
    kept = np.clip(probability, _LOW, _HIGH)
    return np.log(kept / (1 - kept))
