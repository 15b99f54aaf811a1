"""`python -m bench.faults`: the wall, a DAC in front of it that this program starts, and sixteen verdicts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.faults import judge
from bench.faults.calls import Client
from bench.faults.judge import Observed, Outcome
from bench.faults.scenarios import PROFILES, Profile, Scenario, scenarios
from bench.faults.upstream import ANSWER, Wall
from bench.systems import Place, Recipe, StartFailure, System, dac_recipe, running

_PROGRESS = Console(stderr=True, highlight=False, soft_wrap=True)
_COLOURS = {"pass": "green", "partial": "yellow", "safe": "yellow", "fail": "red"}
PRIMARY_CONTEXT, FALLBACK_CONTEXT = 8192, 128_000
"""The fallback has the larger one: S12 may go there."""
PROBE_S = 10.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    id: str
    name: str
    result: str
    why: str


def recipe(place: Place, profile: Profile, chosen: Iterable[Scenario]) -> Recipe:
    """DAC with a provider of broken models, one of healthy ones, and a fallback for every broken one."""
    provider = {
        "kind": "openai",
        "base_url": f"{place.upstream}/v1",
        "api_key": "sk-bench",
        "allow_private_address": True,
        "first_token_timeout_s": profile.first_token_s,
        "idle_timeout_s": profile.first_token_s,
    }
    models = [
        {**_model("wall", one.model, PRIMARY_CONTEXT), "fallbacks": [f"reserve/{one.fallback}"]} for one in chosen
    ]
    models += [_model("reserve", name, FALLBACK_CONTEXT) for name in ("fb-ok", "fb-no-prefill")]
    config: dict[str, object] = {
        "providers": {"wall": provider, "reserve": provider, "local": {"enabled": False}},
        "models": models,
    }
    if profile.name == "fast":
        # Scaled with the outage; the full profile runs with DAC's defaults.
        config["provider"] = {"failing_window_s": profile.skip_failing_s}
        config["router"] = {"breaker_open_s": profile.skip_failing_s}
    return dac_recipe(place, config, "reserve/fb-ok")


def _model(provider: str, name: str, context_tokens: int) -> dict[str, object]:
    price = {"input_usd_per_mtok": "1", "output_usd_per_mtok": "2"}
    one = {"id": f"{provider}/{name}", "provider": provider, "name": name, "context_tokens": context_tokens}
    return {**one, "quality": 0.5, "price": price}


async def run(wanted: list[Scenario], profile: Profile, scratch: pathlib.Path) -> list[Row]:
    """Starts everything, runs the scenarios one after the other, stops everything."""
    wall = Wall(profile.timing)
    rows = []
    async with wall.server() as upstream, _gateway(upstream.origin, wanted, profile, scratch) as client:
        for scenario in wanted:
            seen = await _observe(scenario, wall, client)
            found = judge.verdict(seen, scenario.checks, wants_error=scenario.wants_error)
            rows.append(Row(scenario.id, scenario.name, found.result, found.why))
            colour = _COLOURS[found.result]
            _PROGRESS.print(f"{scenario.id} {scenario.name}: [{colour}]{found.result}[/{colour}], ", end="")
            _PROGRESS.print(found.why, markup=False)
    return rows


@contextlib.asynccontextmanager
async def _gateway(
    origin: str, wanted: list[Scenario], profile: Profile, scratch: pathlib.Path
) -> AsyncIterator[Client]:
    """A DAC of its own, ready."""
    _PROGRESS.print(f"starting DAC (profile {profile.name}) …")
    dac = running("dac-faults", scratch, upstream=origin, recipe_for=lambda place: recipe(place, profile, wanted))
    # In a thread: readiness is asked with blocking calls, and the wall answers in this loop.
    system: System = await asyncio.to_thread(dac.__enter__)
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, system.port, system.headers)
    finally:
        await asyncio.to_thread(dac.__exit__, None, None, None)


async def _observe(scenario: Scenario, wall: Wall, client: Client) -> Observed:
    wall.reset()
    began = time.monotonic()
    calls: list[Outcome] = []
    for number in range(scenario.count):
        await asyncio.sleep(max(0.0, began + number * scenario.interval_s - time.monotonic()))
        sent_s = time.monotonic() - began
        outcome = await client.ask(f"wall/{scenario.model}", scenario.max_s)
        calls.append(dataclasses.replace(outcome, sent_s=sent_s))
    seen = list(wall.seen)
    record = await client.record(calls[-1].request_id)
    probe = await client.ask("reserve/fb-ok", PROBE_S, stream=False)
    return Observed(
        calls,
        ANSWER,
        primary_s=[one.at_s for one in seen if one.model == scenario.model],
        answered_s=[one.at_s for one in seen if one.model == scenario.model and one.did == "200"],
        fallback_s=[one.at_s for one in seen if one.model == scenario.fallback],
        fallback=scenario.fallback,
        prefill_refused=sum(one.did.endswith("invalid_prefill") for one in seen),
        alive=probe.kind == "success" and probe.text == ANSWER,
        down_s=wall.timing.down_s if scenario.count > 1 else 0.0,
        record=record,
    )


def show(rows: list[Row], profile: Profile) -> None:
    """The table."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    counts = {result: sum(one.result == result for one in rows) for result in _COLOURS}
    told = ", ".join(f"{count} {result}" for result, count in counts.items())
    table = Table(title=f"Provider faults, profile {profile.name}: {told}")
    for heading in ("id", "fault", "result", "why"):
        table.add_column(heading, overflow="fold")
    for one in rows:
        table.add_row(one.id, one.name, f"[{_COLOURS[one.result]}]{one.result}", one.why.replace("[", "\\["))
    console.print(table)


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    profile = PROFILES[options.profile]
    every = scenarios(profile)
    asked = {one.strip().upper() for one in options.only.split(",") if one.strip()}
    if unknown := asked - {one.id for one in every}:
        raise SystemExit(f"there is no scenario {', '.join(sorted(unknown))}: S01 to S16 are")
    wanted = [one for one in every if not asked or one.id in asked]
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="dac-faults-"))
    try:
        rows = asyncio.run(run(wanted, profile, scratch))
    except StartFailure as failure:
        raise SystemExit(str(failure)) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in rows], indent=2))
    else:
        show(rows, profile)
    if any(one.result == "fail" for one in rows):
        raise SystemExit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description="The sixteen provider faults of Failover Bench against a DAC that this command starts.",
        epilog="Exit code 0 when no row is a fail, 1 when one is or DAC did not start. Only the full profile "
        "(about three minutes) has the real waits: publish no other.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")
    parser.add_argument("--profile", choices=list(PROFILES), default="full", help="default: full")
    parser.add_argument("-f", "--only", default="", metavar="S08,…", help="these scenarios; default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
