"""OpenAI's chat form: any bytes are read or refused by name; what DAC does not know survives byte for byte."""

from __future__ import annotations

import contextlib
import json
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from services.gateway.sharing.cache_scope import scope_of
from services.gateway.wire import openai_wire as wire
from services.gateway.wire import raw_bodies

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    *("model", "messages", "message", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"),
    *("temperature", "top_p", "tools", "response_format", "routing_profile", "thread_id", "enable_cache", "stop"),
]
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from([*sorted(wire.ROLES), "robot"])},
    optional={"content": JSON, "tool_calls": JSON, "tool_call_id": JSON, "refusal": JSON, "name": JSON},
)
PLAIN = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def body_of(**more):
    return json.dumps({**PLAIN, **more}).encode()


def refusal(body, **options):
    with pytest.raises(MeshError) as caught:
        wire.parse_chat(body, **options)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_by_name(body):
    refusal(body)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON)
def test_any_json_is_read_or_refused_by_name(document):
    try:
        wire.parse_chat(json.dumps(document).encode())
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata


@settings(max_examples=300)
@given(st.lists(MESSAGE, max_size=3), st.dictionaries(st.sampled_from(FIELDS[2:]), JSON, max_size=2))
def test_any_messages_are_read_or_refused_by_name(messages, more):
    try:
        ask = wire.parse_chat(json.dumps({"model": "m", "messages": messages, **more}).encode())
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST and "field" in error.metadata
        return
    for message in ask.messages:
        wire.text_of(message)
    assert ask.input_tokens <= ask.input_tokens_max
    scope_of(ask, ask.body)


@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key not in FIELDS), JSON, max_size=4), st.integers(0, 3))
def test_what_dac_does_not_know_survives_byte_for_byte(unknown, indent):
    raw = json.dumps({**PLAIN, **unknown, "thread_id": "t", "routing_profile": "quality"}, indent=indent).encode()
    try:
        ask = wire.parse_chat(raw)
    except MeshError:
        return
    before = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    own = wire.DAC_FIELDS
    for made in (ask.body, wire.with_messages(ask, []), wire.with_system(ask.body, "s")):
        after = msgspec.json.decode(made, type=dict[str, msgspec.Raw])
        assert list(after) == [key for key in before if key not in own]
        assert all(bytes(after[key]) == bytes(before[key]) for key in after if key != "messages")


def test_a_body_without_fields_of_dac_is_not_touched():
    raw = b'{ "model":"m" ,\n "messages":[ {"role":"user","content":"\\u00e9", "x": 1.0e2} ], "seed": 1e0 }'
    assert wire.parse_chat(raw).body is raw


def test_earlier_messages_go_between_the_system_messages_and_the_new_ones():
    own = [
        b'{"role":"system", "content":"s"}',
        b'{"role":"developer","content":"d"}',
        b'{"content":"u","role":"user" }',
    ]
    ask = wire.parse_chat(b'{"model":"m","messages":[' + b" , ".join(own) + b"]}")
    made = wire.with_messages(ask, [b'{"role":"assistant","content":"a"}'])
    expected = [*own[:2], b'{"role":"assistant","content":"a"}', own[2]]
    assert made == b'{"model":"m","messages":[' + b",".join(expected) + b"]}"
    assert wire.raw_messages(ask) == own


def test_the_short_form_becomes_a_message():
    ask = wire.parse_chat(b'{"model":"m","message":"Hi \\"you\\""}')
    assert json.loads(ask.body) == {"model": "m", "messages": [{"role": "user", "content": 'Hi "you"'}]}
    ask = wire.parse_chat(b'{"model":"m","message":{"role":"tool","tool_call_id":"c","content":"x","extra":1}}')
    assert ask.body == b'{"model":"m","messages":[{"role":"tool","tool_call_id":"c","content":"x","extra":1}]}'


@pytest.mark.parametrize(
    ("body", "field", "word"),
    [
        (b"", "body", "empty"),
        (b"\xff{", "body", "UTF-8"),
        (b"[1]", "body", "JSON object"),
        (b'{"messages":[]}', "model", "auto"),
        (b'{"model":7}', "model", "str"),
        (b'{"model":"m"}', "messages", "missing"),
        (b'{"model":"m","messages":[]}', "messages", "empty"),
        (body_of(messages=[{"role": "robot", "content": ""}]), "messages[0].role", "robot"),
        (body_of(messages=[{"role": "user"}]), "messages[0].content", "missing"),
        (body_of(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id", "answers"),
        (body_of(messages=[{"role": "user", "content": [{}]}]), "messages[0].content[0].type", "type"),
        (body_of(messages=[{"role": "user", "content": 7}]), "messages[0].content", "int"),
        (body_of(temperature=3), "temperature", "between 0 and 2"),
        (body_of(n=0), "n", "between 1 and 128"),
        (body_of(max_tokens=0), "max_tokens", "between 1 and"),
        (body_of(stream_options={}), "stream_options", '"stream": true'),
        (body_of(thread_id="x" * 129), "thread_id", "128"),
        (body_of(thread_id="x\r\nset-cookie: a=b"), "thread_id", "printable"),
        (body_of(thread_id="a", conversation_id="b"), "conversation_id", "two names of one thing"),
        (body_of(parent_message_id="a"), "parent_message_id", "send thread_id"),
        (body_of(thread_id="t", enable_memory="yes"), "enable_memory", "bool"),
        (body_of(thread_id="t", parent_message_id="x" * 129), "parent_message_id", "128"),
        (body_of(enable_cache="yes"), "enable_cache", "bool"),
    ],
)
def test_a_mistake_is_named_with_its_place(body, field, word):
    error = refusal(body)
    assert error.metadata["field"] == field and word in error.message


@given(st.integers(1, 100))
def test_depth_is_counted_outside_strings(depth):
    nested = b'{"model":"m","messages":[{"role":"user","content":"' + b"[{" * 200 + b'\\"[["}],"x":'
    raw = nested + b"[" * depth + b"]" * depth + b"}"
    if depth + 1 <= 64:
        wire.parse_chat(raw)
    else:
        assert "more than 64 levels" in refusal(raw).message


def test_wide_bodies_are_not_deep():
    wire.parse_chat(body_of(stop=[[]] * 500, messages=PLAIN["messages"] * 500))


@given(st.text(alphabet='"\\[]{}a,', max_size=40))
def test_brackets_within_strings_are_no_structure(text):
    raw = json.dumps({text: text, "y": [text, [[text]]]}).encode()
    raw_bodies.check_depth(raw, 4)
    with pytest.raises(MeshError, match="more than 3 levels"):
        raw_bodies.check_depth(raw, 3)


HEAVY = {
    "lists": b'{"x":[' + b"[]," * 3_000_000 + b"[]]}",
    "messages": b'{"messages":[' + b'{"role":"user","content":"a"},' * 330_000 + b"{}]}",
    "strings with brackets": b'{"x":[' + b'"[",' * 2_400_000 + b'"["]}',
    "ends without beginnings": b'{"x":[' + b"]" * 9_000_000,
}


@pytest.mark.parametrize("name", HEAVY)
def test_no_body_holds_up_everybody_while_its_depth_is_looked_at(name):
    """These took one to three seconds of the event loop, whoever sent them."""
    started = time.process_time()
    with contextlib.suppress(MeshError):
        wire.parse_chat(HEAVY[name])
    assert time.process_time() - started < 0.6


def test_a_body_of_too_many_parts_or_fields_is_refused():
    assert "100000 lists and objects" in refusal(body_of(x=[[]] * 100_001)).message
    assert "at most 1000" in refusal(body_of(**{f"field{number}": 1 for number in range(1_000)})).message


def test_an_unterminated_string_is_refused_in_linear_time():
    started = time.process_time()
    refusal(b"[" * 65 + b'"' + b'\\"' * 8_000)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_number_that_no_message_can_carry_is_refused(name):
    assert refusal(body_of(**{name: 2**63})).metadata["field"] == name


def test_images_are_estimated_by_count_not_by_their_bytes():
    def estimated(size):
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}
        return wire.parse_chat(body_of(messages=[{"role": "user", "content": [image]}]))

    small, large = estimated(10), estimated(100_000)
    assert small.needs_images and abs(large.input_tokens - small.input_tokens) <= 1
    assert large.input_tokens >= wire.IMAGE_TOKENS


def test_dacs_stream_option_is_not_sent_on():
    ask = wire.parse_chat(body_of(stream=True, stream_options={"include_usage": True, "include_dac": True}))
    assert ask.include_dac and json.loads(ask.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("member", "named"),
    [
        ('"service_tier": "priority"', True),
        ('"service_tier": "flex"', True),
        ('"speed": "fast"', True),
        ('"service_tier": "auto"', False),
        ('"service_tier": null', False),
        ('"user": "priority"', False),
    ],
)
def test_a_service_tier_is_noticed(member, named):
    body = f'{{"model": "m", {member}, "messages": [{{"role": "user", "content": "x"}}]}}'.encode()
    assert wire.names_service_tier(wire.parse_chat(body, max_depth=32)) is named
