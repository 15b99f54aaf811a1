"""The data sets as matrices: every model's score and cost on every prompt, and the intent of each prompt."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.public_sets import lines

PREDICTOR = "services.router.prompt.prompt"
FILES = {
    "ulab": ("ulab_llmrouter_9models.jsonl.gz", "task"),
    "routerbench": ("routerbench_0shot_subset_11models.jsonl.gz", "eval_name"),
}
"""Name → file, and the column with the task."""
TASK_INTENTS = {
    "agentverse-logicgrid": "reasoning_math",
    "agentverse-mgsm": "reasoning_math",
    "commongen": "editing_writing",
    "gsm8k": "reasoning_math",
    "human_eval": "coding_help",
    "math": "reasoning_math",
    "mbpp": "coding_help",
}
"""The intent of a task, where the data's own label stands in for a prediction; all others ask for knowledge."""


@dataclass(frozen=True)
class Matrix:
    """One set; rows are prompts, columns models."""

    name: str
    models: tuple[str, ...]
    scores: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    tasks: NDArray[np.int64]
    intents: NDArray[np.int64]
    intent_names: tuple[str, ...]
    intents_from: str
    """"predicted" or "task"."""

    @property
    def best(self) -> int:
        """The best single model."""
        return int(self.scores.mean(axis=0).argmax())


def read(folder: pathlib.Path, name: str, limit: int = 0) -> Matrix:
    """A set from its file; prompts that not every model answered are left out."""
    file, column = FILES[name]
    rows = list(lines(folder / file))
    if not rows:
        raise SystemExit(f"{folder / file} holds no prompts")
    models = tuple(sorted(rows[0]["scores"]))
    rows = [row for row in rows if all(row["scores"].get(model) is not None for model in models)]
    rows = rows[:: max(1, len(rows) // limit)] if limit else rows
    costs = [row.get("cost_usd") or {} for row in rows]
    tasks = [str(row[column]) for row in rows]
    labels, kind = _intents([str(row["prompt"]) for row in rows], tasks)
    names = tuple(sorted(set(labels)))
    return Matrix(
        name,
        models,
        np.array([[float(row["scores"][model]) for model in models] for row in rows]),
        np.array([[float(cost.get(model) or 0.0) for model in models] for cost in costs]),
        np.unique(tasks, return_inverse=True)[1],
        np.array([names.index(label) for label in labels]),
        names,
        kind,
    )


def _intents(prompts: Sequence[str], tasks: Sequence[str]) -> tuple[list[str], str]:
    """The intent the router sees in each prompt; before it can see one, that of the prompt's task."""
    if importlib.util.find_spec(PREDICTOR) is None:
        return [TASK_INTENTS.get(task, "qa_retrieval") for task in tasks], "task"
    understand: Any = importlib.import_module(PREDICTOR).understand
    return [str(understand(prompt).intent) for prompt in prompts], "predicted"
