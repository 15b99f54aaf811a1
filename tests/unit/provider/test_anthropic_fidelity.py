"""Anthropic's own SDK as oracle: it sends what the adapters send, and reads in an answer what they read.

The SDK speaks the API's version 2026-10-21, which has no temperature any more, with its key as a bearer. DAC speaks
2023-06-01 with `x-api-key`, because older models take a temperature: so the SDK is told that version, and what its own
has no name for goes in as extra_body.
"""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from mesh import sse
from services.provider.adapters.anthropic import VERSION, AnthropicExchange, AnthropicPassExchange
from services.provider.calling.events import Ask, Candidate, Usage
from tests.unit.provider.anthropic_cases import ANSWERS, CASES, FINISH, HI, HIDDEN, NEW, THOUGHT, USER, streamed, whole
from tests.unit.provider.listening import Sent, listening
from tests.upstream.checks import check_anthropic

pytestmark = pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")


def reply(sent: Sent) -> tuple[str, bytes]:
    name = sent.headers.get("x-answer", "text")
    return ("text/event-stream", streamed(name)) if sent.body.get("stream") else ("application/json", whole(name))


@pytest.fixture(scope="module")
def sdk() -> Iterator[tuple[anthropic.Anthropic, list[Sent]]]:
    with listening(reply) as (address, sent):
        headers = {"anthropic-version": VERSION}
        yield anthropic.Anthropic(api_key="key", base_url=address, max_retries=0, default_headers=headers), sent


def send(client: anthropic.Anthropic, body: dict[str, Any], model: str, *, stream: bool) -> None:
    """Has the SDK send it, and reads the answer to its end."""
    older = {name: body[name] for name in ("temperature", "top_p") if name in body}
    named = {name: value for name, value in body.items() if name not in older}
    made = {"max_tokens": 4000, "model": model, **named}
    answer = client.messages.create(**made, stream=stream, extra_body=older or None)
    if stream:
        list(answer)


def asked(body: dict[str, Any], model: str, *, stream: bool = False) -> AnthropicExchange:
    ask = Ask(json.dumps({"max_tokens": 4000, **body}).encode(), [], stream=stream, include_usage=True)
    return AnthropicExchange(ask, Candidate("m", "a", model), "a", "key")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_sdks(sdk: Any, case: str, stream: bool) -> None:
    model, body, theirs = CASES[case]
    client, sent = sdk
    send(client, theirs, model, stream=stream)
    out = asked(body, model, stream=stream).outgoing()
    expected = {name: value for name, value in sent[-1].body.items() if stream or name != "stream"}
    assert json.loads(out.body) == expected and check_anthropic(expected) is None
    assert out.path == sent[-1].path
    assert out.headers["Content-Type"] == sent[-1].headers["content-type"]
    assert out.headers["anthropic-version"] == sent[-1].headers["anthropic-version"]
    assert "Bearer " + out.headers["x-api-key"] == sent[-1].headers["authorization"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_the_sdk_sends_passes_through_byte_by_byte(sdk: Any, case: str, stream: bool) -> None:
    client, sent = sdk
    send(client, CASES[case][2], "mine", stream=stream)
    out = AnthropicPassExchange(
        Ask(sent[-1].raw, [], stream=stream), Candidate("m", "a", "theirs"), "a", "key"
    ).outgoing()
    assert sent[-1].raw.count(b'"mine"') == 1
    assert out.body == sent[-1].raw.replace(b'"mine"', b'"theirs"')


def usage_in(told: Any) -> Usage:
    """The SDK's own counts in DAC's buckets, which are disjoint."""
    thought = told.output_tokens_details.thinking_tokens if told.output_tokens_details else 0
    read, wrote = told.cache_read_input_tokens or 0, told.cache_creation_input_tokens or 0
    return Usage(told.input_tokens, read, wrote, told.output_tokens - thought, thought)


def check_message(shown: dict[str, Any], theirs: Any) -> None:
    """A message of OpenAI's form against the SDK's reading of the same answer."""
    blocks = [block.to_dict() for block in theirs.content]
    texts, calls = [b for b in blocks if b["type"] == "text"], [b for b in blocks if b["type"] == "tool_use"]
    assert (shown.get("content") or "") == "".join(block["text"] for block in texts)
    assert [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in shown.get("tool_calls") or []
    ] == [(block["id"], block["name"], block["input"]) for block in calls]
    thoughts = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    assert (shown.get("reasoning_content") or "") == thoughts
    assert shown.get("refusal") == (theirs.stop_details.explanation if theirs.stop_details else None)
    kept = ((shown.get("extra_content") or {}).get("anthropic") or {}).get("thinking") or []
    assert kept == [
        {"index": index, **block}
        for index, block in enumerate(blocks)
        if block["type"] in ("thinking", "redacted_thinking")
    ]


def check_sent_back(shown: dict[str, Any], theirs: Any) -> None:
    """The next turn of a tool loop gives Anthropic its own blocks."""
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in shown.get("tool_calls") or []]
    made = json.loads(asked({"messages": [USER, {"role": "assistant", **shown}, *results, USER]}, NEW).outgoing().body)
    assert made["messages"][1]["content"] == [block.to_dict() for block in theirs.content]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_whole_answer_is_read_as_the_sdk_reads_it(sdk: Any, name: str) -> None:
    theirs = sdk[0].messages.create(model="claude", max_tokens=9, messages=[HI], extra_headers={"x-answer": name})
    ours = asked({"messages": [USER]}, "claude")
    answer = json.loads(ours.plain(whole(name)))
    check_message(answer["choices"][0]["message"], theirs)
    result = ours.result(need_text=True)
    assert result.usage == usage_in(theirs.usage)
    assert answer["choices"][0]["finish_reason"] == result.finish_reason == FINISH[theirs.stop_reason]
    totals, told = answer["usage"], theirs.usage
    assert totals["completion_tokens"] == told.output_tokens
    assert totals["prompt_tokens_details"]["cached_tokens"] == (told.cache_read_input_tokens or 0)
    assert totals["completion_tokens_details"]["reasoning_tokens"] == result.usage.reasoning_tokens
    if theirs.content:
        check_sent_back(answer["choices"][0]["message"], theirs)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_is_read_as_the_sdks_read_it(sdk: Any, name: str) -> None:
    extra = {"x-answer": name}
    with sdk[0].messages.stream(model="claude", max_tokens=9, messages=[HI], extra_headers=extra) as stream:
        theirs = stream.get_final_message()
    ours, state = asked({"messages": [USER]}, "claude", stream=True), ChatCompletionStreamState()
    said = b"".join(ours.event(event + b"\n\n") for event in streamed(name).split(b"\n\n") if event) + ours.end()
    for data in sse.events_in(said):
        if data != b"[DONE]":
            state.handle_chunk(ChatCompletionChunk.model_validate_json(data))
    choice = state.current_completion_snapshot.choices[0]
    shown = choice.message.model_dump(exclude_none=True)
    check_message(shown, theirs)
    assert choice.finish_reason == FINISH[theirs.stop_reason]
    result = ours.result(need_text=True)
    assert result.text == (choice.message.content or "")
    assert result.usage == usage_in(theirs.usage)
    if theirs.content:
        check_sent_back(shown, theirs)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_passes_through_byte_by_byte_and_is_counted(sdk: Any, name: str) -> None:
    theirs = sdk[0].messages.create(model="claude", max_tokens=9, messages=[HI], extra_headers={"x-answer": name})
    ours = AnthropicPassExchange(Ask(b'{"messages":[]}', []), Candidate("m", "a", "claude"), "a", "key")
    assert ours.plain(whole(name)) == whole(name)
    assert ours.result(need_text=False).usage == usage_in(theirs.usage)
    ours = AnthropicPassExchange(Ask(b'{"messages":[]}', [], stream=True), Candidate("m", "a", "claude"), "a", "key")
    events = [event + b"\n\n" for event in streamed(name).split(b"\n\n") if event]
    assert b"".join(ours.event(event) for event in events) + ours.end() == streamed(name)
    assert ours.result(need_text=False).usage == usage_in(theirs.usage)


signed = st.sampled_from([THOUGHT, HIDDEN, {"type": "thinking", "thinking": "", "signature": "dW5zZWVu"}])
texts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(min_size=1)}), max_size=1)
calls = st.lists(st.dictionaries(st.text(), st.integers() | st.text(), max_size=2), min_size=1, max_size=3)


@given(texts, calls, st.data())
def test_any_turn_of_thoughts_and_calls_goes_back_as_it_came(text: Any, inputs: Any, data: st.DataObject) -> None:
    uses = [{"type": "tool_use", "id": f"t{i}", "name": "f", "input": given} for i, given in enumerate(inputs)]
    blocks: list[dict[str, Any]] = []
    for block in [*text, *uses]:
        blocks += [*data.draw(st.lists(signed, max_size=2)), block]
    made = {"id": "m", "type": "message", "role": "assistant", "content": blocks, "stop_reason": "tool_use"}
    answer = asked({"messages": [USER]}, "claude").plain(json.dumps({**made, "usage": {}}).encode())
    message = json.loads(answer)["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": use["id"], "content": "ok"} for use in uses]
    again = json.loads(asked({"messages": [USER, message, *results]}, NEW).outgoing().body)
    assert again["messages"][1]["content"] == blocks
