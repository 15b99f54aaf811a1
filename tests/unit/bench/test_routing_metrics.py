"""The routing bench's formulas against examples worked out by hand."""

import numpy as np
import pytest

from bench.routing.metrics import aiq, apgr, bootstrap_ci95, cost_at, cost_at_mixed, cpt, hull, strong_curve


def test_hull_keeps_the_corners_that_pay() -> None:
    """A point below the line between two others, or dearer and worse, is no corner."""
    points = [(1.0, 0.5), (2.0, 0.55), (3.0, 0.9), (4.0, 0.8), (1.0, 0.4)]
    assert hull(points) == [(1.0, 0.5), (3.0, 0.9)]


def test_aiq_is_the_mean_height_of_the_hull() -> None:
    """From 0.5 up to 0.9 over two units, then flat for two: (0.7·2 + 0.9·2) / 4."""
    points = [(1.0, 0.5), (3.0, 0.9), (4.0, 0.8)]
    assert aiq(points, 1.0, 5.0) == pytest.approx(0.8)


def test_aiq_counts_nothing_below_the_cheapest_point() -> None:
    """A router that cannot be had for less than 2 has no quality between 1 and 2."""
    assert aiq([(2.0, 0.6)], 1.0, 3.0) == pytest.approx(0.3)


def test_cost_at_a_quality() -> None:
    """Read off the points, and off the line between two of them."""
    points = [(1.0, 0.5), (3.0, 0.9)]
    assert cost_at(points, 0.7) == 3.0
    assert cost_at_mixed(points, 0.7) == pytest.approx(2.0)
    assert cost_at_mixed(points, 0.4) == 1.0
    assert cost_at(points, 0.95) == cost_at_mixed(points, 0.95) == float("inf")


def _ten() -> tuple[np.ndarray, np.ndarray]:
    weak = np.array([1.0] * 5 + [0.0] * 5)
    return weak, np.ones(10)


def test_apgr_of_a_perfect_order() -> None:
    """The five prompts the weak model fails go first: full quality at half of the calls, then flat.

    Area: 0.5·0.75 + 0.5·1 = 0.875; above the weak model's 0.5: 0.375; of the gap of 0.5: 0.75.
    """
    weak, strong = _ten()
    order = np.arange(10.0)
    assert apgr(order, weak, strong) == pytest.approx(0.75, abs=0.02)
    assert apgr(-order, weak, strong) == pytest.approx(0.25, abs=0.02)
    shares, reached = strong_curve(order, weak, strong)
    assert (shares[0], reached[0], shares[-1], reached[-1]) == (0.0, 0.5, 1.0, 1.0)


def test_cpt_of_a_perfect_order() -> None:
    """Half of the gap needs a quarter of the calls, 80 % of it two fifths."""
    weak, strong = _ten()
    assert cpt(np.arange(10.0), weak, strong, 0.5) == pytest.approx(0.25, abs=0.02)
    assert cpt(np.arange(10.0), weak, strong, 0.8) == pytest.approx(0.4, abs=0.02)


def test_bootstrap_covers_the_mean_and_repeats() -> None:
    """The interval lies around the mean, narrows with the count, and is the same for the same seed."""
    gains = np.tile([1.0, 0.0, 0.0, -0.5], 100)
    low, high = bootstrap_ci95(gains, 7)
    assert low < gains.mean() < high
    assert (low, high) == bootstrap_ci95(gains, 7)
    wide = bootstrap_ci95(gains[:40], 7)
    assert wide[1] - wide[0] > high - low
