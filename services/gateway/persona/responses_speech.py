"""Answers in OpenAI's responses form: texts that come as deltas, then whole, then again in the parts they are of.

Ids stay: a later request names the response by its id, which only its provider knows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mesh import sse
from services.gateway.persona.speech import Mouth, each, written
from services.gateway.wire.raw_bodies import join_fields

_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    content_index: int = 0
    delta: str | msgspec.UnsetType | dict[str, Any] | None = msgspec.UNSET


_event = msgspec.json.Decoder(_Event)


class ResponsesSpeech:
    """See Speech."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth
        self._added = 0
        """How many events came in between: those behind are counted on."""

    def shown(self, data: bytes) -> bytes:
        """See Speech."""
        return each(self._event, data)

    def _event(self, event: bytes) -> bytes:
        mouth = self._mouth
        try:
            said = _event.decode(event[event.find(b"data:") + 5 :] if b"\r" not in event else sse.data_of(event))
        except (ValueError, RecursionError):
            return event
        if said.type == "response.output_text.delta" and isinstance(said.delta, str):
            if not mouth.rewrites:
                return event
            shown = mouth.feed((said.output_index, said.content_index), said.delta)
            if shown == said.delta and not self._added:
                return event
            # Nothing is left out: the events are numbered.
            return self._written(event, {"delta": shown})
        if not said.type.startswith("response.") or said.type.endswith(".delta"):
            return self._written(event, {}) if self._added else event
        return self._said_whole(event, said)

    def _said_whole(self, event: bytes, said: _Event) -> bytes:
        document = msgspec.json.decode(sse.data_of(event))
        flushed = b""
        if said.type == "response.output_text.done":
            rest = self._mouth.rest((said.output_index, said.content_index))
            if rest:
                place = {
                    name: document[name] for name in ("item_id", "output_index", "content_index") if name in document
                }
                number = {"sequence_number": document.get("sequence_number", 0) + self._added}
                extra = {"type": "response.output_text.delta", **number, **place, "delta": rest, "logprobs": []}
                flushed = written(b"event: response.output_text.delta\ndata:", extra)
                self._added += 1
        changed = self._in_voice(document)
        if not changed and not self._added:
            return flushed + event
        return flushed + self._written(event, document)

    def _written(self, event: bytes, changes: dict[str, Any]) -> bytes:
        document = {**msgspec.json.decode(sse.data_of(event)), **changes}
        if self._added and isinstance(document.get("sequence_number"), int):
            document["sequence_number"] += self._added
        return written(event, document)

    def _in_voice(self, document: dict[str, Any], *, counts: bool = False) -> bool:
        """Puts every text in the document into the voice, and the model's name; whether anything changed."""
        changed = False
        response = document.get("response")
        if isinstance(response, dict):
            changed = self._named(response)
            items = response.get("output")
        else:
            items = document.get("output") if isinstance(document.get("output"), list) else [document.get("item")]
        parts = [document.get("part"), document if document.get("type") == "response.output_text.done" else None]
        for item in items if isinstance(items, list) else ():
            content = item.get("content") if isinstance(item, dict) and item.get("type") == "message" else None
            parts += content if isinstance(content, list) else []
        for part in parts if self._mouth.rewrites else ():
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(part, dict) and isinstance(text, str) and part.get("type") in _TEXTS:
                said = self._mouth.whole(text, counts=counts)
                if said != text:
                    part["text"], changed = said, True
        return changed

    def _named(self, response: dict[str, Any]) -> bool:
        model = msgspec.json.decode(self._mouth.model)
        if response.get("model") in (None, model):
            return False
        response["model"] = model
        return True

    def rest(self) -> bytes:
        """See Speech."""
        # A text ends with its own event.
        return b""

    def whole(self, body: bytes) -> bytes:
        """See Speech."""
        try:
            fields = _top.decode(body)
            document = {"output": msgspec.json.decode(fields["output"])}
            changed = self._in_voice(document, counts=True)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return body
        own: dict[str, msgspec.Raw | bytes] = dict(fields)
        own |= {"model": self._mouth.model} if "model" in fields else {}
        return join_fields(own | ({"output": msgspec.json.encode(document["output"])} if changed else {}))


_TEXTS = ("output_text", "response.output_text.done")
