"""kill -9 of what stores and sequences: nothing acknowledged is lost, no number is missing, no log is forked."""

from __future__ import annotations

import pathlib

import pytest

from bench.audit import kills


@pytest.mark.parametrize("count", [2, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_kills_lose_nothing_and_fork_nothing(server: pathlib.Path, count: int) -> None:
    found = await kills.measure(count, postgres=server)
    assert found["said"] > 0
    assert (found["kills"], found["lost"], found["gaps"]) == (count, 0, 0)


async def test_kills_lose_nothing_where_payloads_are_sealed(server: pathlib.Path) -> None:
    found = await kills.measure(2, seals=True, postgres=server)
    assert found["said"] > 0 and found["sealed"]
    assert (found["kills"], found["lost"], found["gaps"]) == (2, 0, 0)


async def test_without_the_lock_on_positions_what_was_acknowledged_is_lost(server: pathlib.Path) -> None:
    """The guard is needed: rows that commit after later ones are passed over."""
    found = await kills.measure(
        3,
        fewest_lines=kills.MOST_LINES,
        without="ALTER TABLE requests DISABLE TRIGGER requests_positions",
        postgres=server,
    )
    assert found["lost"] > 0
