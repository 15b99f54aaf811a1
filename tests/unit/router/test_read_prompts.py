"""Prompts that come again are not read again, give the same figures, and nothing of their text stays."""

import gc

import pytest

from services.router.prompt import read_prompts
from services.router.prompt.ngrams import HEAD_CHARACTERS, TAIL_CHARACTERS
from services.router.prompt.predictor import QualityPredictor
from services.router.prompt.prompt import understand
from services.router.prompt.read_prompts import REMEMBERED, ReadPrompts

SUM = "A train leaves at noon with 80 km/h; when does the one behind it, with 120 km/h, catch up?"


@pytest.fixture
def read(monkeypatch):
    """The prompts that were read."""
    seen, real = [], read_prompts.read_once
    monkeypatch.setattr(read_prompts, "read_once", lambda text: seen.append(text) or real(text))
    return seen


def test_a_prompt_that_comes_again_is_not_read_again(read):
    prompts = ReadPrompts(QualityPredictor.load())
    first = prompts.of(SUM)
    assert prompts.of(SUM) == first and read == [SUM]
    assert prompts.of(SUM + " And where?") is not first and len(read) == 2


def test_it_says_what_reading_says():
    predictor = QualityPredictor.load()
    told, meant = ReadPrompts(predictor).of(SUM), understand(SUM)
    assert (told.intent, told.intent_confidence) == (meant.intent, meant.intent_confidence)
    assert (told.complexity, told.language, told.needs_web) == (meant.complexity, meant.language, meant.needs_web)
    assert told.reading is not None and ReadPrompts().of(SUM).reading is None


def test_long_prompts_that_begin_and_end_alike_are_one(read):
    prompts, ends = ReadPrompts(), ("a" * HEAD_CHARACTERS, "b" * TAIL_CHARACTERS)
    assert prompts.of("x".join(ends)) is prompts.of("yz".join(ends)) and len(read) == 1


def test_the_oldest_goes_first(read):
    prompts = ReadPrompts()
    prompts.of("the oldest")
    prompts.of("the one used since")
    for number in range(REMEMBERED - 2):
        prompts.of(f"{number}")
    prompts.of("the oldest")
    prompts.of("one more")
    del read[:]
    prompts.of("the oldest")
    assert not read
    prompts.of("the one used since")
    assert read == ["the one used since"]


def test_no_text_is_kept():
    prompts = ReadPrompts(QualityPredictor.load())
    told = prompts.of(SUM)
    kept, todo, seen = [], [prompts, told], set()
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        kept += [one] if isinstance(one, str | bytes) else []
        if isinstance(one, dict | list | tuple) or type(one).__module__.startswith(
            "services.router.prompt.read_prompts"
        ):
            todo += gc.get_referents(one)
    assert told.intent in kept and not any("train" in str(one) for one in kept)


@pytest.mark.parametrize("text", ["", " ", "\ud800", "é" * 9000])
def test_any_text_can_come_again(text):
    prompts = ReadPrompts(QualityPredictor.load())
    assert prompts.of(text) is prompts.of(text)
