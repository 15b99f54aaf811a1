"""Prompts of our own: templates by intent, filled from lists of phrases and roughened as people write them.

Each `.txt` holds one template a line, `{slot}` standing for a phrase of `slots.txt` and `{{` for a brace;
`complexity.txt` has a grade before each. `typical` takes templates and slots to prompts, the same for the same seed.
"""

from __future__ import annotations

import pathlib
import random
import re
from dataclasses import dataclass

_FOLDER = pathlib.Path(__file__).parent
_SLOT = re.compile(r"(?<!\{)\{([a-z]+)\}(?!\})")
FILES = {
    "coding_help": ("coding_help", False),
    "reasoning_math": ("reasoning_math", False),
    "editing_writing": ("editing_writing", False),
    "qa_retrieval": ("qa_retrieval", False),
    "qa_current": ("qa_retrieval", True),
    "social_chat": ("social_chat", False),
}
"""File → intent, and whether an answer needs the web."""
_BEFORE: tuple[str, ...] = (
    "please ",
    "can you ",
    "hey, ",
    "Hi! ",
    "could you please ",
    "I need help. ",
    "question: ",
    "quick one: ",
)
_BEFORE += ("Can you help me? ", "so ", "I want you to ", "I was wondering, ", "In your opinion, ", "as a beginner: ")
_AFTER: tuple[str, ...] = (
    " please",
    " thanks",
    " Thank you!",
    " Keep it short.",
    " Answer in detail.",
    " explain",
    "?",
    "??",
    "!",
)
_AFTER += (" Think carefully.", " with examples", " I am new to this.", " in simple words", " ASAP", " step by step")
_PASTE_HEADS = ("Here is it:", "Text:", "this:", "", "see below", "---")


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and what it is known to want; `None` is unknown."""

    text: str
    intent: str | None = None
    needs_web: bool | None = None
    complexity: float | None = None
    weight: float = 1.0


def lines(name: str) -> list[str]:
    """The lines of one of the text files."""
    return [line for line in (_FOLDER / f"{name}.txt").read_text("utf-8").splitlines() if line.strip()]


def slots() -> dict[str, list[str]]:
    """Each slot's phrases."""
    found = {}
    for line in lines("slots"):
        name, _, phrases = line.partition(": ")
        found[name] = [phrase.strip() for phrase in phrases.split(" | ")]
    return found


def fill(template: str, phrases: dict[str, list[str]], chance: random.Random) -> str:
    """A template with every slot filled by a phrase of its list."""
    filled = _SLOT.sub(lambda found: chance.choice(phrases[found[1]]), template)
    return filled.replace("{{", "{").replace("}}", "}")


def roughened(text: str, chance: random.Random) -> str:
    """The same prompt as another person might type it."""
    if chance.random() < 0.2:
        text = chance.choice(_BEFORE) + (text[:1].lower() + text[1:])
    if chance.random() < 0.2:
        text = text.rstrip("?.!") + chance.choice(_AFTER)
    draw = chance.random()
    if draw < 0.25:
        text = text.lower()
    elif draw < 0.3:
        text = text.upper() if len(text) < 60 else text
    elif draw < 0.45:
        text = text.rstrip("?.!")
    if chance.random() < 0.12 and len(text) > 12:
        place = chance.randrange(2, len(text) - 2)
        text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    if chance.random() < 0.06 and len(text) > 12:
        place = chance.randrange(2, len(text) - 1)
        text = text[:place] + text[place + 1 :]
    return text


def typical(per_file: int, seed: int) -> list[Example]:
    """`per_file` prompts of each of `FILES`, every template about as often as the others."""
    chance, phrases, made = random.Random(seed), slots(), []
    pastes = {
        "coding_help": pieces("paste_code"),
        "editing_writing": pieces("paste_text"),
        "qa_retrieval": pieces("paste_background"),
    }
    for name, (intent, web) in FILES.items():
        templates = lines(name)
        for number in range(per_file):
            text = fill(templates[number % len(templates)], phrases, chance)
            if intent in pastes and not web and chance.random() < 0.2:
                head = chance.choice(_PASTE_HEADS)
                text = f"{text}\n{head}\n{chance.choice(pastes[intent])}"
            elif chance.random() < 0.08 and intent != "social_chat":
                # Two wishes of one kind in one prompt.
                text = f"{text} {fill(chance.choice(templates), phrases, chance)}"
            made.append(Example(roughened(text, chance), intent, web))
    return made


def graded(per_line: int, seed: int) -> list[Example]:
    """Prompts with a grade of complexity."""
    chance, phrases = random.Random(seed), slots()
    made = []
    for line in lines("complexity"):
        grade, _, template = line.partition(" ")
        for _ in range(per_line):
            made.append(Example(roughened(fill(template, phrases, chance), chance), complexity=float(grade)))
    return made


def pieces(name: str) -> list[str]:
    """The pieces of a file of pieces that people paste, `%%` between them."""
    return [piece.strip("\n") for piece in (_FOLDER / f"{name}.txt").read_text("utf-8").split("%%\n")]
