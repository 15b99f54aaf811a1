"""The curves as pictures: small SVG files, the same bytes for the same figures."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bench.routing.metrics import hull

_SIZE = (5.2, 3.4)
_BLUE, _GREY, _RED = "#1f5fa8", "#8a8a8a", "#b0413e"


def draw(figures: dict[str, Any], folder: Path) -> None:
    """One picture per set that was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams.update({"svg.hashsalt": "routing", "font.size": 9, "svg.fonttype": "none"})
    if "ulab" in figures:
        _ulab(figures["ulab"], folder / "routing-ulab.svg")
    if "routerbench" in figures:
        _routerbench(figures["routerbench"], folder / "routing-routerbench.svg")
    if "routellm" in figures:
        _routellm(figures["routellm"], folder / "routing-routellm.svg")


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _ulab(found: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=_SIZE)
    rows = [("random", "random"), ("best single", "best_single"), ("ours", "cv_accuracy"),
            ("per-task best\n(knows the task)", "per_task_best"), ("oracle", "oracle")]  # fmt: skip
    values = [found[key] for _, key in rows]
    axes.barh([label for label, _ in rows], values, color=[_GREY, _GREY, _BLUE, _GREY, _GREY])
    for place, value in enumerate(values):
        axes.text(value + 0.005, place, f"{value:.3f}", va="center")
    axes.set_xlim(0.3, 0.9)
    axes.set_xlabel("share of right answers, ulab, 5-fold")
    _save(figure, path)


def _routerbench(found: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=_SIZE)
    for points, label, color in ((found["curve"], "ours", _BLUE), (found["singles"].values(), "single models", _GREY)):
        corners = hull([(cost * 1000, quality) for cost, quality in points])
        axes.plot(*zip(*corners, strict=True), color=color, label=f"{label}, hull")
    singles = [(cost * 1000, quality) for cost, quality in found["singles"].values()]
    axes.plot(*zip(*singles, strict=True), color=_GREY, marker="o", markersize=3, linestyle="")
    axes.set_xlabel("$ per 1,000 prompts")
    axes.set_ylabel("share of right answers")
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def _routellm(found: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=_SIZE)
    for benchmark, color in (("mmlu", _BLUE), ("gsm8k", _RED)):
        part = found.get(benchmark)
        if part is None:
            continue
        share, reached = zip(*part["curve"], strict=True)
        axes.plot(share, reached, color=color, label=f"{benchmark}, APGR {part['apgr']:.3f}")
        axes.plot([0, 1], [part["weak"], part["strong"]], color=color, linestyle=":", linewidth=1)
    axes.set_xlabel("share of prompts sent to GPT-4 (dotted: at random)")
    axes.set_ylabel("share of right answers")
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)
