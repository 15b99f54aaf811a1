"""The figures beside their goals, and what must not be otherwise."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.budget.inprocess import Result

Goal = tuple[str, str, str, float, bool]
GOALS: tuple[Goal, ...] = (
    ("race: slowest of all repeats, s", "race", "seconds_max", 0.25, False),
    ("stream: cycles/s", "hot", "stream_cycles_per_s", 6_000, True),
    ("unary: cycles/s", "hot", "unary_cycles_per_s", 1_500, True),
    ("stream: p99 of a cycle's slower half, ms", "hot", "p99_ms", 25, False),
    ("in process: CPU-ms of reserve and commit", "", "inproc_cpu_ms", 0.15, False),
)
"""What, section, key, goal, whether more is better."""


def in_process(results: Mapping[str, Result]) -> dict[str, object]:
    """What is published of budget in the caller's process."""
    busy = results["busy"]
    return {
        "inproc_cpu_ms": round(busy.cpu_ms, 4),
        "inproc": {
            "postgres_cpu_ms": round(busy.postgres_cpu_ms, 4),
            "cycles_per_s": round(busy.cycles_per_s, 1),
            "p50_ms": round(busy.p50_ms, 2),
            "p99_ms": round(busy.p99_ms, 2),
            **{
                f"{name}_{rate}": round(getattr(one, name), 4)
                for rate, one in results.items()
                if rate != "busy"
                for name in ("cpu_ms", "postgres_cpu_ms", "p50_ms")
            },
        },
    }


def wrong(found: Mapping[str, Any]) -> list[str]:
    """What is a fault and not a speed."""
    faults: list[str] = []
    race, kill9 = found.get("race"), found.get("kill9")
    if race is not None:
        if race["wrong_repeats"]:
            faults.append(f"{race['wrong_repeats']} races did not admit exactly {race['expected']}")
        if race["overspend_nano_usd"]:
            faults.append(f"a cap was passed by {race['overspend_nano_usd']} nano-USD")
    if kill9 is not None:
        if kill9["lost"] or kill9["double"]:
            faults.append(f"{kill9['lost']} acknowledged commits lost, {kill9['double']} charged twice")
        faults += kill9["differences"]
    return faults


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What, measured, goal, verdict."""
    made: list[tuple[str, str, str, str]] = []
    if race := found.get("race"):
        exact = "met" if not race["wrong_repeats"] else "MISSED"
        what = f"race: admitted of {race['callers']} on {race['replicas']} replicas, {race['repeats']} repeats"
        made.append((what, str(race["admitted"]), f"exactly {race['expected']}", exact))
    for what, section, key, goal, more in GOALS:
        value = (found.get(section) if section else found) or {}
        if key in value:
            met = value[key] >= goal if more else value[key] <= goal
            made.append((what, f"{value[key]:g}", f"{'≥' if more else '≤'} {goal:g}", "met" if met else "missed"))
    if hot := found.get("hot"):
        made.append(("naive row locks: cycles/s", f"{hot['naive_cycles_per_s']:g}", "beside it", ""))
    if more_of := found.get("inproc"):
        for key, value in more_of.items():
            made.append((f"in process: {key}", f"{value:g}", "", ""))
    if kill9 := found.get("kill9"):
        what = f"kill -9, {kill9['kills']} times, {kill9['acknowledged']} commits acknowledged: lost / double"
        met = not (kill9["lost"] or kill9["double"] or kill9["differences"])
        made.append((what, f"{kill9['lost']} / {kill9['double']}", "0 / 0", "met" if met else "MISSED"))
    return made


def show(found: Mapping[str, Any]) -> None:
    """The table."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="Budgets")
    for heading in ("what", "measured", "goal", ""):
        table.add_column(heading, justify="right" if heading == "measured" else "left")
    for row in rows(found):
        table.add_row(*row)
    console.print(table)
    facts = found["_run"]["machine"]
    console.print(
        f"{facts['cores']} cores ({facts['cpu']}), load {facts['load_average_1min']}, Python {facts['python']}, "
        f"fsync p50 {facts['fsync_ms']['p50']} ms / p99 {facts['fsync_ms']['p99']} ms"
    )
