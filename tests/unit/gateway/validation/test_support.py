"""Answers beside their sources."""

import pytest

from services.gateway.validation.subject import Subject
from services.gateway.validation.validator import Validator

SOURCE = (
    "The plant in Springfield opened in 1998 with 14,000 workers. Its owner, Maria Lopez, sold it in 2015. "
    "Since then it has made parts for trains. Last year 20% of them went to Canada."
)


async def support_of(text, context=(SOURCE,), question="", nli=None):
    report = await Validator(embed=None, nli=nli).check(Subject(text, question, context), ("support",))
    return report.status["support"], report.scores.get("support"), report


async def test_without_sources_nothing_is_said():
    assert (await support_of("The plant opened in 1998.", ()))[:2] == ("not_checked", None)
    assert (await support_of("The plant opened in 1998.", ("", " \n")))[:2] == ("not_checked", None)
    assert (await support_of("…"))[:2] == ("not_checked", None)


async def test_more_of_the_sources_is_more_support():
    scores = [
        (await support_of(text))[1]
        for text in (
            "Since then it has made parts for trains.",
            "It has made parts for cars since then.",
            "Bananas are rich in potassium.",
        )
    ]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1 and scores[-1] < 0.2


async def test_numbers_and_names_from_elsewhere_are_named():
    text = "The plant in Springfield opened in 1999, said John Smith, with 14000 workers."
    status, score, report = await support_of(text)
    assert status == "flagged" and score > 0.35
    assert [text[one.start : one.end] for one in report.findings] == ["1999", "John Smith"]
    # What the user said is no invention.
    asked = await support_of(text, question="Did John Smith open it in 1999?")
    assert asked[0] == "passed"


async def test_an_entailment_model_has_half_the_say():
    class Nli:
        def __init__(self, chance):
            self.chance, self.pairs = chance, []

        async def entailment(self, pairs):
            self.pairs += pairs
            if self.chance is None:
                raise ConnectionError
            return [self.chance] * len(pairs)

    text = "The factory was founded in 1998. Trains are its business."
    alone = (await support_of(text))[1]
    sure, unsure, away = Nli(1.0), Nli(0.0), Nli(None)
    assert (await support_of(text, nli=sure))[1] == pytest.approx((alone + 1) / 2)
    assert (await support_of(text, nli=unsure))[1] == pytest.approx(alone / 2)
    assert (await support_of(text, nli=away))[1] == alone
    assert "opened in 1998" in sure.pairs[0][0]


async def test_meaning_counts_where_there_is_an_embedder():
    async def embed(texts):
        return [[1.0] + [0.0] * 383 for _ in texts]

    report = await Validator(embed=embed).check(Subject("Bananas are healthy.", context=(SOURCE,)), ("support",))
    assert report.scores["support"] > (await support_of("Bananas are healthy."))[1]
