"""How well prompts are understood: `python -m bench.intent --data DIR [--json]`.

The method, and what each figure means, is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.intent import data, measure
from bench.intent.train import examples
from services.router.prompt.prompt import WEIGHTS, read

GOALS = {"shipped": 0.65, "topic_held_out": 0.72, "mtbench": 0.80}
BASELINES = {"shipped": 0.56, "topic_held_out": 0.675, "mtbench": 0.757}
"""What a like model reached: shipped weights of another router; hashed n-grams and a linear model for the others."""
PER_FILE = 800
"""Prompts of our own per file beside the training topics."""
_PROGRESS = Console(stderr=True, highlight=False, soft_wrap=True)


def run(folder: pathlib.Path, weights_file: pathlib.Path, per_file: int = PER_FILE) -> dict[str, Any]:
    """All figures that the files in `folder` allow."""
    weights = read(weights_file)
    prompts, questions = data.topics(folder), data.mtbench(folder)
    details: dict[str, dict[str, Any]] = {}
    if prompts:
        _say(f"{len(prompts)} labelled prompts of {len({one.topic for one in prompts})} topics; the shipped weights")
        said, web = measure.shipped(weights, prompts)
        details["shipped"] = measure.figures(prompts, said) | {"needs_web": _web(prompts, web)}
        model = measure.HeldOut(examples(folder, per_file))
        _say(f"topics held out, {measure.FOLDS} folds")
        if len({one.topic for one in prompts}) > 1:
            details["topic_held_out"] = measure.figures(prompts, measure.topics_held_out(model, prompts, _say))
        if questions:
            _say("MT-Bench, trained on all labelled prompts")
            details["mtbench"] = measure.figures(questions, measure.external(model, prompts, questions))
    if questions:
        details["mtbench_shipped"] = measure.figures(questions, measure.shipped(weights, questions)[0])
    _say("latency")
    return {
        "intent": {name: details[name]["accuracy"] for name in GOALS if name in details},
        "latency_ms": measure.latency_ms(weights),
        "details": details,
    }


def _web(prompts: list[data.Labelled], said: Any) -> dict[str, float]:
    truth = np.array([one.needs_web for one in prompts])
    right = int((truth & said).sum())
    return {
        "recall": round(right / max(1, int(truth.sum())), 4),
        "precision": round(right / max(1, int(said.sum())), 4),
    }


def show(found: dict[str, Any]) -> None:
    """The table."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="Intent")
    for heading in ("what", "prompts", "accuracy", "goal", "", "a like model", "macro-F1", "recall by intent"):
        table.add_column(heading)
    for name, one in found["details"].items():
        goal = GOALS.get(name)
        verdict = "" if goal is None else "met" if one["accuracy"] >= goal else "missed"
        recall = ", ".join(f"{intent} {value:.2f}" for intent, value in one["recall"].items())
        if web := one.get("needs_web"):
            recall += f"; needs_web {web['recall']:.2f} at precision {web['precision']:.2f}"
        numbers = (f"≥ {goal:g}" if goal else "", verdict, f"{BASELINES[name]:g}" if name in BASELINES else "")
        table.add_row(name, str(one["prompts"]), f"{one['accuracy']:.4f}", *numbers, f"{one['macro_f1']:.3f}", recall)
    console.print(table)
    latency = found["latency_ms"]
    console.print(
        f"a prompt of 12 to 250 words: p50 {latency['p50']} ms (≤ 0.2), p99 {latency['p99']} ms (≤ 0.6); "
        f"CPU {latency['cpu_p50']} and {latency['cpu_p99']} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.intent",
        description="Intent of prompts: the shipped weights on unseen ones, topics held out, MT-Bench, and latency.",
        epilog="DIR is any folder with files of the public sets; a file that is absent leaves its figure out.",
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with the public sets")
    parser.add_argument("--weights", type=pathlib.Path, default=WEIGHTS, help="default: the shipped ones")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"--data {options.data}: no such folder")
    found = run(options.data, options.weights)
    if absent := [name for name in GOALS if name not in found["intent"]]:
        _say(f"left out, as {options.data} has not the files for it: {', '.join(absent)}")
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def _say(text: str) -> None:
    _PROGRESS.print(text, markup=False)


if __name__ == "__main__":
    main()
