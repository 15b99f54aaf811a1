"""Sums in answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.validation.arithmetic import evaluate
from services.gateway.validation.subject import Subject
from services.gateway.validation.validator import Validator

RIGHT = (
    "2 + 2 = 4", "7 × 8 = 56", "2^10 = 1024", "-3 + 5 = 2", "-2^2 = -4", "1,200 * 3 = 3,600", "12 - 4 - 3 = 5",
    "2 + 3 * 4 = 14", "10 / 3 = 3.33", "10/3 ≈ 3.3", "$5 + $6 = $11", "3 − 10 = −7", "5 x 3 = 15", "2^3^2 = 512",
    "5 * 12 = 60 minutes.", "17 / 5 = 3 remainder 2", "1/2 = 0.5", "2 \\times 3 = 6",
)  # fmt: skip
WRONG = (
    "2 + 2 = 5",
    "7 × 8 = 54",
    "2+3*4=20",
    "100 - 7 = 93, and 93 - 7 = 85",
    "2*3 = 7.",
    "1,000 * 3 = 300",
    "10 / 4 = 2.4",
)
NOTHING = (
    "x + 2 = 5", "3 = 3", "10 / 0 = 3", "9**999 = 1", "50% of 10 = 5", "5 + 5 = 10%", "2 * 3 = 6 + 1", "= 4 + 5 = 8",
    "0x10 = 15", "on 2020-10-12 = today", "`1 + 1 = 3`", "\n```\n1 + 1 = 3\n```", "__import__('os') + 1 = 2",
)  # fmt: skip


async def status_of(text):
    return (await Validator(embed=None).check(Subject(text), ("arithmetic",))).status["arithmetic"]


@pytest.mark.parametrize(("texts", "status"), [(RIGHT, "passed"), (WRONG, "failed"), (NOTHING, "not_checked")])
async def test_sums(texts, status):
    assert {text: await status_of(f"We see that {text}") for text in texts} == dict.fromkeys(texts, status)


async def test_the_finding_says_what_is_right():
    report = await Validator(embed=None).check(Subject("So 6 * 7 = 41, see?"), ("arithmetic",))
    (finding,) = report.findings
    assert (finding.message, finding.start, finding.end) == ("6 * 7 is 42, not 41", 3, 13)
    assert report.quality == 0.5


@given(st.lists(st.integers(0, 99_999), min_size=2, max_size=6), st.data())
def test_the_walker_agrees_with_whole_numbers(numbers, data):
    signs = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=len(numbers) - 1))
    text = str(numbers[0]) + "".join(f" {sign} {number}" for sign, number in zip(signs, numbers[1:], strict=True))
    assert evaluate(text) == eval(text)
