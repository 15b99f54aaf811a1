"""The persona as a stage of a chat: its preamble on the way out, its voice on the way back."""

from __future__ import annotations

import msgspec

from dac.router.v1.answers_pb2 import PersonaRules
from dac.type.v1 import chat_pb2
from services.gateway.chat.answer_stage import Staged
from services.gateway.persona.anthropic_speech import AnthropicSpeech
from services.gateway.persona.openai_speech import OpenAISpeech
from services.gateway.persona.responses_speech import ResponsesSpeech
from services.gateway.persona.speech import Mouth, Speech
from services.gateway.persona.voice import prepare, rewrite
from services.gateway.wire.openai_wire import with_system
from services.gateway.wire.raw_bodies import join_fields

DEFAULT_NAME = "DAC"
VERSION = 1
"""Of the rewriting: answers that an earlier one made are not served for this one's."""
_SPEECHES: dict[int, type[AnthropicSpeech] | type[ResponsesSpeech]] = {
    chat_pb2.DIALECT_ANTHROPIC_MESSAGES: AnthropicSpeech,
    chat_pb2.DIALECT_OPENAI_RESPONSES: ResponsesSpeech,
}
_SYSTEM = {chat_pb2.DIALECT_ANTHROPIC_MESSAGES: "system", chat_pb2.DIALECT_OPENAI_RESPONSES: "instructions"}
_SAYS_WHO = (b'"system"', b'"developer"', b'"instructions"')
"""What every body holds that says so; within a text its quotation marks would be escaped."""
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


def name_of(rules: PersonaRules) -> str:
    """Who speaks."""
    return rules.name or DEFAULT_NAME


def preamble_of(rules: PersonaRules) -> str:
    """What is said before the conversation."""
    if rules.preamble:
        return rules.preamble
    name = name_of(rules)
    tone = f" Your tone is {rules.tone}." if rules.tone else ""
    return (
        f"You are {name}, an AI assistant.{tone} When asked who you are, you are {name}; name no other company or "
        "model as yourself. When asked whether you are an AI, say that you are."
    )


def with_preamble(body: bytes, text: str, dialect: chat_pb2.Dialect) -> bytes:
    """The body with a system line put before everything that it says; nothing else of it is touched."""
    name = _SYSTEM.get(dialect, "")
    if not name:
        return with_system(body, text)
    fields: dict[str, msgspec.Raw | bytes] = dict(_top.decode(body))
    said = bytes(fields.get(name) or b"null").strip()
    if said[:1] == b'"':
        fields[name] = msgspec.json.encode(f"{text}\n\n{msgspec.json.decode(said)}")
    elif said[:1] == b"[" and said[1:].strip() != b"]":
        fields[name] = b"[" + msgspec.json.encode({"type": "text", "text": text}) + b"," + said[1:]
    else:
        fields[name] = msgspec.json.encode(text)
    return join_fields(fields)


def introduced(body: bytes, line: str, dialect: chat_pb2.Dialect) -> bytes:
    """The body with DAC's line, where neither the caller nor a thread says who is to speak."""
    if any(name in body for name in _SAYS_WHO):
        return body
    return with_preamble(body, line, dialect)


class PersonaStage:
    """See AnswerStage."""

    private = False

    def __init__(self, staged: Staged, rules: PersonaRules) -> None:
        self._rules, self._dialect, self._record = rules, staged.ask.dialect, staged.record.persona
        # JSON is data: nobody speaks in it.
        rewrites = (not rules.HasField("rewrite") or rules.rewrite) and not staged.ask.needs_json
        self._name = name_of(rules)
        self._mouth = Mouth(self._name, staged.model, staged.record.request_id, rewrites=rewrites)
        speaks: type[Speech] = _SPEECHES.get(self._dialect, OpenAISpeech)
        self._speech = speaks(self._mouth)
        self.scope = f"persona {VERSION} {rewrites} {self._name}"
        self._record.applied = True

    async def sent(self, body: bytes) -> bytes:
        """See AnswerStage."""
        await prepare()
        return with_preamble(body, preamble_of(self._rules), self._dialect)

    def shown(self, data: bytes) -> bytes:
        """See AnswerStage."""
        shown = self._speech.shown(data)
        if self._mouth.changed:
            self._record.rewritten, self._mouth.changed = self._mouth.rewritten, False
        return shown

    def rest(self) -> bytes:
        """See AnswerStage."""
        rest = self._speech.rest()
        self._record.rewritten = self._mouth.rewritten
        return rest

    def whole(self, body: bytes) -> bytes:
        """See AnswerStage."""
        said = self._speech.whole(body)
        self._record.rewritten = self._mouth.rewritten
        return said

    def told(self, text: str) -> str:
        """See AnswerStage."""
        return rewrite(text, self._name)[0] if self._mouth.rewrites else text

    def told_calls(self, calls_json: str) -> str:
        """See AnswerStage."""
        return calls_json


def stage_of(staged: Staged) -> PersonaStage | None:
    """The stage, where the policy has a persona and neither request nor key goes without."""
    rules = staged.rules.persona
    if not rules.enabled or staged.ask.persona is False or staged.caller.without_persona:
        return None
    return PersonaStage(staged, rules)
