"""The budget bench: its keys, its arithmetic, and that its accounting finds what it is there to find."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from bench.budget import hot, kill9, race, report
from bench.budget.hot import Loop
from bench.budget.inprocess import Result
from bench.budget.kill9 import Campaign
from bench.budget.race import CAP_NANO_USD, Race
from bench.budget.reconcile import Account, Found, compare

GOOD = Race(50, 0.2, CAP_NANO_USD)
CLEAN = Account({"a": [7], "b": [5]}, [("budget@0", 12, 0, 12, 0)], 0, 2)
TOLD = {"a": 7, "b": 5}


def loop(cycles: int, seconds: float, slower_ms: list[float]) -> Loop:
    return Loop(cycles, seconds, slower_ms, {"budget": 0.2})


def result(cpu_ms: float) -> Result:
    return Result(cycles=1, cycles_per_s=1.0, cpu_ms=cpu_ms, postgres_cpu_ms=0.1, p50_ms=1.0, p99_ms=2.0)


def whole() -> dict[str, Any]:
    return {
        "race": race.figures([GOOD, GOOD]),
        "hot": hot.figures(loop(6000, 2.0, [1.0, 9.0]), loop(100, 1.0, [2.0]), loop(30, 1.0, [3.0])),
        **report.in_process({"busy": result(0.125), "at_50": result(0.3), "at_200": result(0.2)}),
        "kill9": kill9.figures(Campaign(2, [Found(0, 0, [])], 10, 3, [0.5, 1.25])),
    }


def test_the_keys_are_those_that_are_asked_for() -> None:
    found = json.loads(json.dumps(whole()))
    assert {"admitted", "expected", "seconds_max", "repeats"} <= found["race"].keys()
    assert {"stream_cycles_per_s", "unary_cycles_per_s", "p99_ms", "naive_cycles_per_s"} <= found["hot"].keys()
    assert {"kills", "lost", "double"} <= found["kill9"].keys()
    assert found["inproc_cpu_ms"] == 0.125
    assert found["inproc"]["cpu_ms_at_50"] == 0.3 and found["inproc"]["cpu_ms_at_200"] == 0.2
    assert found["hot"]["stream_cycles_per_s"] == 3000.0 and found["hot"]["p99_ms"] == 9.0
    assert found["kill9"]["back_s_max"] == 1.25


def test_one_wrong_repeat_is_told_instead_of_the_others() -> None:
    figures = race.figures([GOOD, Race(51, 0.4, CAP_NANO_USD + 1), GOOD])
    assert (figures["admitted"], figures["wrong_repeats"], figures["seconds_max"]) == (51, 1, 0.4)
    assert figures["overspend_nano_usd"] == 1
    assert len(report.wrong({"race": figures})) == 2
    assert race.figures([dataclasses.replace(GOOD, held_nano_usd=CAP_NANO_USD - 1)])["overspend_nano_usd"] == 0


def test_speeds_that_are_missed_are_shown_and_are_no_fault() -> None:
    found = whole()
    assert report.wrong(found) == []
    verdicts = {what: verdict for what, _, _, verdict in report.rows(found)}
    assert verdicts["stream: cycles/s"] == "missed"
    assert verdicts["in process: CPU-ms of reserve and commit"] == "met"


@pytest.mark.parametrize(
    ("change", "lost", "double", "says"),
    [
        ({}, 0, 0, ""),
        ({"charged": {"a": [7]}}, 1, 0, "the callers were told 12"),
        ({"charged": {"a": [7], "b": [4]}}, 1, 0, "the callers were told 12"),
        ({"charged": {"a": [7, 7], "b": [5]}}, 0, 1, "the ledger says 19"),
        ({"charged": {"a": [7], "b": [5], "c": [1]}}, 0, 0, "nobody was told of"),
        ({"counters": [("budget@0", 11, 0, 12, 0)]}, 0, 0, "11 committed, the ledger says 12"),
        ({"counters": [("budget@0", 12, 3, 12, 0)]}, 0, 0, "3 reserved, the open reservations say 0"),
        ({"open_reservations": 1}, 0, 0, "still open"),
        ({"records": 1}, 0, 0, "2 commits have 1 records"),
        ({"differences": ["a counter differs"]}, 0, 0, "a counter differs"),
    ],
)
def test_every_way_to_lose_or_double_money_is_found(change: dict[str, Any], lost: int, double: int, says: str) -> None:
    found = compare(TOLD, dataclasses.replace(CLEAN, **change), final=True)
    assert (found.lost, found.double) == (lost, double)
    assert any(says in text for text in found.differences) if says else found.differences == []
    campaign = kill9.figures(Campaign(1, [found], 2, 0, [0.1]))
    assert bool(report.wrong({"kill9": campaign})) == bool(change)


def test_under_load_only_what_was_acknowledged_before_must_be_there() -> None:
    busy = dataclasses.replace(CLEAN, charged={**CLEAN.charged, "c": [1]}, open_reservations=4)
    assert compare(TOLD, busy, final=False) == Found(0, 0, [])
