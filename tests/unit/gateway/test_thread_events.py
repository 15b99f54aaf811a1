"""Frames of a chat become the events of a thread, wherever they are cut."""

import json

import pytest

from services.gateway.threads.events import ThreadEvents, citations_of, shown_text
from services.gateway.threads.thread_paths import edits_only, found


def frame(delta, **more):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}], **more}).encode() + b"\n\n"


def read(*frames):
    translated = ThreadEvents()
    made = b"".join(one for data in frames for one in translated.read(data)).decode()
    blocks = [block.split("\n", 1) for block in made.split("\n\n") if block]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in blocks]


def test_a_delta_is_told_apart():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    frames = [
        frame({"role": "assistant", "content": ""}),
        frame({"reasoning_content": "Hm."}),
        frame({"reasoning": "Hm.", "reasoning_content": None}),
        frame({"content": "Hi"}),
        frame({"tool_calls": [call]}),
        b"data: [DONE]\n\n",
    ]
    expected = [
        ("thinking", {"text": "Hm."}),
        ("thinking", {"text": "Hm."}),
        ("delta", {"text": "Hi"}),
        ("delta", {"tool_calls": [call]}),
    ]
    assert read(*frames) == expected
    whole = b"".join(frames)
    for cut in range(len(whole)):
        assert read(whole[:cut], whole[cut:]) == expected


def test_other_choices_are_passed_over():
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "no"}}]}\n\n'
    assert read(other) == [] and shown_text(other) == ""


def test_a_source_is_cited_once():
    sources = {"search_results": [{"title": "A", "url": "https://a.example"}], "citations": ["https://a.example"]}
    events = read(frame({"content": "x"}, **sources), frame({}, **sources))
    cited = {"index": 1, "url": "https://a.example", "title": "A"}
    assert events == [("searching", {"source": "web"}), ("citation", cited), ("delta", {"text": "x"})]
    later = read(frame({"content": "x"}), frame({}, **sources))
    assert later == [("delta", {"text": "x"}), ("citation", cited)]


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        ({"citations": ["https://a.example"]}, {"url": "https://a.example"}),
        (
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "start_index": 1}}]},
            {"url": "https://a.example", "start_index": 1},
        ),
        (
            {"citations": [{"start": 1, "end": 2, "text": "x", "sources": []}]},
            {"start": 1, "end": 2, "text": "x", "sources": []},
        ),
    ],
)
def test_every_form_of_citing_is_read(holder, expected):
    assert list(citations_of(holder)) == [expected]


def test_what_was_shown_is_the_text_alone():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
    frames = [frame({"content": "one "}), frame({"reasoning_content": "?"}), frame({"content": "two"})]
    assert shown_text(b"".join([*frames, frame({"tool_calls": [call]}), b'data: {"cho'])) == "one two"


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("POST", "/api/threads/t/messages", "/api/threads/{thread_id}/messages"),
        ("POST", "/api/threads/t/messages/stream", "/api/threads/{thread_id}/messages/stream"),
        ("POST", "/v1/conversations/t/messages", "/v1/conversations/{thread_id}/messages"),
        (
            "POST",
            "/v1/conversations/t/messages/m/regenerate",
            "/v1/conversations/{thread_id}/messages/{message_id}/regenerate",
        ),
        ("PATCH", "/v1/conversations/t/messages/m", "/v1/conversations/{thread_id}/messages/{message_id}"),
        ("GET", "/api/threads/t/messages", None),
        ("POST", "/api/threads", None),
        ("POST", "/v1/conversations/t/messages/search", None),
        ("POST", "/v1/conversations/t/branches", None),
        ("DELETE", "/v1/conversations/t/messages/m", None),
        ("PATCH", "/v1/conversations/t", None),
    ],
)
def test_only_what_asks_a_model_is_served_here(method, path, template):
    asked = found(method, path)
    assert (asked and asked.template) == template


def test_an_edit_that_asks_for_no_answer_is_left_to_memory():
    assert edits_only(b'{"content": "regenerate"}') and edits_only(b'{"regenerate": false}') and edits_only(b"{")
    assert not edits_only(b'{"content": "x", "regenerate": true}')
