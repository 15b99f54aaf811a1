"""How often the cache answers, and wrongly: `python -m bench.cache --pairs FILE --conversations FILE --qqp FILE`.

Memory runs as it ships, in this process, on a PostgreSQL of its own; everything goes through CacheService. The method,
and what each figure means, is in docs/cache.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from bench.cache import data, measure
from bench.cache.traps import repeats, traps
from dac.memory.v1.cache_pb2_grpc import CacheServiceStub
from mesh.testing import mesh_in_process

GOALS = {"default": (0.36, 0.0), "balanced": (0.48, 0.02)}
LOOKUPS = 400
_PROGRESS = Console(stderr=True, highlight=False, soft_wrap=True)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """All figures that the given files allow."""
    result: dict[str, Any] = {"details": {}}
    with tempfile.TemporaryDirectory(prefix="dac-bench-cache-") as folder:
        async with mesh_in_process(pathlib.Path(folder), config=options.config, targets=("memory",)) as process:
            stub: Any = CacheServiceStub(process.channel_to("memory"))
            bench = _Bench(stub, process.caller("chat", "read"), result)
            await bench.quality(options)
            if options.entries:
                await bench.speed(options)
    return result


class _Bench:
    def __init__(self, stub: Any, caller: Any, result: dict[str, Any]) -> None:
        self._stub, self._caller, self._result = stub, caller, result

    async def quality(self, options: argparse.Namespace) -> None:
        result, details = self._result, self._result["details"]
        for mode in ("default", "balanced"):
            if options.pairs:
                found = await self._outcomes(data.pairs(options.pairs), mode, "pairs")
                rates = measure.rates(found)
                result[mode] = {"hit_rate": rates["hit_rate"], "wrong_rate": rates["wrong_rate"]}
                details[mode] = rates | {"by_category": measure.by_kind(found), "curve": measure.curve(found)}
            made = measure.rates(await self._outcomes(data.made(traps() + repeats()), mode, "made"))
            details[f"generated_{mode}"] = made
            if options.conversations:
                found = await self._outcomes(data.conversations(options.conversations), mode, "conversations")
                rates = measure.rates(found)
                details[f"conversations_{mode}"] = rates
                if mode == "default":
                    result["conversations"] = {"hit_rate": rates["hit_rate"], "wrong": rates["wrong"]}
            if options.qqp:
                found = await self._outcomes(data.question_pairs(options.qqp), mode, "qqp")
                figures = measure.precision(found)
                details[f"qqp_{mode}"] = figures | {"curve": measure.curve(found)}
                if mode == "default":
                    result["qqp"] = {"precision": figures["precision"], "recall": figures["recall"]}

    async def speed(self, options: argparse.Namespace) -> None:
        cases = data.question_pairs(options.qqp) if options.qqp else data.made(repeats())
        questions = [str(case.after[-1]["content"]) for case in cases[:LOOKUPS]]
        _say(f"{len(questions)} lookups beside {options.entries} entries")
        self._result["lookup_ms"] = await measure.latency(self._stub, self._caller, questions, options.entries)
        self._result["exact_cpu_ms"] = await measure.exact_cpu_ms(self._stub, self._caller, 1000)

    async def _outcomes(self, cases: list[data.Case], mode: str, name: str) -> list[measure.Outcome]:
        _say(f"{len(cases)} {name}, {mode}")
        return await measure.outcomes(self._stub, self._caller, cases, mode, f"{name} {mode}")


def table(result: dict[str, Any]) -> None:
    """Prints the figures."""
    console, details = Console(highlight=False), result["details"]
    rows = Table("measured", "hits", "95 %", "wrong", "95 %", title="Stored as one question, asked as the other")
    for name, rates in details.items():
        if "hit_bounds" in rates:
            _row(rows, name, rates)
            for kind, one in rates.get("by_category", {}).items():
                _row(rows, f"  {kind}", one)
    console.print(rows)
    for name in ("qqp_default", "qqp_balanced"):
        if name in details:
            one = details[name]
            console.print(f"{name}: precision {one['precision']} {one['precision_bounds']}, recall {one['recall']}")
    curves = Table("curve (P-CHR)", "similarity at least", "share served", "precision")
    for name, one in details.items():
        for point in one.get("curve", ()):
            curves.add_row(name, str(point["threshold"]), str(point["hit_share"]), str(point["precision"]))
    console.print(curves)
    console.print({key: value for key, value in result.items() if key != "details"})


def _row(rows: Table, name: str, rates: dict[str, Any]) -> None:
    low, high = rates["hit_bounds"]
    wrong_low, wrong_high = rates["wrong_bounds"]
    rows.add_row(
        name, f"{rates['hits']}/{rates['of']} {rates['hit_rate']}", f"{low}-{high}",
        f"{rates['wrong']}/{rates['traps']} {rates['wrong_rate']}", f"{wrong_low}-{wrong_high}",
    )  # fmt: skip


def misses_of(result: dict[str, Any]) -> list[str]:
    """Which goals the figures miss."""
    missed = [
        f"{mode}: hits {result[mode]['hit_rate']} (goal {hits}), wrong {result[mode]['wrong_rate']} (goal {wrong})"
        for mode, (hits, wrong) in GOALS.items()
        if mode in result and (result[mode]["hit_rate"] < hits or result[mode]["wrong_rate"] > wrong)
    ]
    if result.get("conversations", {}).get("wrong"):
        missed.append(f"conversations: {result['conversations']['wrong']} wrong (goal 0)")
    if result.get("qqp", {}).get("precision", 1.0) < 0.94:
        missed.append(f"qqp: precision {result['qqp']['precision']} (goal 0.94)")
    return missed


def _say(text: str) -> None:
    _PROGRESS.print(text)


def main() -> None:
    """Runs it; ends with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="Hits, wrong hits and cost of the response cache.")
    for name in ("pairs", "conversations", "qqp"):
        parser.add_argument(f"--{name}", type=pathlib.Path, help="JSON lines")
    parser.add_argument(
        "--entries", type=int, default=10_000, help="stored questions beside timed lookups; 0 = no times"
    )
    parser.add_argument("--config", default="", help="a mesh.yaml's text, such as 'memory: {embedding_model: hashed}'")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    # On the loop that DAC ships with.
    result = uvloop.run(run(options := parser.parse_args()))
    if options.json:
        print(json.dumps(result))
    else:
        table(result)
    missed = misses_of(result)
    for one in missed:
        _say(f"missed: {one}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
