"""Experiments: a policy that is tried beside the one in force, who takes part, and what the figures say.

Arm "a" is the policy in force, arm "b" the one that is tried. Which arm a request is in follows from the experiment's
id and whoever asks, so every replica finds the same one and a growing share keeps those whom it had.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.router.experiments import significance
from services.router.experiments.significance import NONE, Difference, Sample

AB, SHADOW, CANARY = "ab", "shadow", "canary"
KINDS = (AB, SHADOW, CANARY)
RUNNING, STOPPED, CONCLUDED, ROLLED_BACK, PROMOTED = "running", "stopped", "concluded", "rolled_back", "promoted"
IN_FORCE = (RUNNING, PROMOTED)
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no_difference"
ERRORS, FALLBACKS, LATENCY_P95, LATENCY, FIRST_TOKEN, COST, QUALITY = (
    "errors",
    "fallbacks",
    "latency_p95",
    "latency",
    "first_token",
    "cost",
    "quality",
)
COMPARED = (ERRORS, FALLBACKS, LATENCY_P95, LATENCY, FIRST_TOKEN, COST, QUALITY)
METRICS = (QUALITY, ERRORS, FALLBACKS, LATENCY, FIRST_TOKEN, COST)
"""What an A/B experiment may be decided by."""
GUARDS = (ERRORS, FALLBACKS, LATENCY_P95, QUALITY)
"""What the tried policy must not be worse in."""
MEASURED = (LATENCY, FIRST_TOKEN, COST, QUALITY)
"""What each answer has a number of."""
QUALITY_AT = 3 + 3 * MEASURED.index(QUALITY)
"""Where among the numbers of an arm the sums of quality begin."""
CALLER, REQUEST = "caller", "request"
ARMS = ("a", "b")
BUCKETS = 100
_GROWTH = 1.15
EDGES_MS = tuple(_GROWTH**power for power in range(BUCKETS - 1))
"""Upper bounds of the classes that latencies are counted in; the last class has none."""
_HIGH = 0.05
"""The share of requests above the 95th percentile."""


class Step(NamedTuple):
    """A step of a canary."""

    share: float
    min_requests: int = 200
    """Of the tried policy."""
    min_s: float = 600.0


USUAL_STEPS = (Step(0.01), Step(0.05), Step(0.25), Step(1.0, 0, 0.0))


@dataclass(frozen=True)
class Plan:
    """What was asked for; it does not change while the experiment runs."""

    name: str
    kind: str
    policy: str
    """The one that is tried."""
    control: str = ""
    """Only requests under the policy of this name; empty = all."""
    share: float = 0.5
    steps: tuple[Step, ...] = ()
    metric: str = QUALITY
    guards: tuple[str, ...] = GUARDS
    alpha: float = 0.05
    max_requests: int = 20_000
    sticky_by: str = CALLER

    def share_at(self, step: int) -> float:
        """The share of requests that go by the tried policy (of a shadow: that are decided twice)."""
        return self.steps[min(step, len(self.steps) - 1)].share if self.kind == CANARY else self.share

    @property
    def decided_by(self) -> tuple[str, ...]:
        """What is compared for the verdict."""
        if self.kind == CANARY:
            return self.guards
        return tuple(dict.fromkeys((self.metric, *self.guards)))

    @property
    def alpha_each(self) -> float:
        """What is left of `alpha` for one comparison at one step, so that all together stay within it (Bonferroni)."""
        measured = sum(step.share < 1 for step in self.steps) if self.kind == CANARY else 1
        return self.alpha / max(1, measured * len(self.decided_by))


@dataclass(frozen=True)
class Tried:
    """An experiment that counts for decisions just now."""

    experiment_id: str
    plan: Plan
    step: int = 0
    promoted: bool = False

    def share(self) -> float:
        """The share of requests in arm b."""
        return 1.0 if self.promoted else self.plan.share_at(self.step)

    def takes(self, policy: str) -> bool:
        """Whether requests under a policy take part."""
        return not self.plan.control or self.plan.control == policy

    def arm(self, caller: str, request: str) -> str:
        """The arm of a request: its caller's, else its own."""
        unit = request if self.plan.sticky_by == REQUEST else caller or request
        return "b" if bucket(self.experiment_id, unit) < self.share() else "a"


def bucket(salt: str, unit: str) -> float:
    """A number in 0–1, evenly spread over units and independent between salts."""
    digest = hashlib.blake2b(unit.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") / 2**64


class Part(NamedTuple):
    """A request's part in an experiment."""

    experiment_id: str
    arm: str
    step: int
    refused: bool = False
    """The tried policy refused, and the one in force decided."""


class ShadowChoice(NamedTuple):
    """What the tried policy would have chosen; what was expected of it and of the model that was chosen."""

    experiment_id: str
    policy_version: str
    model: str
    quality: float = 0.0
    cost_nano_usd: int | None = None
    chosen_quality: float = 0.0
    chosen_cost_nano_usd: int | None = None
    agreed: bool = False
    latency_ms: float = 0.0
    chosen_latency_ms: float = 0.0
    """0 = not known of both."""


class TrialKey(NamedTuple):
    """Whose sums an outcome belongs to."""

    org_id: str
    experiment_id: str
    step: int
    arm: str


class TrialOutcome(NamedTuple):
    """What came of one request in one arm; None = not measured."""

    key: TrialKey
    request_id: str
    failed: bool = False
    latency_ms: float | None = None
    first_token_ms: float | None = None
    cost_usd: float | None = None
    quality: float | None = None
    agreed: bool = False
    fell_back: bool = False
    """Another model than the chosen one had to answer."""
    ratable: bool = False
    """Whether there is an answer that its reader may still rate."""


@dataclass
class ArmSums:
    """What came of an arm: sums, so that any two can be added."""

    requests: float = 0.0
    errors: float = 0.0
    agreed: float = 0.0
    fallbacks: float = 0.0
    samples: dict[str, Sample] = field(default_factory=lambda: dict.fromkeys(MEASURED, Sample()))
    latencies: list[float] = field(default_factory=lambda: [0.0] * BUCKETS)
    """How many answers took how long, by class."""

    def add(self, one: TrialOutcome) -> None:
        """Counts an outcome."""
        self.requests += 1
        self.errors += one.failed
        self.agreed += one.agreed
        self.fallbacks += one.fell_back
        for name, value in zip(MEASURED, (one.latency_ms, one.first_token_ms, one.cost_usd, one.quality), strict=True):
            if value is not None:
                n, total, squares = self.samples[name]
                self.samples[name] = Sample(n + 1, total + value, squares + value * value)
        if one.latency_ms is not None:
            self.latencies[bisect.bisect_left(EDGES_MS, one.latency_ms)] += 1

    def numbers(self) -> list[float]:
        """The sums as they are kept."""
        measured = (x for name in MEASURED for x in self.samples[name])
        return [self.requests, self.errors, self.agreed, *measured, self.fallbacks]

    @classmethod
    def of(cls, numbers: Sequence[float], latencies: Sequence[float]) -> ArmSums:
        """From what was kept."""
        requests, errors, agreed = numbers[:3]
        samples = {name: Sample(*numbers[3 + 3 * at : 6 + 3 * at]) for at, name in enumerate(MEASURED)}
        # What an earlier DAC kept ends before it.
        fallbacks = sum(numbers[3 + 3 * len(MEASURED) :])
        return cls(requests, errors, agreed, fallbacks, samples, list(latencies))

    @property
    def error_rate(self) -> float:
        """0–1."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def fallback_rate(self) -> float:
        """0–1."""
        return self.fallbacks / self.requests if self.requests else 0.0

    @property
    def latency_p95_ms(self) -> float:
        """The upper bound of the class that the 95th percentile is in; 0 = nothing was measured."""
        left = sum(self.latencies) * (1 - _HIGH)
        if not left:
            return 0.0
        for place, count in enumerate(self.latencies):
            left -= count
            if left <= 1e-9:
                return EDGES_MS[min(place, BUCKETS - 2)]
        return EDGES_MS[-1]


class Comparison(NamedTuple):
    """Arm b set against arm a in one respect."""

    metric: str
    a: float
    b: float
    difference: Difference
    verdict: str


def compare(metric: str, a: ArmSums, b: ArmSums, alpha: float) -> Comparison:
    """The arms in one respect; a verdict once the difference is beyond chance, however often it was looked at."""
    if metric == ERRORS:
        of_a, of_b = a.error_rate, b.error_rate
        found = significance.counts(a.errors, a.requests, b.errors, b.requests)
    elif metric == FALLBACKS:
        of_a, of_b = a.fallback_rate, b.fallback_rate
        found = significance.counts(a.fallbacks, a.requests, b.fallbacks, b.requests)
    elif metric == LATENCY_P95:
        of_a, of_b, found = a.latency_p95_ms, b.latency_p95_ms, _slow(a.latencies, b.latencies)
    else:
        of_a, of_b = a.samples[metric].mean, b.samples[metric].mean
        found = significance.means(a.samples[metric], b.samples[metric])
    verdict = NO_DIFFERENCE
    if found.always_valid_p <= alpha and found.delta:
        verdict = BETTER if (found.delta > 0) == (metric == QUALITY) else WORSE
    return Comparison(metric, of_a, of_b, found, verdict)


def _slow(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Whether more of one arm's answers are slower than the 95th percentile of both together (Mood's test, for another
    quantile than the median)."""
    n_a, n_b = sum(a), sum(b)
    if not n_a or not n_b:
        return NONE
    above_a, above_b, best, nearest = n_a, n_b, NONE, 1.0
    for of_a, of_b in zip(a, b, strict=True):
        above_a, above_b = above_a - of_a, above_b - of_b
        off = abs((above_a + above_b) / (n_a + n_b) - _HIGH)
        if above_a + above_b > 0.5 and off < nearest:
            nearest, best = off, Difference(above_a, above_b, 0.0)
    return significance.counts(best[0], n_a, best[1], n_b) if nearest < 1 else NONE


class Judgement(NamedTuple):
    """Where an experiment stands after a look."""

    state: str
    step: int
    verdict: str
    reason: str


def judge(plan: Plan, step: int, arms: Mapping[str, ArmSums], step_age_s: float) -> Judgement:
    """What a running experiment's figures at its step say, and what follows."""
    a, b = arms.get("a") or ArmSums(), arms.get("b") or ArmSums()
    found = {metric: compare(metric, a, b, plan.alpha_each) for metric in plan.decided_by}
    worse = [one for one in found.values() if one.verdict == WORSE]
    better = [one for one in found.values() if one.verdict == BETTER]
    if plan.kind == CANARY:
        return _judge_canary(plan, step, arms, worse, better, step_age_s)
    # Both arms of a shadow are the same requests.
    seen = b.requests if plan.kind == SHADOW else a.requests + b.requests
    full = seen >= plan.max_requests
    if worse and (full or plan.kind == AB):
        return Judgement(CONCLUDED, step, WORSE, f"{plan.policy} is worse: {_said(worse, plan)}.")
    if found[plan.metric].verdict == BETTER and (full or plan.kind == AB):
        why = f"{plan.policy} is better: {_said([found[plan.metric]], plan)}."
        return Judgement(CONCLUDED, step, BETTER, why)
    if full:
        why = f"no difference in {plan.metric} after {seen:.0f} requests: {_said([found[plan.metric]], plan)}."
        return Judgement(CONCLUDED, step, NO_DIFFERENCE, why)
    return Judgement(RUNNING, step, RUNNING, "")


def _judge_canary(
    plan: Plan,
    step: int,
    arms: Mapping[str, ArmSums],
    worse: list[Comparison],
    better: list[Comparison],
    step_age_s: float,
) -> Judgement:
    now, b = plan.steps[step], arms.get("b") or ArmSums()
    if worse:
        why = f"{plan.policy} was rolled back at {now.share:.0%} after {b.requests:.0f} requests: {_said(worse, plan)}."
        return Judgement(ROLLED_BACK, step, ROLLED_BACK, why)
    if b.requests < now.min_requests or step_age_s < now.min_s:
        return Judgement(RUNNING, step, RUNNING, "")
    after = plan.steps[step + 1].share if step + 1 < len(plan.steps) else 1.0
    if after < 1:
        return Judgement(RUNNING, step + 1, RUNNING, f"{after:.0%} after {b.requests:.0f} requests at {now.share:.0%}.")
    told = f": {_said(better, plan)}" if better else ""
    graded = min((one.samples[QUALITY].n for one in arms.values()), default=0)
    if QUALITY in plan.guards and graded < significance.FEWEST:
        told += "; too few answers were graded to compare quality"
    why = f"{plan.policy} is for all after {b.requests:.0f} requests at {now.share:.0%} without being worse{told}."
    return Judgement(PROMOTED, step + 1, BETTER if better else NO_DIFFERENCE, why)


_UNITS = {ERRORS: "{:.2%}", FALLBACKS: "{:.2%}", QUALITY: "{:.3f}", COST: "${:.6f}"}


def _said(found: Sequence[Comparison], plan: Plan) -> str:
    words = []
    for one in found:
        unit = _UNITS.get(one.metric, "{:.0f} ms")
        words.append(
            f"{one.metric} {unit.format(one.b)} against {unit.format(one.a)} "
            f"(always-valid p {one.difference.always_valid_p:.2g}, {plan.alpha_each:.2g} needed)"
        )
    return "; ".join(words)
