"""The quality that is expected of each model for one prompt."""

from __future__ import annotations

import math

import numpy as np

from services.router.deciding.constraints import Column, Shortlist
from services.router.deciding.scoring import ease
from services.router.policies.policy import Ask
from services.router.prompt.predictor import QualityPredictor


def expected(
    predictor: QualityPredictor | None, shortlist: Shortlist, ask: Ask, ability: Column, odds: Column
) -> Column:
    """As far as the prompt resembles what was learned of prompts, by that; else by how complex it is; and by the
    catalog alone where it was not read. `odds`: `ability` as log odds."""
    reading = ask.reading
    sure = reading.confidence if reading is not None and predictor is not None else 0.0
    if ask.complexity is not None and sure < 1:
        # The logistic function of the odds, moved.
        inverse = np.exp(-odds)
        inverse *= math.exp((sure - 1) * ease(ask.complexity))
        inverse += 1.0
        ability = np.divide(1.0, inverse, out=inverse)
    if reading is None or predictor is None or sure <= 0:
        return ability
    found = predictor.expected(reading, ability.astype(np.float32), shortlist.heads(predictor))
    return found.astype(np.float64)
