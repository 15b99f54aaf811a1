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

import msgspec
import numpy as np
import numpy.typing as npt

from services.router.prompt.ngrams import BUCKETS as IDS
from services.router.prompt.ngrams import MOST_IDS, Ids
from services.router.prompt.quality_features import BUCKETS, COLUMNS, Row

Array = npt.NDArray[np.float32]

SHARPNESS = np.float32(10.0)
"""How strongly the kind with the highest score counts above the others."""
_CLAIM_FROM, _CLAIM_FULL = 0.25, 0.45  # A prompt of a known kind scores near 1 for it.
_CLAIM_MOST = 8.0  # Far above any; to the power of ten times this a number in single precision still holds.
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


class Scores(msgspec.Struct, frozen=True):
    """What the model says about one prompt."""

    difficulty: float
    """Log odds by which the measured models do worse than on average, of the most confident expert."""
    confidence: float
    """0 to 1, of the most confident expert."""
    heads: Array
    """Per measured model of all experts, log odds by which it does better here than its mean and the difficulty say."""


class Panel:
    """What all experts say of one prompt, side by side: one pass over small arrays instead of one for each expert.

    Columns in `order`: the claims of all kinds, the scores of all models, the likenesses of all kinds.
    """

    def __init__(self, experts: tuple[Expert, ...]) -> None:
        kinds, models, likeness, at = list[int](), list[int](), list[int](), 0
        self.kinds, self.models = list[slice](), list[slice]()
        """Each expert's place among all."""
        for expert in experts:
            self.kinds.append(slice(len(kinds), len(kinds) + len(expert.kinds)))
            self.models.append(slice(len(models), len(models) + len(expert.models)))
            end = at + len(expert.kinds) + len(expert.models)
            kinds += range(at, at + len(expert.kinds))
            models += range(at + len(expert.kinds), end)
            likeness += range(end, at + expert.width)
            at += expert.width
        self.order = np.array(kinds + models + likeness, np.intp)
        """Where each column stands in the weights."""
        self.spoken = len(kinds) + len(models)
        """How many columns depend on words."""
        self.bits = tuple(np.uint8(1 << place) for place in range(len(experts)))
        self._claims = len(kinds)
        self._shares = np.concatenate([expert.shares for expert in experts])
        cuts = np.concatenate([expert.cuts for expert in experts], axis=1)
        alike, known = np.maximum(cuts[1] - cuts[0], _NARROW), np.maximum(cuts[3] - cuts[2], _NARROW)
        self._cuts: list[tuple[float, float, float, float]]
        """Of each kind: where likeness begins and how far it is to its end, the same of what is known."""
        self._cuts = list(zip(cuts[0].tolist(), alike.tolist(), cuts[2].tolist(), known.tolist(), strict=True))
        # Weights of the kinds times this: the sums over each expert's kinds for its models, and behind them what to
        # divide them by.
        self._means = np.zeros((len(kinds), 2 * len(models)), np.float32)
        for expert, rows, columns in zip(experts, self.kinds, self.models, strict=True):
            self._means[rows, columns] = expert.means
            self._means[rows, columns.start + len(models) : columns.stop + len(models)] = 1.0
        self._usual = np.concatenate([odds(expert.overall) for expert in experts])
        self._usual_means = [odds_of_one(float(expert.overall.mean())) for expert in experts]
        self._count = len(models)

    def resembles(self, likeness: list[float], familiar: list[float]) -> bool:
        """Whether a prompt is so like one of the kinds that it is worth while to read its words."""
        for kinds, known in zip(self.kinds, familiar, strict=True):
            for like, cuts in zip(likeness[kinds], self._cuts[kinds], strict=True):
                if like > cuts[0] and known > cuts[2]:
                    return True
        return False

    def judge(self, spoken: Array, likeness: list[float], familiar: list[float]) -> Scores:
        """What `Expert.judge` says of many prompts, of one. `spoken` is changed."""
        claims, heads = spoken[: self._claims], np.zeros(self._count, np.float32)
        claims += self._shares
        claimed, trusts = claims.tolist(), list[float]()
        for kinds, known in zip(self.kinds, familiar, strict=True):
            claim = max(claimed[kinds])
            best = claimed.index(claim, kinds.start, kinds.stop)
            alike_from, alike_span, known_from, known_span = self._cuts[best]
            alike, known = (likeness[best] - alike_from) / alike_span, (known - known_from) / known_span
            trusts.append(min(alike, known, (claim - _CLAIM_FROM) / (_CLAIM_FULL - _CLAIM_FROM), 1.0))
        most = max(trusts)
        if most <= 0.0:
            return Scores(0.0, 0.0, heads)
        if max(claimed) > _CLAIM_MOST:
            np.minimum(claims, _CLAIM_MOST, out=claims)
        claims *= SHARPNESS
        np.exp(claims, out=claims)
        mixed = claims @ self._means
        expected = mixed[: self._count]
        expected /= mixed[self._count :]
        expected += spoken[self._claims :]
        all_expected, surest, difficulty = expected.tolist(), trusts.index(most), 0.0
        own = odds(expected)
        own -= self._usual
        for place, (models, usual) in enumerate(zip(self.models, self._usual_means, strict=True)):
            if trusts[place] > 0.0:
                harder = usual - odds_of_one(sum(all_expected[models]) / (models.stop - models.start))
                np.add(own[models], np.float32(harder), out=heads[models])
                if place == surest:
                    difficulty = harder
        return Scores(difficulty, most, heads)


class QualityModel:
    """All experts and their weights."""

    def __init__(self, experts: tuple[Expert, ...], weights: Array) -> None:
        """`weights`: (`COLUMNS`, sum of widths), the experts side by side."""
        if weights.shape != (COLUMNS, sum(expert.width for expert in experts)):
            raise ValueError(f"the weights are {weights.shape}, not {COLUMNS} rows of the experts' width: train again")
        self.experts = experts
        self.measured = tuple(name for expert in experts for name in expert.models)
        self.weights = weights
        self._panel = Panel(experts)
        # What each expert knows, a bit for each: one look at a table for all of them.
        self._known = np.zeros(IDS, np.uint8)
        for bit, expert in zip(self._panel.bits, experts, strict=True):
            self._known |= expert.known.astype(np.uint8) * bit
        # What describes structure alone, the likenesses, has no words to it: those columns stand last and are left out
        # of the long half.
        spoken = self._panel.order[: self._panel.spoken]
        self._words = np.ascontiguousarray(weights[:BUCKETS, spoken], dtype=np.float32)
        self._structure = np.ascontiguousarray(weights[BUCKETS:, self._panel.order], dtype=np.float32)

    def scores(self, row: Row) -> Scores:
        """What is known about one prompt."""
        panel, count = self._panel, len(row.ids)
        structure: Array = row.structure @ self._structure.take(row.curves, axis=0)
        known = self._known.take(row.ids)
        familiar: list[float] = [np.count_nonzero(known & bit) / max(count, 1) for bit in panel.bits]
        spoken = structure[: panel.spoken]
        likeness: list[float] = structure[panel.spoken :].tolist()
        if not count or not panel.resembles(likeness, familiar):
            return Scores(0.0, 0.0, np.zeros(len(self.measured), np.float32))
        words: Array = _ONES[:count] @ self._words.take(row.ids & (BUCKETS - 1), axis=0)
        words *= np.float32(row.word)
        spoken += words
        return panel.judge(spoken, likeness, familiar)

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
