"""The public sets as examples: which file says what about a prompt. A file that is absent gives nothing.

Sets that may be shipped (`shippable`) train the shipped weights. The LMArena prompts and MT-Bench's questions are read
here for the measurement only.
"""

from __future__ import annotations

import csv
import gzip
import json
import pathlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.intent.examples import Example
from bench.public_sets import lines

LABELS = {
    "coding": ("coding_help", False),
    "reasoning_math": ("reasoning_math", False),
    "writing_editing": ("editing_writing", False),
    "knowledge_qa": ("qa_retrieval", False),
    "current_info": ("qa_retrieval", True),
    "social_chat": ("social_chat", False),
}
"""The labels of topics → intent, needs the web."""
MTBENCH = {
    "coding": "coding_help",
    "math": "reasoning_math",
    "reasoning": "reasoning_math",
    "writing": "editing_writing",
    "roleplay": "editing_writing",
    "stem": "qa_retrieval",
    "humanities": "qa_retrieval",
}
"""MT-Bench's categories, `extraction` left out."""
_ARENA_HARD = {"coding": "coding_help", "math": "reasoning_math", "creative_writing": "editing_writing"}
_ULAB = {
    "gsm8k": "reasoning_math", "math": "reasoning_math", "agentverse-mgsm": "reasoning_math",
    "agentverse-logicgrid": "reasoning_math", "mbpp": "coding_help", "human_eval": "coding_help",
    "commongen": "editing_writing", "trivia_qa": "qa_retrieval", "natural_qa": "qa_retrieval",
    "mmlu": "qa_retrieval", "openbook_qa": "qa_retrieval", "arc_challenge": "qa_retrieval",
    "commonsense_qa": "qa_retrieval",
}  # fmt: skip
_MATH_SUBJECTS = ("math", "algebra", "statistics", "logic")
_CLINC_QUESTIONS = [
    "definition",
    "fun_fact",
    "travel_suggestion",
    "recipe",
    "ingredient_substitution",
    "cook_time",
    "nutrition_info",
    "calories",
    "food_last",
    "meal_suggestion",
    "vaccines",
    "plug_type",
    "international_visa",
    "carry_on",
    "improve_credit_score",
    "oil_change_how",
    "jump_start",
    "tire_change",
    "how_busy",
    "credit_score",
    "distance",
    "timezone",
    "ingredients_list",
    "mpg",
    "gas_type",
    "travel_notification",
    "what_song",
    "insurance",
]
_CLINC_WEB = [
    "weather",
    "exchange_rate",
    "restaurant_reviews",
    "restaurant_suggestion",
    "flight_status",
    "traffic",
    "time",
    "date",
]
_CLINC_OTHER = {
    "translate": "editing_writing",
    "calculator": "reasoning_math",
    "measurement_conversion": "reasoning_math",
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt of the measurement with its topic."""

    text: str
    intent: str
    needs_web: bool
    topic: str


def shippable(folder: pathlib.Path, seed: int) -> list[Example]:
    """All examples of `folder` from sets that may be shipped."""
    chance = random.Random(seed)
    return [*_arena_hard(folder), *_clinc(folder, chance), *_ulab(folder, chance), *_routellm(folder, chance)]


def topics(folder: pathlib.Path) -> list[Labelled]:
    """The labelled LMArena prompts; topics labelled `exclude` are left out. Measure only."""
    prompts = folder / "intent_lmarena_topic_prompts.jsonl.gz"
    labels = folder / "intent_lmarena_topic_labels.csv"
    if not prompts.exists() or not labels.exists():
        return []
    with labels.open(encoding="utf-8", newline="") as opened:
        intents = {row["topic"]: LABELS.get(row["intent"]) for row in csv.DictReader(opened)}
    found = []
    for row in _rows(prompts):
        if label := intents.get(row["topic"]):
            found.append(Labelled(row["prompt"], *label, row["topic"]))
    return found


def mtbench(folder: pathlib.Path) -> list[Labelled]:
    """The first turns of MT-Bench, without `extraction`."""
    return [
        Labelled(row["turns"][0], MTBENCH[row["category"]], False, row["category"])
        for row in _rows(folder / "mtbench_questions.jsonl.gz")
        if row["category"] in MTBENCH
    ]


def _arena_hard(folder: pathlib.Path) -> Iterator[Example]:
    for row in _rows(folder / "intent_arena_hard_v2_questions.jsonl.gz"):
        if intent := _ARENA_HARD.get(row["subcategory"]):
            yield Example(row["prompt"], intent, weight=0.7)


def _clinc(folder: pathlib.Path, chance: random.Random) -> Iterator[Example]:
    path, domains = folder / "intent_clinc150_full.json.gz", folder / "intent_clinc150_domains.json"
    if not path.exists() or not domains.exists():
        return
    small_talk = set(json.loads(domains.read_text("utf-8"))["small_talk"])
    for split, rows in json.loads(gzip.decompress(path.read_bytes())).items():
        for text, name in rows if not split.startswith("oos") else ():
            if name in small_talk:
                intent: str | None = "social_chat"
            elif name in _CLINC_QUESTIONS or name in _CLINC_WEB:
                intent = "qa_retrieval"
            else:
                intent = _CLINC_OTHER.get(name)
            if intent and chance.random() < 0.5:
                yield Example(text, intent, name in _CLINC_WEB, weight=0.4)


def _ulab(folder: pathlib.Path, chance: random.Random) -> Iterator[Example]:
    for row in _rows(folder / "ulab_llmrouter_9models.jsonl.gz"):
        hard = 1.0 - sum(row["scores"].values()) / len(row["scores"])
        if chance.random() < 0.6:
            yield Example(row["prompt"], _ULAB.get(row["task"]), complexity=0.15 + 0.6 * hard, weight=0.25)


def _routellm(folder: pathlib.Path, chance: random.Random) -> Iterator[Example]:
    for row in _rows(folder / "routellm_gpt4_vs_mixtral.jsonl.gz"):
        if chance.random() > 0.15:
            continue
        subject = str(row["subject"] or "")
        about_math = row["benchmark"] == "gsm8k" or any(word in subject for word in _MATH_SUBJECTS)
        # Only the strong model was right: hard; both were wrong: harder or a bad question.
        hard = 0.25 if row["weak"] else 0.75 if row["strong"] else 0.65
        question = row["prompt"].partition("\nA. ")[0]
        yield Example(question, "reasoning_math" if about_math else "qa_retrieval", complexity=hard, weight=0.2)


def _rows(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    yield from lines(path)
