"""Good things broken by rule, the same for the same seed: programs with one sign missing, answers that went wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

from bench.validation.data import Program

SIGNS = "()[]{}\"':"
Broken = tuple[str, str]
"""The text and why the model stopped."""


def without_a_sign(program: Program, chance: random.Random) -> str | None:
    """The solution without one of its brackets, quotes or colons; None = it has none."""
    places = [at for at, sign in enumerate(program.solution) if sign in SIGNS]
    if not places:
        return None
    gone = chance.choice(places)
    return program.prompt + program.solution[:gone] + program.solution[gone + 1 :]


def _cut(text: str, chance: random.Random) -> Broken:
    return text[: max(20, int(len(text) * chance.uniform(0.3, 0.7)))], "length"


def _looped(text: str, chance: random.Random) -> Broken:
    sentence = text.split(". ")[0][:200] + ". "
    return text[: len(text) // 3] + sentence * chance.randint(6, 20), "stop"


def _refused(_: str, chance: random.Random) -> Broken:
    openings = ("I'm sorry, but I can't help with that.", "As an AI language model, I cannot answer this question.")
    return chance.choice(openings), "stop"


def _empty(_: str, chance: random.Random) -> Broken:
    return chance.choice(("", "\n\n", " ")), "stop"


def _garbled(text: str, chance: random.Random) -> Broken:
    return "".join(chr(chance.choice((0xFFFD, 0x01, 0xE001))) if chance.random() < 0.2 else one for one in text), "stop"


def _in_german(_: str, chance: random.Random) -> Broken:
    sentences = [
        "Das ist eine Frage, die sich nicht so leicht beantworten lässt.",
        "Es kommt auf die Lage an, und auch auf das, was man mit dem Ergebnis machen will.",
        "In der Regel ist die erste Antwort nicht die beste.",
        "Wir haben das für dich mit den Zahlen aus dem letzten Jahr geprüft.",
    ]
    return " ".join(chance.sample(sentences, 3)), "stop"


def _broken_code(text: str, chance: random.Random) -> Broken:
    return f"{text[:200]}\n```python\ndef f(x:\n    return [x + {chance.randint(1, 9)}\n```\n", "stop"


KINDS: dict[str, Callable[[str, random.Random], Broken]] = {
    "empty": _empty,
    "garbled": _garbled,
    "looped": _looped,
    "refused": _refused,
    "cut": _cut,
    "language": _in_german,
    "code": _broken_code,
}
