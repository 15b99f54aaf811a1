"""Which endpoint is asked next: its invariants, under a clock and a chance of the test's own."""

import contextlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.calling.deployments import (
    FREE_HAND,
    MOST_ASKED,
    PREFIX_BYTES,
    Balancer,
    Picks,
    key_of,
    prefix_of,
)
from services.provider.calling.events import Candidate, Deployment
from services.provider.config import ProviderConfig


class World:
    """A balancer with a clock that stands still and chance from a seed."""

    def __init__(self, seed: int = 7) -> None:
        self.now_s = 100.0
        self.balancer = Balancer(lambda: self.now_s, random.Random(seed).random, cooldown_min_s=1, cooldown_max_s=60)

    def at(self, one: Deployment, among: Sequence[Deployment] = ()) -> Candidate:
        return Candidate("m", one.provider, one.upstream_name, deployments=among or (one,))

    def answers(self, one: Deployment, seconds: float) -> None:
        self.balancer.answered(self.at(one), seconds, stream=True)

    def fails(self, one: Deployment, retry_after_s: float | None = None) -> None:
        self.balancer.failed(self.at(one), retry_after_s)

    def shares(self, *among: Deployment, rounds: int = 3000, **choice: Any) -> dict[str, float]:
        drawn = Counter(self.balancer.choose(among, **choice).provider for _ in range(rounds))
        return {name: count / rounds for name, count in drawn.items()}


def of(provider: str, weight: float = 1.0, priority: int = 0) -> Deployment:
    return Deployment(provider, "up", weight, priority)


deployments = st.lists(
    st.builds(of, st.text("abcdefgh", min_size=1, max_size=4), st.floats(0.1, 100), st.integers(0, 3)),
    min_size=1,
    max_size=8,
    unique_by=key_of,
)


@given(deployments, st.data())
def test_only_the_lowest_priority_that_can_be_asked_is_asked(among: list[Deployment], data: st.DataObject) -> None:
    world = World()
    sick = data.draw(st.sets(st.sampled_from(among)))
    full = {one.provider for one in data.draw(st.sets(st.sampled_from(among)))}
    prefix = data.draw(st.none() | st.binary(max_size=20))
    for one in sick:
        world.fails(one)
    chosen = world.balancer.choose(among, full=lambda name: name in full, prefix=prefix)
    able = [one for one in among if one not in sick and one.provider not in full]
    if able:
        assert chosen in able and chosen.priority == min(one.priority for one in able)
    elif len(sick) < len(among):
        assert chosen not in sick, "a full one is waited for before one that fails is asked"


@given(deployments, st.data())
def test_when_all_cool_the_one_that_is_free_first_is_asked(among: list[Deployment], data: st.DataObject) -> None:
    world = World()
    # In milliseconds: what is closer is the same moment to a clock that has run for long.
    waits_ms = st.lists(st.integers(1_000, 59_000), min_size=len(among), max_size=len(among), unique=True)
    waits = [wait_ms / 1000 for wait_ms in data.draw(waits_ms)]
    for one, wait in zip(among, waits, strict=True):
        world.fails(one, wait)
    assert world.balancer.cooling(among)
    assert world.balancer.choose(among) == among[waits.index(min(waits))]


@given(st.lists(st.integers(1, 10), min_size=2, max_size=5))
def test_equal_endpoints_get_what_their_weights_say(weights: list[int]) -> None:
    world = World()
    among = [of(str(number), float(weight)) for number, weight in enumerate(weights)]
    for one in among:
        world.answers(one, 0.3)
    shares = world.shares(*among)
    for one in among:
        assert shares.get(one.provider, 0) == pytest.approx(one.weight / sum(weights), abs=0.05)


def test_traffic_leaves_a_slow_one_and_comes_back_with_time() -> None:
    world, fast, slow = World(), of("fast"), of("slow")
    world.answers(fast, 0.1)
    world.answers(slow, 0.1)
    assert world.shares(fast, slow)["slow"] > 0.4
    world.answers(slow, 3.0)
    assert "slow" not in world.shares(fast, slow)
    world.now_s += 60
    world.answers(fast, 0.1)
    assert world.shares(fast, slow)["slow"] > 0.4, "what is old must not shut it out for good"


def test_the_one_with_less_in_flight_is_asked() -> None:
    world, a, b = World(), of("a"), of("b")
    for one in (a, b):
        world.answers(one, 0.2)
    held = [world.balancer.asking(world.at(a)) for _ in range(4)]
    for asking in held:
        asking.__enter__()
    assert world.shares(a, b) == {"b": 1.0}
    for asking in held:
        asking.__exit__(None, None, None)
    assert world.shares(a, b)["a"] > 0.4


def test_a_small_difference_leaves_the_weights_in_force() -> None:
    world, a, b = World(), of("a", 3), of("b", 1)
    world.answers(a, 0.30)
    world.answers(b, 0.20)
    assert world.shares(a, b)["a"] == pytest.approx(0.75, abs=0.05)


def test_with_little_traffic_the_one_asked_longer_ago_is_no_better() -> None:
    world, a, b = World(), of("a", 3), of("b", 1)
    world.answers(b, 0.2)
    world.now_s += 60
    world.answers(a, 0.2)
    assert world.shares(a, b)["a"] == pytest.approx(0.75, abs=0.05)


def test_a_heavy_one_may_have_more_in_flight() -> None:
    world, heavy, light = World(), of("heavy", 9), of("light", 1)
    with contextlib.ExitStack() as flying:
        for one in (heavy, heavy, heavy, heavy, light):
            world.answers(one, 0.2)
            flying.enter_context(world.balancer.asking(world.at(one)))
        assert world.shares(heavy, light)["heavy"] > 0.8


@pytest.mark.parametrize("bounds", [{"cooldown_min_s": 0.0}, {"cooldown_min_s": 2.0, "cooldown_max_s": 1.0}], ids=str)
def test_cooldowns_that_cannot_work_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cooldown_min_s must be above 0"):
        ProviderConfig(**bounds)  # type: ignore[arg-type]


def test_one_that_was_never_asked_is_asked_soon() -> None:
    world, known, new = World(), of("known"), of("new")
    world.answers(known, 0.1)
    assert world.shares(known, new)["new"] == 1.0
    with world.balancer.asking(world.at(new)):
        assert "new" not in world.shares(known, new), "one question is enough until it has answered"


def test_whole_answers_and_streams_are_measured_apart() -> None:
    world, a, b = World(), of("a"), of("b")
    world.answers(a, 0.1)
    world.answers(b, 0.1)
    world.balancer.answered(world.at(a), 20.0, stream=False)
    assert world.shares(a, b)["a"] > 0.4


def test_faults_in_a_row_double_the_cooldown_up_to_its_limit() -> None:
    world, one = World(), of("a")
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        world.fails(one)
        world.now_s += wait - 0.01
        assert world.balancer.cooling([one])
        world.now_s += 0.02
        assert not world.balancer.cooling([one])
    world.answers(one, 0.1)
    world.fails(one)
    world.now_s += 1.01
    assert not world.balancer.cooling([one]), "an answer begins the count anew"


def test_what_fails_together_counts_once() -> None:
    world, one = World(), of("a")
    for _ in range(50):
        world.fails(one)
    world.now_s += 1.01
    assert not world.balancer.cooling([one])


def test_retry_after_is_kept_to_and_bounded() -> None:
    world, one = World(), of("a")
    world.fails(one, 20)
    world.answers(one, 0.1)
    world.now_s += 19.9
    assert world.balancer.cooling([one]), "an answer that was begun earlier ends no cooldown"
    world.now_s += 0.2
    assert not world.balancer.cooling([one])
    world.fails(one, 86_000)
    world.now_s += 60.01
    assert not world.balancer.cooling([one])


def test_after_a_cooldown_one_trial_goes_out() -> None:
    world, sick, well = World(), of("sick"), of("well", priority=1)
    world.fails(sick)
    world.now_s += 1.01
    assert world.balancer.choose([sick, well]) == sick
    with world.balancer.asking(world.at(sick)):
        assert world.balancer.choose([sick, well]) == well
    assert world.balancer.choose([sick, well]) == sick, "a trial without news is given out again"
    with world.balancer.asking(world.at(sick)):
        world.answers(sick, 0.1)
        assert world.balancer.choose([sick, well]) == sick


def test_a_request_asks_each_endpoint_once_and_not_all_of_many() -> None:
    world = World()
    among = [of(str(number)) for number in range(9)]
    picks = Picks(world.balancer, world.at(among[0], among), lambda _: False, b"{}", stream=True)
    seen: list[str] = []
    while not seen or picks.another():
        seen.append(picks.next().provider)
    assert len(seen) == len(set(seen)) == MOST_ASKED


def test_a_candidate_without_deployments_stays_what_it_is() -> None:
    world, alone = World(), Candidate("m", "p", "u", sticky=True)
    picks = Picks(world.balancer, alone, lambda _: False, b"{", stream=True)
    assert picks.next() is alone and not picks.another()
    with world.balancer.asking(alone):
        pass


@given(deployments, st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.data())
def test_sticky_choices_stay_when_another_goes(
    among: list[Deployment], prefixes: list[bytes], data: st.DataObject
) -> None:
    world = World()
    among = [of(one.provider, one.weight) for one in among]
    gone = data.draw(st.sampled_from(among))
    rest = [one for one in among if one is not gone]
    for prefix in prefixes:
        chosen = world.balancer.choose(among, prefix=prefix)
        assert world.balancer.choose(list(reversed(among)), prefix=prefix) == chosen
        if rest and chosen != gone:
            assert world.balancer.choose(rest, prefix=prefix) == chosen


def test_sticky_prefixes_spread_by_weight() -> None:
    world, among = World(), [of("a", 3), of("b", 1)]
    drawn = Counter(world.balancer.choose(among, prefix=str(number).encode()).provider for number in range(4000))
    assert drawn["a"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_sticky_choice_is_bounded() -> None:
    world, among = World(), [of("a"), of("b")]
    own = world.balancer.choose(among, prefix=b"x")
    other = next(one for one in among if one != own)
    held = [world.balancer.asking(world.at(own)) for _ in range(FREE_HAND)]
    for one in held[:-1]:
        one.__enter__()
    assert world.balancer.choose(among, prefix=b"x") == own
    held[-1].__enter__()
    assert world.balancer.choose(among, prefix=b"x") == other


def body(*messages: tuple[str, str], **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in messages], **more}).encode()


def test_the_prefix_is_the_same_for_every_turn_of_a_conversation() -> None:
    begun = [("system", "Be brief."), ("user", "Hello")]
    first = prefix_of(body(*begun))
    assert first and prefix_of(body(*begun, ("assistant", "Hi"), ("user", "More"), model="x")) == first
    assert prefix_of(body(("system", "Be brief."), ("user", "Bye"))) != first
    assert prefix_of(body(("user", "Hello"), system="A")) != prefix_of(body(("user", "Hello"), system="B"))
    assert prefix_of(json.dumps({"instructions": "A", "input": "Hello"}).encode()) == b'"A"\0"Hello"'
    assert len(prefix_of(body(("system", "x" * 100_000), ("user", "a")))) == PREFIX_BYTES


@pytest.mark.parametrize(
    "odd", [b"", b"{", b"[]", b'{"messages": 5}', b'{"messages": [5, "a"]}', b'{"messages": [{}]}']
)
def test_a_body_that_cannot_be_read_has_some_prefix(odd: bytes) -> None:
    assert isinstance(prefix_of(odd), bytes)
