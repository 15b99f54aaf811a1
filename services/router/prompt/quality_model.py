"""The arrays behind the quality predictor: linear scores of a prompt's row, and what they mean.

One expert per set of public results. Each knows kinds of prompts (the tasks of its set) and, per kind, how well each
measured model did. A prompt's expected scores are the mean of the kinds it looks like plus a small correction read
from its words. Its confidence comes from three questions: does any kind claim the prompt, is it built as the prompts of
that kind are built, and are its n-grams known, the latter two compared with how much those prompts differ themselves?
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from services.router.prompt.ngrams import BUCKETS as IDS
from services.router.prompt.ngrams import MOST_IDS, Ids
from services.router.prompt.quality_features import BUCKETS, COLUMNS, Row

Array = npt.NDArray[np.float32]

SHARPNESS = np.float32(10.0)
"""How strongly the kind with the highest score counts above the others."""
_CLAIM_FROM, _CLAIM_FULL = 0.25, 0.45  # A prompt of a known kind scores near 1 for it.
_NARROW = 1e-4  # Below this distance two cuts are one step.
_LOW, _HIGH = 0.02, 0.98


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
    """(4, K) Likeness in structure at which confidence begins and is full, and the same of known n-grams."""
    known: npt.NDArray[np.bool_]
    """(`ngrams.BUCKETS`) N-grams that occur in several of the prompts."""

    @property
    def width(self) -> int:
        """Columns in the weights."""
        return 2 * len(self.kinds) + len(self.models)

    def familiarity(self, ids: Ids) -> float:
        """Share of a prompt's n-grams that are known, 0 for a prompt without any."""
        return float(np.count_nonzero(self.known.take(ids))) / max(len(ids), 1)

    def judge(self, scores: Array, familiar: Array) -> tuple[Array, Array]:
        """(n, M) expected scores, about 0–1, and (n) confidence 0–1, from (n, width) scores and (n) familiarity."""
        kinds, models = len(self.kinds), len(self.models)
        claims = scores[..., :kinds] + self.shares
        shares = np.exp(SHARPNESS * (claims - claims.max(axis=-1, keepdims=True)))
        shares /= shares.sum(axis=-1, keepdims=True)
        expected = shares @ self.means + scores[..., kinds : kinds + models]
        best = claims.argmax(axis=-1)
        likeness = np.take_along_axis(scores[..., kinds + models :], best[..., None], axis=-1)[..., 0]
        cuts = self.cuts[:, best]
        alike = (likeness - cuts[0]) / np.maximum(cuts[1] - cuts[0], _NARROW)
        known = (familiar - cuts[2]) / np.maximum(cuts[3] - cuts[2], _NARROW)
        claimed = (claims.max(axis=-1) - _CLAIM_FROM) / (_CLAIM_FULL - _CLAIM_FROM)
        return expected, np.clip(np.minimum(np.minimum(alike, known), claimed), 0.0, 1.0)

    def judge_one(self, scores: Array, familiar: float) -> tuple[Array | None, float]:
        """The same of one prompt, (M) and a number, in a fifth of the time; no scores without confidence."""
        kinds, models = len(self.kinds), len(self.models)
        claims = scores[:kinds] + self.shares
        best = int(claims.argmax())
        claim, cuts = claims.item(best), self.cuts[:, best].tolist()
        alike = (scores.item(kinds + models + best) - cuts[0]) / max(cuts[1] - cuts[0], _NARROW)
        known = (familiar - cuts[2]) / max(cuts[3] - cuts[2], _NARROW)
        trust = min(alike, known, (claim - _CLAIM_FROM) / (_CLAIM_FULL - _CLAIM_FROM), 1.0)
        if trust <= 0.0:
            return None, 0.0
        claims -= claims[best]
        claims *= SHARPNESS
        np.exp(claims, out=claims)
        expected: Array = np.dot(claims, self.means)
        expected /= claims.sum()
        expected += scores[kinds : kinds + models]
        return expected, trust


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
        self._usual = [(e, odds(e.overall), odds_of_one(float(e.overall.mean()))) for e in experts]
        # What describes structure alone has no words to it: those columns are left out of the long half.
        spoken: list[int] = []
        at = 0
        for expert in experts:
            spoken.extend(range(at, at + expert.width - len(expert.kinds)))
            at += expert.width
        self._spoken = np.array(spoken)
        # What each expert knows, a bit for each: one look at a table for all of them.
        self._known = np.zeros(IDS, np.uint8)
        for place, expert in enumerate(experts):
            self._known |= expert.known.astype(np.uint8) << np.uint8(place)
        self._words = np.ascontiguousarray(weights[:BUCKETS, self._spoken], dtype=np.float32)
        self._structure = np.ascontiguousarray(weights[BUCKETS:], dtype=np.float32)

    def linear(self, row: Row) -> Array:
        """The linear scores of one row, all experts side by side."""
        scores: Array = row.structure @ self._structure.take(row.curves, axis=0)
        count = len(row.ids)
        if count:
            words = _ONES[:count] @ self._words.take(row.ids & np.uint32(BUCKETS - 1), axis=0)
            scores[self._spoken] += words * np.float32(row.word)
        return scores

    def scores(self, row: Row) -> Scores:
        """What is known about one prompt."""
        linear, at, best, difficulty = self.linear(row), 0, 0.0, 0.0
        heads, head = np.zeros(len(self.measured), np.float32), 0
        known, count = self._known.take(row.ids), max(len(row.ids), 1)
        for place, (expert, usual, usual_mean) in enumerate(self._usual):
            familiar = np.count_nonzero(known & np.uint8(1 << place)) / count
            expected, trust = expert.judge_one(linear[at : at + expert.width], familiar)
            at += expert.width
            if expected is not None:
                harder = usual_mean - odds_of_one(float(expected.mean()))
                heads[head : head + len(expected)] = odds(expected) - usual + np.float32(harder)
                if trust > best:
                    best, difficulty = trust, harder
            head += len(expert.models)
        return Scores(difficulty, best, heads)

    def save(self, path: Path) -> None:
        """Write the weights in half precision."""
        described = [{"models": expert.models, "kinds": expert.kinds} for expert in self.experts]
        arrays: dict[str, npt.NDArray[Any]] = {"weights": self.weights.astype(np.float16)}
        for place, expert in enumerate(self.experts):
            for name in _ARRAYS:
                arrays[f"{name}{place}"] = getattr(expert, name)
            arrays[f"known{place}"] = np.packbits(expert.known)
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
                    known=np.unpackbits(stored[f"known{place}"]).astype(bool),
                )
                for place, names in enumerate(described)
            )
            return cls(experts, stored["weights"].astype(np.float32))


_ONES = np.ones(MOST_IDS, np.float32)
_ARRAYS = ("shares", "means", "overall", "cuts")


def odds(probabilities: Any) -> Any:
    """Log odds, of probabilities kept off 0 and 1."""
    kept = np.minimum(np.maximum(probabilities, _LOW), _HIGH)
    return np.log(kept / (1 - kept))


def odds_of_one(probability: float) -> float:
    """Log odds of a number."""
    kept = min(max(probability, _LOW), _HIGH)
    return math.log(kept / (1 - kept))
