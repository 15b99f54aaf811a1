"""What an experiment's figures cannot say is said in words: an uneven share, quality that nobody graded."""

from __future__ import annotations

import dataclasses

import pytest

from services.router.experiments.doubts import doubts
from services.router.experiments.experiments import AB, CANARY, ERRORS, QUALITY, SHADOW, ArmSums, Plan, Step
from services.router.experiments.significance import Sample

PLAN = Plan("a test", AB, "tried", share=0.3, guards=(ERRORS,), metric=ERRORS)


def arm(requests: float, graded: float = 0) -> ArmSums:
    made = ArmSums(requests=requests)
    made.samples[QUALITY] = Sample(graded, graded * 0.5, graded * 0.25)
    return made


@pytest.mark.parametrize(
    ("a", "b", "doubted"),
    [(0, 400, True), (400, 0, True), (280, 120, False), (300, 100, False), (40, 20, False), (20, 400, True)],
)
def test_a_share_that_few_callers_make_is_told(a: float, b: float, doubted: bool) -> None:
    said = doubts(PLAN, 0, {"a": arm(a), "b": arm(b)})
    assert bool(said) is doubted and all("sticky_by request" in one for one in said)
    assert not doubts(dataclasses.replace(PLAN, sticky_by="request"), 0, {"a": arm(a), "b": arm(b)})
    assert not doubts(dataclasses.replace(PLAN, kind=SHADOW), 0, {"a": arm(a), "b": arm(b)})


def test_a_canarys_share_is_that_of_its_step() -> None:
    canary = dataclasses.replace(PLAN, kind=CANARY, steps=(Step(0.05), Step(0.25), Step(1.0)))
    figures = {"a": arm(750), "b": arm(250)}
    assert doubts(canary, 0, figures) and not doubts(canary, 1, figures)


def test_quality_that_nobody_grades_is_told() -> None:
    plan = dataclasses.replace(PLAN, metric=QUALITY)
    (said,) = doubts(plan, 0, {"a": arm(700, 500), "b": arm(300, 3)})
    assert "3 of arm b" in said and "arm a are" not in said
    assert not doubts(plan, 0, {"a": arm(700, 500), "b": arm(300, 20)})
    # Too few requests to expect any.
    assert not doubts(plan, 0, {"a": arm(60), "b": arm(30)})
