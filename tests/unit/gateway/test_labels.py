"""Tags and places in headers: what is read, and what is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.gateway.chat.labels import Labels, read_labels, read_tags
from services.gateway.wire.anthropic_wire import parse_messages
from services.gateway.wire.openai_wire import parse_chat
from services.gateway.wire.responses_wire import parse_responses

KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=40)
VALUES = st.text(min_size=1, max_size=80).filter(
    lambda text: text.isprintable() and "," not in text and text == text.strip()
)


@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_tags_are_read_as_they_were_written(tags):
    header = ", ".join(f"{key}={value}" for key, value in tags.items()).encode()
    labels = read_labels([(b"host", b"x"), (b"x-dac-tags", header)])
    assert labels is not None and labels.tags == tags
    each = [(b"x-dac-tags", f"{key}={value}".encode()) for key, value in tags.items()]
    assert (read_labels(each) or Labels()).tags == tags, "several headers are one list"


@pytest.mark.parametrize(
    "wrong",
    [
        "a",
        "=1",
        "a=",
        "A=1",
        "a b=1",
        "é=1",
        f"{'k' * 41}=1",
        f"a={'v' * 81}",
        "a=1,",
        ",",
        "a=1,,b=2",
        "a=1,a=2",
        "a=\x00",
        "a=b\tc",
        ",".join(f"k{number}=1" for number in range(9)),
    ],
)
def test_wrong_tags_are_refused_with_their_form(wrong):
    with pytest.raises(MeshError, match="key=value") as caught:
        read_tags(wrong)
    assert (caught.value.reason, caught.value.metadata) == (Reason.INVALID_REQUEST, {"field": "x-dac-tags"})


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(MeshError, match="x-dac-tags"):
        read_labels([(b"x-dac-tags", b"a=\xff")])


def test_a_request_without_such_headers_has_none():
    assert read_labels([(b"host", b"x"), (b"x-request-id", b"1"), (b"authorization", b"Bearer x")]) is None
    assert read_labels([(b"x-dac-tags", b" "), (b"x-dac-team", b"")]) == Labels()


def test_header_and_body_may_say_the_same_but_not_different_things():
    one, other = uuid7(), uuid7()
    labels = read_labels([(b"x-dac-team", one.upper().encode()), (b"x-dac-project", other.encode())])
    assert labels is not None and labels.place("", "") == (one, other) == labels.place(one, other)
    for team, project, field in ((other, "", "team_id"), ("", one, "project_id")):
        with pytest.raises(MeshError, match="name one") as caught:
            labels.place(team, project)
        assert caught.value.metadata == {"field": field}
    for headers in ([(b"x-dac-team", b"research")], [(b"x-dac-team", one.encode()), (b"x-dac-team", other.encode())]):
        with pytest.raises(MeshError) as caught:
            read_labels(headers)
        assert caught.value.metadata == {"field": "team_id"}


def test_the_fields_of_a_chat_are_read_and_taken_out():
    team, project = uuid7(), uuid7()
    body = f'{{"model":"m","messages":[{{"role":"user","content":"x"}}],"team_id":"{team}","project_id":"{project}"}}'
    ask = parse_chat(body.encode())
    assert (ask.team_id, ask.project_id) == (team, project)
    assert ask.body == b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    for wrong in ('"research"', "7", '["x"]'):
        with pytest.raises(MeshError) as caught:
            parse_chat(body.replace(f'"{team}"', wrong).encode())
        assert caught.value.metadata == {"field": "team_id"}
    assert parse_chat(body.replace(f'"{team}"', "null").encode()).team_id == ""


@pytest.mark.parametrize("field", ["team_id", "project_id"])
def test_other_forms_take_the_header(field):
    message = f'"{field}":"x","model":"m","max_tokens":1,"messages":[{{"role":"user","content":"x"}}]'
    for parse, body in ((parse_messages, message), (parse_responses, f'"{field}":"x","model":"m","input":"x"')):
        with pytest.raises(MeshError, match=f"x-dac-{field.removesuffix('_id')}") as caught:
            parse(f"{{{body}}}".encode())
        assert caught.value.metadata == {"field": field}
