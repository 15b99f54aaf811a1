"""What budgets hold and how fast they are: `python -m bench.budget [--json] [--profile quick|full]`.

The method, and what each figure means, is in bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import logging
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import msgspec
import uvloop
from rich.console import Console

from bench.budget import hot, inprocess, kill9, race, report
from bench.budget.stage import Stage, took
from bench.processes import machine
from bench.systems import ROOT, StartFailure

_PROGRESS = Console(stderr=True, highlight=False, soft_wrap=True)
PARTS = ("race", "hot", "inprocess", "kill9")


@dataclass(frozen=True)
class Profile:
    """How long and how often."""

    repeats: int
    seconds: float
    kills: int
    warm_s: float = 2.0
    inprocess_s: float = 10.0
    stream_concurrent: int = hot.STREAM_CONCURRENT
    unary_concurrent: int = hot.UNARY_CONCURRENT
    naive_connections: int = hot.NAIVE_CONNECTIONS
    seed: int = 5


PROFILES = {
    "quick": Profile(repeats=5, seconds=10.0, kills=6, inprocess_s=5.0),
    "full": Profile(repeats=100, seconds=60.0, kills=60, inprocess_s=20.0),
}


def _say(text: str) -> None:
    _PROGRESS.print(text, markup=False)


async def run(stage: Stage, profile: Profile, parts: set[str]) -> dict[str, Any]:
    """One part after the other on one PostgreSQL."""
    found: dict[str, Any] = {}
    if "race" in parts:
        with took(_say, f"race: {profile.repeats} repeats"):
            found["race"] = race.figures(await race.run(stage, profile.repeats, _say))
    if "hot" in parts:
        found["hot"] = await _hot(stage, profile)
    if "inprocess" in parts:
        with took(_say, "in process"):
            found |= await _in_process(stage, profile)
    if "kill9" in parts:
        with took(_say, f"kill -9: {profile.kills} times"):
            found["kill9"] = kill9.figures(await kill9.run(stage, profile.kills, profile.seed, _say))
    return found


async def _hot(stage: Stage, profile: Profile) -> dict[str, object]:
    loops = {}
    for name, loop in (
        ("stream", hot.through_stream(stage, profile.seconds, profile.stream_concurrent, profile.warm_s)),
        ("unary", hot.by_unary(stage, profile.seconds, profile.unary_concurrent, profile.warm_s)),
        ("naive", hot.naively(stage, profile.seconds, profile.naive_connections, profile.warm_s)),
    ):
        with took(_say, f"hot, {name}"):
            loops[name] = await loop
        _say(f"  {loops[name].cycles_per_s:.0f} cycles/s; CPU-ms a cycle: {loops[name].cpu_ms}")
    return hot.figures(**loops)


async def _in_process(stage: Stage, profile: Profile) -> dict[str, object]:
    await stage.with_replicas(1)
    organisation = await stage.organisation(hot.LIMIT_NANO_USD)
    await stage.with_replicas(0)
    assert stage.postgres.process is not None
    spec = inprocess.Spec(
        principal=organisation.principal.SerializeToString(),
        postmaster=stage.postgres.process.pid,
        seconds=profile.inprocess_s,
    )
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bench.budget.inprocess"],
        cwd=ROOT,
        env=stage.environment,
        input=msgspec.json.encode(spec) + b"\n",
        stdout=subprocess.PIPE,
        check=False,
    )
    if ran.returncode:
        raise StartFailure("budget in process could not be measured; its message stands above")
    return report.in_process(msgspec.json.decode(ran.stdout, type=dict[str, inprocess.Result]))


async def _staged(profile: Profile, parts: set[str], folder: pathlib.Path) -> dict[str, Any]:
    stage = Stage(folder)
    facts = machine(folder)
    try:
        with took(_say, "setting up PostgreSQL"):
            await stage.open()
        # As mesh.launcher runs the gateway that this process plays: else its collector is part of the slowest race.
        gc.set_threshold(50_000, 20, 50)
        gc.collect()
        gc.freeze()
        return {**await run(stage, profile, parts), "_run": {"machine": facts, "profile": dataclasses.asdict(profile)}}
    finally:
        await stage.close()


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Killed on purpose, budget ends its sessions without a word.
    logging.getLogger("dac.gateway.budget_session").setLevel(logging.ERROR)
    profile = PROFILES[options.profile]
    for name in ("repeats", "seconds", "kills", "seed"):
        if (value := getattr(options, name)) is not None:
            profile = dataclasses.replace(profile, **{name: value})
    if options.seconds is not None:
        profile = dataclasses.replace(profile, inprocess_s=options.seconds, warm_s=min(profile.warm_s, options.seconds))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="dac-budget-", dir=options.scratch))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_staged(profile, set(options.only or PARTS), folder))
    except StartFailure as failure:
        raise SystemExit(str(failure)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        report.show(found)
    if wrong := report.wrong(found):
        raise SystemExit("wrong: " + "; ".join(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.budget",
        description="Budgets under a race, on one hot organisation, in process, and under kill -9.",
        epilog="Exit code 0 when exactly what may be admitted was admitted, nothing was lost and nothing charged "
        "twice; missed speeds are shown, not failed. Publish only the full profile (about ten minutes).",
    )
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")
    parser.add_argument("--profile", choices=list(PROFILES), default="full", help="default: full")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; default: all")
    parser.add_argument("--repeats", type=int, help="of the race")
    parser.add_argument("--seconds", type=float, help="of each closed loop")
    parser.add_argument("--kills", type=int, help="how many")
    parser.add_argument("--seed", type=int, help="of the kills' moments")
    parser.add_argument("--scratch", default=None, help="where the data folder is made; default: the temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
