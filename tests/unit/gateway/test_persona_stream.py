"""A persona in the events of a stream: whatever else they hold stays, however the provider has cut the text."""

import json
import re
import time

import pytest

from dac.router.v1.answers_pb2 import AnswerRules, PersonaRules
from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import RequestRecord
from mesh.ids import uuid7
from services.gateway.chat.answer_stage import Staged
from services.gateway.chat.answer_stages import stages_of
from services.gateway.identity.callers import Caller
from services.gateway.persona import voice
from services.gateway.wire.openai_wire import parse_chat

RULES = AnswerRules(persona=PersonaRules(enabled=True, name="Acme"))
SAID = 'Well, it is so: "no". As an AI language model, I am ChatGPT, and that is é. My name is Claude.\n`I am Claude` a'
SHOWN = 'Well, it is so: "no". As the AI assistant Acme, I am Acme, and that is é. My name is Acme.\n`I am Claude` a'
BODY = b'{"model":"a/b","stream":true,"messages":[{"role":"user","content":"Hi"}]}'


def started():
    org_id = uuid7()
    record = RequestRecord(request_id=uuid7())
    made = stages_of(Staged(RULES, parse_chat(BODY), Caller(Principal(org_id=org_id), ()), record, lambda: "x/y"))
    assert made is not None
    return made, record


def event(text, dense=False, **more):
    """One event; `more` stands beside the text in its delta, its choice, or the event."""
    delta = {"content": text} | ({"role": "assistant"} if more.get("role") else {})
    choice = {"index": 0, "delta": delta, "logprobs": more.get("logprobs"), "finish_reason": more.get("reason")}
    document = {"id": "chatcmpl-1", "model": "gpt-4o-2024", "system_fingerprint": "fp_1", "choices": [choice]}
    document |= {"usage": more["usage"]} if "usage" in more else {}
    separators = (",", ":") if dense else None
    return b"data: " + json.dumps(document, separators=separators, ensure_ascii=dense).encode() + b"\n\n"


def shown_of(events):
    stages, record = started()
    made = b"".join([*map(stages.shown, events), stages.rest()])
    documents = [json.loads(one[6:]) for one in made.split(b"\n\n") if one]
    assert {one["model"] for one in documents} == {"x/y"}
    assert {one["id"] for one in documents} == {f"chatcmpl-{record.request_id}"}
    assert all(one.get("system_fingerprint") is None for one in documents)
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in documents), documents, record


@pytest.mark.parametrize(
    "more", [{}, {"dense": True}, {"role": True}, {"usage": {"n": 1}}, {"logprobs": {"content": []}}]
)
@pytest.mark.parametrize("size", [1, 2, 5, 17, 400])
def test_what_is_shown_is_the_same_in_every_form_and_cutting(more, size):
    pieces = [SAID[at : at + size] for at in range(0, len(SAID), size)]
    last = event("", reason="stop", **more)
    text, documents, record = shown_of([*(event(piece, **more) for piece in pieces), last])
    assert text == SHOWN and record.persona.rewritten == 3
    assert documents[-1]["choices"][0]["finish_reason"] == "stop"
    if "usage" in more:
        assert sum("usage" in one for one in documents) >= len(pieces), "no event that says more than text is left out"
    if "logprobs" in more:
        changed = [one for one in documents if not one["choices"][0].get("logprobs")]
        assert changed, "those of other words are left out"


def test_several_events_in_one_piece_are_as_each_for_itself():
    events = [
        event(piece) for piece in ("Well", ", it", " is", " so", ". I", " am", " Chat", "GPT", ".", " And", " on")
    ]
    stages, _ = started()
    single = b"".join([*map(stages.shown, events), stages.rest()])
    for size in (2, 3, len(events)):
        one, _ = started()
        joined = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
        together = b"".join([*map(one.shown, joined), one.rest()])
        ids = [json.loads(made.split(b"\n")[0][6:])["id"].encode() for made in (single, together)]
        assert together.replace(ids[1], ids[0]) == single


def test_what_need_not_change_stays_byte_for_byte():
    plain = [event(word, dense=True) for word in ("Nothing", " of", " that", " kind", " is", " said", " here")]
    stages, record = started()
    head = b'"id":"chatcmpl-%s","model":"x/y","system_fingerprint":null' % record.request_id.encode()
    theirs = b'"id":"chatcmpl-1","model":"gpt-4o-2024","system_fingerprint":"fp_1"'
    assert [stages.shown(one) for one in plain] == [one.replace(theirs, head) for one in plain]


def forgotten() -> None:
    voice._patterns.cache_clear()
    re.purge()


async def test_the_first_persona_of_a_process_holds_nobody_up():
    stages, _ = started()
    forgotten()
    begun = time.thread_time()
    sent = await stages.sent(BODY)
    on_the_loop_s = time.thread_time() - begun
    forgotten()
    begun = time.thread_time()
    voice._patterns()
    assert on_the_loop_s < (time.thread_time() - begun) / 3, "the patterns are made in another thread"
    assert b"You are Acme" in sent
