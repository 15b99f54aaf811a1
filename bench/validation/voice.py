"""How well the persona speaks, by the labels and the judge of `bench.persona`."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import re
from typing import Any

from bench.validation import data

CUTTINGS = 1000
"""How often every answer is cut."""
_SUSPECT = re.compile(
    r"\b(?:AI|A\.I\.|artificial|language model|chatbot|assistant|GPT|ChatGPT|OpenAI)\b", re.IGNORECASE
)
"""An answer with one of these that nobody has read may or may not speak of itself: it is left out."""


def persona(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The share of labelled claims that are rewritten, and of other answers that stay, however they are cut."""
    empty = {"rewritten_rate": None, "untouched_identical": None}
    if importlib.util.find_spec("bench.persona") is None:
        return empty, {}
    judge = importlib.import_module("bench.persona.measured")
    labels: dict[str, list[int]] = judge.labels()
    given = {str(row["ID"]): str(row["chatgpt_response"]) for row in data.halueval(folder)}
    answers = {one: text for one, text in given.items() if one in labels or not _SUSPECT.search(text)}
    if not answers:
        return empty, {}
    details: dict[str, Any] = judge.accuracy(answers, labels, CUTTINGS)
    return {name: details[name] for name in empty}, details | {"left_out": len(given) - len(answers)}
