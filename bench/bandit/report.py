"""The figures as tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.bandit.measures import QUARTERS, WINDOW

MAX_REGRET = 60.0
MAX_ADOPT_ROUNDS = 150


def show(found: Mapping[str, Any]) -> None:
    """A table for each set, and one of the goals."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    for name, one in found["sets"].items():
        table = Table(
            title=f"{name}: {one['prompts']} prompts × {one['models']} models, {found['seeds']} seeds; best fixed "
            f"{one['best_fixed']}, best per intent {one['best_per_intent']}, oracle {one['oracle']}"
        )
        table.add_column("policy")
        shares = [f"regret at {share} %" for share in QUARTERS]
        for heading in ("mean", *shares, "last quarter", "against best fixed", "departures"):
            table.add_column(heading, justify="right")
        for policy, row in one["policies"].items():
            table.add_row(
                policy,
                f"{row['mean']:.3f}",
                *(f"{row['regret'][str(share)]:g}" for share in QUARTERS),
                f"{row['last_quarter']:.3f}",
                f"{row['last_quarter_gain']:+.4f} ± {row['last_quarter_gain_ci95']:.4f}",
                f"{row['explored']:.1%}" if "explored" in row else "",
            )
        console.print(table)
    goals = Table(title=f"intents: {found['intents_from']}; adopted = holds the majority of {WINDOW} decisions")
    for heading in ("what", "measured", "goal", ""):
        goals.add_column(heading, justify="right" if heading == "measured" else "left")
    for what, measured, goal, met in rows(found):
        goals.add_row(what, measured, goal, {True: "met", False: "missed", None: ""}[met])
    console.print(goals)


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """What, measured, goal, whether it is met."""
    made: list[tuple[str, str, str, bool | None]] = []
    for what, key, most in (
        ("regret on RouterBench, quality only, ours, one intent", "regret", MAX_REGRET),
        ("decisions until a new best model of the catalog is adopted, mean", "adopt_rounds", MAX_ADOPT_ROUNDS),
    ):
        if key in found:
            made.append((what, f"{found[key]:g}", f"≤ {most:g}", found[key] <= most))
    for name in ("ulab", "routerbench_cost"):
        if name not in found["sets"]:
            continue
        gain = next(
            row["last_quarter_gain"]
            for policy, row in found["sets"][name]["policies"].items()
            if policy.startswith("ours, per")
        )
        made.append((f"last quarter per intent against the best fixed, {name}", f"{gain:+.4f}", "> 0", gain > 0))
    for name, one in found.get("adopt", {}).items():
        made.append(
            (
                f"adopted, {name}: mean / median / slowest",
                f"{one['mean']:g} / {one['median']:g} / {one['slowest']}",
                "",
                None,
            )
        )
    for name, one in found.get("drift", {}).items():
        made.append(
            (
                f"best and worst swapped, {name}: mean / median rounds, regret after",
                f"{one['mean']:g} / {one['median']:g}, {one['regret_after']:g}",
                "",
                None,
            )
        )
    for name, took in found["microseconds"].items():
        made.append((f"one decision with 50 candidates, {name}, µs", f"{took:g}", "≤ 50", took <= 50))
    return made
