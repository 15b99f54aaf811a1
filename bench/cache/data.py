"""The files that are measured: pairs, conversations, question pairs. Their texts stay where they are."""

from __future__ import annotations

import json
import pathlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """Two chats and whether one answer fits both. The last message of each is the question."""

    kind: str
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    same: bool


def pairs(path: pathlib.Path) -> list[Case]:
    """Lines with category, a, b, same_answer; those that are marked ambiguous are left out."""
    return [
        Case(row["category"], _question(row["a"]), _question(row["b"]), bool(row["same_answer"]))
        for row in _rows(path)
        if not row.get("ambiguous")
    ]


def conversations(path: pathlib.Path) -> list[Case]:
    """Lines with subtype, a, b (lists of messages), same_answer."""
    return [
        Case(row["subtype"], row["a"], row["b"], bool(row["same_answer"]))
        for row in _rows(path)
        if not row.get("ambiguous")
    ]


def question_pairs(path: pathlib.Path) -> list[Case]:
    """Lines with text_a, text_b, label (1 = the same question)."""
    return [
        Case("qqp", _question(row["text_a"]), _question(row["text_b"]), int(row["label"]) == 1) for row in _rows(path)
    ]


def made(all_pairs: list[Any]) -> list[Case]:
    """Generated pairs."""
    return [Case(one.family, _question(one.a), _question(one.b), one.same) for one in all_pairs]


def _question(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
