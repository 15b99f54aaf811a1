"""The published figures of merit: AIQ (RouterBench), APGR and CPT (RouteLLM), the paired bootstrap."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Point = tuple[float, float]

_THRESHOLDS = 10


def hull(points: Sequence[Point]) -> list[Point]:
    """The non-decreasing upper convex hull of (cost, quality) points, from the cheapest one on."""
    kept: list[Point] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if kept and quality <= kept[-1][1]:
            continue
        while len(kept) >= 2 and _slope(kept[-2], kept[-1]) <= _slope(kept[-2], (cost, quality)):
            kept.pop()
        kept.append((cost, quality))
    return kept


def _slope(a: Point, b: Point) -> float:
    return (b[1] - a[1]) / (b[0] - a[0]) if b[0] > a[0] else float("inf")


def aiq(points: Sequence[Point], low: float, high: float) -> float:
    """Area under the hull between two costs, over their distance. Below its cheapest point a router has nothing."""
    corners = hull(points)
    costs, qualities = np.array([c for c, _ in corners]), np.array([q for _, q in corners])
    inside = costs[(costs > low) & (costs < high)]
    grid = np.unique(np.concatenate(([low, high], inside)))
    area = 0.0
    for left, right in itertools.pairwise(grid):
        if right <= costs[0]:
            continue
        ends = np.interp([left, right], costs, qualities)
        area += float(ends.mean()) * float(right - left)
    return area / (high - low)


def cost_at(points: Sequence[Point], quality: float) -> float:
    """The smallest cost of a point that reaches a quality; infinite when none does."""
    return min((cost for cost, reached in points if reached >= quality), default=float("inf"))


def cost_at_mixed(points: Sequence[Point], quality: float) -> float:
    """As `cost_at`, on the hull: two neighbouring points used in turn, which is what AIQ measures."""
    corners = hull(points)
    if quality <= corners[0][1]:
        return corners[0][0]
    if quality > corners[-1][1]:
        return float("inf")
    return float(np.interp(quality, [q for _, q in corners], [c for c, _ in corners]))


def strong_curve(gain: Floats, weak: Floats, strong: Floats) -> tuple[Floats, Floats]:
    """Share sent to the strong model and accuracy there, at ten quantile thresholds of the predicted gain, and at 0."""
    shares, reached = [0.0], [float(weak.mean())]
    for threshold in np.quantile(gain, np.linspace(1.0, 0.0, _THRESHOLDS + 1))[1:]:
        sent = gain >= threshold
        shares.append(float(sent.mean()))
        reached.append(float(np.where(sent, strong, weak).mean()))
    return np.array(shares), np.array(reached)


def apgr(gain: Floats, weak: Floats, strong: Floats) -> float:
    """Average share of the gap between the two models that is recovered: 0 is all weak, 1 all strong."""
    x, r = strong_curve(gain, weak, strong)
    span, gap = x[-1] - x[0], strong.mean() - weak.mean()
    return float((np.trapezoid(r, x) - weak.mean() * span) / (gap * span))


def cpt(gain: Floats, weak: Floats, strong: Floats, part: float) -> float:
    """Share of calls to the strong model at which this part of the gap is recovered."""
    x, r = strong_curve(gain, weak, strong)
    goal = weak.mean() + part * (strong.mean() - weak.mean())
    for i in range(1, len(x)):
        if r[i] >= goal:
            return float(x[i - 1] + (goal - r[i - 1]) / max(r[i] - r[i - 1], 1e-12) * (x[i] - x[i - 1]))
    return 1.0


def bootstrap_ci95(gains: Floats, seed: int, repeats: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean of paired differences."""
    generator = np.random.default_rng(seed)
    means = [float(gains[generator.integers(0, len(gains), len(gains))].mean()) for _ in range(repeats)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
