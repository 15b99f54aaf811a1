"""Answers in Anthropic's form: the blocks of text, and the message's head."""

from __future__ import annotations

import re

import msgspec

from mesh import sse
from services.gateway.persona.speech import Mouth, each, written
from services.gateway.wire.raw_bodies import join_fields

_ID = re.compile(rb'("id"\s*:\s*)"(?:[^"\\]|\\.)*"')
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None


_event = msgspec.json.Decoder(_Event)


class AnthropicSpeech:
    """See Speech."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth

    def shown(self, data: bytes) -> bytes:
        """See Speech."""
        return each(self._event, data)

    def _event(self, event: bytes) -> bytes:
        mouth = self._mouth
        try:
            said = _event.decode(event[event.find(b"data:") + 5 :] if b"\r" not in event else sse.data_of(event))
        except (ValueError, RecursionError):
            return event
        if said.type == "message_start":
            own_id = b'"msg_' + mouth.answer_id.replace("-", "").encode() + b'"'
            return _ID.sub(lambda found: found[1] + own_id, mouth.named(event), count=1)
        if not mouth.rewrites:
            return event
        if said.type == "content_block_delta" and said.delta is not None and said.delta.type == "text_delta":
            text = said.delta.text or ""
            shown = mouth.feed(said.index, text)
            return event if shown == text else _delta(said.index, shown) if shown else b""
        if said.type == "content_block_stop":
            rest = mouth.rest(said.index)
            return _delta(said.index, rest) + event if rest else event
        return event

    def rest(self) -> bytes:
        """See Speech."""
        # A text ends with its block.
        return b""

    def whole(self, body: bytes) -> bytes:
        """See Speech."""
        try:
            fields = _top.decode(body)
            blocks = msgspec.json.decode(fields["content"])
            changed = False
            for block in blocks if self._mouth.rewrites else ():
                text = block.get("text") if block.get("type") == "text" else None
                said = self._mouth.whole(text, counts=True) if isinstance(text, str) else text
                if said != text:
                    block["text"], changed = said, True
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return body
        own: dict[str, msgspec.Raw | bytes] = dict(fields)
        own["id"] = msgspec.json.encode("msg_" + self._mouth.answer_id.replace("-", ""))
        own |= {"model": self._mouth.model} if "model" in fields else {}
        return join_fields(own | ({"content": msgspec.json.encode(blocks)} if changed else {}))


def _delta(index: int, text: str) -> bytes:
    document = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}
    return written(b"event: content_block_delta\ndata:", document)
