"""The routing bench on a small folder of made-up texts and results."""

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.routing import sets
from bench.routing.__main__ import measure
from bench.routing.train import train
from services.router.prompt.predictor import WEIGHTS, QualityPredictor
from services.router.prompt.quality_model import QualityModel

_THINGS = ("kettles", "ladders", "violins", "lanterns", "baskets", "anchors", "saddles", "mirrors", "barrels", "quilts")
_NAMES = ("Mara", "Olu", "Ines", "Piet", "Yara", "Tomas", "Aiko", "Rafi")


def _sum(draw: random.Random) -> str:
    a, b = draw.randint(2, 99), draw.randint(2, 99)
    return f"{draw.choice(_NAMES)} packs {a} {draw.choice(_THINGS)} a day for {b} days. How many are packed in all?"


def _code(draw: random.Random) -> str:
    thing = draw.choice(_THINGS)
    return f"Write a function that returns the {thing} of a list whose weight is above {draw.randint(2, 99)}."


def _fact(draw: random.Random) -> str:
    return f"which country of the north was first to export {draw.choice(_THINGS)} and {draw.choice(_THINGS)}"


_KINDS = {"sums": _sum, "code": _code, "facts": _fact}


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _ulab(folder: Path, draw: random.Random) -> None:
    """On average `broad` is best; sums are for `counter`, code for `coder`."""
    skill = {"broad": {"sums": 0.6, "code": 0.6, "facts": 0.9}, "counter": {"sums": 0.95, "code": 0.1, "facts": 0.3},
             "coder": {"sums": 0.1, "code": 0.95, "facts": 0.3}}  # fmt: skip
    lines = []
    for kind, write in _KINDS.items():
        for _ in range(90):
            scores = {model: float(draw.random() < skill[model][kind]) for model in skill}
            choices = "['4', '5']" if kind == "sums" else None
            lines.append({"split": "train", "task": kind, "metric": "m", "prompt": write(draw), "choices": choices,
                          "scores": scores})  # fmt: skip
    draw.shuffle(lines)
    _write(folder / "ulab_llmrouter_9models.jsonl.gz", lines)
    prices = {model: {"input_price": price} for model, price in (("broad", 0.2), ("counter", 0.1), ("coder", 0.3))}
    (folder / "ulab_llm_candidates_prices.json").write_text(json.dumps(prices))


def _routerbench(folder: Path, draw: random.Random) -> None:
    """The dear model is always right, the cheap one only about facts."""
    lines: list[dict[str, Any]] = []
    for kind, write in _KINDS.items():
        for place in range(60):
            cheap = float(draw.random() < (0.98 if kind == "facts" else 0.2))
            prompt = f"An example.\nAnswer: 3\n\n{write(draw)}\nAnswer:"
            lines.append({"sample_id": f"{kind}.{place}", "eval_name": kind, "split": "train", "prompt": prompt,
                          "scores": {"cheap": cheap, "dear": 1.0}, "cost_usd": {"cheap": 1e-4, "dear": 1e-2},
                          "oracle": "cheap"})  # fmt: skip
    lines[0]["scores"]["cheap"] = None
    lines[1]["prompt"] = [lines[1]["prompt"], "in two parts"]
    _write(folder / "routerbench_0shot_subset_11models.jsonl.gz", lines)


def _routellm(folder: Path, draw: random.Random) -> None:
    lines = []
    for benchmark, kinds in (("mmlu", ("facts", "code")), ("gsm8k", ("sums",))):
        for kind in kinds:
            for _ in range(80):
                weak = draw.random() < (0.9 if kind == "facts" else 0.4)
                lines.append({"benchmark": benchmark, "subject": kind, "prompt": _KINDS[kind](draw), "weak": weak,
                              "strong": draw.random() < 0.95})  # fmt: skip
    lines[0]["prompt"] = "which of the harbours was first to ship cork and amber"
    _write(folder / "routellm_gpt4_vs_mixtral.jsonl.gz", lines)
    dropped = json.dumps({"eval_prompt": "  ".join(lines[0]["prompt"].split(" "))})
    with gzip.open(folder / "routellm_contaminated_prompts.json.gz", "wt") as file:
        json.dump({"mmlu": dropped + "\n", "gsm8k": ""}, file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets."""
    path = tmp_path_factory.mktemp("sets")
    draw = random.Random(3)
    for write in (_ulab, _routerbench, _routellm):
        write(path, draw)
    return path


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict[str, Any]:
    """One run."""
    return measure(folder, None)


def test_the_promised_keys_are_there(figures: dict[str, Any]) -> None:
    """The names others read."""
    keys = {"cv_accuracy", "ci95", "best_single", "per_task_best", "oracle", "loto_accuracy", "loto_best_single"}
    assert keys <= figures["ulab"].keys()
    assert {"aiq", "cost_at_95"} <= figures["routerbench"].keys()
    assert {"mmlu_apgr", "gsm8k_apgr"} <= figures["routellm"].keys()
    assert {"p50", "p99"} <= figures["latency_ms"].keys()
    json.dumps(figures)


def test_kinds_that_words_give_away_are_routed_to_their_model(figures: dict[str, Any]) -> None:
    """Far above the best single model, close to who knows the task, never above the oracle."""
    found = figures["ulab"]
    assert found["best_single"] + 0.1 < found["cv_accuracy"] <= found["oracle"]
    assert found["cv_accuracy"] > found["per_task_best"] - 0.03
    assert found["ci95"][0] > 0
    assert found["coverage"] > 0.3


def test_a_task_that_was_never_seen_goes_to_the_best_single_model(figures: dict[str, Any]) -> None:
    """The gate: nothing is lost where nothing was learned."""
    assert figures["ulab"]["loto_accuracy"] >= figures["ulab"]["loto_best_single"] - 0.003


def test_cheap_answers_are_used_where_they_are_good(figures: dict[str, Any]) -> None:
    """About a third of the prompts need no dear model; the row with a missing score is left out."""
    found = figures["routerbench"]
    assert found["prompts"] == 179
    assert found["aiq_zero_router"] < found["aiq"] <= found["aiq_oracle"] <= 1
    assert found["cost_at_100"] <= 1.0


def test_the_strong_model_gets_what_it_is_needed_for(figures: dict[str, Any]) -> None:
    """Above chance where words tell, and the listed prompt is dropped whatever its spaces."""
    found = figures["routellm"]
    assert found["mmlu_apgr"] > found["mmlu"]["random_apgr"] + 0.05
    assert found["mmlu"]["prompts"] == 159
    assert found["gsm8k"]["prompts"] == 80


def test_the_same_twice(folder: Path, figures: dict[str, Any]) -> None:
    """Only times differ."""
    again = measure(folder, None)
    assert {k: v for k, v in again.items() if k != "latency_ms"} == {
        k: v for k, v in figures.items() if k != "latency_ms"
    }


def test_an_absent_set_leaves_its_keys_out(tmp_path: Path) -> None:
    """And a folder without any says so."""
    with pytest.raises(SystemExit, match="no set of results"):
        measure(tmp_path, None)
    _ulab(tmp_path, random.Random(4))
    assert set(measure(tmp_path, None)) == {"ulab", "latency_ms"}


def test_weights_trained_here_are_scored_without_training(folder: Path, tmp_path: Path) -> None:
    """`--pretrained`: saved, loaded, measured; they know the prompts, so they do no worse than unseen ones."""
    train(folder).save(tmp_path / "quality.npz")
    shipped = QualityModel.load(tmp_path / "quality.npz")
    assert QualityPredictor(shipped).measured[:3] == ("broad", "coder", "counter")
    found = measure(folder, shipped)
    assert found["ulab"]["cv_accuracy"] > found["ulab"]["best_single"]
    assert found["routerbench"]["aiq"] > 0


def test_weights_that_do_not_know_the_models_say_so(folder: Path) -> None:
    """Rather than scoring something else."""
    with pytest.raises(SystemExit, match="train on this folder"):
        measure(folder, QualityModel.load(WEIGHTS))


def test_nothing_shipped_learns_from_routerbench(folder: Path, tmp_path: Path) -> None:
    """With RouterBench alone there is nothing to train on."""
    _routerbench(tmp_path, random.Random(5))
    with pytest.raises(SystemExit, match="nothing that may be shipped"):
        train(tmp_path)
    assert "dear" not in train(folder).measured


def test_question_is_the_last_of_a_prompt_with_examples() -> None:
    """The examples before it say nothing about this prompt."""
    assert sets.question("Q: one?\nAnswer:\nA\n\nQ: two?\nAnswer:\n") == "Q: two?\nAnswer:"
