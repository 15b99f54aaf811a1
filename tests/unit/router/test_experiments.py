"""Experiments without a database: who is in which arm, what figures say, and how often they say so by chance."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers
from services.router.deciding.decision import Decider
from services.router.deciding.sheet import Decision
from services.router.experiments.arms import Arms, Asking, OrgTrials
from services.router.experiments.experiments import (
    AB,
    BETTER,
    BUCKETS,
    CANARY,
    CONCLUDED,
    COST,
    EDGES_MS,
    ERRORS,
    LATENCY,
    LATENCY_P95,
    MEASURED,
    NO_DIFFERENCE,
    PROMOTED,
    QUALITY,
    ROLLED_BACK,
    RUNNING,
    SHADOW,
    WORSE,
    ArmSums,
    Judgement,
    Plan,
    Step,
    TrialKey,
    TrialOutcome,
    Tried,
    bucket,
    compare,
    judge,
)
from services.router.experiments.form import decode, encode, plan_of
from services.router.experiments.significance import Sample, counts, means, student_p
from services.router.policies.policies import Policies, RoutingPolicy
from services.router.policies.policy import Ask

KEY = TrialKey("o", "e", 0, "a")
USUAL = Plan("a test", AB, "tried", max_requests=10**9)
NEVER = 10**9
CARE = Plan("a test", CANARY, "tried", steps=(Step(0.05, NEVER, 0.0), Step(1.0)))


class Arm:
    """What requests of one arm are like."""

    def __init__(self, errors: float = 0.02, quality: float = 0.7, slower: float = 1.0) -> None:
        self.errors, self.quality, self.slower = errors, quality, slower

    def happens(self, chance: np.random.Generator, requests: int, sums: ArmSums) -> None:
        """Adds so many requests."""
        failed = int(chance.binomial(requests, self.errors))
        answered = requests - failed
        took_ms = chance.lognormal(6.5, 0.5, answered) * self.slower
        grades = np.clip(chance.normal(self.quality, 0.2, answered), 0, 1)
        sums.requests += requests
        sums.errors += failed
        for name, drawn in ((LATENCY, took_ms), (QUALITY, grades)):
            n, total, squares = sums.samples[name]
            sums.samples[name] = Sample(n + answered, total + float(drawn.sum()), squares + float((drawn**2).sum()))
        classes = np.bincount(np.searchsorted(EDGES_MS, took_ms), minlength=BUCKETS)
        sums.latencies = [float(x) for x in np.array(sums.latencies) + classes]


def run(
    plan: Plan, seed: int, b: Arm, *, a: Arm | None = None, share: float = 0.5, requests: int
) -> tuple[Judgement, int]:
    """An experiment that is looked at after every 100 requests; what was said, and after how many."""
    chance, arms = np.random.default_rng(seed), {"a": ArmSums(), "b": ArmSums()}
    said = Judgement(RUNNING, 0, RUNNING, "")
    for seen in range(100, requests + 1, 100):
        of_b = int(chance.binomial(100, share))
        (a or Arm()).happens(chance, 100 - of_b, arms["a"])
        b.happens(chance, of_b, arms["b"])
        said = judge(plan, 0, arms, 0.0)
        if said.state != RUNNING:
            return said, seen
    return said, requests


@pytest.mark.parametrize(
    ("plan", "share", "errors"),
    [
        (USUAL, 0.5, 0.02),
        (CARE, 0.05, 0.002),
        *(
            pytest.param(plan, share, errors, marks=pytest.mark.long)
            for plan, share in ((USUAL, 0.5), (CARE, 0.05))
            for errors in (0.002, 0.02, 0.3)
        ),
    ],
)
def test_equal_arms_seldom_differ_however_often_one_looks(plan: Plan, share: float, errors: float) -> None:
    same = Arm(errors)
    wrong = sum(run(plan, seed, same, a=same, share=share, requests=4_000)[0].state != RUNNING for seed in range(300))
    assert wrong / 300 <= plan.alpha, wrong


def test_a_single_look_at_a_time_would_be_wrong_far_more_often() -> None:
    """The guard is needed: the test for one look, looked at after every 100 requests, is wrong all the time."""
    wrong = 0
    for seed in range(100):
        chance, a, b = np.random.default_rng(seed), ArmSums(), ArmSums()
        for _ in range(40):
            Arm().happens(chance, 50, a)
            Arm().happens(chance, 50, b)
            if compare(QUALITY, a, b, 0.05).difference.p_value < 0.05:
                wrong += 1
                break
    assert wrong > 15, wrong


@pytest.mark.parametrize(
    ("b", "metric", "verdict", "within"),
    [
        (Arm(quality=0.76), QUALITY, BETTER, 3_000),
        (Arm(quality=0.64), QUALITY, WORSE, 3_000),
        (Arm(errors=0.08), ERRORS, WORSE, 3_000),
        (Arm(slower=0.8), LATENCY, BETTER, 3_000),
        (Arm(slower=1.6), LATENCY_P95, WORSE, 3_000),
    ],
)
def test_clear_differences_are_found(b: Arm, metric: str, verdict: str, within: int) -> None:
    plan = dataclasses.replace(USUAL, metric=metric if metric != LATENCY_P95 else QUALITY)
    found = [run(plan, seed, b, requests=within)[0] for seed in range(60)]
    assert sum(one.state == CONCLUDED for one in found) >= 0.9 * 60
    right = [one for one in found if one.verdict == verdict]
    assert len(right) >= 0.9 * 60 and any(metric in one.reason for one in right)


@pytest.mark.parametrize(
    ("b", "share", "within"),
    [
        (Arm(errors=1.0), 0.01, 2_000),
        (Arm(errors=0.5), 0.05, 1_500),
        (Arm(slower=5.0), 0.05, 1_500),
        (Arm(quality=0.3), 0.05, 2_500),
    ],
)
def test_a_broken_canary_is_rolled_back_within_bounds(b: Arm, share: float, within: int) -> None:
    plan = dataclasses.replace(CARE, steps=(Step(share, NEVER, 0.0), Step(1.0)))
    ended = [run(plan, seed, b, share=share, requests=within) for seed in range(60)]
    assert {one.state for one, _ in ended} == {ROLLED_BACK}, max(seen for _, seen in ended)


def canary(step: int, requests: int, age_s: float, steps: tuple[Step, ...] = ()) -> Judgement:
    plan = dataclasses.replace(CARE, steps=steps or (Step(0.01, 200, 60.0), Step(0.25, 300, 60.0), Step(1.0)))
    arms = {"a": ArmSums(requests=10_000), "b": ArmSums(requests=requests)}
    return judge(plan, step, arms, age_s)


def test_a_canary_grows_by_requests_and_time() -> None:
    assert canary(0, 199, 1e6)[:2] == (RUNNING, 0)
    assert canary(0, 200, 59)[:2] == (RUNNING, 0)
    assert canary(0, 200, 60)[:2] == (RUNNING, 1)
    assert canary(1, 299, 60)[:2] == (RUNNING, 1)
    assert canary(1, 300, 60)[:3] == (PROMOTED, 2, NO_DIFFERENCE)
    assert "too few answers were graded" in canary(1, 300, 60).reason


def test_a_shadow_says_its_verdict_when_it_is_over() -> None:
    plan = plan_of(name="x", kind=SHADOW, policy="tried", max_requests=1_000)
    chance, a, b = np.random.default_rng(1), ArmSums(), ArmSums()
    Arm(errors=0.0).happens(chance, 500, a)
    Arm(errors=0.0, quality=0.2).happens(chance, 500, b)
    assert judge(plan, 0, {"a": a, "b": b}, 0).state == RUNNING
    Arm(errors=0.0).happens(chance, 500, a)
    Arm(errors=0.0, quality=0.2).happens(chance, 500, b)
    assert judge(plan, 0, {"a": a, "b": b}, 0)[:3] == (CONCLUDED, 0, WORSE)


def test_an_experiment_without_a_difference_ends() -> None:
    plan = dataclasses.replace(USUAL, max_requests=2_000)
    said, seen = run(plan, 3, Arm(), requests=4_000)
    assert (said.state, said.verdict, seen) == (CONCLUDED, NO_DIFFERENCE, 2_000)


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.floats(0, 2e6) | st.none(),
            st.floats(0, 1e4) | st.none(),
            st.floats(0, 9) | st.none(),
            st.floats(0, 1) | st.none(),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_sums_of_parts_are_the_sums_of_the_whole(drawn: list[tuple[Any, ...]], cut: int) -> None:
    outcomes = [TrialOutcome(KEY, "r", *one) for one in drawn]
    parts = [ArmSums(), ArmSums()]
    whole = ArmSums()
    for number, one in enumerate(outcomes):
        whole.add(one)
        parts[number >= cut].add(one)
    added = [x + y for x, y in zip(parts[0].numbers(), parts[1].numbers(), strict=True)]
    classes = [x + y for x, y in zip(parts[0].latencies, parts[1].latencies, strict=True)]
    assert added == pytest.approx(whole.numbers()) and classes == whole.latencies
    again = ArmSums.of(whole.numbers(), whole.latencies)
    assert again == whole and set(again.samples) == set(MEASURED)
    # As they were kept before fallbacks were counted.
    assert ArmSums.of(whole.numbers()[:-1], whole.latencies) == dataclasses.replace(whole, fallbacks=0)


def test_tests_for_one_look_are_those_of_the_books() -> None:
    from scipy import stats

    for t, freedom in ((2.1, 7.3), (0.4, 100.0), (5.0, 30.5), (1.96, 1e6), (0.0, 9.0)):
        assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-8)
    chance = np.random.default_rng(5)
    x, y = chance.normal(1, 2, 50), chance.normal(1.5, 1, 80)
    found = means(*(Sample(len(one), float(one.sum()), float((one**2).sum())) for one in (x, y)))
    assert found.p_value == pytest.approx(stats.ttest_ind(x, y, equal_var=False).pvalue, rel=1e-8)
    table = np.array([[30, 970], [60, 1140]])
    known = stats.chi2_contingency(table, correction=False).pvalue
    assert counts(30, 1000, 60, 1200).p_value == pytest.approx(known, rel=1e-8)


@given(st.floats(0, 500), st.floats(0.001, 500), st.floats(0, 500), st.floats(0.001, 500))
def test_p_values_are_probabilities(events_a: float, more_a: float, events_b: float, more_b: float) -> None:
    found = counts(events_a, events_a + more_a, events_b, events_b + more_b)
    assert 0 <= found.p_value <= 1 and 0 <= found.always_valid_p <= 1
    other = means(Sample(20 + more_a, events_a, events_a**2), Sample(20 + more_b, events_b, events_b**2))
    assert 0 <= other.p_value <= 1 and 0 <= other.always_valid_p <= 1 and not math.isnan(other.delta)


def test_numbers_that_are_all_alike_can_be_told_apart() -> None:
    flat = [Sample(200, 200 * x, 200 * x * x) for x in (0.1, 0.3)]
    assert means(*flat).always_valid_p < 0.01 and means(flat[0], flat[0]).always_valid_p == 1
    assert compare(COST, ArmSums(), ArmSums(), 0.05).verdict == NO_DIFFERENCE


@given(st.uuids(), st.floats(0.01, 0.99))
@settings(max_examples=20)
def test_units_are_spread_evenly_and_a_growing_share_keeps_those_it_has(salt: Any, share: float) -> None:
    units = [f"unit-{number}" for number in range(2_000)]
    small = {unit for unit in units if bucket(str(salt), unit) < share}
    assert abs(len(small) / 2_000 - share) < 0.06
    assert small <= {unit for unit in units if bucket(str(salt), unit) < share + 0.01}


def test_arms_of_two_experiments_are_independent() -> None:
    units = [f"unit-{number}" for number in range(4_000)]
    both = sum(bucket("one", unit) < 0.5 and bucket("two", unit) < 0.5 for unit in units)
    assert abs(both / 4_000 - 0.25) < 0.03


def test_who_is_sticky() -> None:
    tried = Tried("01a1fccc-d17f-7000-8000-000000000001", USUAL)
    known = ("t", "e", "u", "k")
    for first in range(4):
        same = {
            Asking(
                *(
                    "" if place < first else one + (str(number) if place > first else "")
                    for place, one in enumerate(known)
                )
            )
            for number in range(50)
        }
        assert {one.unit for one in same} == {known[first]}
        assert len({tried.arm(one.unit, f"r{number}") for number, one in enumerate(same)}) == 1
    assert {tried.arm(Asking().unit, f"r{number}") for number in range(50)} == {"a", "b"}
    drawn = dataclasses.replace(tried, plan=dataclasses.replace(USUAL, sticky_by="request"))
    assert {drawn.arm("t", f"r{number}") for number in range(50)} == {"a", "b"}


@given(st.sampled_from(["ab", "shadow", "canary"]), st.floats(0.0001, 0.5), st.integers(100, 10_000))
def test_plans_come_back_as_they_were_kept(kind: str, alpha: float, most: int) -> None:
    plan = plan_of(name="a test", kind=kind, policy="tried", alpha=alpha, max_requests=most)
    assert decode(encode(plan)) == plan


def test_an_organisation_without_experiments_pays_nothing_for_them() -> None:
    """At most 5 µs, of which the decision itself is none here."""

    class Nothing(Decider):
        def decide(self, view: CatalogView, ask: Ask, policy: RoutingPolicy | None = None) -> Any:
            return None

    config = RouterConfig()
    decider, policies = Nothing(config, Breakers(time.monotonic)), Policies()
    arms = Arms(lambda: policies, config.default_output_tokens)
    ask, policy, asking, view = (
        Ask(model="auto", org_id="o"),
        policies.default,
        Asking("t", "u", "k"),
        cast(CatalogView, None),
    )
    best_s = math.inf
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1_000):
            arms.decide(decider, view, ask, policy, asking)
        best_s = min(best_s, (time.perf_counter() - began) / 1_000)
    assert best_s < 5e-6, best_s


def test_a_shadow_gives_out_no_trials_and_spends_nothing() -> None:
    asked: list[tuple[str, bool]] = []

    class Watched(Decider):
        def decide(self, view: CatalogView, ask: Ask, policy: RoutingPolicy | None = None) -> Any:
            assert policy is not None
            asked.append((policy.name, ask.dry_run))
            if policy.name == "budget":
                raise MeshError(Reason.NO_MODEL_AVAILABLE, "none")
            return Decision("balanced", [], "")

    config, policies = RouterConfig(), Policies()
    arms = Arms(lambda: policies, config.default_output_tokens)
    plan = plan_of(name="x", kind=SHADOW, policy="budget")
    arms.by_org = {"o": OrgTrials(shadow=Tried("e", plan))}
    decider, ask = Watched(config, Breakers(time.monotonic)), Ask(model="auto", org_id="o")
    decision = arms.decide(decider, cast(CatalogView, None), ask, policies.default, Asking())
    assert asked == [("default", False), ("budget", True)]
    assert decision.shadow is not None and decision.shadow.model == "" and decision.part is None


def test_a_plan_says_what_is_wrong() -> None:
    with pytest.raises(MeshError) as caught:
        plan_of(name="x", kind=SHADOW, policy="tried", guards=("latency_p95",))
    assert caught.value.reason is Reason.INVALID_REQUEST and caught.value.metadata["field"] == "guards"
