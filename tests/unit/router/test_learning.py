"""Learning: posteriors stay probabilities, the same state gives the same answer, exploration keeps its bounds."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.learning.drift import ChangeWatch
from services.router.learning.learning import (
    MAX_SAVED_DEPARTURES,
    Key,
    Learned,
    LearningRules,
    Observation,
    Sums,
    reward,
    seed_of,
)

ORG = "01a1fccc-0000-7000-8000-000000000001"
MODELS = ["p/a", "p/b", "q/c"]
SHARES = st.floats(0, 1)
STILL = LearningRules(discount=1.0)

observations = st.builds(
    Observation,
    key=st.builds(Key, st.just(ORG), st.sampled_from(["coding_help", "social_chat"]), st.sampled_from(MODELS)),
    quality=SHARES,
    expected=SHARES,
    cost_usd=st.floats(0, 1),
    latency_s=st.floats(0, 60),
)


def seen(model: str, quality: float, expected: float, intent: str = "coding_help", times: int = 1) -> list[Observation]:
    return [Observation(Key(ORG, intent, model), quality, expected)] * times


def qualities(learned: Learned, priors: list[float], intent: str = "coding_help") -> list[float]:
    return learned.adjust(ORG, intent, MODELS, priors, 1, 0.0).qualities


@given(st.lists(observations, max_size=60), st.lists(SHARES, min_size=3, max_size=3), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_expected_qualities_are_between_0_and_1(seen_: list[Observation], priors: list[float], seed: int) -> None:
    learned = Learned()
    learned.add(seen_)
    found = learned.adjust(ORG, "coding_help", MODELS, priors, seed, 1.0)
    assert all(0 <= one <= 1 for one in found.qualities)
    assert np.isfinite(found.values).all()


@given(st.lists(observations, max_size=30), st.lists(SHARES, min_size=3, max_size=3), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_the_same_state_and_seed_give_the_same_answer(seen_: list[Observation], priors: list[float], seed: int) -> None:
    one, other = Learned(), Learned()
    for learned in (one, other):
        learned.add(seen_)
    for step in range(30):
        assert one.adjust(ORG, "coding_help", MODELS, priors, seed + step, 0.3) == other.adjust(
            ORG, "coding_help", MODELS, priors, seed + step, 0.3
        )


@given(st.floats(0.01, 0.5), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_departures_never_pass_their_share(share: float, seed: int) -> None:
    learned, departed = Learned(), 0
    for step in range(1, 400):
        departed += learned.adjust(ORG, "", MODELS, [0.5, 0.5, 0.5], seed * 1000 + step, share).explored
        assert departed <= share * step + 1e-6
    assert departed > 0 or share * 400 < 10


def test_what_is_saved_up_is_bounded() -> None:
    learned = Learned()
    learned.add(
        seen("p/a", 1.0, 0.5, times=3000) + seen("p/b", 0.0, 0.5, times=3000) + seen("q/c", 0.0, 0.5, times=3000)
    )
    for step in range(2000):
        learned.adjust(ORG, "coding_help", MODELS, [0.5, 0.5, 0.5], step, 0.1)
    # Everything becomes uncertain at once: no more departures in a row than were saved.
    fresh = ["p/x", "p/y", "p/z"]
    row = [learned.adjust(ORG, "coding_help", fresh, [0.5, 0.5, 0.5], step, 0.1).explored for step in range(200)]
    assert 10 < sum(row) <= MAX_SAVED_DEPARTURES + 200 * 0.1


@given(st.lists(observations, max_size=30), st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_where_exploring_is_forbidden_the_best_is_always_taken(seen_: list[Observation], seed: int) -> None:
    learned = Learned()
    learned.add(seen_)
    for step in range(30):
        learned.adjust(ORG, "coding_help", MODELS, [0.5, 0.5, 0.5], step, 1.0)
        found = learned.adjust(ORG, "coding_help", MODELS, [0.5, 0.5, 0.5], seed + step, 0.0)
        assert not found.explored
        assert found.values == found.qualities


def test_a_dry_run_leaves_no_trace() -> None:
    learned, other = Learned(), Learned()
    for step in range(50):
        learned.adjust(ORG, "coding_help", MODELS, [0.5, 0.5, 0.5], step, 0.1, spend=False)
    assert not learned.standings(ORG)
    for step in range(50):
        arguments = (ORG, "coding_help", MODELS, [0.5, 0.5, 0.5], step, 0.1)
        assert learned.adjust(*arguments) == other.adjust(*arguments)


def test_a_constant_prior_gives_the_mean_of_the_beta_posterior() -> None:
    learned = Learned(STILL)
    learned.add(seen("p/a", 1.0, 0.6, times=7) + seen("p/a", 0.0, 0.6, times=3))
    n0 = STILL.prior_strength
    assert qualities(learned, [0.6, 0.5, 0.5])[0] == pytest.approx((n0 * 0.6 + 7) / (n0 + 10))


def test_a_better_prediction_for_this_prompt_still_counts_after_many_outcomes() -> None:
    learned = Learned(STILL)
    learned.add(seen("p/a", 0.7, 0.6, times=500) + seen("p/b", 0.7, 0.6, times=500))
    found = qualities(learned, [0.9, 0.3, 0.5])
    assert found[0] - found[1] == pytest.approx(0.6, abs=0.03)


def test_a_success_that_nobody_graded_lifts_no_model() -> None:
    learned = Learned()
    learned.add(seen("p/b", reward(succeeded=True, expected=0.3), 0.3, times=1000))
    assert qualities(learned, [0.6, 0.3, 0.5]) == pytest.approx([0.6, 0.3, 0.5])
    learned.add(seen("p/b", reward(succeeded=False, expected=0.3), 0.3, times=100))
    assert qualities(learned, [0.6, 0.3, 0.5])[1] < 0.29


@given(st.booleans(), st.floats(-1, 2), st.lists(st.floats(-1, 2), max_size=4))
def test_a_reward_is_between_0_and_1(succeeded: bool, expected: float, graded: list[float]) -> None:
    assert 0 <= reward(succeeded=succeeded, expected=expected, graded=graded) <= 1


def test_another_intent_speaks_where_there_is_nothing_of_its_own() -> None:
    learned = Learned(STILL)
    learned.add(seen("p/a", 0.9, 0.5, intent="social_chat", times=100))
    assert qualities(learned, [0.5, 0.5, 0.5])[0] > 0.8
    learned.add(seen("p/a", 0.1, 0.5, times=200))
    assert qualities(learned, [0.5, 0.5, 0.5])[0] < 0.2
    assert learned.adjust("another-org", "coding_help", MODELS, [0.5] * 3, 1, 0.0).qualities == [0.5] * 3


def test_outcomes_fade_with_the_clock_of_their_intent() -> None:
    learned = Learned(LearningRules(discount=0.99))
    learned.add(seen("p/a", 0.0, 0.8, times=50))
    before = qualities(learned, [0.8, 0.5, 0.5])[0]
    learned.add(seen("p/b", 0.5, 0.5, times=500))
    assert qualities(learned, [0.8, 0.5, 0.5])[0] > before + 0.3
    learned.add(seen("p/b", 0.5, 0.5, intent="social_chat", times=500))
    assert learned.known(Key(ORG, "coding_help", "p/a")).outcomes < 0.5


def test_rows_of_the_store_say_the_same_as_outcomes_one_by_one() -> None:
    rules = LearningRules(discount=0.95)
    alone, replica = Learned(rules), Learned(rules)
    alone.add(seen("p/a", 0.9, 0.5, times=4) + seen("p/b", 0.2, 0.5, times=3))
    faded = sum(0.95**age for age in range(4))
    rows = [(Key(ORG, "coding_help", "p/a"), 4.0, Sums(faded, 0.9 * faded, 0.5 * faded))]
    faded = sum(0.95**age for age in range(3))
    rows.append((Key(ORG, "coding_help", "p/b"), 7.0, Sums(faded, 0.2 * faded, 0.5 * faded)))
    replica.put(ORG, {"coding_help": 7.0}, rows)
    assert qualities(replica, [0.5] * 3) == pytest.approx(qualities(alone, [0.5] * 3))


def test_a_departure_takes_the_model_that_is_known_least() -> None:
    learned = Learned()
    learned.add(seen("p/a", 0.7, 0.7, times=300) + seen("p/b", 0.65, 0.65, times=300))
    taken = []
    for step in range(400):
        found = learned.adjust(ORG, "coding_help", MODELS, [0.7, 0.65, 0.65], step, 0.2)
        if found.explored:
            taken.append(MODELS[int(np.argmax(found.values))])
    assert taken and set(taken) == {"q/c"}


def test_nothing_is_tried_that_does_not_reach_above_the_best() -> None:
    learned = Learned()
    learned.add(seen("p/a", 0.8, 0.8, times=200) + seen("p/b", 0.2, 0.5, times=60) + seen("q/c", 0.1, 0.5, times=60))
    for step in range(500):
        assert not learned.adjust(ORG, "coding_help", MODELS, [0.8, 0.5, 0.5], step, 0.5).explored


def test_the_rest_of_the_utility_decides_with_it() -> None:
    learned = Learned()
    found = learned.adjust(ORG, "", MODELS, [0.9, 0.8, 0.1], 1, 0.0, weight=0.5, rest=[0.0, 0.4, 0.0])
    assert found.values == pytest.approx([0.45, 0.8, 0.05]) and found.qualities == pytest.approx([0.9, 0.8, 0.1])


def test_learned_cost_and_latency_count_where_nothing_else_does() -> None:
    learned = Learned(LearningRules(cost_per_usd=20, latency_per_s=0.01))
    for model, cost, latency in (("p/a", 0.02, 1.0), ("p/b", 0.001, 1.0), ("q/c", 0.001, 9.0)):
        learned.add([Observation(Key(ORG, "", model), 0.7, 0.7, cost, latency)] * 20)
    values = learned.adjust(ORG, "", MODELS, [0.7] * 3, 1, 0.0).values
    assert values == pytest.approx([0.7 - 0.4 - 0.01, 0.7 - 0.02 - 0.01, 0.7 - 0.02 - 0.09])
    # Of a model that was never asked, nothing out of the ordinary is assumed.
    new = learned.adjust(ORG, "", [*MODELS, "r/new"], [0.7] * 4, 1, 0.0).values[3]
    assert min(values) < new < max(values)


def test_draws_are_those_of_beta_posteriors() -> None:
    learned = Learned()
    mean, strength = np.array([0.1, 0.5, 0.9, 0.7]), np.array([15.0, 15.0, 40.0, 500.0])
    drawn = np.array([learned._draw(mean, strength, seed_of(str(seed))) for seed in range(4000)])
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.01)
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(mean * (1 - mean) / (strength + 1)), rel=0.06)


def test_a_changed_model_is_noticed_and_an_unchanged_one_is_not() -> None:
    rules = LearningRules()
    chance = random.Random(5)

    def play(before: float, after: float) -> tuple[int, float]:
        learned, watch, alarms = Learned(rules), ChangeWatch(rules), 0
        for step in range(600):
            grade = float(chance.random() < (before if step < 400 else after))
            one = seen("p/a", grade, 0.8)[0]
            forward = watch.see(one, learned.known(one.key))
            alarms += forward > 0
            learned.add([one], forward)
        return alarms, qualities(learned, [0.8, 0.5, 0.5])[0]

    assert play(0.8, 0.8)[0] == 0
    alarms, quality = play(0.8, 0.2)
    assert alarms >= 1 and quality < 0.4
