"""Whether two arms of an experiment differ, by numbers that may be looked at as often as one likes.

Figures are sums, so that replicas' can be added. Two p-values are worked out for every comparison. One is for a single
look: the two-proportion z-test for counts (pooled variance), Welch's t-test for means (Welch 1947, Biometrika 34). The
other holds at every look at once, as sequential tests do:

- counts: given that an event (a failed request, a slow one) has happened, it is arm b's with the probability of b's
  share of the requests when the arms are equal. The likelihood of a Beta mixture of other probabilities over that of
  this one is a nonnegative martingale of mean 1; by Ville's inequality it exceeds 1/alpha with probability alpha at
  most, ever. (Lindon & Malek 2022, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 35.)
- means: the mixture sequential probability ratio test with a normal mixture over the difference (Robbins 1970, Annals
  of Mathematical Statistics 41; Johari, Koomen, Pekelis & Walsh 2022, "Always Valid Inference", Operations Research
  70), with the variance estimated, hence valid asymptotically (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024,
  "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

MIXTURE_REQUESTS = 200.0
"""The requests of the smaller arm at which the test of means is sharpest."""
MIXTURE_EVENTS = 2.0
"""How many events the mixture for counts weighs: few = it expects large differences."""
FEWEST = 20
"""Means of fewer than so many in an arm are not compared: their variance is not known."""
_NORMAL = NormalDist()
_TINY = 1e-300


class Sample(NamedTuple):
    """Numbers, summed up."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """0 when there is none."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Of the sample, unbiased."""
        return max(0.0, (self.squares - self.total**2 / self.n) / (self.n - 1)) if self.n > 1 else 0.0


class Difference(NamedTuple):
    """What a comparison says."""

    delta: float
    """b less a."""
    p_value: float
    """For one look."""
    always_valid_p: float
    """At every look."""


NONE = Difference(0.0, 1.0, 1.0)


def counts(events_a: float, n_a: float, events_b: float, n_b: float) -> Difference:
    """How often something happened among the requests of both arms."""
    events, n = events_a + events_b, n_a + n_b
    if not n_a or not n_b or not events:
        return NONE
    delta, pooled = events_b / n_b - events_a / n_a, events / n
    spread = pooled * (1 - pooled) * (1 / n_a + 1 / n_b)
    p_value = _two_sided(delta / math.sqrt(spread)) if spread > 0 else 1.0
    share = n_b / n
    prior_a, prior_b = MIXTURE_EVENTS * (1 - share), MIXTURE_EVENTS * share
    log_ratio = (
        _log_beta(prior_b + events_b, prior_a + events_a)
        - _log_beta(prior_b, prior_a)
        - events_b * math.log(share)
        - events_a * math.log1p(-share)
    )
    return Difference(delta, p_value, _never_above(log_ratio))


def means(a: Sample, b: Sample) -> Difference:
    """How far the means of both arms stand apart."""
    if a.n < FEWEST or b.n < FEWEST:
        return NONE
    delta, of_a, of_b = b.mean - a.mean, a.variance / a.n, b.variance / b.n
    spread = of_a + of_b
    # What rounding leaves of numbers that are all alike is no variance.
    if spread <= 1e-18 * max(a.mean**2, b.mean**2):
        return Difference(delta, 1.0, 1.0) if abs(delta) <= 1e-9 * abs(a.mean) else Difference(delta, 0.0, _alike(a, b))
    t, part = delta / math.sqrt(spread), of_a / spread
    freedom = 1 / (part**2 / (a.n - 1) + (1 - part) ** 2 / (b.n - 1))
    p_value = student_p(t, freedom)
    # The normal number that is as improbable: with few numbers a large t says less.
    z = abs(t) if p_value < 1e-12 else min(abs(t), -_NORMAL.inv_cdf(max(p_value, _TINY) / 2))
    weight = a.n * b.n / (a.n + b.n) / MIXTURE_REQUESTS
    log_ratio = z * z / 2 * weight / (1 + weight) - math.log1p(weight) / 2
    return Difference(delta, p_value, _never_above(log_ratio))


def student_p(t: float, freedom: float) -> float:
    """Student's two-sided p-value."""
    return _beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


def _alike(a: Sample, b: Sample) -> float:
    """Every number of an arm is the same, and the arms' differ: as if one number were drawn for each request."""
    return _never_above((min(a.n, b.n) - FEWEST) * math.log(2) / 2)


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _never_above(log_ratio: float) -> float:
    """A p-value from a martingale's logarithm."""
    return min(1.0, math.exp(-min(log_ratio, 690.0)))


def _log_beta(x: float, y: float) -> float:
    return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1:
        return min(1.0, max(0.0, x))
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    c, d, fraction = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1)), 0.0
    fraction = d
    for m in range(1, 300):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _apart(1 + numerator * d), _apart(1 + numerator / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return front * fraction


def _apart(number: float) -> float:
    return number if abs(number) > 1e-30 else 1e-30
