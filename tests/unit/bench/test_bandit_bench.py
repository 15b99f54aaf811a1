"""The bandit bench: its keys, and what its measures say of choices that are known."""

from __future__ import annotations

import gzip
import json
import pathlib
import random

import numpy as np
import pytest

from bench.bandit import measures, rivals
from bench.bandit.__main__ import run
from bench.bandit.pictures import draw
from bench.bandit.report import rows
from bench.bandit.sets import FILES, TASK_INTENTS


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Sets of the published form, with answers of our own making."""
    chance = random.Random(3)
    models = {"good": 0.9, "fair": 0.6, "poor": 0.2}
    for file, column in FILES.values():
        with gzip.open(tmp_path / file, "wt", encoding="utf-8") as lines:
            for number in range(240):
                row = {
                    column: chance.choice(list(TASK_INTENTS)),
                    "prompt": f"question {number}",
                    "scores": {model: float(chance.random() < share) for model, share in models.items()},
                    "cost_usd": {"good": 0.004, "fair": 0.001, "poor": None},
                }
                if number == 7:
                    row["scores"]["good"] = None
                lines.write(json.dumps(row) + "\n")
    return tmp_path


def test_the_keys_are_those_that_are_asked_for(folder: pathlib.Path) -> None:
    found = json.loads(json.dumps(run(folder, 2)))["bandit"]
    assert isinstance(found["regret"], float) and isinstance(found["adopt_rounds"], float)
    assert found["sets"]["routerbench"]["prompts"] == 239
    policies = found["sets"]["ulab"]["policies"]
    assert {"random", "epsilon 0.1", "UCB1", "Beta-TS, no priors", "ours, one intent"} <= policies.keys()
    assert policies["random"]["regret"]["100"] > policies["ours, one intent"]["regret"]["100"]
    assert all(row["explored"] <= 0.1 for name, row in policies.items() if name.startswith("ours"))
    assert any(what.startswith("regret") for what, *_ in rows(found))
    assert run(folder, 2)["bandit"]["sets"] == found["sets"]
    curve = policies["random"]["curve"]
    assert curve[-1] == [239, policies["random"]["regret"]["100"]]
    for name in ("once", "again"):
        draw(found, folder / name)
    pictures = [(folder / name / "routing-regret.svg").read_bytes() for name in ("once", "again")]
    assert pictures[0] == pictures[1] and all(policy.encode() in pictures[0] for policy in policies)


def test_regret_is_against_the_best_fixed_model() -> None:
    rewards = np.array([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 2)
    orders = measures.orders_of(8, 3)
    best = measures.regret(rewards, orders, np.zeros((3, 8), dtype=np.int64))
    assert best["regret"]["100"] == 0 and best["mean"] == 0.75
    other = measures.regret(rewards, orders, np.ones((3, 8), dtype=np.int64))
    assert other["regret"]["100"] == 4
    oracle = rivals.replay(rewards, orders, lambda *_: np.zeros(3, dtype=np.int64))
    assert not oracle.any()


def test_adoption_counts_from_the_arrival_to_the_majority() -> None:
    chosen = np.array([[0] * 10 + [1] * 190, [0] * 200])
    found = measures.adoption(chosen, 1, 10)
    assert found["slowest"] == 190 and found["mean"] == (26 + 190) / 2
    assert measures.adoption(chosen[:1], 1, 5)["slowest"] == 31


@pytest.mark.parametrize("absent", FILES)
def test_figures_of_absent_files_are_left_out(folder: pathlib.Path, absent: str) -> None:
    (folder / FILES[absent][0]).unlink()
    found = run(folder, 2)["bandit"]
    assert ("regret" in found, "adopt_rounds" in found) == (absent == "ulab", absent == "ulab")
    assert not [name for name in found["sets"] if name.startswith(absent)] and found["sets"]
    assert rows(found) and draw(found, folder / "pictures") is None  # type: ignore[func-returns-value]


def test_a_folder_without_sets_and_a_file_that_is_none_are_named(tmp_path: pathlib.Path) -> None:
    file = tmp_path / FILES["ulab"][0]
    with pytest.raises(SystemExit, match=f"neither {file.name} nor"):
        run(tmp_path, 2)
    for content in (
        b"rubbish",
        gzip.compress(b"{}")[:-9],
        gzip.compress(b"[1]\n"),
        gzip.compress(b"{"),
        gzip.compress(b"\xff"),
    ):
        file.write_bytes(content)
        with pytest.raises(SystemExit, match=f"{file.name}: not packed JSON lines"):
            run(tmp_path, 2)
    file.write_bytes(gzip.compress(b"\n"))
    with pytest.raises(SystemExit, match="holds no prompts"):
        run(tmp_path, 2)
