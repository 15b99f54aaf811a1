"""The graded questions: short, with exactly one right answer, graded without a model's help.

Four questions prove little, so the quality they give stays in the lower half of the scale: a model that answers all
of them is usable, not good. A catalog's or an operator's own figure always wins.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

OUTPUT_TOKENS = 256
"""The most a model may write for one answer; models that think need some room before it."""
BEST_QUALITY = 0.5
"""What a model gets that answers everything right."""
_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote."""

    text: str
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Tool calls: name and arguments."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One question."""

    name: str
    prompt: str
    right: Callable[[Answer], bool]
    tools: tuple[Mapping[str, Any], ...] = ()
    shows: str = ""
    """The capability that a right answer shows."""

    def body(self) -> bytes:
        """The request, in OpenAI's form. No limit and no temperature: what some models
        refuse, the adapter says in its own way, or not at all."""
        fields: dict[str, Any] = {
            "model": "probe",
            "messages": [{"role": "user", "content": self.prompt}],
            "stream": True,
        }
        if self.tools:
            fields["tools"] = list(self.tools)
        return msgspec.json.encode(fields)


def _calculated(answer: Answer) -> bool:
    # 17 × 23 + 9, and no other number beside it.
    return re.findall(r"\d+", answer.text.replace(",", "")) == ["400"]


def _followed(answer: Answer) -> bool:
    return answer.text.strip().strip('"').rstrip(".") == "ELPPA"


def _json(answer: Answer) -> bool:
    try:
        value = json.loads(_FENCE.sub("", answer.text.strip()))
    except (ValueError, RecursionError):
        return False
    return bool(value == {"city": "Oslo", "sizes": [3, 1, 2]})


def _called(answer: Answer) -> bool:
    if len(answer.calls) != 1:
        return False
    name, arguments = answer.calls[0]
    return name == "set_lamp" and arguments == {"room": "kitchen", "on": True}


_LAMP = {
    "type": "function",
    "function": {
        "name": "set_lamp",
        "description": "Turns the lamp of a room on or off.",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
            "required": ["room", "on"],
            "additionalProperties": False,
        },
    },
}

QUESTIONS = (
    Question("arithmetic", "What is 17 * 23 + 9? Answer with the number only.", _calculated),
    Question(
        "instruction",
        "Write the word apple backwards, in capital letters. Answer with that one word and nothing else.",
        _followed,
    ),
    Question(
        "json",
        'Answer with one JSON object only, without explanation: key "city" holds the text Oslo, key "sizes" holds '
        "the numbers 3, 1 and 2 as a list in this order.",
        _json,
        shows="json",
    ),
    Question("tool", "Turn on the lamp in the kitchen. Use the tool.", _called, tools=(_LAMP,), shows="tools"),
)
"""In the order in which they are asked."""


def answer_of(text: str, tool_calls_json: str) -> Answer:
    """An answer from what a generation ends with."""
    calls = []
    try:
        for call in json.loads(tool_calls_json) if tool_calls_json else []:
            arguments = json.loads(call["function"]["arguments"] or "{}")
            calls.append((str(call["function"]["name"]), arguments if isinstance(arguments, dict) else {}))
    except (ValueError, KeyError, TypeError, RecursionError):
        calls = []
    return Answer(text, tuple(calls))


def quality_of(right: int, asked: int) -> float:
    """0–0.5 for a share of right answers."""
    return round(BEST_QUALITY * right / asked, 4) if asked else 0.0
