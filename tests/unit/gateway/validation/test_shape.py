"""What is seen of an answer without understanding it."""

import pytest

from services.gateway.validation.subject import Subject
from services.gateway.validation.validator import Validator

GOOD = (
    "Paris is the capital of France. It lies on the Seine, has about two million people, and is known for its museums, "
    "its food and the tower that was built for the fair of 1889."
)
QUESTION = "What is the capital of France, and what is it known for?"


async def shape_of(text, **more):
    report = await Validator(embed=None).check(Subject(text, **({"question": QUESTION} | more)), ("shape",))
    return report


async def test_a_good_answer():
    report = await shape_of(GOOD)
    assert report.status == {"shape": "passed"} and report.quality == 1 and report.findings == ()
    assert set(report.parts) == {"content", "finish", "refusal", "repetition", "language", "length"}


@pytest.mark.parametrize(
    ("text", "more", "message", "most"),
    [
        ("", {}, "empty", 0.0),
        (" \n\t", {}, "empty", 0.0),
        (GOOD[:80], {"finish_reason": "length"}, "cut off", 0.6),
        (GOOD, {"finish_reason": "content_filter"}, "filter", 0.3),
        ("I'm sorry, but I can't help with that.", {}, "declines", 0.5),
        ("As an AI language model, I do not have the ability to browse.", {}, "declines", 0.5),
        ("Unfortunately, I cannot create pictures.", {}, "declines", 0.5),
        ("Es tut mir leid, aber ich kann dir dabei nicht helfen.", {"language": "de"}, "declines", 0.5),
        ("The cat is on the mat, and the dog is in the house. " * 9, {}, "said before", 0.5),
        ("The cat is on the mat, and the dog is in the house. " * 90, {}, "again and again", 0.1),
        ("好的" * 600, {"question": ""}, "again and again", 0.1),
        ("Das ist die Hauptstadt von Frankreich, und sie ist für den Turm und das Essen bekannt.", {}, "in de", 0.5),
        (GOOD, {"language": "ja"}, "in en, not in ja", 0.5),
        (GOOD, {"question": "What is the capital of France? Answer in 10 words."}, "10 were asked for", 0.7),
        ("\ufffd\x01" * 30 + GOOD, {}, "no readable text", 0.1),
        ("?!?!?!?!?!?!?!?!?!?!?!?!?!", {}, "no words", 0.4),
    ],
)
async def test_what_is_wrong_is_said(text, more, message, most):
    report = await shape_of(text, **more)
    assert any(message in one.message for one in report.findings), report.findings
    assert report.quality <= most and report.status["shape"] in {"flagged", "failed"}


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Das ist die Hauptstadt von Frankreich, und sie ist für den Turm bekannt.", "Translate this into German: …"),
        ("I can't stress enough how good the food is in the city, and you will love it.", QUESTION),
        ("You cannot divide by zero, as the rule says, and the result is not defined.", QUESTION),
        ("Paris", QUESTION),
        ("- Berlin\n- Rome\n- Madrid\n" * 3, QUESTION),
        (
            "```python\n" + "x = f(x)\n" * 60 + "```\nThis is what you asked for.",
            "Write a program for the loop in the text.",
        ),
    ],
)
async def test_what_only_looks_wrong(text, question):
    assert (await shape_of(text, question=question)).quality == 1
