"""What outcomes teach: Thompson sampling for each organisation, intent and model.

Every outcome is compared with what had been expected of the model, and the differences are summed up. A model's
expected quality is then its prior (the catalog's, or a prediction for this very prompt) corrected by the mean
difference, drawn in by `prior_strength` imaginary outcomes: for a prior that never changes this is the mean of the
posterior Beta(n0·p + s, n0·(1−p) + n − s). Where an intent has few outcomes of its own, those of the other intents
speak first.

Older outcomes fade: each outcome of an intent multiplies the sums of all its models by `discount`. The fading is worked
out when sums are read, from the intent's clock (its outcomes so far), so sums can be added up by any number of writers.

When to explore is Thompson's question: one draw from each posterior, and when another model than the best mean comes
out on top, this decision may depart from the best. It does so only while the departures stay within the share allowed,
and it then takes the model whose posterior reaches highest, for a departure is scarce and should teach the most; and
not at all when even that one does not reach above the best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SAVED_DEPARTURES = 20.0
"""Departures an intent may save up while it needs none, so that a new model is met with some."""
REACH, REACH_UNKNOWN = 0.6, 1.2
"""How many standard deviations above its mean a posterior is taken to reach; and how many more without an outcome."""
A_TRIFLE = 1e-9
"""How far a departure is put above the best."""
CERTAIN = 1e-3
"""Means stay this far from 0 and 1, where no draw would ever differ."""
MAX_CANDIDATE_SETS = 64
"""Sets of candidates whose sums are kept side by side, for each intent."""

Floats = NDArray[np.float64]


class Key(NamedTuple):
    """What is learned apart."""

    org_id: str
    intent: str
    model: str


@dataclass(frozen=True, slots=True)
class Sums:
    """The outcomes of a model under an intent, added up and faded."""

    outcomes: float = 0.0
    quality: float = 0.0
    """Of the rewards, each 0–1."""
    expected: float = 0.0
    """Of what had been expected of each."""
    cost_usd: float = 0.0
    latency_s: float = 0.0
    explored: float = 0.0
    """How many were departures from the best."""

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return Sums(*(getattr(self, name) + getattr(other, name) for name in Sums.__dataclass_fields__))

    def times(self, factor: float) -> Sums:
        """Faded by a factor."""
        return Sums(*(getattr(self, name) * factor for name in Sums.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Observation:
    """One outcome."""

    key: Key
    quality: float
    """0–1, from `reward`."""
    expected: float
    cost_usd: float = 0.0
    latency_s: float = 0.0
    explored: bool = False

    def sums(self) -> Sums:
        """As sums of one."""
        return Sums(1.0, self.quality, self.expected, self.cost_usd, self.latency_s, float(self.explored))


def reward(*, succeeded: bool, expected: float, graded: Sequence[float] = ()) -> float:
    """How good an outcome was, 0–1: nothing for a failure, else the mean of its grades.

    A success that nobody graded is as good as expected: that an answer came says nothing of how good it is, and would
    lift the weakest model to the best.
    """
    if not succeeded:
        return 0.0
    if not graded:
        return min(1.0, max(0.0, expected))
    return min(1.0, max(0.0, sum(graded) / len(graded)))


def seed_of(text: str) -> int:
    """A seed from an id or any other text: the same text, the same draws."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class LearningRules:
    """How quickly is believed and forgotten."""

    prior_strength: float = 15.0
    """How many outcomes the prior is worth."""
    discount: float = 0.9998
    """What an outcome leaves of the weight of those before it; 1 = nothing fades."""
    cost_per_usd: float = 0.0
    """What a dollar a request takes from a model's utility, where the caller weighs cost itself not at all."""
    latency_per_s: float = 0.0
    """What a second takes, likewise."""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What has been learned of the candidates of one decision."""

    values: list[float]
    """The utility of each, in the order they were given; the highest is the one to take."""
    qualities: list[float]
    """The expected quality of each, 0–1."""
    explored: bool
    """Whether the highest is not the best by what is known: a departure, to learn."""


class Standing(NamedTuple):
    """What is known of a model under an intent."""

    intent: str
    model: str
    sums: Sums


@dataclass(slots=True)
class _Intent:
    clock: float = 0.0
    arms: dict[str, tuple[float, Sums]] = field(default_factory=dict)
    """Model → the clock its sums hold at, and they."""
    departures: float = 0.0
    """How many are saved up."""
    laid_out: dict[tuple[str, ...], _Columns] = field(default_factory=dict)


class _Columns(NamedTuple):
    """The sums of a set of candidates, side by side."""

    outcomes: Floats
    surplus: Floats
    """Quality above what had been expected, summed."""
    lent: Floats
    """The same of the other intents, as a mean that is drawn in."""
    cost_usd: Floats
    latency_s: Floats


class Learned:
    """All that has been learned, in memory; nothing here waits or asks the time.

    Decisions read it (`adjust`); the store's reader replaces rows (`put`); what learns in memory alone adds (`add`).
    """

    def __init__(self, rules: LearningRules | None = None) -> None:
        self.rules = rules or LearningRules()
        self._orgs: dict[str, dict[str, _Intent]] = {}
        self._random = np.random.PCG64(0)
        self._state = self._random.state
        self._draws = np.random.Generator(self._random)

    def adjust(
        self,
        org_id: str,
        intent: str,
        model_ids: Sequence[str],
        priors: Sequence[float],
        seed: int,
        explore_share: float = 0.1,
        *,
        weight: float = 1.0,
        rest: Sequence[float] | None = None,
        spend: bool = True,
    ) -> Adjusted:
        """The utilities of candidates that all may be taken: `weight` · learned quality + `rest`.

        `priors`: the quality expected of each without learning, 0–1. `rest`: what else speaks for each (speed, price)
        on the scale of `weight`; without it the learned cost and latency count as the rules say. `explore_share`: the
        most decisions that may depart from the best, 0 = none. The same seed and state give the same answer. A dry run
        takes `spend=False`: it leaves no trace.
        """
        prior = np.array(priors, dtype=np.float64)
        other = None if rest is None else np.array(rest, dtype=np.float64)
        values, mean, departs = self.adjust_columns(
            org_id, intent, tuple(model_ids), prior, lambda: seed, explore_share, weight=weight, rest=other, spend=spend
        )
        return Adjusted(values.tolist(), mean.tolist(), departs)

    def adjust_columns(
        self,
        org_id: str,
        intent: str,
        model_ids: tuple[str, ...],
        prior: Floats,
        seed: Callable[[], int],
        explore_share: float,
        *,
        weight: float = 1.0,
        rest: Floats | None = None,
        spend: bool = True,
    ) -> tuple[Floats, Floats, bool]:
        """The same as columns, values first, for one who has columns; `seed` is only asked when something is drawn."""
        place = self._orgs.get(org_id, {}).get(intent)
        columns = self._columns(org_id, intent, place, model_ids)
        rules = self.rules
        informed = _uncertain(prior + columns.lent)
        strength = rules.prior_strength + columns.outcomes
        mean = informed + (columns.surplus - columns.outcomes * (informed - prior)) / strength
        mean = _uncertain(mean)
        if rest is None:
            other = -rules.cost_per_usd * columns.cost_usd - rules.latency_per_s * columns.latency_s
        else:
            other = rest
        values = weight * mean + other
        departs = -1
        if explore_share > 0 and len(model_ids) > 1:
            departs = self._departure(
                org_id, intent, place, explore_share, spend, (mean, strength, weight, other, seed)
            )
        if departs >= 0:
            # Nothing but the place of the one departure differs: fallbacks keep their order by what is known.
            values[departs] = values.max() + A_TRIFLE
        return values, mean, departs >= 0

    def _departure(
        self,
        org_id: str,
        intent: str,
        place: _Intent | None,
        share: float,
        spend: bool,
        posterior: tuple[Floats, Floats, float, Floats, Callable[[], int]],
    ) -> int:
        """Which candidate this decision departs to; -1 = it takes the best."""
        saved = min((0.0 if place is None else place.departures) + share, MAX_SAVED_DEPARTURES)
        departs = -1
        # Sums of shares fall short of a whole by rounding.
        if saved > 1 - 1e-9:
            mean, strength, weight, other, seed = posterior
            values = weight * mean + other
            best = int(values.argmax())
            drawn = weight * self._draw(mean, strength, seed()) + other
            if int(drawn.argmax()) != best:
                deviations = REACH + REACH_UNKNOWN * self.rules.prior_strength / strength
                reach = values + weight * deviations * np.sqrt(mean * (1 - mean) / (strength + 1))
                reach[best] = -np.inf
                promising = int(reach.argmax())
                if reach[promising] > values[best]:
                    departs, saved = promising, max(0.0, saved - 1)
        if spend:
            if place is None:
                place = self._orgs.setdefault(org_id, {}).setdefault(intent, _Intent())
            place.departures = saved
        return departs

    def _draw(self, mean: Floats, strength: Floats, seed: int) -> Floats:
        """A draw from each Beta posterior, of two gammas by Wilson's and Hilferty's cubes: cheaper than exact ones."""
        self._state["state"]["state"] = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % (1 << 128)
        self._random.state = self._state
        shapes = np.empty((2, len(mean)))
        np.multiply(mean, strength, out=shapes[0])
        np.subtract(strength, shapes[0], out=shapes[1])
        roots = self._draws.standard_normal(shapes.shape) / (3 * np.sqrt(shapes)) + 1 - 1 / (9 * shapes)
        roots = np.maximum(roots, 1e-9)
        gammas = shapes * roots * roots * roots
        drawn: Floats = gammas[0] / (gammas[0] + gammas[1])
        return drawn

    def _columns(self, org_id: str, intent: str, place: _Intent | None, models: tuple[str, ...]) -> _Columns:
        intents = self._orgs.get(org_id)
        if intents is None:
            return _nothing(len(models))
        if place is None:
            place = intents.setdefault(intent, _Intent())
        found = place.laid_out.get(models)
        if found is None:
            if len(place.laid_out) >= MAX_CANDIDATE_SETS:
                place.laid_out.clear()
            found = place.laid_out[models] = self._lay_out(intents, place, models)
        return found

    def _lay_out(self, intents: Mapping[str, _Intent], own: _Intent, models: tuple[str, ...]) -> _Columns:
        rows = []
        for model in models:
            sums = self._faded(own, model)
            lent, lenders = 0.0, self.rules.prior_strength
            for intent in intents.values():
                if intent is not own and model in intent.arms:
                    at, theirs = intent.arms[model]
                    weight = self.rules.discount ** (intent.clock - at)
                    lent += weight * (theirs.quality - theirs.expected)
                    lenders += weight * theirs.outcomes
            # A model that was never asked is taken to cost and last nothing out of the ordinary.
            n = sums.outcomes
            rows.append(
                (
                    n,
                    sums.quality - sums.expected,
                    lent / lenders,
                    sums.cost_usd / n if n > 0 else np.nan,
                    sums.latency_s / n if n > 0 else np.nan,
                )
            )
        table = np.array(rows, dtype=np.float64).reshape(-1, 5).T
        for column in table[3:]:
            unknown = np.isnan(column)
            column[unknown] = 0.0 if unknown.all() else column[~unknown].mean()
        return _Columns(*table)

    def _faded(self, place: _Intent, model: str) -> Sums:
        at, sums = place.arms.get(model, (place.clock, Sums()))
        return sums if at >= place.clock else sums.times(self.rules.discount ** (place.clock - at))

    def add(self, observations: Iterable[Observation], forward: float = 0.0) -> None:
        """Learns outcomes one after another. `forward`: by how much more each puts its intent's clock forward."""
        for one in observations:
            intents = self._orgs.setdefault(one.key.org_id, {})
            place = intents.setdefault(one.key.intent, _Intent())
            place.clock += 1 + forward
            place.arms[one.key.model] = (place.clock, self._faded(place, one.key.model).plus(one.sums()))
            for intent in intents.values():
                intent.laid_out.clear()

    def put(self, org_id: str, clocks: Mapping[str, float], rows: Iterable[tuple[Key, float, Sums]]) -> None:
        """Takes over what the store holds of an organisation: intents' clocks, and sums with the clock they hold at."""
        intents = self._orgs.setdefault(org_id, {})
        for intent, clock in clocks.items():
            intents.setdefault(intent, _Intent()).clock = clock
        for key, at, sums in rows:
            intents.setdefault(key.intent, _Intent()).arms[key.model] = (at, sums)
        for place in intents.values():
            place.laid_out.clear()

    def known(self, key: Key) -> Sums:
        """What is known of one model under one intent, faded to now."""
        place = self._orgs.get(key.org_id, {}).get(key.intent)
        return Sums() if place is None else self._faded(place, key.model)

    def clock(self, org_id: str, intent: str) -> float:
        """How many outcomes an intent has seen."""
        place = self._orgs.get(org_id, {}).get(intent)
        return 0.0 if place is None else place.clock

    def standings(self, org_id: str, intent: str = "") -> list[Standing]:
        """What is known of each model, of one intent or of all, faded to now."""
        return [
            Standing(name, model, self._faded(place, model))
            for name, place in sorted(self._orgs.get(org_id, {}).items())
            if not intent or name == intent
            for model in sorted(place.arms)
        ]

    @property
    def organisations(self) -> tuple[str, ...]:
        """Those of which outcomes are known."""
        found = self._orgs.items()
        return tuple(name for name, intents in found if any(_has_outcomes(one) for one in intents.values()))

    def mean_of(self, org_id: str, intent: str, model: str, prior: float) -> float:
        """The quality expected of a model, 0–1."""
        return self.adjust(org_id, intent, (model,), (prior,), 0, 0.0, spend=False).qualities[0]


def _has_outcomes(place: _Intent) -> bool:
    return any(sums.outcomes > 0 for _, sums in place.arms.values())


def _uncertain(quality: Floats) -> Floats:
    """Away from 0 and 1; two plain steps, as `numpy.clip` takes five times as long for so few."""
    kept: Floats = np.minimum(np.maximum(quality, CERTAIN), 1 - CERTAIN)
    return kept


def _nothing(count: int) -> _Columns:
    return _Columns(*np.zeros((5, count)))
