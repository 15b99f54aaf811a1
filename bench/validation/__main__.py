"""How good the checks of answers are: `python -m bench.validation --data DIR [--json]`.

Every figure is taken from the engine as it ships. A file that DIR does not have makes its figure null. What each figure
means is in docs/validation-checks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from bench.validation import measure
from bench.validation.voice import persona
from services.gateway.validation.validator import Validator
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import Embedder, open_embedder

_PROGRESS = Console(stderr=True, highlight=False, soft_wrap=True)


async def run(folder: pathlib.Path) -> dict[str, Any]:
    """All figures that the folder's files allow."""
    embedder = open_embedder(MemoryConfig())
    validator = Validator(embed=_embed_with(embedder) if embedder.semantic else None)
    result: dict[str, Any] = {
        "toxicity": {"auc_5fold": None, "auc_other": None, "false_flag_rate": None},
        "details": {"embedder": embedder.note},
    }
    _PROGRESS.print("code")
    result["code"] = await measure.code(folder, validator)
    _PROGRESS.print("support")
    result["support"], result["details"]["support"] = await measure.support(folder, validator)
    _PROGRESS.print("persona")
    result["persona"], result["details"]["persona"] = persona(folder)
    _PROGRESS.print("quality of broken answers")
    result["details"]["quality"] = await measure.quality(folder, validator)
    if embedder.semantic:
        _PROGRESS.print("toxicity (some minutes)")
        result["toxicity"], result["details"]["toxicity"] = await measure.toxicity(folder, embedder)
    else:
        _PROGRESS.print(f"no toxicity: {embedder.note}")
    await embedder.close()
    return result


def _embed_with(embedder: Embedder) -> Any:
    async def embed(texts: Sequence[str]) -> Any:
        return await embedder.embed(texts)

    return embed


def misses_of(result: dict[str, Any]) -> list[str]:
    """Which goals the figures miss; a figure that could not be taken misses none."""
    harmful, support, code, voice = (result[name] for name in ("toxicity", "support", "code", "persona"))
    goals: list[tuple[str, Any, Callable[[Any], bool], str]] = [
        ("toxicity.auc_5fold", harmful["auc_5fold"], lambda value: value >= 0.97, "at least 0.97"),
        ("toxicity.false_flag_rate", harmful["false_flag_rate"], lambda value: value <= 0.001, "at most 0.001"),
        ("support.auc", support["auc"], lambda value: value >= 0.85, "at least 0.85"),
        ("code.accepted", code["accepted"], lambda value: value == code["total"], f"all {code['total']}"),
        (
            "code.corruptions_caught",
            code["corruptions_caught"],
            lambda value: value * 158 >= code["corruptions"] * 157,
            "157 of 158",
        ),
        ("persona.rewritten_rate", voice["rewritten_rate"], lambda value: value >= 0.99, "at least 0.99"),
        ("persona.untouched_identical", voice["untouched_identical"], lambda value: value == 1, "all"),
    ]
    return [f"{name} {value}, goal {goal}" for name, value, met, goal in goals if value is not None and not met(value)]


def main() -> None:
    """Runs it; ends with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="What the checks of answers reach.")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a folder with the files, each optional")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data} is no folder: name the one with the files in --data")
    result = asyncio.run(run(options.data))
    if options.json:
        print(json.dumps(result))
    else:
        Console(highlight=False).print_json(json.dumps(result))
    missed = misses_of(result)
    for one in missed:
        _PROGRESS.print(f"missed: {one}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
