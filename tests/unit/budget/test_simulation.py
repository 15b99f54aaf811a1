"""Three replicas on one store under 5,000 seeds of lost replies, aborts, delays, kills and wrong clocks.

A seed that fails is played again with `play(seed)`; `make test-long` plays 100,000, or DAC_SEEDS of
them. Each fault of test_planted_faults.py is found within 400.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.budget.simulation.replicas import World, play

SEEDS = 5000
PARTS = 10

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_breaks_an_invariant(part: int) -> None:
    seen = {"commit": 0, "indeterminate": 0, "release": 0, "overrun": 0, "adjust": 0}
    for seed in range(part, SEEDS, PARTS):
        for key in play(seed).server.table("ledger"):
            seen[key[3]] += 1
    assert min(seen.values()) > 50, f"the seeds do not reach everything: {seen}"


@pytest.mark.parametrize("seed", [3, 176, 4711])
def test_a_seed_reproduces_its_run(seed: int) -> None:
    def trace(world: World) -> Any:
        return [{**world.server.table(name)} for name in ("ledger", "reservations", "counters", "alerts")]

    assert trace(play(seed)) == trace(play(seed))
