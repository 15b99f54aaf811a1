"""What a gateway costs: CPU-milliseconds, added latency and throughput of DAC and its peers, in one run on one machine.

`python -m bench.overhead [--json] [--quick] [--system NAME …]`; the method is in bench/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench import governance
from bench.load import Result, Spec
from bench.load_process import LoadProcess, load_process
from bench.processes import machine
from bench.systems import RECIPES, SWITCHED_ON, StartFailure, System, running, version_of

_PROGRESS = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    closed_s: float = 8.0
    open_s: float = 12.0
    ttft_s: float = 6.0
    rounds: int = 2
    connections: int = 16
    rate_per_s: float = 200.0
    ttft_rate_per_s: float = 10.0
    gap_ms: float = 1.0
    settle_s: float = 0.7
    """Waited before CPU is read at the end: what a system does after its last byte belongs to the request."""


@dataclass(frozen=True)
class Phase:
    """One load run with what the system's process tree spent on it."""

    result: Result
    cpu_ms: float
    """Per correct answer."""
    model_cpu_ms: float
    parts_cpu_ms: dict[str, float]


@dataclass
class Measured:
    """Everything about one system; a list entry a round."""

    phases: dict[str, list[Phase]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    idle_cpu_ms_per_s: float = 0.0
    served: int = 1
    """Correct answers, the one that showed readiness included."""
    failed: int = 0
    proof: governance.Proof | None = None
    not_governed: str = ""

    def figure(self, phase: str, name: str) -> float:
        """Median over the rounds of a field of the result or of `cpu_ms`."""
        rounds = self.phases.get(phase, [])
        values = [one.cpu_ms if name == "cpu_ms" else float(getattr(one.result, name)) for one in rounds]
        return statistics.median(values) if values else 0.0


def specs(system: System, plan: Plan) -> dict[str, Spec]:
    """The four load runs of one round."""
    closed = Spec(
        port=system.port,
        model=system.model,
        headers=system.headers,
        connections=plan.connections,
        seconds=plan.closed_s,
    )
    change = msgspec.structs.replace
    offered = change(closed, connections=128, rate_per_s=plan.rate_per_s, seconds=plan.open_s)
    return {
        "nonstream": closed,
        "stream": change(closed, stream=True),
        "rate": offered,
        "ttft": change(offered, stream=True, rate_per_s=plan.ttft_rate_per_s, seconds=plan.ttft_s),
    }


def measure(system: System, load: LoadProcess, plan: Plan) -> Measured:
    """Warm up, then all load runs, `rounds` times."""
    measured = Measured()
    runs = specs(system, plan)
    for warm in (runs["nonstream"], runs["stream"]):
        result = load.run(msgspec.structs.replace(warm, seconds=20, max_requests=60 if warm.stream else 160))
        measured.served += result.ok
        measured.failed += result.sent - result.ok
        if not result.ok:
            raise StartFailure(f"{system.name} answered no warm-up request: {result.errors} {result.error_sample}")
    time.sleep(plan.settle_s)
    before = system.tree.usage(memory=False)
    time.sleep(1.5)
    measured.idle_cpu_ms_per_s = (system.tree.usage(memory=False).cpu_ms - before.cpu_ms) / 1.5
    for number in range(plan.rounds):
        for name, spec in runs.items():
            phase = measure_phase(system, load, spec, plan)
            measured.served += phase.result.ok
            measured.failed += phase.result.sent - phase.result.ok
            measured.phases.setdefault(name, []).append(phase)
            _say(system.name, name, number, phase)
    usage = system.tree.usage()
    measured.memory = {
        "rss_mb": usage.rss_mb,
        "pss_mb": usage.pss_mb,
        "model_rss_mb": usage.model_rss_mb,
        "model_pss_mb": usage.model_pss_mb,
        "processes": usage.processes,
    }
    return measured


def measure_phase(system: System, load: LoadProcess, spec: Spec, plan: Plan) -> Phase:
    """One load run and what the system's processes spent on it."""
    before = system.tree.usage(memory=False)
    result = load.run(spec)
    time.sleep(plan.settle_s)
    after = system.tree.usage(memory=False)
    answers = max(1, result.ok)
    parts = {part: (spent - before.parts_cpu_ms.get(part, 0.0)) / answers for part, spent in after.parts_cpu_ms.items()}
    return Phase(
        result=result,
        cpu_ms=(after.cpu_ms - before.cpu_ms) / answers,
        model_cpu_ms=(after.model_cpu_ms - before.model_cpu_ms) / answers,
        parts_cpu_ms={part: round(spent, 4) for part, spent in parts.items()},
    )


def _saturated(rounds: list[dict[str, Any]]) -> bool:
    return any(phase["result"]["client_busy"] > 0.9 for phase in rounds)


def _say(name: str, phase: str, number: int, one: Phase) -> None:
    result = one.result
    busy = " [yellow]load generator saturated: its ceiling[/yellow]" if result.client_busy > 0.9 else ""
    wrong = f" [red]errors {result.errors} {result.error_sample[:200]}[/red]" if result.errors else ""
    _PROGRESS.print(
        f"{name} {phase} #{number + 1}: {result.ok} answers, {result.rps:.0f}/s, p50 {result.p50_ms:.2f} ms, "
        f"p99 {result.p99_ms:.2f} ms, {one.cpu_ms:.3f} CPU-ms{busy}{wrong}"
    )


def run_system(name: str, load: LoadProcess, plan: Plan, scratch: pathlib.Path) -> Measured:
    """Start, measure, prove, stop."""
    _PROGRESS.print(f"{name}: starting …")
    if name.startswith("direct"):
        with running("direct", scratch, gap_ms=plan.gap_ms) as system:
            seen_before = _seen(system) - 1
            measured = measure(system, load, plan)
            if _seen(system) - seen_before < measured.served:
                raise StartFailure("direct: the mock's own count differs from the load generator's")
            return measured
    with (
        running("direct", scratch, gap_ms=plan.gap_ms) as mock,
        running(name, scratch, upstream=f"http://127.0.0.1:{mock.port}", gap_ms=plan.gap_ms) as system,
    ):
        seen_before = _seen(mock) - 1
        governed = name.startswith("dac")
        if governed:
            governance.set_budget(system)
        measured = measure(system, load, plan)
        seen = _seen(mock) - seen_before
        if governed:
            try:
                measured.proof = governance.prove(
                    system, served=measured.served, failed=measured.failed, upstream_requests=seen
                )
            except (governance.NotGoverned, OSError, ValueError) as failure:
                measured.not_governed = str(failure)
                _PROGRESS.print(f"[red]{failure}[/red]")
        elif seen < measured.served:
            raise StartFailure(
                f"{name}: the mock saw {seen} requests for {measured.served} answers: something was cached"
            )
        return measured


def _seen(mock: System) -> int:
    return int(str(mock.get_json("/bench/stats")["requests"]))


# ---- report --------------------------------------------------------------------------------------------------------


def figures(one: Measured, direct: Measured) -> dict[str, Any]:
    """The published figures of one system; added = the system's minus direct's in the same run."""

    def added(phase: str, name: str) -> float:
        return round(one.figure(phase, name) - direct.figure(phase, name), 3)

    def group(phase: str) -> dict[str, float]:
        return {
            "cpu_ms": round(one.figure(phase, "cpu_ms"), 4),
            "p50_added_ms": added(phase, "p50_ms"),
            "p99_added_ms": added(phase, "p99_ms"),
            "rps": round(one.figure(phase, "rps"), 1),
        }

    rate = group("rate")
    return {
        "nonstream": group("nonstream"),
        "stream": {**group("stream"), "ttft_added_ms": added("ttft", "ttft_p50_ms")},
        "rate200": rate,
        "rss_mb": round(one.memory["rss_mb"], 1),
        "pss_mb": round(one.memory["pss_mb"], 1),
    }


def detail(one: Measured) -> dict[str, Any]:
    """The raw results of one system, for the archive."""
    return {
        "phases": {
            name: [
                {"cpu_ms": round(phase.cpu_ms, 4), "model_cpu_ms": round(phase.model_cpu_ms, 4)}
                | {"parts_cpu_ms": phase.parts_cpu_ms, "result": msgspec.to_builtins(phase.result)}
                for phase in rounds
            ]
            for name, rounds in one.phases.items()
        },
        "memory": {name: round(value, 1) for name, value in one.memory.items()},
        "idle_cpu_ms_per_s": round(one.idle_cpu_ms_per_s, 2),
        "served": one.served,
        "governance": dataclasses.asdict(one.proof) if one.proof else one.not_governed or None,
    }


def show(report: dict[str, Any]) -> None:
    """The tables."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    run = report["_run"]
    plan = run["machine"]["plan"]
    table = Table(
        title=f"Gateway overhead, {plan['connections']} connections; {plan['rate_per_s']:.0f} requests/s offered"
    )
    for heading in (
        "system", "CPU-ms", "req/s", "stream CPU-ms", "streams/s", "TTFT added ms",
        "CPU-ms at rate", "p50 added ms", "p99 added ms", "PSS MB", "errors",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "system" else "right")
    for name, system in report.items():
        if name == "_run":
            continue
        errors = sum(
            sum(phase["result"]["errors"].values())
            for rounds in run["detail"][name]["phases"].values()
            for phase in rounds
        )
        table.add_row(
            name,
            f"{system['nonstream']['cpu_ms']:.3f}",
            f"{system['nonstream']['rps']:.0f}" + "*" * _saturated(run["detail"][name]["phases"]["nonstream"]),
            f"{system['stream']['cpu_ms']:.3f}",
            f"{system['stream']['rps']:.0f}",
            f"{system['stream']['ttft_added_ms']:.2f}",
            f"{system['rate200']['cpu_ms']:.3f}",
            f"{system['rate200']['p50_added_ms']:.2f}" + "†" * (system["rate200"]["rps"] < 0.98 * plan["rate_per_s"]),
            f"{system['rate200']['p99_added_ms']:.2f}",
            f"{system['pss_mb']:.0f}",
            str(errors),
        )
    console.print(table)
    console.print("* the load generator was saturated: its ceiling, not the system's. direct: the mock's own CPU.")
    console.print("† could not keep up with the offered rate: its latency is a queue that grows with the run.")
    facts = run["machine"]
    console.print(
        f"{facts['cores']} cores ({facts['cpu']}), load {facts['load_average_1min']}, Python {facts['python']}, "
        f"fsync p50 {facts['fsync_ms']['p50']} ms / p99 {facts['fsync_ms']['p99']} ms"
    )
    for name, text in run["switched_on"].items():
        console.print(f"[bold]{name}[/bold] {run['versions'][name]}: {text}")
    for name, reason in run["left_out"].items():
        console.print(f"[yellow]{name} left out: {reason}[/yellow]")
    for name, one in run["detail"].items():
        if one["governance"]:
            console.print(f"{name} governance: {one['governance']}")


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = Plan(gap_ms=options.gap_ms)
    if options.quick:
        plan = dataclasses.replace(plan, closed_s=3.0, open_s=4.0, ttft_s=3.0, rounds=1)
    if options.rounds:
        plan = dataclasses.replace(plan, rounds=options.rounds)
    # Direct is always measured: everything "added" is against it.
    wanted = ["direct", *(name for name in options.system or RECIPES if name != "direct")]
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="dac-bench-", dir=options.scratch))
    results: dict[str, Measured] = {}
    left_out: dict[str, str] = {}
    try:
        facts = machine(scratch) | {"plan": dataclasses.asdict(plan)}
        with load_process() as load:
            for name in wanted:
                if version_of(name) is None:
                    left_out[name] = "not installed (python -m bench.peers install)"
                    continue
                try:
                    results[name] = run_system(name, load, plan, scratch)
                except (StartFailure, OSError) as failure:
                    left_out[name] = str(failure)
                    _PROGRESS.print(f"[red]{failure}[/red]")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if "direct" not in results:
        raise SystemExit("the mock itself could not be measured: " + left_out.get("direct", ""))
    report = {name: figures(one, results["direct"]) for name, one in results.items()}
    report["_run"] = {
        "machine": facts,
        "versions": {name: version_of(name) for name in results},
        "switched_on": {name: SWITCHED_ON[name] for name in results},
        "left_out": left_out,
        "detail": {name: detail(one) for name, one in results.items()},
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    asked = set(options.system or ())
    if any(one.not_governed for one in results.values()) or asked & set(left_out):
        raise SystemExit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU, latency and throughput of DAC and its peers, side by side.")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout, progress on stderr")
    parser.add_argument("--quick", action="store_true", help="one short round: for a look, not for publishing")
    parser.add_argument("--system", nargs="+", action="extend", choices=list(RECIPES), help="default: all installed")
    parser.add_argument("--rounds", type=int, default=0, help="repetitions of every load run (the median is shown)")
    parser.add_argument("--gap-ms", type=float, default=1.0, help="the mock's pause between stream events; 0 = none")
    parser.add_argument(
        "--scratch", default=None, help="where the data folders are made (default: the temporary folder)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
