"""Regret over the decisions as a small SVG file: the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """One panel per set: how far each policy lies behind the best fixed model; below 0 is ahead of it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "bandit", "font.size": 9, "svg.fonttype": "none"})
    sets = found["sets"]
    figure, panels = plt.subplots(1, len(sets), figsize=(3.6 * len(sets), 3.4), squeeze=False)
    for axes, (name, one) in zip(panels[0], sets.items(), strict=True):
        for policy, row in one["policies"].items():
            ours = policy.startswith("ours")
            axes.plot(*zip(*row["curve"], strict=True), label=policy, linewidth=1.8 if ours else 0.9,
                      linestyle="-" if ours else "--")  # fmt: skip
        axes.axhline(0, color="#8a8a8a", linewidth=0.8)
        # Chance is far off the picture on every set; the rest would be one line beside it.
        others = [value for policy, row in one["policies"].items() if policy != "random" for _, value in row["curve"]]
        axes.set_ylim(min(0, *others) - 10, max(others) + 10)
        axes.set_title(name)
        axes.set_xlabel("decisions")
    panels[0][0].set_ylabel("regret against the best fixed model")
    panels[0][-1].legend(frameon=False, fontsize=7)
    folder.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(folder / "routing-regret.svg", format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
