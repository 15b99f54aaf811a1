"""The files of a data folder, each optional: labelled texts, answers, summaries with votes, programs with solutions."""

from __future__ import annotations

import csv
import gzip
import json
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

csv.field_size_limit(10_000_000)


@dataclass(frozen=True)
class Labelled:
    """A text that people called harmful or not."""

    text: str
    is_toxic: bool


@dataclass(frozen=True)
class Summary:
    """A sentence of a summary, its source, and whether most of its readers found it consistent."""

    source: str
    sentence: str
    is_consistent: bool


@dataclass(frozen=True)
class Program:
    """A function's head and the body that solves it."""

    prompt: str
    solution: str


def surge(folder: pathlib.Path) -> list[Labelled]:
    """surge-ai/toxicity."""
    return [row for path in sorted(folder.glob("*surge*.csv")) for row in _labelled(path)]


def others(folder: pathlib.Path) -> dict[str, list[Labelled]]:
    """Every other CSV with labels: `text,is_toxic`, or `tweet,class` with 0 and 1 harmful."""
    found = {path.name: _labelled(path) for path in sorted(folder.glob("*.csv")) if "surge" not in path.name}
    return {name: rows for name, rows in found.items() if len({row.is_toxic for row in rows}) == 2}


def _labelled(path: pathlib.Path) -> list[Labelled]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines)
        names = set(rows.fieldnames or ())
        if {"text", "is_toxic"} <= names:
            return [Labelled(row["text"], _is_toxic(row["is_toxic"])) for row in rows if row["text"]]
        if {"tweet", "class"} <= names:
            return [Labelled(row["tweet"], row["class"].strip() in {"0", "1"}) for row in rows if row["tweet"]]
    return []


def _is_toxic(word: str) -> bool:
    return word.strip().lower() in {"toxic", "1", "true", "yes"}


def halueval(folder: pathlib.Path) -> list[dict[str, Any]]:
    """HaluEval's answers: user_query, chatgpt_response, hallucination."""
    return [row for path in sorted(folder.glob("*halueval*general*.jsonl*")) for row in _rows(path)]


def programs(folder: pathlib.Path) -> list[Program]:
    """HumanEval."""
    found = [row for path in sorted(folder.glob("*HumanEval*.jsonl*")) for row in _rows(path)]
    return [Program(row["prompt"], row["canonical_solution"]) for row in found]


def summaries(folder: pathlib.Path, name: str) -> list[Summary]:
    """QAGS, `name` being cnndm or xsum: one row for each sentence, the majority of its votes as label."""
    found = []
    for path in sorted(folder.glob(f"*qags*{name}*.jsonl*")):
        for row in _rows(path):
            for one in row["summary_sentences"]:
                votes = [vote["response"].strip().lower() == "yes" for vote in one["responses"]]
                found.append(Summary(row["article"], one["sentence"], sum(votes) * 2 > len(votes)))
    return found


def questions(folder: pathlib.Path) -> list[str]:
    """MT-Bench's questions, every turn."""
    return [
        turn
        for path in sorted(folder.glob("*mtbench*questions*.jsonl*"))
        for row in _rows(path)
        for turn in row["turns"]
    ]


def _rows(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    # Not splitlines(): texts hold line separators of Unicode.
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line)
