"""`python -m bench.persona [--json] [--data DIR] [--cuttings 1000]`: see the package."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.persona.measured import accuracy, answers_in, cost, labels


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.persona", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    parser.add_argument("--data", type=pathlib.Path, help="a folder with halueval_general*.jsonl")
    parser.add_argument("--cuttings", type=int, default=1000, help="random cuttings of every answer")
    asked = parser.parse_args()
    print("measuring the CPU of streams …", file=sys.stderr)
    made: dict[str, Any] = {"cpu_ms_per_stream_of_31": cost()}
    if asked.data is not None:
        answers = answers_in(asked.data)
        if not answers:
            parser.error(f"{asked.data} holds no halueval_general*.jsonl")
        print(f"{len(answers)} answers, each cut {asked.cuttings} times …", file=sys.stderr)
        made["persona"] = accuracy(answers, labels(), asked.cuttings)
    if asked.json:
        print(json.dumps(made))
        return
    table = Table("measure", "value")
    for part, values in made.items():
        for name, value in values.items():
            table.add_row(f"{part}.{name}", f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
