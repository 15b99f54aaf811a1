"""What goes to a provider: placeholders in all three wire formats, everything else byte for byte."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dac.router.v1.answers_pb2 import AnswerRules, RedactionRules
from dac.type.v1 import chat_pb2
from dac.type.v1.record_pb2 import RedactionRecord
from mesh.errors import MeshError, Reason
from services.gateway.redaction.placeholders import Redactor, Restorer
from services.gateway.redaction.stage import RedactionStage, in_force

CARD = 4111111111111111
OPENAI = chat_pb2.DIALECT_OPENAI_CHAT


def stage(record: RedactionRecord | None = None, **rules: Any) -> RedactionStage:
    asked = RedactionRules(enabled=True, **rules)
    return RedactionStage(asked, record if record is not None else RedactionRecord(), OPENAI, json=False)


def sent(body: bytes, **rules: Any) -> bytes:
    return asyncio.run(stage(**rules).sent(body))


def test_openai_messages_arguments_and_results_go_without_private_values() -> None:
    body = (
        b'{ "model":"m",  "temperature": 1.0, "messages":[{"role":"user","content":"I am a@b.org"},'
        b'{"role":"user","content":[{"type":"text","text":"call +44 20 7946 0958"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA4111111111111111"}}]},'
        b'{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":'
        b'{"name":"mail","arguments":"{\\"to\\":\\"a@b.org\\",\\"note\\":\\"x\\\\ny@z.org\\",\\"card\\":4111111111111111}"}}]},'
        b'{"role":"tool","tool_call_id":"c1","content":"sent to a@b.org"}],"user":"a@b.org","seed":12345678901234567}'
    )
    made = sent(body)
    assert b"a@b.org" not in made and b"7946" not in made and b"y@z.org" not in made
    document = json.loads(made)
    assert document["messages"][0]["content"] == "I am [EMAIL_1]"
    assert document["messages"][1]["content"][0]["text"] == "call [PHONE_1]"
    arguments = json.loads(document["messages"][2]["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"to": "[EMAIL_1]", "note": "x\n[EMAIL_2]", "card": "[CARD_1]"}
    assert document["messages"][3]["content"] == "sent to [EMAIL_1]"
    assert document["user"] == "[EMAIL_1]"
    # What is no text is the same, to the byte.
    assert b'"temperature":1.0' in made and b'"seed":12345678901234567' in made
    assert b'{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA4111111111111111"}}' in made


def test_anthropic_systems_calls_results_and_documents() -> None:
    body = json.dumps(
        {
            "model": "m",
            "system": [{"type": "text", "text": "The owner is a@b.org", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "about a@b.org", "signature": "sig"},
                        {"type": "tool_use", "id": "t", "name": "mail", "input": {"url": "a@b.org", "id": CARD}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "c@d.org"}]},
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a@b.org"}},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUFBQQ=="}},
                    ],
                },
            ],
        }
    ).encode()  # fmt: skip
    document = json.loads(sent(body))
    assert document["system"][0]["text"] == "The owner is [EMAIL_1]"
    thinking, call = document["messages"][0]["content"]
    assert thinking == {"type": "thinking", "thinking": "about a@b.org", "signature": "sig"}
    assert call["input"] == {"url": "[EMAIL_1]", "id": "[CARD_1]"}
    result, paper, image = document["messages"][1]["content"]
    assert result["content"][0]["text"] == "[EMAIL_2]"
    assert paper["source"]["data"] == "[EMAIL_1]"
    assert image["source"]["data"] == "QUFBQQ=="


def test_responses_instructions_inputs_and_outputs_of_functions() -> None:
    body = json.dumps(
        {
            "model": "m",
            "instructions": "help a@b.org",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "ssn 123-45-6789"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"q":"a@b.org"}'},
                {"type": "function_call_output", "call_id": "c", "output": "8.8.8.8"},
                {"type": "reasoning", "id": "r", "encrypted_content": "a@b.org", "summary": []},
            ],
        }
    ).encode()
    document = json.loads(sent(body))
    assert document["instructions"] == "help [EMAIL_1]"
    assert document["input"][0]["content"][0]["text"] == "ssn [SSN_1]"
    assert document["input"][1]["arguments"] == '{"q":"[EMAIL_1]"}'
    assert document["input"][2]["output"] == "[IP_1]"
    assert document["input"][3]["encrypted_content"] == "a@b.org"
    assert json.loads(sent(b'{"model":"m","input":"a@b.org"}'))["input"] == "[EMAIL_1]"


def test_a_body_without_private_values_is_the_very_same_bytes() -> None:
    body = b'{ "model" : "m", "messages":[ {"role":"user", "content":"Hi \\u00e9"} ] }'
    assert sent(body) is body


def test_placeholders_never_stand_for_what_was_there_before() -> None:
    body = b'{"messages":[{"role":"user","content":"[EMAIL_1] \\u005bEMAIL_2] are not a@b.org"}]}'
    assert json.loads(sent(body))["messages"][0]["content"] == "[EMAIL_1] [EMAIL_2] are not [EMAIL_3]"


def test_block_names_kinds_and_no_values() -> None:
    record = RedactionRecord()
    with pytest.raises(MeshError) as refused:
        asyncio.run(stage(record, action="block").sent(b'{"messages":[{"role":"user","content":"a@b.org"}]}'))
    assert refused.value.reason is Reason.PRIVATE_DATA_REFUSED
    assert "email" in refused.value.message and "a@b.org" not in refused.value.message
    assert dict(record.kinds) == {"email": 1} and record.action == "block"


def test_flag_changes_nothing_and_counts() -> None:
    record = RedactionRecord()
    body = b'{"messages":[{"role":"user","content":"a@b.org and c@d.org"}]}'
    assert asyncio.run(stage(record, action="flag", restore=True).sent(body)) is body
    assert dict(record.kinds) == {"email": 2} and record.action == "flag"


def test_a_request_may_ask_for_it_and_cannot_refuse_it() -> None:
    policy = AnswerRules(redaction=RedactionRules(enabled=True, action="block"))
    assert in_force(None, asked=None) is None and in_force(AnswerRules(), asked=False) is None
    assert in_force(None, asked=True) == RedactionRules(enabled=True, restore=True)
    assert in_force(policy, asked=True) == in_force(policy, asked=None) == policy.redaction
    with pytest.raises(MeshError, match="policy takes private values out"):
        in_force(policy, asked=False)


def test_only_an_answer_with_values_is_the_callers_alone() -> None:
    async def private(text: str, **rules: Any) -> bool:
        one = stage(**rules)
        await one.sent(json.dumps({"messages": [{"role": "user", "content": text}]}).encode())
        return one.private

    assert asyncio.run(private("a@b.org", restore=True))
    assert not asyncio.run(private("a@b.org"))
    assert not asyncio.run(private("nothing", restore=True))


def test_a_large_body_lets_others_have_their_turn() -> None:
    async def turns() -> int:
        taken, done = 0, asyncio.Event()

        async def count() -> None:
            nonlocal taken
            while not done.is_set():
                taken += 1
                await asyncio.sleep(0)

        numbers = " ".join(f"call {200 + at % 700}-{200 + at % 531}-{at % 10000:04d}" for at in range(500))
        text = numbers + " and so on" * 1000
        counting = asyncio.create_task(count())
        await stage().sent(json.dumps({"messages": [{"role": "user", "content": text}]}).encode())
        done.set()
        await counting
        return taken

    assert asyncio.run(turns()) > 3


VALUES = st.sampled_from(
    ["a@b.org", "c.d@e.co", "+14155552671", "8.8.8.8", "4111111111111111", "123-45-6789", "plain", ""]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(' ,.\né[]"\\', max_size=4), VALUES), max_size=12))
def test_what_is_taken_out_comes_back(pieces: list[tuple[str, str]]) -> None:
    text = "".join(f"{between} {value} " for between, value in pieces)
    redactor = Redactor()
    made = redactor.text(text)
    assert Restorer(redactor.values).text(made) == text
    for value in redactor.values.values():
        assert value not in made
    assert len(set(redactor.values.values())) == len(redactor.values)
