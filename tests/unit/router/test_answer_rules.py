"""What a policy says of answers: read, laid over by an intent, checked, and carried by a route."""

import dataclasses

import pytest

from dac.router.v1 import policy_pb2
from mesh.errors import MeshError
from services.router.deciding.route_server import answers_message
from services.router.policies.answer_rules import USUAL_REGIONS, CacheRules, PersonaRules, read_answers
from services.router.policies.form import parse
from services.router.policies.messages import rules_message, rules_said
from services.router.policies.policies import RoutingPolicy

ALL = {
    "persona": {
        "enabled": True,
        "name": "Acme",
        "tone": "warm",
        "preamble": "You are Acme.\nBe kind.",
        "rewrite": False,
    },
    "validation": {
        "enabled": True,
        "checks": ["code", "shape"],
        "action": "retry",
        "min_quality": 0.4,
        "streams": "hold",
        "max_retries": 2,
        "judge_model": "openai/gpt-4o-mini",
        "nli": True,
        "webhook": "review",
    },
    "redaction": {"enabled": True, "kinds": ["email"], "action": "block", "restore": True},
    "cache": {"enabled": False, "preset": "exact", "ttl_s": 60},
}


def policy(rules):
    return parse("p", rules, RoutingPolicy(), "p@1")


def test_every_field_reaches_the_route():
    made = policy({"answers": ALL}).answers
    message = answers_message(made)
    said = rules_said(policy_pb2.PolicyRules(answers=message))["answers"]
    # Protobuf leaves out what is false where that means nothing is said.
    assert said == ALL
    assert rules_said(rules_message({"answers": ALL})) == {"answers": ALL}


def test_an_intents_section_stands_in_place_of_the_policys():
    over = {"answers": {"persona": {"enabled": False}, "cache": {"ttl_s": 5}}}
    made = policy({"answers": {**ALL, "cache": {"enabled": True}}, "intents": {"coding_help": over}})
    coding = made.for_intent("coding_help").answers
    assert coding.persona == PersonaRules() and coding.cache == CacheRules(ttl_s=5)
    assert coding.validation == made.answers.validation
    message = answers_message(coding)
    assert not message.HasField("persona") and message.validation.enabled and message.cache.ttl_s == 5
    assert made.for_intent("social_chat").answers == made.answers


@pytest.mark.parametrize(
    ("plain", "over", "wanted"),
    [
        ({}, {"kinds": ["email"]}, {}),
        ({"restore": True}, {"enabled": True}, {"restore": True}),
        ({}, {"restore": True}, {}),
        ({"restore": True}, {"restore": False}, {"restore": False}),
        ({"kinds": ["email"]}, {"kinds": ["card", "email"]}, {"kinds": ["email", "card"]}),
        ({"kinds": ["email"]}, {"action": "block"}, {"kinds": ["email"], "action": "block"}),
        ({"action": "block"}, {"action": "redact"}, {"action": "block"}),
        ({}, {"action": "flag"}, {}),
        ({"action": "flag"}, {"action": "redact"}, {"action": "redact"}),
        ({"regions": ["SE"]}, {"regions": ["DK"]}, {"regions": ["SE", "DK"]}),
        ({}, {"regions": ["SE"]}, {"regions": [*USUAL_REGIONS, "SE"]}),
    ],
)
def test_an_intent_makes_redaction_stricter_and_never_loses_it(plain, over, wanted):
    made = policy({"answers": {"redaction": {"enabled": True, **plain}}, "intents": {"coding_help": {"answers": {}}}})
    assert made.for_intent("coding_help").answers == made.answers
    rules = {"answers": {"redaction": {"enabled": True, **plain}}}
    coding = policy({**rules, "intents": {"coding_help": {"answers": {"redaction": over}}}}).for_intent("coding_help")
    expected = read_answers({"redaction": {"enabled": True, **wanted}}, "answers").redaction
    assert dataclasses.replace(coding.answers.redaction, action=coding.answers.redaction.action or "redact") == (
        dataclasses.replace(expected, action=expected.action or "redact")
    )


def test_an_intent_says_so_where_redaction_shall_be_less():
    plain = {"redaction": {"enabled": True, "action": "block", "regions": ["DE"]}}

    def coding(over):
        # As the API takes it, which leaves out what is not set.
        said = rules_said(
            rules_message({"answers": plain, "intents": {"coding_help": {"answers": {"redaction": over}}}})
        )
        return policy(said).for_intent("coding_help").answers

    assert answers_message(coding({"enabled": False})) is None
    assert answers_message(coding({"instead": True})) is None
    less = answers_message(coding({"enabled": True, "kinds": ["api_key"], "instead": True})).redaction
    assert (list(less.kinds), less.action, list(less.regions)) == (["api_key"], "", [])
    assert answers_message(coding({})).redaction.action == "block"
    with pytest.raises(MeshError, match="only what an intent says"):
        policy({"answers": {"redaction": {"enabled": True, "instead": True}}})
    many = [f"{one}{two}" for one in "FGHIJ" for two in "ABCDEFG"][:32]
    with pytest.raises(MeshError, match="more than 32"):
        coding({"regions": many})


def test_nothing_asked_is_nothing_carried():
    assert policy({}).answers is None
    for rules in ({}, {"persona": {}}, {"persona": {"name": "Acme"}, "cache": {}}):
        assert answers_message(read_answers(rules, "answers")) is None


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"persona": {"nam": "x"}}, "rules.answers.persona"),
        ({"person": {}}, "rules.answers"),
        ({"persona": []}, "rules.answers.persona"),
        ({"persona": {"name": "x" * 65}}, "rules.answers.persona.name"),
        ({"persona": {"name": "a\nb"}}, "rules.answers.persona.name"),
        ({"persona": {"preamble": "a\x00"}}, "rules.answers.persona.preamble"),
        ({"persona": {"rewrite": 1}}, "rules.answers.persona.rewrite"),
        ({"validation": {"checks": ["cod"]}}, "rules.answers.validation.checks[0]"),
        ({"validation": {"action": "stop"}}, "rules.answers.validation.action"),
        ({"validation": {"min_quality": 2}}, "rules.answers.validation.min_quality"),
        ({"validation": {"max_retries": 9}}, "rules.answers.validation.max_retries"),
        ({"validation": {"webhook": "https://x.example/y"}}, "rules.answers.validation.webhook"),
        ({"redaction": {"kinds": "email"}}, "rules.answers.redaction.kinds"),
        ({"redaction": {"action": "hide"}}, "rules.answers.redaction.action"),
        ({"cache": {"ttl_s": -1}}, "rules.answers.cache.ttl_s"),
        ({"cache": {"preset": "loose"}}, "rules.answers.cache.preset"),
    ],
)
def test_what_is_wrong_is_named(rules, field):
    with pytest.raises(MeshError) as refused:
        policy({"answers": rules})
    assert refused.value.metadata["field"] == field and field in refused.value.message
