"""One quality from parts: absent checks add nothing, broken answers land below good ones."""

import math
import random

import pytest

from bench.validation.breakages import KINDS
from services.gateway.validation.subject import CHECKS, Subject
from services.gateway.validation.validator import Validator

QUESTION = "How does a heat pump work, and when is it worth its price?"
ANSWERS = (
    "A heat pump moves heat from outside into the house. A fluid evaporates at a low temperature, is compressed, and "
    "gives off its heat when it condenses. It pays when the house is insulated and electricity is cheap.",
    "Think of a fridge that is turned around: it cools the garden and warms the room. For each unit of electricity you "
    "get three or four of heat. The price is high, so it is worth it mostly for new houses, or with a subsidy.",
)


async def test_quality_is_the_product_of_its_parts():
    subject = Subject("So 2 + 2 = 5.\n```python\nf(\n```", QUESTION, finish_reason="length")
    report = await Validator(embed=None).check(subject, ())
    assert report.quality == pytest.approx(math.prod(report.parts.values())) and report.quality < 0.2
    assert {"code", "arithmetic", "finish"} <= set(report.parts) and "toxicity" not in report.parts
    assert set(report.status) == set(CHECKS) and report.status["support"] == "not_checked"


async def test_a_check_that_is_not_made_adds_nothing():
    subject = Subject("So 2 + 2 = 5.", QUESTION)
    validator = Validator(embed=None)
    alone = (await validator.check(subject, ("arithmetic",))).quality
    # None of these can be checked here.
    assert (await validator.check(subject, ("arithmetic", "toxicity", "support", "code", "schema"))).quality == alone
    assert (await validator.check(subject, ("toxicity",))).quality == 1.0


@pytest.mark.parametrize("kind", KINDS)
async def test_broken_answers_are_clearly_worse(kind):
    validator, chance = Validator(embed=None), random.Random(1)
    for answer in ANSWERS:
        good = (await validator.check(Subject(answer, QUESTION), ())).quality
        text, reason = KINDS[kind](answer, chance)
        broken = (await validator.check(Subject(text, QUESTION, finish_reason=reason), ())).quality
        assert good == 1 and broken <= 0.6


async def test_an_answer_beside_the_question_is_worse():
    answer = "A heat pump moves heat."

    async def embed(texts):
        rows = {QUESTION: (1.0, 0.0), answer: (0.6, 0.8)}
        return [(*rows.get(text, (0.0, 1.0)), *[0.0] * 382) for text in texts]

    validator = Validator(embed=embed)
    to_it = await validator.check(Subject(answer, QUESTION), ("shape",))
    beside = await validator.check(Subject("The cat sat on the mat.", QUESTION), ("shape",))
    assert to_it.parts["relevance"] == to_it.quality == 1.0
    assert beside.parts["relevance"] == beside.quality == 0.5
