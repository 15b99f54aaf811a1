"""Live figures: enough answers, none too old, quantiles that follow what happens now."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.deciding.latency import ENOUGH, KEPT, Speeds, quantiles


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def watch(speeds: Speeds, *first_tokens_ms: float, tokens: int = 100, writing_ms: float = 1000) -> None:
    for first in first_tokens_ms:
        speeds.observe("p/m", "p", first_token_ms=first, total_ms=first + writing_ms, output_tokens=tokens)


def test_figures_count_from_enough_answers_on() -> None:
    speeds = Speeds(Clock())
    watch(speeds, *[500.0] * (ENOUGH - 1))
    assert speeds.of("p/m", "p") is None and speeds.version == 0
    watch(speeds, 500.0)
    found = speeds.of("p/m", "p")
    assert found is not None and found.first_token_ms == found.first_token_p95_ms == 500
    assert found.tokens_per_s == pytest.approx(100) and found.answers == ENOUGH and speeds.version == 1
    assert speeds.of("p/m", "other") is None


def test_they_follow_what_happens_now_and_stand_still_while_nothing_moves() -> None:
    speeds = Speeds(Clock())
    watch(speeds, *[500.0] * KEPT)
    before = speeds.version
    watch(speeds, *[505.0] * 16)
    assert speeds.version == before, "one per cent is no news"
    watch(speeds, *[5000.0] * 24)
    found = speeds.of("p/m", "p")
    assert found is not None and found.first_token_ms == 5000 and speeds.version > before


def test_old_answers_are_forgotten_so_that_a_slow_model_gets_another_chance() -> None:
    clock = Clock()
    speeds = Speeds(clock, stale_s=100.0)
    watch(speeds, *[9000.0] * 20)
    before = speeds.version
    clock.now_s = 111.0
    assert speeds.version > before and speeds.of("p/m", "p") is None and not speeds.all()


def test_what_says_nothing_is_not_counted() -> None:
    speeds = Speeds(Clock())
    watch(speeds, *[0.0] * 20)
    assert not speeds.all()
    watch(speeds, *[300.0] * 20, tokens=3)
    found = speeds.of("p/m", "p")
    assert found is not None and found.tokens_per_s == 0, "an answer of three tokens has no speed"
    speeds.keep_only(set())
    assert not speeds.all()


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=KEPT))
def test_quantiles_are_values_in_order(values: list[float]) -> None:
    middle, high = quantiles(values, 0.5, 0.95)
    assert middle in values and high in values and min(values) <= middle <= high <= max(values)
