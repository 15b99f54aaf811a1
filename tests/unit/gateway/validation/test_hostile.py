"""Whatever an answer holds, it is checked without an error and at a bounded cost."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.validation.subject import CHECKS, NOT_CHECKED, Subject
from services.gateway.validation.validator import Validator
from tests.unit.gateway.validation.hostile import LANGUAGES, answers

CPU_S = 0.05
BOMB = {"$defs": {f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at + 1}"}] * 2} for at in range(25)}, "$ref": "#/$defs/a0"}
SCHEMAS = ({"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}, BOMB, {"$ref": "#"}, {"type": 5}, {})
PIECES = ["```", "python\n", "\n", "1 + 1 = 3", "{", "(", '"', "f*ck", "The cat. ", "\0", "~~~"]
ROW = [0.05] * 384
_TEXTS = answers()


class Embedder:
    """Vectors for anything that can be sent; its own time is not the validator's."""

    def __init__(self):
        self.spent, self.most = 0.0, 0

    async def __call__(self, texts):
        begun = time.thread_time()
        assert all(text.encode("utf-8") is not None for text in texts)
        self.most = max(self.most, len(texts))
        rows = [ROW] * len(texts)
        self.spent += time.thread_time() - begun
        return rows


@pytest.fixture(scope="module")
def validator():
    """One that has loaded all that it ever loads."""
    made = Validator(embed=Embedder())
    loaded = "\n".join(f"```{language}\n1\n```" for language in LANGUAGES)
    asyncio.run(made.check(Subject(loaded, schema={"type": "string"}, context=("a b c",)), ()))
    return made


@pytest.mark.parametrize("name", sorted(_TEXTS))
async def test_a_hostile_answer_costs_little(validator, name):
    text = _TEXTS[name]
    subject = Subject(text, question=text, context=(text, text), schema=SCHEMAS[0])
    cost = 1.0
    # The least of three: the machine's other work is not the validator's.
    for _ in range(3):
        before, spent = time.thread_time(), validator._embed.spent
        report = await validator.check(subject, ())
        cost = min(cost, time.thread_time() - before - (validator._embed.spent - spent))
        if cost < CPU_S:
            break
    assert cost < CPU_S
    assert 0 <= report.quality <= 1 and set(report.status) == set(CHECKS)
    assert all(0 <= one.start <= one.end <= len(text) for one in report.findings)
    assert validator._embed.most <= 110


@given(
    text=st.text(st.characters(codec=None), max_size=300) | st.lists(st.sampled_from(PIECES)).map("".join),
    context=st.lists(st.text(max_size=60), max_size=2),
    schema=st.none()
    | st.sampled_from(SCHEMAS)
    | st.dictionaries(st.sampled_from(["type", "items", "enum"]), st.text()),
    reason=st.sampled_from(["stop", "length", "content_filter", ""]),
)
@settings(max_examples=150, deadline=None)
def test_anything_is_checked(validator, text, context, schema, reason):
    subject = Subject(text, question=text[::-1], context=tuple(context), schema=schema, finish_reason=reason)
    report = asyncio.run(validator.check(subject, ()))
    assert 0 <= report.quality <= 1
    assert all(0 <= one.start <= one.end <= len(text) for one in report.findings)
    fewer = asyncio.run(validator.check(subject, ("shape",)))
    # What is checked besides can only lower the quality.
    assert report.quality <= fewer.quality + 1e-9


async def test_who_cannot_embed_leaves_its_checks_unmade():
    async def failing(_):
        raise ConnectionError

    async def hashed(_):
        return None

    for embed in (None, failing, hashed):
        report = await Validator(embed=embed).check(Subject("You are an idiot."), ("toxicity", "unknown"))
        assert report.status == {"toxicity": NOT_CHECKED} and report.scores == {} and report.parts == {}
