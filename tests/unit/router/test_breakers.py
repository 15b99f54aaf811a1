"""Breakers open after three faults in a row, let one trial through after a minute, and close on success."""

from hypothesis import given
from hypothesis import strategies as st

from services.router.breakers import Breakers, State


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fail(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        breakers.record("p/m", "p", ok=False, provider_fault=True)


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
    breakers.record("p/m", "p", ok=True, provider_fault=False)
    assert breakers.state("p/m", "p") is State.CLOSED and breakers.quiet


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


@given(st.lists(st.sampled_from(["ok", "fault", "own", "wait", "trial"]), max_size=60))
def test_it_never_opens_without_three_faults_since_the_last_success(events: list[str]) -> None:
    clock = Clock()
    breakers = Breakers(clock)
    faults = 0
    for event in events:
        if event == "wait":
            clock.now_s += 61
        elif event == "trial":
            breakers.begin_trial("p/m", "p")
        else:
            faults = 0 if event == "ok" else faults + (event == "fault")
            breakers.record("p/m", "p", ok=event == "ok", provider_fault=event == "fault")
        if faults < 3:
            assert breakers.state("p/m", "p") is State.CLOSED
        else:
            assert breakers.state("p/m", "p") is not State.CLOSED
