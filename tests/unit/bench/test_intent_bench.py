"""The intent bench on a tiny made-up folder: its keys, that it trains only on what may be shipped, the same twice."""

import csv
import gzip
import json
import random
import sys

import numpy as np
import pytest

from bench.intent import __main__ as command
from bench.intent import data, measure, train
from bench.intent.examples import FILES, fill, graded, lines, slots, typical
from services.router.prompt.prompt import INTENTS, read

SECRET = "zyxwvut quux flimflam"
"""Stands in every set that may only measure."""


def write(folder, name, rows):
    with gzip.open(folder / name, "wt", encoding="utf-8") as opened:
        opened.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    """Made-up files in the format of the public sets."""
    label_of = {"Cats": "knowledge_qa", "Loops": "coding", "Sums": "reasoning_math", "Odes": "writing_editing"}
    label_of |= {"Rain": "current_info", "Hugs": "social_chat", "Odd": "exclude", "Trees": "coding"}
    with (tmp_path / "intent_lmarena_topic_labels.csv").open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerows([("topic", "intent"), *label_of.items()])
    own = {
        "Cats": "What do cats eat and who", "Loops": "Write a python loop that prints", "Sums": "What is the sum of 3+",
        "Odes": "Write a poem about", "Rain": "Will it rain today in", "Hugs": "hello, I feel lonely", "Odd": "mystery",
        "Trees": "Implement a binary tree in Java with",
    }  # fmt: skip
    rows = [{"topic": topic, "broad": "x", "prompt": f"{own[topic]} {n} {SECRET}"} for topic in own for n in range(6)]
    write(tmp_path, "intent_lmarena_topic_prompts.jsonl.gz", rows)
    questions = [("coding", "Write a C program"), ("math", "What is 3+4?"), ("extraction", "Extract all names")]
    rows = [{"question_id": n, "category": c, "turns": [f"{t} {SECRET}", "then"]} for n, (c, t) in enumerate(questions)]
    write(tmp_path, "mtbench_questions.jsonl.gz", rows)
    rows = [{"uid": "1", "category": "hard_prompt", "subcategory": "coding", "prompt": "Write a parser in Rust"}]
    write(tmp_path, "intent_arena_hard_v2_questions.jsonl.gz", rows)
    return tmp_path


def test_the_keys_and_that_a_second_run_says_the_same(folder, monkeypatch, capsys):
    monkeypatch.setattr(command, "PER_FILE", 30)
    monkeypatch.setattr(measure, "TIMED", 20)
    found = [command.run(folder, command.WEIGHTS, per_file=30) for _ in range(2)]
    assert set(found[0]["intent"]) == {"shipped", "topic_held_out", "mtbench"}
    assert all(0 <= value <= 1 for value in found[0]["intent"].values())
    assert set(found[0]["latency_ms"]) == {"p50", "p99", "cpu_p50", "cpu_p99"}
    assert found[0]["intent"] == found[1]["intent"] and found[0]["details"] == found[1]["details"]
    # Topics that are excluded, and `extraction`, are not among the prompts.
    assert found[0]["details"]["shipped"]["prompts"] == 42 and found[0]["details"]["mtbench"]["prompts"] == 2
    monkeypatch.setattr(sys, "argv", ["bench.intent", "--data", str(folder), "--json"])
    monkeypatch.setattr(command, "run", lambda *_: found[0])
    command.main()
    assert json.loads(capsys.readouterr().out) == found[0]


def test_the_table_shows_every_figure(folder, monkeypatch, capsys):
    monkeypatch.setattr(measure, "TIMED", 20)
    command.show(command.run(folder, command.WEIGHTS, per_file=30))
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("shipped", "topic_held_out", "mtbench", "p50", "recall"))


def test_figures_of_absent_files_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "TIMED", 20)
    assert command.run(tmp_path, command.WEIGHTS, per_file=30)["intent"] == {}


def test_a_folder_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["bench.intent", "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="none: no such folder"):
        command.main()


def test_training_never_reads_what_may_only_measure(folder):
    texts = [one.text for one in train.examples(folder, per_file=20)]
    assert "Write a parser in Rust" in texts
    assert not [text for text in texts if SECRET in text]


def test_the_same_data_make_the_same_weights(folder, tmp_path):
    made = train.examples(folder, per_file=60)
    for name in ("one.npz", "two.npz"):
        train.save(*train.train(made), tmp_path / name)
    one, two = read(tmp_path / "one.npz"), read(tmp_path / "two.npz")
    assert np.array_equal(one.grams, two.grams) and np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.bias, two.bias)


def test_topics_are_held_out(folder):
    class Spy(measure.HeldOut):
        def fit(self, rows, labels):
            seen.append(rows.shape[0])
            return super().fit(rows, labels)

    prompts, seen = data.topics(folder), []
    measure.topics_held_out(Spy([]), prompts, lambda _: None)
    # Topics have six prompts each, and every fold leaves out whole ones.
    assert len(seen) == measure.FOLDS and all(count % 6 == 0 and count < len(prompts) for count in seen)


def test_figures():
    truth = [data.Labelled("", intent, False, "") for intent in ("coding_help", "coding_help", "social_chat")]
    found = measure.figures(truth, np.array(["coding_help", "social_chat", "social_chat"]))
    assert found["accuracy"] == round(2 / 3, 4) and found["recall"] == {"coding_help": 0.5, "social_chat": 1.0}
    assert found["macro_f1"] == round((2 / 3 + 2 / 3) / 2, 4)


def test_every_template_can_be_filled():
    phrases = slots()
    for name in FILES:
        for template in lines(name):
            assert fill(template, phrases, random.Random(1)).strip()
    assert {intent for intent, _ in FILES.values()} == set(INTENTS)


def test_examples_are_seeded_and_of_every_intent():
    assert typical(30, 1) == typical(30, 1) != typical(30, 2)
    assert {one.intent for one in typical(2, 1)} == set(INTENTS)
    assert all(one.complexity is not None and 0 < one.complexity < 1 for one in graded(1, 1))
