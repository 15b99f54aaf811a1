"""`python -m bench.recall --locomo FILE [--json]`: whether memory finds what answers a question, and how fast.

The method is in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import uvloop

from bench.recall.conversations import FileError, read
from bench.recall.measure import quality, speed, tell


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.recall", description=__doc__)
    parser.add_argument("--locomo", type=pathlib.Path, help="conversations and questions, JSON")
    parser.add_argument(
        "--memories", type=int, default=100_000, help="how many memories recall is timed with (100,000); 0 = the file's"
    )
    parser.add_argument("--questions", type=int, default=200, help="how many questions are timed there (200)")
    parser.add_argument("--speed-only", action="store_true", help="no quality: only times at so many memories")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    return parser.parse_args()


async def _measured(options: argparse.Namespace) -> dict[str, Any]:
    if options.speed_only:
        return await speed(options.memories, options.questions)
    conversations = read(options.locomo)
    tell(f"{len(conversations)} conversations, {sum(len(one.turns) for one in conversations)} turns; with the model …")
    with_model = await quality(conversations, model=True)
    tell("without a model …")
    without = await quality(conversations, model=False)
    found: dict[str, Any] = {
        "questions": with_model["questions"],
        "turn_any_at_10": {name: with_model[name] for name in ("cat1_4", "cat5", "by_category")},
        "no_model": {
            "turn_any_at_10": without["cat1_4"],
            "cat5": without["cat5"],
            "by_category": without["by_category"],
        },
        "remember_ms": with_model["remember_ms"],
        "recall_ms": with_model["recall_ms"],
    }
    if options.memories:
        tell(f"{options.memories} memories …")
        large = await speed(options.memories, options.questions)
        found["on_the_file"] = {"recall_ms": found["recall_ms"]}
        found["recall_ms"] = large["recall_ms"]
        found["large"] = large
    return found


def main() -> int:
    """Runs the measurement; ends with 2 when the file cannot be used."""
    options = _options()
    if options.locomo is None and not options.speed_only:
        print("--locomo is missing: name the file of conversations, or ask for --speed-only", file=sys.stderr)
        return 2
    try:
        found = uvloop.run(_measured(options))
    except FileError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
