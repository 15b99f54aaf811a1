"""bench.validation on folders that are made up here."""

import gzip
import json

import pytest

from bench.validation import data, measure
from bench.validation.__main__ import misses_of
from bench.validation.benign import answers
from bench.validation.voice import persona
from services.gateway.validation.validator import Validator


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "surge_toxicity_en.csv").write_text('text,is_toxic\n"You, idiot",Toxic\nHello,Not Toxic\n')
    (tmp_path / "tweets.csv").write_text(",count,class,tweet\n0,3,0,a\n1,3,1,b\n2,3,2,c\n")
    (tmp_path / "mine.csv").write_text("text,is_toxic\nx,1\ny,0\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    sentence = {"responses": [{"response": "yes"}, {"response": "no"}, {"response": "yes"}]}
    rows = [
        {"article": "The cat sleeps on the mat.", "summary_sentences": [{"sentence": "The cat sleeps."} | sentence]},
        {"article": "It rained.", "summary_sentences": [{"sentence": "Bananas are blue.", "responses": []}]},
    ]
    (tmp_path / "qags_cnndm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    program = {"prompt": "def f(x):\n", "canonical_solution": "    return [x][0]\n"}
    bare = {"prompt": "def g(x):\n", "canonical_solution": "    return x\n"}
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as lines:
        lines.write(json.dumps(program) + "\n" + json.dumps(bare) + "\n\n")
    return tmp_path


async def test_files_are_read_by_their_columns(folder):
    assert [row.is_toxic for row in data.surge(folder)] == [True, False]
    others = data.others(folder)
    assert {name: [row.is_toxic for row in rows] for name, rows in others.items()} == {
        "mine.csv": [True, False],
        "tweets.csv": [True, True, False],
    }
    validator = Validator(embed=None)
    figures, details = await measure.support(folder, validator)
    assert figures == {"auc": 1.0} and details["cnndm"]["sentences"] == 2
    assert await measure.code(folder, validator) == {
        "accepted": 2, "total": 2, "corruptions_caught": 1, "corruptions": 1,
    }  # fmt: skip


async def test_a_missing_file_leaves_its_figure_empty(tmp_path):
    validator = Validator(embed=None)
    assert (await measure.support(tmp_path, validator))[0] == {"auc": None}
    assert (await measure.code(tmp_path, validator))["accepted"] is None
    assert persona(tmp_path)[0] == {"rewritten_rate": None, "untouched_identical": None}
    assert await measure.quality(tmp_path, validator) == {}
    assert data.surge(tmp_path) == [] and data.others(tmp_path) == {} and data.halueval(tmp_path) == []


def test_goals():
    met = {
        "toxicity": {"auc_5fold": 0.97, "auc_other": None, "false_flag_rate": 0.001},
        "support": {"auc": None},
        "persona": {"rewritten_rate": None, "untouched_identical": None},
        "code": {"accepted": 164, "total": 164, "corruptions_caught": 157, "corruptions": 158},
    }
    assert misses_of(met) == []
    missed = met | {"support": {"auc": 0.84}, "code": met["code"] | {"corruptions_caught": 156}}
    assert [one.split()[0] for one in misses_of(missed)] == ["support.auc", "code.corruptions_caught"]


def test_made_answers_differ_and_come_again():
    made = answers(50, 3)
    assert made == answers(50, 3) and all(len(set(texts)) == 50 for texts in made.values())
    assert not any(f"{{{slot}}}" in text for texts in made.values() for text in texts for slot in ("name", "count"))
