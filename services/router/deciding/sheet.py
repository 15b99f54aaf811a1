"""A decision and what it rests on: every model that may be chosen from, scored for one request."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.router.catalog.catalog import KnownModel
from services.router.deciding.constraints import Column, Shortlist, pace_of, whole_ms
from services.router.deciding.scoring import Weights
from services.router.experiments.experiments import Part, ShadowChoice
from services.router.policies.answer_rules import AnswerRules

MAX_RECORDED = 12
"""The most models that a decision's record tells of."""
TINY = 1e-9
"""What rounding may take from a bound."""
Places = npt.NDArray[np.intp]
"""Indexes into a shortlist."""


class Sides(NamedTuple):
    """What a model scored for a request, each 0–1."""

    total: float
    quality: float
    latency: float
    cost: float
    context: float
    prior: float = 0.0
    """The quality before what was learned corrected it; 0 = nothing did."""


@dataclass(slots=True)
class Sheet:
    """The shortlist, scored for one request."""

    shortlist: Shortlist
    weights: Weights
    ability: Column
    quality: Column
    """Expected for this prompt."""
    total: Column
    prior: Column | None = None
    """`quality` before what was learned corrected it; None = nothing did."""
    _plain: tuple[list[float], list[float], list[float] | None] | None = None
    """Total, quality and prior as plain numbers, once they are asked for."""

    def standing(self) -> Column:
        """The quality of every model for the intent, moved by what its outcomes were beside what had been expected."""
        return self.ability if self.prior is None else self.ability + (self.quality - self.prior)

    def sides(self, model: str) -> Sides | None:
        """What a model scored; None when it was not on the list."""
        index = self.shortlist.index.get(model)
        return None if index is None else self.at(index)

    def at(self, index: int) -> Sides:
        """The same by its place."""
        if self._plain is None:
            prior = None if self.prior is None else self.prior.tolist()
            self._plain = self.total.tolist(), self.quality.tolist(), prior
        total, quality, prior = self._plain
        latency, cost, window = self.shortlist.fixed[index]
        return Sides(total[index], quality[index], latency, cost, window, 0.0 if prior is None else prior[index])

    def learned(self, places: Places, quality: Column, total: Column) -> None:
        """Puts what was learned of the models at these places in place of what had been expected of them."""
        # The columns may be the shortlist's own.
        self.prior, self.quality, self.total, self._plain = self.quality, self.quality.copy(), self.total.copy(), None
        self.quality[places], self.total[places] = quality, total


@dataclass(slots=True)
class Decision:
    """What was decided."""

    profile: str
    chain: list[KnownModel]
    """Best first, at least one."""
    reason: str
    left_out: list[tuple[KnownModel, str]] = field(default_factory=list)
    """Models that were looked at and not taken, with the reason; as many as a record tells of."""
    basis: str = "best"
    """What spoke for the primary: best (its score), named, demo (nothing else is there) or least_bad (all are ill)."""
    sheet: Sheet | None = None
    fitting: int = 0
    """How many models could have answered."""
    left_out_count: int = 0
    """How many were kept out, also those that the record does not tell of."""
    explored: bool = False
    """Whether the primary is not the best by what is known: it was taken to learn more of it."""
    policy_version: str = ""
    answers: AnswerRules | None = None
    """What is to be done with the answer; None = nothing."""
    part: Part | None = None
    """What part it has in an experiment."""
    shadow: ShadowChoice | None = None
    """What a policy that is tried in the shadow would have chosen."""

    def sides(self, model: KnownModel) -> Sides:
        """What a model of the chain or of those left out scored."""
        found = self.sheet.sides(model.id) if self.sheet is not None else None
        if found is not None:
            return found
        one = model.scores
        return Sides(model.totals.get(self.profile, 0.0), one.quality, one.latency, one.cost, one.context)

    def whole_ms(self, model: KnownModel, output_tokens: int) -> float:
        """About how long a whole answer of one of these models takes; NaN = unknown."""
        shortlist = self.sheet.shortlist if self.sheet is not None else None
        place = shortlist.index.get(model.id) if shortlist is not None else None
        if shortlist is None or place is None:
            return whole_ms(pace_of(model, None), output_tokens)
        return whole_ms((float(shortlist.first_token_ms[place]), float(shortlist.writing_ms[place])), output_tokens)


def draw(seed: str, model: str) -> float:
    """A number in 0–1 that is the same for the same seed and model."""
    return zlib.crc32(f"{seed} {model}".encode()) / 2**32


def each_once(left_out: Iterable[tuple[KnownModel, str]], chain: list[KnownModel]) -> list[tuple[KnownModel, str]]:
    """The first word on each model that is not in the chain, as many as a record tells of; more is not asked for, so
    that no word is put together that nobody reads."""
    known, found = {model.entry.model for model in chain}, list[tuple[KnownModel, str]]()
    room = MAX_RECORDED - len(known)
    if room <= 0:
        return found
    for one in left_out:
        name = one[0].entry.model
        if name not in known:
            known.add(name)
            found.append(one)
            if len(found) >= room:
                break
    return found
