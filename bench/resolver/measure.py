"""Resolves the names of a gold file and counts: right, wrong, missed; negatives count against precision."""

from __future__ import annotations

import csv
import hashlib
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.resolver.pool import Listed
from services.router.resolving.resolution import Match, Resolver


class GoldError(Exception):
    """A gold file that cannot be read as one."""


@dataclass(frozen=True)
class Case:
    """A name and the repository it is; empty = none."""

    name: str
    also: tuple[str, ...]
    wanted: str


@dataclass(frozen=True)
class Answer:
    """What the resolver said of a case."""

    case: Case
    match: Match
    took_ms: float

    @property
    def right(self) -> bool:
        """Hugging Face tells no upper from lower case."""
        return (self.match.candidate or "").lower() == self.case.wanted.lower()


def read_gold(path: pathlib.Path) -> dict[str, str]:
    """Name → repository, empty = negative; the first column is the name."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        if "hugging_face_id" not in columns or columns[0] == "hugging_face_id":
            raise GoldError(f"{path}: a first column with names and a column hugging_face_id are needed, not {columns}")
        gold = {row[columns[0]]: (row["hugging_face_id"] or "").strip() for row in reader if row[columns[0]]}
    if not gold:
        raise GoldError(f"{path}: there is no name in it")
    return gold


def cases_of(gold: Mapping[str, str], listed: Mapping[str, Listed]) -> list[Case]:
    """The gold's names; where it has no negatives of its own, what the source lists besides without a repository."""
    made = [Case(name, listed[name].also if name in listed else (), wanted) for name, wanted in gold.items()]
    if all(gold.values()):
        made += [Case(one.name, one.also, "") for one in listed.values() if one.name not in gold and not one.labelled]
    return made


def answer(cases: Sequence[Case], pool: Iterable[str], source: str) -> list[Answer]:
    """Each case by the resolver, which sees names and the pool alone."""
    resolver = Resolver(pool)
    answers = []
    for case in cases:
        began_s = time.perf_counter()
        match = resolver.resolve(case.name, source, case.also)
        answers.append(Answer(case, match, (time.perf_counter() - began_s) * 1000))
    return answers


def counted(answers: Sequence[Answer]) -> dict[str, float | int]:
    """Precision, recall and F1, with what they were made of."""
    positives = sum(1 for one in answers if one.case.wanted)
    joined = sum(1 for one in answers if one.match.candidate)
    right = sum(1 for one in answers if one.match.candidate and one.right)
    return {
        "precision": round(right / joined, 4) if joined else 0.0,
        "recall": round(right / positives, 4) if positives else 0.0,
        "f1": round(2 * right / (joined + positives), 4) if joined + positives else 0.0,
        "right": right,
        "wrong": joined - right,
        "positives": positives,
        "negatives": len(answers) - positives,
    }


def first_half(case: Case) -> bool:
    """A fixed half of the names; the editions of one model (":free") stay together."""
    return hashlib.sha256(case.name.split(":")[0].lower().encode()).digest()[0] < 128


def figures(answers: Sequence[Answer], pool_size: int, only_in_gold: int) -> dict[str, object]:
    """What `--json` prints."""
    times = [one.took_ms for one in answers] or [0.0]
    rules: dict[str, int] = {}
    for one in answers:
        rules[one.match.rule] = rules.get(one.match.rule, 0) + 1
    return {
        "resolver": {
            **counted(answers),
            "halves": [
                counted([one for one in answers if first_half(one.case)]),
                counted([one for one in answers if not first_half(one.case)]),
            ],
            "rules": rules,
            "pool": pool_size,
            "pool_only_in_gold": only_in_gold,
        },
        "latency_ms": {
            "p50": round(float(np.percentile(times, 50)), 3),
            "p99": round(float(np.percentile(times, 99)), 3),
        },
    }
