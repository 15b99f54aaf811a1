"""An answer in its two forms: what a stream says and what one document says are the same, wherever it was cut."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import sse
from services.gateway.sharing import replay, replay_anthropic, replay_responses
from tests.upstream import answers, responses
from tests.upstream.behaviour import Behaviour

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
CALL = st.fixed_dictionaries(
    {"id": st.just("c1"), "type": st.just("function")},
).flatmap(lambda call: TEXT.map(lambda text: {**call, "function": {"name": "f", "arguments": json.dumps({"q": text})}}))


@st.composite
def completions(draw):
    message = {"role": "assistant", "content": draw(TEXT), "refusal": None}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(TEXT)
    if calls := draw(st.lists(CALL, max_size=2)):
        message |= {"tool_calls": calls, "content": message["content"] or None}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
        for index in range(draw(st.integers(1, 2)))
    ]
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def said(document):
    """What of a document must survive: an empty text is as good as none."""
    return [
        {name: value for name, value in choice["message"].items() if value} | {"end": choice["finish_reason"]}
        for choice in document["choices"]
    ]


@given(completions())
def test_a_document_that_is_streamed_makes_the_same_document(document):
    events = replay.split(document)
    assert said(replay.assembled(events)) == said(document)


@given(completions(), st.data())
def test_it_does_not_matter_where_the_deltas_were_cut(document, data):
    """A provider may cut an answer anywhere: the document is the same, and so is what a replay shows."""
    text = document["choices"][0]["message"]["content"] or ""
    marks = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *marks], [*marks, len(text)], strict=True)]
    told = [{"role": "assistant", "content": ""}, *({"content": part} for part in parts)]
    events = [msgspec.json.encode({"choices": [{"index": 0, "delta": one, "finish_reason": None}]}) for one in told]
    events.append(msgspec.json.encode({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    made = replay.assembled(events)
    assert made["choices"][0]["message"]["content"] == text
    wire = replay.framed(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    splitter, seen = sse.Splitter(), []
    for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        seen += splitter.feed(wire[a:b])
    assert replay.events_of(b"".join(seen)) == events


@given(completions(), st.booleans(), st.booleans())
def test_usage_is_there_for_those_who_ask_and_for_nobody_else(document, had, wanted):
    usage = {"prompt_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 1}}
    events = replay.with_usage(replay.split(document), usage, wanted=had)
    found = [json.loads(one) for one in replay.with_usage(events, usage, wanted=wanted)]
    assert [one["usage"] for one in found if one.get("usage")] == ([usage] if wanted else [])
    assert all("usage" in one for one in found) is wanted
    assert (
        replay.assembled([msgspec.json.encode(one) for one in found])["choices"]
        == replay.assembled(replay.split(document))["choices"]
    )


@given(TEXT)
def test_pieces_are_the_text(text):
    assert "".join(replay.pieces(text)) == text


@pytest.mark.parametrize(
    "events",
    [
        [],
        [b'{"error":{"message":"boom"}}'],
        [b'{"choices":[{"index":0,"delta":{"content":"half"}}]}'],
        [b'{"choices":[{"index":0,"delta":{"audio":{"id":"a"}},"finish_reason":"stop"}]}'],
        [b"no json"],
    ],
)
def test_what_is_not_whole_makes_no_document(events):
    assert replay.assembled(events) is None


def shape(event):
    """Which fields an event has, at every depth; lists by their first."""
    if isinstance(event, dict):
        return {key: shape(value) for key, value in event.items()}
    return [shape(event[0])] if isinstance(event, list) and event else type(event).__name__


def answer(**fields):
    return answers.compose({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}, Behaviour())


def test_a_replay_has_the_events_of_a_live_stream():
    made = answer()
    head, middle, tail = answers.openai_events(made, 1, True)
    live = [json.loads(one) for one in [*head, *middle, *tail]]
    document = answers.openai_plain(made, 1, 1)
    events = replay.with_usage(replay.split(document), document["usage"], wanted=True)
    replayed = [json.loads(one) for one in events]
    assert shape(replayed[0]) == shape(live[0])
    assert shape(replayed[1]) == shape(live[1]) and len(replayed) == len(live)
    assert shape(replayed[-2]) == shape(live[-2]) and shape(replayed[-1]) == shape(live[-1])
    assert replayed[-1]["usage"] == live[-1]["usage"] and replayed[-1]["choices"] == []


def test_tokens_with_probabilities_are_streamed_one_by_one():
    tokens = [{"token": "Hel", "logprob": -1.0}, {"token": "lo", "logprob": -2.0}]
    logprobs = {"content": tokens, "refusal": None}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "logprobs": logprobs}
    document = {"choices": [{**choice, "finish_reason": "stop"}]}
    found = [json.loads(one)["choices"][0] for one in replay.split(document)]
    assert [one["delta"].get("content") for one in found] == ["", "Hel", "lo", None]
    assert replay.assembled(replay.split(document))["choices"][0]["logprobs"]["content"] == tokens


def test_anthropics_message_is_the_same_in_both_forms():
    made = answer()
    head, middle, tail = (list(map(json.loads, part)) for part in answers.anthropic_events(made, 1))
    live = [msgspec.json.encode(one) for one in [*head, *middle, *tail]]
    whole = answers.anthropic_plain(made, 1)
    joined = replay_anthropic.assembled(live)
    assert joined["content"][0]["text"] == whole["content"][0]["text"] and joined["stop_reason"] == "end_turn"
    assert joined["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    again = replay_anthropic.assembled(replay_anthropic.split(whole))
    assert [one["text"] for one in again["content"]] == [one["text"] for one in whole["content"]]
    assert again["usage"] == whole["usage"] and again["stop_reason"] == whole["stop_reason"]
    kinds = [json.loads(one)["type"] for one in replay_anthropic.split(whole)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "content_block_delta" in kinds


def test_anthropics_thoughts_and_calls_survive():
    blocks = [
        {"type": "thinking", "thinking": "Let me think.", "signature": "c2ln"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"q": [1, {"a": "é"}]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        {"type": "text", "text": "two words", "citations": [{"type": "char_location", "cited_text": "x"}]},
    ]
    whole = {"id": "m", "type": "message", "content": blocks, "stop_reason": "end_turn", "stop_sequence": None}
    assert replay_anthropic.assembled(replay_anthropic.split(whole)) == whole
    assert replay_anthropic.assembled(replay_anthropic.split(whole)[:-2]) is None, "without its end it is not whole"


def test_a_response_is_the_same_in_both_forms():
    body = {"model": "m", "input": "Hi"}
    made = answer()
    live = list(responses.events(body, made, 1))
    whole = responses.whole(body, made, 1)
    split = [json.loads(one) for one in replay_responses.split(whole)]
    assert replay_responses.assembled(replay_responses.split(whole)) == whole
    without_numbers = [{key: value for key, value in one.items() if key != "sequence_number"} for one in split]
    assert [shape(one) for one in without_numbers] == [shape(one) for one in live]
    assert [one["sequence_number"] for one in split] == list(range(len(split)))
    assert replay_responses.assembled([msgspec.json.encode({"type": "response.incomplete"})]) is None
