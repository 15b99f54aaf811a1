"""Redaction of requests that are no chats: texts for embeddings and for speech, and what goes along with an upload.

Their answers hold no text of the caller's, so nothing is put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dac.provider.v1.provider_pb2 import FormPart
from dac.router.v1.answers_pb2 import AnswerRules, RedactionRules
from dac.type.v1 import chat_pb2
from dac.type.v1.record_pb2 import RedactionRecord
from services.gateway.redaction.stage import RedactionStage, in_force
from services.gateway.wire import raw_bodies

FIELD = "redaction"


def taken_out(fields: Mapping[str, msgspec.Raw], body: bytes) -> tuple[bool | None, bytes]:
    """What a body says of redaction, and the body without it. Raises INVALID_REQUEST."""
    if FIELD not in fields:
        return None, body
    asked = raw_bodies.read_field(fields, FIELD, bool | None, None)
    return asked, raw_bodies.join_fields({name: raw for name, raw in fields.items() if name != FIELD})


def _stage(rules: RedactionRules, record: RedactionRecord) -> RedactionStage:
    plain = RedactionRules()
    plain.CopyFrom(rules)
    plain.restore = False
    return RedactionStage(plain, record, chat_pb2.DIALECT_OPENAI_CHAT, json=False)


async def without_values(rules: AnswerRules | None, asked: bool | None, body: bytes, record: RedactionRecord) -> bytes:
    """A body as it may be sent. Raises PRIVATE_DATA_REFUSED or PERMISSION_DENIED."""
    found = in_force(rules, asked=asked)
    return body if found is None else await _stage(found, record).sent(body)


async def form_without_values(
    rules: AnswerRules | None, asked: bool | None, form: Sequence[FormPart], record: RedactionRecord
) -> Sequence[FormPart]:
    """The parts of an upload as they may be sent; the file itself is no text."""
    found = in_force(rules, asked=asked)
    prompts = [one for one in form if one.name == "prompt"]
    if found is None or not prompts:
        return form
    texts = [one.data.decode("utf-8", "replace") for one in prompts]
    made = await _stage(found, record).sent(msgspec.json.encode({"input": texts}))
    for one, text in zip(prompts, msgspec.json.decode(made)["input"], strict=True):
        one.data = text.encode()
    return form
