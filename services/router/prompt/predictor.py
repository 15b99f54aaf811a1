"""How well each candidate would answer this prompt: expected quality, with the confidence to overrule the catalog.

Learned from public results of many models on the same prompts. Two kinds of knowledge are kept: models that were
measured themselves have a head of their own, and every other model is placed by its ability alone (item response:
P = sigmoid(ability − difficulty)), so that hard prompts spread the models apart and easy ones let a cheap one do. Both
count only as far as the prompt resembles what was learned: outside of it the answer is the catalog's own quality, and
the choice the best single model.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from services.router.prompt.ngrams import Ids
from services.router.prompt.quality_features import PHRASES, Row, row, row_of
from services.router.prompt.quality_model import QualityModel
from services.router.prompt.reading import Reading as Prompt

Array = npt.NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights" / "quality.npz"
"""The shipped weights."""


class Reading(msgspec.Struct, frozen=True):
    """What one prompt says about how well models will do: independent of the candidates."""

    difficulty: float
    """On the scale of log odds: at ability 0.5 and difficulty 0 half of the answers are good. Above 0 is harder."""
    confidence: float
    """0 to 1: how much the prompt resembles what was learned. 0 is the fallback to the catalog's own qualities."""
    measured: Array
    """Per measured model, by how much it does better on such prompts than its ability says, as log odds."""


class QualityPredictor:
    """Expected quality of the answer per candidate. Holds arrays, reads no file after `load`, keeps nothing."""

    def __init__(self, model: QualityModel) -> None:
        """A predictor over a fitted model."""
        self.model = model
        """The fitted arrays."""
        self._places = {name: place for place, name in enumerate(model.measured)}

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Self:
        """Read weights made by `python -m bench.routing.train`."""
        return cls(QualityModel.load(path))

    @property
    def measured(self) -> tuple[str, ...]:
        """Normalised names of the models that have a head of their own."""
        return self.model.measured

    def places(self, models: Sequence[str]) -> npt.NDArray[np.intp]:
        """Where each candidate's own head is, -1 without one. Once per change of the catalog, not per request.

        `models`: normalised identities ("llama-3.1-8b-instruct") or DAC ids, of which the part after the last "/"
        counts, in lower case.
        """
        names = (model.rsplit("/", 1)[-1].lower() for model in models)
        return np.array([self._places.get(name, -1) for name in names], np.intp)

    def read(self, text: str, ids: Ids) -> Reading:
        """What the prompt says, once per request. `ids`: the prompt's n-grams, `ngrams.hashed(text)`."""
        return self._of(row(text, ids))

    def read_again(self, said: Prompt) -> Reading:
        """The same of a prompt that `prompt.read_once` has read."""
        text, found = said.text, said.found[-len(PHRASES) :]
        there = itertools.compress(enumerate(PHRASES), found)
        phrases = [(number, text.count(phrase)) for number, phrase in there]
        return self._of(row_of(said.ids, said.counts, (len(text), len(said.content)), phrases))

    def _of(self, read: Row) -> Reading:
        scores = self.model.scores(read)
        return Reading(scores.difficulty, scores.confidence, scores.heads)

    def expected(self, reading: Reading, abilities: Array, places: npt.NDArray[np.intp] | None = None) -> Array:
        """Expected quality 0–1 per candidate.

        `abilities`: the catalog's quality 0–1 per candidate. `places`: from `places`, None when none was measured.
        Between two candidates without heads the abler is never expected to do worse, and at confidence 0 the answer
        is `abilities` itself.
        """
        if reading.confidence <= 0.0:
            return abilities
        # The shift in log odds, applied to the odds themselves: p·e / (p·e + 1 − p).
        shift: Any = np.float32(-reading.difficulty * reading.confidence)
        if places is not None and len(reading.measured):
            own = reading.measured.take(places, mode="clip")
            own *= places >= 0
            own *= np.float32(reading.confidence)
            own += shift
            shift = own
        moved = abilities * np.exp(shift)
        expected: Array = moved / (moved + 1 - abilities)
        # Rounding can end a hair above 1.
        return np.minimum(expected, np.float32(1.0), out=expected)
