"""The campaigns of tests/unit/budget in full: histories, seeds, and the windows of every zone."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.budget.ledger.windows import Window
from tests.unit.budget.simulation.ledger_machine import LedgerMachine
from tests.unit.budget.simulation.replicas import play
from tests.unit.budget.simulation.tiling import ZONES, check_zone

HISTORIES = int(os.environ.get("DAC_HISTORIES", "20000"))
SEEDS = int(os.environ.get("DAC_SEEDS", "100000"))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_history_breaks_an_invariant() -> None:
    """DAC_HISTORIES of fifty steps; the shortest that fails is printed."""
    many = settings(
        max_examples=HISTORIES, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(LedgerMachine, settings=many)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_seed_breaks_an_invariant(seed: int) -> None:
    """DAC_SEEDS of them; one that fails is named, and replayed by `play(seed)`."""
    deadlocks = 0
    for number in range(SEEDS):
        deadlocks += play(seed + number, clients=8).server.deadlocks
    assert deadlocks == 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_windows_tile_time_around_every_change_of_every_clock() -> None:
    """I9 whole: 62 years, all zones, all kinds."""
    walked = sum(check_zone(zone, [one for one in Window if one is not Window.NONE]) for zone in ZONES)
    print(f"{walked} windows of {len(ZONES)} zones")
    assert walked > 100_000
