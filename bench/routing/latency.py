"""How long one decision takes: n-grams, features, scores, 50 candidates, the choice."""

import time

import numpy as np

from services.router.prompt.ngrams import hashed
from services.router.prompt.predictor import QualityPredictor

CANDIDATES = 50
_DECISIONS = 2000


def run(predictor: QualityPredictor, texts: tuple[str, ...], seed: int) -> dict[str, float]:
    """p50 and p99 in milliseconds over prompts of the sets, after a warm-up; `cpu_`: without what others took."""
    generator = np.random.default_rng(seed)
    measured = predictor.measured
    names = [measured[place % len(measured)] if place % 3 == 0 else f"other-{place}" for place in range(CANDIDATES)]
    places, abilities = predictor.places(names), generator.random(CANDIDATES).astype(np.float32)
    drawn = generator.integers(0, len(texts), _DECISIONS)
    took, worked = [], []
    for place, prompt in enumerate(drawn):
        text = texts[prompt]
        began, busy = time.perf_counter(), time.thread_time()
        reading = predictor.read(text, hashed(text))
        int(predictor.expected(reading, abilities, places).argmax())
        if place >= _DECISIONS // 10:
            took.append(time.perf_counter() - began)
            worked.append(time.thread_time() - busy)
    p50, p99 = np.quantile(took, (0.5, 0.99)) * 1000
    cpu = np.quantile(worked, (0.5, 0.99)) * 1000
    figures = {"p50": p50, "p99": p99, "cpu_p50": cpu[0], "cpu_p99": cpu[1]}
    return {name: round(float(value), 4) for name, value in figures.items()}
