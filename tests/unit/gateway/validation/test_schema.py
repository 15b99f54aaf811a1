"""Answers that were asked to be JSON of a schema."""

import pytest

from services.gateway.validation.subject import Subject
from services.gateway.validation.validator import Validator

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string", "pattern": "^x+$"}},
    "required": ["a"],
    "additionalProperties": False,
}
BOMB = {"$defs": {f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at + 1}"}] * 2} for at in range(25)}, "$ref": "#/$defs/a0"}


async def schema_of(text, schema):
    report = await Validator(embed=None).check(Subject(text, schema=schema), ("schema",))
    return report.status["schema"], [one.message for one in report.findings]


@pytest.fixture(scope="module", autouse=True)
async def loaded():
    await schema_of("1", SCHEMA)


async def test_what_obeys_and_what_does_not():
    assert await schema_of('{"a": 1, "b": "xx"}', SCHEMA) == ("passed", [])
    assert await schema_of("[1, 2]", {}) == ("passed", [])
    assert (await schema_of('{"a": "1"}', SCHEMA))[1] == ["$.a: '1' is not of type 'integer'"]
    assert (await schema_of('{"a": 1, "b": "y"}', SCHEMA))[1] == ["$.b: does not match '^x+$'"]
    assert (await schema_of("[1, 1]", {"uniqueItems": True}))[1] == ["$: has the same item twice"]
    assert (await schema_of("7", None))[0] == "not_checked"


@pytest.mark.parametrize(
    "text", ["", "{'a': 1}", '{"a": 1,}', 'Sure! {"a": 1}', '{"a": NaN}', '```json\n{"a": 1}\n```']
)
async def test_nothing_is_repaired(text):
    status, messages = await schema_of(text, SCHEMA)
    assert status == "failed" and messages[0].startswith("the answer is not JSON")


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('"' + "a" * 900 + '"', {"pattern": "(a+)+$b"}),
        ('"a"', {"pattern": "((a{1000}){1000}){1000,}"}),
        ('"a"', {"pattern": "("}),
        ("3", BOMB),
        ("3", {"$ref": "#"}),
        ("3", {"$ref": "http://127.0.0.1:9/x"}),
        ("3", {"$id": "http://127.0.0.1:9/", "$ref": "y"}),
        ("[" * 30_000, {}),
        ("1" * 5_000, {}),
        ("[" + "{}," * 9_000 + "{}]", {"uniqueItems": True}),
        ("3", {"type": 5}),
        ("{}", {"unevaluatedProperties": False}),
    ],
    ids=lambda one: str(one)[:30],
)
async def test_what_costs_too_much_or_leads_elsewhere_is_not_checked(text, schema):
    assert await schema_of(text, schema) == ("not_checked", [])
