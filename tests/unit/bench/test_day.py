"""The replayed day: small sets made by hand, and the figures that come with DAC."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.day import replay, shares
from bench.day.judged import Judged, load, save, shipped
from bench.day.prices import USD_PER_MTOK, cost_usd

ROOT = pathlib.Path(__file__).resolve().parents[3]


def made(*, known: float = 1.0, count: int = 400) -> Judged:
    """A dear model that is always right and a cheap one that is right on every other prompt, which is foreseen."""
    easy = np.arange(count) % 2 == 0
    score = np.stack([np.ones(count), easy], axis=1).astype(np.float32)
    cost = np.tile(np.array([0.01, 0.001], np.float32), (count, 1))
    confidence = np.full(count, known, np.float32)
    return Judged(
        "made", ("dear", "cheap"), score * 0.9, confidence, cost, score, cost, (np.arange(count) % 5).astype(np.int8)
    )


def test_what_is_foreseen_saves_and_loses_nothing() -> None:
    day = replay.run([made()], seed=1, count=1000)
    assert day["points_lost"] == 0 and day["near_best"] == 1
    assert day["saved_by_routing"] == pytest.approx(0.45, abs=0.05)
    assert day["ways"]["exact_cache"]["saved"] == pytest.approx(day["repeated"])
    assert day["saved_in_all"] > day["saved_by_routing"]


def test_where_in_doubt_the_best_single_model_answers() -> None:
    day = replay.run([made(known=0.1)], seed=1, count=500)
    assert day["saved_by_routing"] == 0 and day["routed_elsewhere"] == 0


def test_no_more_quality_is_given_up_than_may_be() -> None:
    blind = made()
    rng = np.random.default_rng(7)
    blind = dataclasses.replace(blind, expected=rng.random(blind.expected.shape).astype(np.float32))
    day = replay.run([blind], seed=1, count=2000)
    assert day["points_lost"] < 100 * replay.MAX_LOSS + 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(0, 99), st.integers(1, 200))
def test_only_what_was_asked_before_counts_as_repeated(sizes: list[int], seed: int, count: int) -> None:
    asked, again = replay.requests(sizes, seed, count)
    seen: set[int] = set()
    for prompt, repeated in zip(asked.tolist(), again.tolist(), strict=True):
        assert (prompt in seen) == repeated and 0 <= prompt < sum(sizes)
        seen.add(prompt)


def test_figures_survive_being_kept(tmp_path: pathlib.Path) -> None:
    save([made()], tmp_path / "kept.npz")
    [read] = load(tmp_path / "kept.npz")
    assert read.models == ("dear", "cheap")
    assert np.allclose(read.expected, made().expected, atol=1e-3) and (read.part == made().part).all()


def test_fifteen_models_have_a_price_and_every_recorded_one_is_among_them() -> None:
    assert len(USD_PER_MTOK) == 15
    assert {model for one in shipped() for model in one.models} <= set(USD_PER_MTOK)
    assert cost_usd("gpt-4-1106-preview", 4_000_000) == pytest.approx(10 + 256 * 30 / 1e6)


def test_the_day_that_comes_with_dac_saves_two_fifths() -> None:
    command = [sys.executable, "-m", "bench.day", "--json"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    day = json.loads(said.stdout)["day"]
    assert day["requests"] == 10_000 and day["price_list"] == 15
    assert day["saved_in_all"] >= 0.4 and day["points_lost"] <= 1 and day["near_best"] >= 0.85
    assert day["saved_by_routing"] >= 0.3


@pytest.mark.parametrize("rate", shares.RATES)
def test_every_request_is_answered_once_and_only_repeats_are_saved(rate: float) -> None:
    row = shares.exact(2_000, rate, seed=3)
    assert row["exact_cache"] + row["coalescing"] + row["calls"] == pytest.approx(1)
    assert row["exact_cache"] + row["coalescing"] <= rate + 0.03
    _, asked = shares.arrivals(2_000, rate, seed=3)
    assert row["calls"] >= len(set(asked.tolist())) / 2_000, "every question needs one call at least"
    assert (row["coalescing"] > 0) == (rate > 0)
