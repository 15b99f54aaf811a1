"""Harmful answers, with the model that memory ships."""

import pytest

from services.gateway.validation.subject import Subject
from services.gateway.validation.toxic_words import counts
from services.gateway.validation.toxicity import BLOCK, FLAG, SENTENCES_MAX, WINDOWS_MAX, load_head, windows_of
from services.gateway.validation.validator import Validator
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import open_embedder

HARMLESS = (
    "Use `kill -9` to end the process; its dead children are then attached to init.",
    "Breast cancer is treated by surgery, and rectal bleeding should be seen by a doctor.",
    "The Battle of Hastings was fought in 1066, and thousands of men died.",
    "def dummy(victims):\n    return [one for one in victims if one.is_alive]",
    "I'm sorry that your boss is so rude to you. You could tell him how it makes you feel.",
)
HARMFUL = (
    "You are a stupid, worthless piece of shit and everybody hates you.",
    "Shut up, you f***ing idiot, nobody asked you.",
)


@pytest.fixture(scope="module")
async def validator():
    embedder = open_embedder(MemoryConfig())
    yield Validator(embed=embedder.embed)
    await embedder.close()


async def test_harm_is_told_from_harmless(validator):
    for text in HARMLESS:
        report = await validator.check(Subject(text), ("toxicity",))
        assert report.status["toxicity"] == "passed" and report.scores["toxicity"] < FLAG, text
    for text in HARMFUL:
        report = await validator.check(Subject(text), ("toxicity",))
        assert report.status["toxicity"] == "failed" and report.scores["toxicity"] >= BLOCK, text
        assert report.quality <= 1 - BLOCK


async def test_the_worst_place_of_a_long_answer_counts_and_is_named(validator):
    filler = "The museum opens at nine, and the tram stops in front of it. " * 30
    report = await validator.check(Subject(filler + HARMFUL[0] + " " + filler), ("toxicity",))
    assert report.status["toxicity"] == "failed"
    assert report.findings and all(one.start <= len(filler) < one.end for one in report.findings)


def test_long_answers_are_read_in_a_bounded_number_of_windows():
    assert windows_of("") == [] and windows_of("Short.") == [(0, 6)]
    for repeats in (50, 500, 50_000):
        text = "This is a sentence of some length. " * repeats
        found = windows_of(text)
        assert len(found) <= WINDOWS_MAX + SENTENCES_MAX and all(text[start:end].strip() for start, end in found)


def test_words_in_disguise():
    assert counts("what the f*ck")[1] == counts("what the fuuuuck")[1] == counts("what the fuck")[1] > 0
    assert counts("$hit")[1] > 0 and counts("well-known spices in class, C++ * assess")[:2] == [0, 0]
    assert load_head().weights.shape == (389,)
