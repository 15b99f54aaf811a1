"""What must be equal before a stored answer may be considered, and what a request says of the cache."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MeshError
from services.gateway.sharing.cache_control import NOTHING, Defaults, Mode, Policy, Said, read_headers, wish_of
from services.gateway.sharing.cache_scope import scope_of, temperature_of
from services.gateway.wire import anthropic_wire, openai_wire, responses_wire

HI = [{"role": "user", "content": "Hi"}]


def chat(**fields):
    ask = openai_wire.parse_chat(json.dumps({"model": "m", "messages": HI, **fields}).encode())
    return scope_of(ask, ask.body)


def message(**fields):
    body = {"model": "m", "max_tokens": 5, "messages": HI, **fields}
    ask = anthropic_wire.parse_messages(json.dumps(body).encode())
    return scope_of(ask, ask.body)


def response(**fields):
    ask = responses_wire.parse_responses(json.dumps({"model": "m", "input": "Hi", **fields}).encode())
    return scope_of(ask, ask.body)


@pytest.mark.parametrize(
    "more",
    [
        {"model": "other"},
        {"messages": [{"role": "system", "content": "Hi"}]},
        {"messages": [{"role": "system", "content": "Be short."}, *HI]},
        {"messages": [*HI, {"role": "assistant", "content": "Ho"}, *HI]},
        {"messages": [{"role": "user", "content": "Hi", "name": "ada"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]}]},
        {"temperature": 0.5},
        {"n": 2},
        {"seed": 7},
        {"stop": ["x"]},
        {"max_tokens": 5},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"routing_profile": "quality"},
        {"something_new": True},
    ],
    ids=str,
)
def test_what_shapes_the_answer_is_in_the_key(more):
    assert chat(**more).key != chat().key


@pytest.mark.parametrize(
    "more",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "u"},
        {"metadata": {"a": "b"}},
        {"store": True},
        {"enable_cache": True},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    ],
    ids=str,
)
def test_what_shapes_only_the_delivery_is_not(more):
    assert chat(**more) == chat()


def test_only_the_last_question_is_the_prompt():
    turns = [{"role": "user", "content": "Who is it?"}, {"role": "assistant", "content": "Ada"}]
    one = chat(messages=[*turns, {"role": "user", "content": "How old is she?"}])
    other = chat(messages=[*turns, {"role": "user", "content": "How old is Ada?"}])
    elsewhere = chat(messages=[turns[0], {"role": "assistant", "content": "Bob"}, {"role": "user", "content": "x"}])
    assert one.prompt == "How old is she?" and one.key == other.key != elsewhere.key
    assert chat(messages=turns).prompt == "", "an answer is no question: only an equal chat may match"


def test_a_question_with_an_image_matches_only_itself():
    def seen(url):
        parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
        return chat(messages=[{"role": "user", "content": parts}])

    assert seen("a").prompt == "" and seen("a").key == seen("a").key != seen("b").key


def test_the_order_of_fields_changes_nothing():
    one, other = b'{"model":"m","seed":1,"top_p":1,', b'{"top_p":1,"seed":1,"model":"m",'
    rest = b'"messages":[{"role":"user","content":"Hi"}]}'
    asks = [openai_wire.parse_chat(start + rest) for start in (one, other)]
    assert scope_of(asks[0], asks[0].body) == scope_of(asks[1], asks[1].body)


def test_the_forms_have_keys_of_their_own_and_the_same_prompt():
    found = [chat(max_tokens=5), message(), response(max_output_tokens=5)]
    assert {one.prompt for one in found} == {"Hi"} and len({one.key for one in found}) == 3
    assert message(system="Be short.").key != message().key and response(instructions="Be short.").key != response().key
    listed = response(input=[{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}])
    assert listed == response()


def test_a_temperature_that_is_not_said_is_1():
    asks = [
        openai_wire.parse_chat(json.dumps({"model": "m", "messages": HI, **more}).encode())
        for more in ({}, {"temperature": 0}, {"temperature": None})
    ]
    assert [temperature_of(ask) for ask in asks] == [1.0, 0.0, 1.0]


TEXTS = st.text(min_size=1, max_size=8)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=2, unique=True))
def test_different_earlier_turns_or_systems_never_share_a_key(pairs):
    def key(system, earlier):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": earlier}, *HI]
        return chat(messages=messages).key

    assert key(*pairs[0]) != key(*pairs[1])


def said(**headers):
    return read_headers([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


def test_what_the_headers_say():
    assert said() is NOTHING and said(cache_control="private, must-revalidate") == Said()
    assert said(cache_control="no-cache") == Said(read=False)
    assert said(cache_control="No-Store") == Said(read=False, store=False)
    assert said(cache_control="max-age=60, only-if-cached") == Said(max_age_s=60.0, only_if_cached=True)
    assert said(cache_control="max-age=0") == Said(read=False), "an answer of no age is a new one"
    assert said(x_dac_cache_mode="Balanced", x_dac_cache_similarity="0.99") == Said(
        mode=Mode.BALANCED, min_similarity=0.99
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_dac_cache_mode", "fuzzy"),
        ("x_dac_cache_similarity", "2"),
        ("x_dac_cache_similarity", "nan"),
        ("x_dac_cache_similarity", "high"),
        ("cache_control", "max-age=soon"),
        ("cache_control", "max-age"),
    ],
)
def test_a_wrong_header_is_refused_by_its_name(name, value):
    with pytest.raises(MeshError) as refused:
        said(**{name: value})
    assert refused.value.metadata["field"] == name.replace("_", "-")


def test_the_cache_has_no_part_unless_it_is_asked_for():
    off, on = Defaults(), Defaults(on=True)
    assert wish_of(NOTHING, None, 0, off) is None and wish_of(Said(read=False), None, 0, off) is None
    assert wish_of(NOTHING, False, 0, on) is None, "who says no gets none, whatever the default"
    assert wish_of(Said(mode=Mode.EXACT), None, 0, off) is not None
    assert wish_of(NOTHING, None, 0, on) is not None
    assert wish_of(Said(read=False, store=False), True, 0, on) is None


def test_a_warm_chat_is_answered_only_where_an_equal_question_was_asked():
    limited = Defaults(on=True, mode=Mode.BALANCED, semantic_temperature_max=0.7)
    cold, warm = wish_of(NOTHING, None, 0.7, limited), wish_of(NOTHING, None, 0.8, limited)
    assert cold.mode is Mode.BALANCED and cold.semantic
    assert warm.mode is Mode.EXACT and not warm.semantic


def test_only_who_may_take_and_give_an_answer_shares_a_call():
    on = Defaults(on=True)
    assert wish_of(NOTHING, None, 0, on).shared and wish_of(Said(max_age_s=5), None, 0, on).shared
    assert not wish_of(Said(read=False), None, 0, on).shared
    assert not wish_of(Said(only_if_cached=True), None, 0, on).shared


def test_a_policy_turns_the_cache_on_for_who_does_not_say_and_forbids_it_to_everybody():
    off, on = Defaults(), Defaults(on=True)
    assert wish_of(NOTHING, None, 0, off, Policy(on=True)) is not None
    assert wish_of(NOTHING, False, 0, off, Policy(on=True)) is None
    assert wish_of(Said(read=False, store=False), None, 0, off, Policy(on=True)) is None
    forbidden = Policy(on=False)
    for said, enabled in ((NOTHING, True), (Said(mode=Mode.EXACT), None), (NOTHING, None)):
        assert wish_of(said, enabled, 0, on, forbidden) is None
    with pytest.raises(MeshError, match="only-if-cached"):
        wish_of(Said(only_if_cached=True), None, 0, on, forbidden)
    assert wish_of(NOTHING, None, 0, off, Policy(mode=Mode.EXACT)) is None, "a preset alone turns nothing on"


def test_a_request_narrows_its_policy_and_never_widens_it():
    for mode, expected in ((None, Mode.DEFAULT), (Mode.EXACT, Mode.EXACT), (Mode.BALANCED, Mode.DEFAULT)):
        found = wish_of(Said(mode=mode), True, 0, Defaults(mode=Mode.BALANCED), Policy(mode=Mode.DEFAULT))
        assert found.mode is expected
    assert wish_of(NOTHING, None, 0, Defaults(), Policy(on=True, mode=Mode.BALANCED)).mode is Mode.BALANCED
    ages = {(0, 60): 60, (30, 60): 30, (90, 60): 60, (90, 0): 90, (0, 0): 0}
    for (said, allowed), expected in ages.items():
        found = wish_of(Said(max_age_s=said), True, 0, Defaults(), Policy(max_age_s=allowed))
        assert (found.max_age_s, found.lifetime_s) == (expected, allowed)
