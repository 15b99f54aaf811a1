"""Answers made to hurt the persona: whatever they hold and however they are cut, they cost little."""

import time

import pytest

from services.gateway.persona.voice import Voice, rewrite
from tests.unit.gateway.validation.hostile import _PIECES

CHARACTERS, PIECES = 1_000_000, 20_000
CPU_S, PIECE_CPU_S = 0.05, 60e-6
"""Of a whole answer, as promised: 30 ms were measured at a load of 19 on two cores; of one piece of a stream, on the
average, four times what was measured."""
ROUNDS = 6
UNITS = {
    **_PIECES,
    **{one: one for one in (
        "As an AI ", "I am ", "I'm a ", "As a ", "Being a ", "I am an AI language model developed by ", " I",
        "As an AI language model, ", "my name is ", "My creators ", "OpenAI made ", "I am ChatGPT, a ", '"I am ',
        "I am just simply merely actually ", "As an artificial intelligence language model trained by OpenAI and ",
        "`I am ", "\n> ", "\n    ", "call me ", "I have been ", "aA", "I can't a b c ", "a " * 100 + "as an AI",
    )},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _made() -> None:
    """The patterns are made with the first text."""
    rewrite("I am ChatGPT.", "Acme")


def least(work, bound):
    """CPU seconds of this thread, the least of some."""
    cost = 9.0
    for _ in range(ROUNDS):
        begun = time.thread_time()
        work()
        cost = min(cost, time.thread_time() - begun)
        if cost < bound:
            break
    return cost


@pytest.mark.parametrize("name", UNITS)
def test_a_long_answer_costs_little(name: str) -> None:
    text = (UNITS[name] * (CHARACTERS // len(UNITS[name]) + 1))[:CHARACTERS]
    assert least(lambda: rewrite(text, "Acme"), CPU_S) < CPU_S


@pytest.mark.parametrize("name", UNITS)
def test_an_answer_in_single_characters_costs_little_each(name: str) -> None:
    text = (UNITS[name] * (PIECES // len(UNITS[name]) + 1))[:PIECES]

    def streamed() -> None:
        voice = Voice("Acme")
        for character in text:
            voice.feed(character)
        voice.rest()

    assert least(streamed, PIECES * PIECE_CPU_S) < PIECES * PIECE_CPU_S
