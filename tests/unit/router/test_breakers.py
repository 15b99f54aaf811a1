"""Breakers open after three faults in a row, let one trial through after a minute, and close by degrees."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.router.deciding.breakers import BreakerRules, Breakers, State


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fail(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        breakers.record("p/m", "p", ok=False, provider_fault=True)


def succeed(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        breakers.record("p/m", "p", ok=True, provider_fault=False)


def test_three_faults_in_a_row_open_it() -> None:
    breakers = Breakers(Clock())
    fail(breakers, 2)
    assert breakers.state("p/m", "p") is State.CLOSED
    fail(breakers)
    assert breakers.state("p/m", "p") is State.OPEN
    assert breakers.state("p/m", "other") is State.CLOSED


def test_a_success_between_faults_starts_the_count_anew() -> None:
    breakers = Breakers(Clock())
    fail(breakers, 2)
    breakers.record("p/m", "p", ok=True, provider_fault=False)
    fail(breakers, 2)
    assert breakers.state("p/m", "p") is State.CLOSED


def test_the_callers_own_faults_count_for_nothing() -> None:
    breakers = Breakers(Clock())
    for _ in range(10):
        breakers.record("p/m", "p", ok=False, provider_fault=False)
    assert breakers.state("p/m", "p") is State.CLOSED and breakers.quiet


def test_one_trial_then_closed_or_open_again() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    fail(breakers, 3)
    clock.now_s = 59.9
    assert breakers.state("p/m", "p") is State.OPEN and 0 < breakers.retry_in_s("p/m", "p") < 0.2
    clock.now_s = 60.0
    assert breakers.state("p/m", "p") is State.HALF_OPEN
    breakers.begin_trial("p/m", "p")
    assert breakers.state("p/m", "p") is State.OPEN
    fail(breakers)
    clock.now_s = 119.0
    assert breakers.state("p/m", "p") is State.OPEN
    clock.now_s = 120.0
    breakers.begin_trial("p/m", "p")
    succeed(breakers)
    assert breakers.state("p/m", "p") is State.RECOVERING
    at_once = Breakers(clock, BreakerRules(ramp=()))
    fail(at_once, 3)
    succeed(at_once)
    assert at_once.state("p/m", "p") is State.CLOSED and at_once.quiet, "without a ramp all is let in at once"


def test_a_trial_that_never_reports_does_not_shut_the_model_out() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    fail(breakers, 3)
    clock.now_s = 60.0
    breakers.begin_trial("p/m", "p")
    clock.now_s = 120.0
    assert breakers.state("p/m", "p") is State.HALF_OPEN


def test_late_failures_do_not_push_the_trial_away() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    fail(breakers, 3)
    clock.now_s = 30.0
    fail(breakers, 5)
    clock.now_s = 60.0
    assert breakers.state("p/m", "p") is State.HALF_OPEN


def test_a_good_trial_lets_a_growing_share_in_until_all_is_well() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    fail(breakers, 3)
    clock.now_s = 60.0
    breakers.begin_trial("p/m", "p")
    succeed(breakers)
    assert breakers.state("p/m", "p") is State.RECOVERING and breakers.share("p/m", "p") == 0.1
    succeed(breakers, 2)
    assert breakers.share("p/m", "p") == 0.1
    succeed(breakers)
    assert breakers.share("p/m", "p") == 0.5 and not breakers.quiet
    assert breakers.statuses()[0].share == 0.5
    succeed(breakers, 3)
    assert breakers.state("p/m", "p") is State.CLOSED and breakers.share("p/m", "p") == 1 and breakers.quiet


def test_where_nobody_asks_the_time_ends_the_stages() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    fail(breakers, 3)
    clock.now_s = 60.0
    succeed(breakers)
    for clock.now_s, share in ((89.9, 0.1), (90.0, 0.5), (119.9, 0.5), (120.0, 1.0)):
        assert breakers.share("p/m", "p") == share
    assert breakers.troubled_models() == set() and breakers.quiet


def test_a_fault_while_it_recovers_opens_it_again_at_once() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    fail(breakers, 3)
    clock.now_s = 60.0
    succeed(breakers, 4)
    fail(breakers)
    assert breakers.state("p/m", "p") is State.OPEN and breakers.retry_in_s("p/m", "p") == 60


def test_faults_among_successes_open_it_when_they_are_many() -> None:
    clock = Clock()
    breakers = Breakers(clock, BreakerRules(failures=3, error_rate=0.5, min_outcomes=10))
    for _ in range(4):
        fail(breakers, 1)
        succeed(breakers, 1)
        assert breakers.state("p/m", "p") is State.CLOSED
    fail(breakers, 2)
    assert breakers.state("p/m", "p") is State.OPEN, "6 of 10, never three in a row"


def test_faults_of_long_ago_do_not_count_into_the_rate() -> None:
    clock = Clock()
    breakers = Breakers(clock, BreakerRules(failures=3, error_rate=0.5, min_outcomes=10))
    for _ in range(20):
        fail(breakers, 1)
        succeed(breakers, 1)
        clock.now_s += 30
    assert breakers.state("p/m", "p") is State.CLOSED and breakers.statuses()[0].outcomes < 10
    rare = Breakers(clock, BreakerRules(min_outcomes=10))
    for _ in range(50):
        fail(rare, 1)
        succeed(rare, 4)
    assert rare.state("p/m", "p") is State.CLOSED, "one in five is not every second one"


def test_an_operator_holds_it_open_or_closed_until_told_otherwise() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    breakers.force("p/m", "p", State.OPEN)
    clock.now_s = 10_000.0
    succeed(breakers, 9)
    assert breakers.state("p/m", "p") is State.OPEN and breakers.is_held_open("p/m", ["p"])
    assert breakers.statuses()[0].forced and breakers.retry_in_s("p/m", "p") == 0
    breakers.force("p/m", "p", State.CLOSED)
    fail(breakers, 30)
    breakers.hear_open("p/m", "p")
    assert breakers.state("p/m", "p") is State.CLOSED and not breakers.is_held_open("p/m", ["p"])
    breakers.force("p/m", "p", None)
    assert breakers.quiet and not breakers.statuses()
    fail(breakers, 3)
    assert breakers.state("p/m", "p") is State.OPEN


class Machine(RuleBasedStateMachine):
    """What may be said of a breaker whatever happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breakers = Breakers(self.clock, BreakerRules(error_rate=0))
        self.in_a_row = 0
        self.ever_open = False
        self.held: State | None = None
        self.opened = 0
        self.breakers.on_open = self.count

    def count(self, model: str, provider: str) -> None:
        self.opened += 1

    @rule()
    def fault(self) -> None:
        self.in_a_row += 1
        fail(self.breakers)

    @rule()
    def success(self) -> None:
        before = self.state
        self.in_a_row = 0
        succeed(self.breakers)
        if self.held is None and before in (State.OPEN, State.HALF_OPEN):
            assert self.state is State.RECOVERING

    @rule()
    def own_fault_of_the_caller(self) -> None:
        before = self.state
        self.breakers.record("p/m", "p", ok=False, provider_fault=False)
        assert self.state is before or before is State.OPEN

    @rule(seconds=st.sampled_from([1.0, 20.0, 31.0, 61.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def trial(self) -> None:
        before = self.state
        self.breakers.begin_trial("p/m", "p")
        assert self.state is (State.OPEN if before is State.HALF_OPEN else before)

    @rule(state=st.sampled_from([State.OPEN, State.CLOSED, None]))
    def force(self, state: State | None) -> None:
        self.held = state
        self.breakers.force("p/m", "p", state)
        if state is None:
            self.in_a_row, self.ever_open = 0, False
            assert self.state is State.CLOSED

    @property
    def state(self) -> State:
        return self.breakers.state("p/m", "p")

    @invariant()
    def holds(self) -> None:
        share = self.breakers.share("p/m", "p")
        self.ever_open |= self.held is None and self.in_a_row >= 3
        if self.held is not None:
            assert self.state is self.held
        elif not self.ever_open:
            assert self.state is State.CLOSED, "it never opens without three faults in a row"
        assert share == {State.CLOSED: 1, State.HALF_OPEN: 1, State.OPEN: 0}.get(self.state, share)
        assert self.state is not State.RECOVERING or share in (0.1, 0.5)
        if self.breakers.quiet:
            assert self.state is State.CLOSED, "a quiet table is never asked"


TestMachine = Machine.TestCase
