"""The tables of a run."""

from typing import Any

from rich.console import Console
from rich.table import Table

_CONSOLE = Console(highlight=False, width=110)


def show(figures: dict[str, Any]) -> None:
    """Print everything that was measured, with the rows that put it in proportion."""
    if "ulab" in figures:
        _ulab(figures["ulab"])
    if "routerbench" in figures:
        _routerbench(figures["routerbench"])
    if "routellm" in figures:
        _routellm(figures["routellm"])
    if "latency_ms" in figures:
        took = figures["latency_ms"]
        _CONSOLE.print(f"one decision, 50 candidates, features included: p50 {took['p50']} ms, p99 {took['p99']} ms")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table


def _ulab(found: dict[str, Any]) -> None:
    low, high = found["ci95"]
    table = _table(f"ulab, 9 models, {found['prompts']} prompts, 5-fold", "router", "accuracy", "gain in points")
    for label, key in (("random", "random"), ("cheapest", "cheapest"), ("best single, chosen on train", "best_single"),
                       ("per-task best, knows the task", "per_task_best"), ("oracle", "oracle")):  # fmt: skip
        value = found[key]
        if value is not None:
            table.add_row(label, f"{value:.4f}", f"{100 * (value - found['best_single']):+.2f}")
    gain = f"{100 * found['gain']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"
    table.add_row("ours", f"{found['cv_accuracy']:.4f}", gain, style="bold")
    _CONSOLE.print(table)
    _CONSOLE.print(
        f"gap to the oracle closed {100 * found['gap_closed']:.1f} %; "
        f"{100 * found['coverage']:.0f} % of choices differ from the best single model. "
        f"Leave-one-task-out {found['loto_accuracy']:.4f}, best single {found['loto_best_single']:.4f}"
    )
    tasks = _table("by task", "task", "prompts", "best single", "ours", "left out", "best single then")
    for name, row in found["by_task"].items():
        shown = (row["best_single"], row["ours"], row["left_out"], row["left_out_best_single"])
        tasks.add_row(name, str(row["prompts"]), *(f"{value:.3f}" for value in shown))
    _CONSOLE.print(tasks)


def _routerbench(found: dict[str, Any]) -> None:
    low, high = found["aiq_ci95"]
    title = f"RouterBench subset, 11 models, {found['prompts']} prompts, 5-fold (best single: "
    table = _table(f"{title}{found['best_single_model']}, {found['best_single']:.4f})",
                   "router", "AIQ", "best accuracy", "cost at 95 %", "cost at 100 %")  # fmt: skip
    share = _share
    table.add_row("random", "", f"{found['random']:.4f}", "", "")
    table.add_row("cheapest", "", f"{found['cheapest']:.4f}", "", "")
    table.add_row("zero router", f"{found['aiq_zero_router']:.4f}", f"{found['best_single']:.4f}",
                  share(found["cost_at_95_zero_router"]), "100.0 %")  # fmt: skip
    table.add_row(
        "oracle", f"{found['aiq_oracle']:.4f}", f"{found['oracle']:.4f}", share(found["cost_at_95_oracle"]), ""
    )
    table.add_row("ours", f"{found['aiq']:.4f} [{low:.4f}, {high:.4f}]", f"{found['best_accuracy']:.4f}",
                  share(found["cost_at_95"]), share(found["cost_at_100"]), style="bold")  # fmt: skip
    table.add_row("ours, two trades in turn", "", "", share(found["cost_at_95_mixed"]), "")
    _CONSOLE.print(table)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 10 else "never"


def _routellm(found: dict[str, Any]) -> None:
    table = _table("RouteLLM protocol, GPT-4 and Mixtral, in-domain, 5-fold", "router", "APGR", "CPT50", "CPT80")
    for benchmark in ("mmlu", "gsm8k"):
        part = found.get(benchmark)
        if part is None:
            continue
        name = f"{benchmark} ({part['prompts']} prompts)"
        for label, prefix in ((f"{name}: random", "random_"), (f"{name}: oracle", "oracle_"), (f"{name}: ours", "")):
            apgr = f"{part[prefix + 'apgr']:.4f}"
            if not prefix:
                apgr += " [{:.4f}, {:.4f}]".format(*part["apgr_ci95"])
            cpt = [f"{100 * part[prefix + key]:.1f} %" for key in ("cpt50", "cpt80")]
            table.add_row(label, apgr, *cpt, style=None if prefix else "bold")
    _CONSOLE.print(table)
