"""The public sets of results, read from a folder. A file that is absent leaves its part of the bench out."""

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.public_sets import lines
from services.router.prompt.ngrams import hashed
from services.router.prompt.quality_features import COLUMNS, row
from services.router.prompt.quality_model import Expert, QualityModel

Table = npt.NDArray[np.float64]
Judged = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

_ULAB = "ulab_llmrouter_9models.jsonl.gz"
_PRICES = "ulab_llm_candidates_prices.json"
_ROUTERBENCH = "routerbench_0shot_subset_11models.jsonl.gz"
_ROUTELLM = "routellm_gpt4_vs_mixtral.jsonl.gz"
_CONTAMINATED = "routellm_contaminated_prompts.json.gz"


@dataclass(frozen=True)
class Results:
    """Prompts, and how each model did on them."""

    name: str
    models: tuple[str, ...]
    texts: tuple[str, ...]
    """What the models read, as far as the predictor reads it."""
    kinds: tuple[str, ...]
    """Per prompt, the task or subject: known for training, never for a decision."""
    scores: Table
    """(prompts, models) 0–1."""
    cost_usd: Table
    """(prompts, models): real cost where the set has it, else the list price of the prompt, else nan."""

    def __len__(self) -> int:
        return len(self.texts)

    def kind_ids(self) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """The kinds' names and, per prompt, the place of its own."""
        names, ids = np.unique(np.array(self.kinds), return_inverse=True)
        return tuple(str(name) for name in names), ids.astype(np.int64)

    def features(self) -> "Features":
        """What the predictor reads of each prompt."""
        import scipy.sparse

        read = [row(text, hashed(text)) for text in self.texts]
        ends = np.concatenate(([0], np.cumsum([len(one.columns) for one in read])))
        entries = (np.concatenate([one.weights for one in read]), np.concatenate([one.columns for one in read]), ends)
        matrix = scipy.sparse.csr_array(entries, shape=(len(self), COLUMNS), dtype=np.float32)
        matrix.sum_duplicates()
        ids = np.empty(len(read), object)
        ids[:] = [one.ids for one in read]
        return Features(matrix, ids)


@dataclass(frozen=True)
class Features:
    """The rows of many prompts."""

    rows: Any
    """A scipy.sparse.csr_array; scipy brings no types."""
    ids: npt.NDArray[np.object_]
    """Per prompt, its n-grams."""

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> "Features":
        return Features(self.rows[chosen], self.ids[chosen])

    def linear(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """All rows times the weights."""
        return np.asarray(self.rows @ weights, dtype=np.float32)

    def judged(self, expert: Expert, linear: npt.NDArray[np.float32]) -> Judged:
        """An expert's expected scores and confidence."""
        familiar = np.array([expert.familiarity(ids) for ids in self.ids], np.float32)
        return expert.judge(linear, familiar)

    def judged_by_all(self, model: QualityModel) -> list[Judged]:
        """The judgement of each of a model's experts."""
        linear, ends = self.linear(model.weights), np.cumsum([expert.width for expert in model.experts])
        parts = np.split(linear, ends[:-1], axis=1)
        return [self.judged(expert, part) for expert, part in zip(model.experts, parts, strict=True)]


def _table(rows: list[dict[str, Any]], column: str, models: tuple[str, ...]) -> Table:
    return np.array([[float(row[column][model]) for model in models] for row in rows])


def ulab(folder: Path) -> Results | None:
    """Nine open models on fourteen tasks. The options of a question belong to what the models read."""
    path = folder / _ULAB
    if not path.exists():
        return None
    rows = [line for line in lines(path) if all(score is not None for score in line["scores"].values())]
    models = tuple(sorted(rows[0]["scores"]))
    texts = tuple(f"{r['prompt']}\n{r['choices']}" if r["choices"] else str(r["prompt"]) for r in rows)
    prices = json.loads((folder / _PRICES).read_text()) if (folder / _PRICES).exists() else {}
    listed = np.array([float(prices.get(model, {}).get("input_price", np.nan)) for model in models])
    tokens = np.array([len(text) / 4 for text in texts])
    return Results("ulab", models, texts, tuple(r["task"] for r in rows), _table(rows, "scores", models),
                   tokens[:, None] * listed[None, :] / 1e6)  # fmt: skip


def routerbench(folder: Path) -> Results | None:
    """Eleven models with the real cost of each call. Prompts with a model's score missing are left out."""
    path = folder / _ROUTERBENCH
    if not path.exists():
        return None
    rows = [line for line in lines(path) if all(score is not None for score in line["scores"].values())]
    models = tuple(sorted(rows[0]["scores"]))
    texts = tuple(question(_joined(r["prompt"])) for r in rows)
    kinds = tuple(r["eval_name"] for r in rows)
    return Results(
        "routerbench", models, texts, kinds, _table(rows, "scores", models), _table(rows, "cost_usd", models)
    )


def routellm(folder: Path, benchmark: str) -> Results | None:
    """GPT-4 and Mixtral on one benchmark, without the prompts of the official list of contaminated ones."""
    path = folder / _ROUTELLM
    if not path.exists():
        return None
    dropped = contaminated(folder, benchmark)
    rows = [r for r in lines(path) if r["benchmark"] == benchmark and _plain(r["prompt"]) not in dropped]
    if not rows:
        return None
    scores = np.array([[float(r["weak"]), float(r["strong"])] for r in rows])
    kinds = tuple(f"{benchmark}/{r['subject']}" for r in rows)
    unknown = np.full_like(scores, np.nan)
    models = ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")
    return Results(benchmark, models, tuple(r["prompt"] for r in rows), kinds, scores, unknown)


def contaminated(folder: Path, benchmark: str) -> frozenset[str]:
    """Prompts that RouteLLM's protocol drops."""
    path = folder / _CONTAMINATED
    if not path.exists():
        return frozenset()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        listed: str = json.load(file).get(benchmark, "")
    return frozenset(_plain(json.loads(line)["eval_prompt"]) for line in listed.splitlines() if line.strip())


def question(prompt: str) -> str:
    """The last question of a prompt that shows examples first: what follows its last empty line."""
    return prompt.rstrip().rsplit("\n\n", 1)[-1]


def _joined(prompt: Any) -> str:
    """Some rows hold a list of parts."""
    return prompt if isinstance(prompt, str) else "\n".join(str(part) for part in prompt)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
