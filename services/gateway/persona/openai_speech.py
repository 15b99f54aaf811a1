"""Answers in OpenAI's chat form: the content of each choice, and the head of an event that tells whose answer it is."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mesh import sse
from services.gateway.persona.speech import Mouth, each, written
from services.gateway.wire.raw_bodies import join_fields

_TELLING = re.compile(rb'("(id|model|system_fingerprint)"\s*:\s*)"(?:[^"\\]|\\.)*"')
"""What tells the provider."""
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_chunk = msgspec.json.Decoder(_Chunk)


class _Rest(enum.Enum):
    """What an event of one choice says beside its text."""

    NOTHING = enum.auto()
    SOMETHING = enum.auto()
    MORE = enum.auto()
    """What is of that very text."""


class OpenAISpeech:
    """See Speech."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth
        self._head = self._own_head = b"\n"
        self._before = self._own_before = self._behind = b"\n"
        """What stood around the text of a plain event: the next one is nearly always of the same form."""
        self._begins = self._ends = self._index = 0
        self._rest_of_form: _Rest | None = None
        """What else such an event says; None = nobody looked yet."""

    def shown(self, data: bytes) -> bytes:
        """See Speech."""
        # Nearly always it is one event more of the same form.
        shown = self._alike(data)
        return each(self._event, data) if shown is None else shown

    def _event(self, event: bytes) -> bytes:
        shown = self._alike(event)
        return self._read(event) if shown is None else shown

    def _alike(self, event: bytes) -> bytes | None:
        """What becomes of an event that differs from the one before in its text only; None = it is another."""
        if not event.startswith(self._before) or not event.endswith(self._behind):
            return None
        plain, voice = event[self._begins : self._ends], self._mouth.voices.get(self._index)
        if voice is None:
            return None
        if voice.passes(plain):
            return self._own_before + event[self._begins :]
        # Without these two it is the text as it stands.
        if not plain or b'"' in plain or b"\\" in plain or not (plain.isascii() or _printable(plain)):
            return None
        text, own = plain.decode(), self._own_before + event[self._begins :]
        said = voice.feed(text)
        if said == text:
            return own
        self._mouth.changed = True
        if self._rest_of_form is None:
            self._rest_of_form = _rest_of_form(own)
        if self._rest_of_form is _Rest.MORE:
            return self._changed(own, {0: said}, [_Choice(self._index, _Delta(text))])
        if not said and self._rest_of_form is _Rest.NOTHING:
            return b""
        return self._own_before + msgspec.json.encode(said)[1:-1] + self._behind

    def _read(self, event: bytes) -> bytes:
        head, given = self._head, event
        event = self._own_head + event[len(head) :] if event.startswith(head) else self._headed(event)
        if not self._mouth.rewrites:
            return event
        try:
            choices = _chunk.decode(event[6:] if event.startswith(b"data: ") else sse.data_of(event)).choices
        except (ValueError, RecursionError):
            return event
        if len(choices) == 1:
            one = choices[0]
            text = one.delta.content if one.delta is not None else None
            if text:
                said = self._mouth.feed(one.index, text)
                if one.finish_reason is None:
                    self._learn(given, event, text, one.index)
                    if said == text:
                        return event
                return self._changed(event, {0: said}, choices)
            if one.finish_reason is None:
                return event
        return self._changed(event, {}, choices)

    def _learn(self, given: bytes, own: bytes, text: str, index: int) -> None:
        """Keeps what stands around the text of an event, as it came and as it is shown."""
        mark, said = b'"content":"', text.encode()
        begins, own_begins = given.find(mark) + len(mark), own.find(mark) + len(mark)
        plain = begins >= len(mark) and given.count(mark) == 1 and own.count(mark) == 1
        if plain and given[begins : begins + len(said) + 1] == said + b'"' and b"\\" not in said:
            self._before, self._own_before, self._index = given[:begins], own[:own_begins], index
            self._behind = given[begins + len(said) :]
            self._begins, self._ends, self._rest_of_form = begins, -len(self._behind), None

    def _headed(self, event: bytes) -> bytes:
        """The event under DAC's own id and the model's, and what to put before the next ones that begin alike."""
        begins = event.find(b'"choices"')
        if begins < 0 or not event.startswith(b"data:"):
            return event
        head, rest = event[:begins], event[begins:]
        own = self._own(head)
        if b'"model"' not in head or b'"system_fingerprint"' in rest:
            return self._rebuilt(event)
        self._head, self._own_head = head, own
        return own + rest

    def _own(self, head: bytes) -> bytes:
        own = {b"id": b'"chatcmpl-%b"' % self._mouth.answer_id.encode(), b"model": self._mouth.model}
        own[b"system_fingerprint"] = b"null"

        def put(found: re.Match[bytes]) -> bytes:
            # Of several, such as in an object within, the first is meant.
            value = own.pop(found[2], None)
            return found[0] if value is None else found[1] + value

        return _TELLING.sub(put, head)

    def _rebuilt(self, event: bytes) -> bytes:
        """The same where the head stands behind the choices, or around them."""
        try:
            fields = _top.decode(sse.data_of(event))
        except (ValueError, RecursionError):
            return event
        return b"data: " + join_fields(self._of_dac(fields)) + b"\n\n"

    def _of_dac(self, fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw | bytes]:
        own: dict[str, msgspec.Raw | bytes] = dict(fields)
        own |= {"id": msgspec.json.encode(f"chatcmpl-{self._mouth.answer_id}")} if "id" in fields else {}
        own |= {"model": self._mouth.model} if "model" in fields else {}
        return own | ({"system_fingerprint": b"null"} if "system_fingerprint" in fields else {})

    def _changed(self, event: bytes, said: dict[int, str], choices: list[_Choice]) -> bytes:
        """`said`: place in the event → what of its text may be shown, where that is known already."""
        document: dict[str, Any] | None = None
        flushed, empty = list[bytes](), True
        for place, one in enumerate(choices):
            text = one.delta.content if one.delta is not None else None
            if text and place not in said:
                said[place] = self._mouth.feed(one.index, text)
            shown = said.get(place, "") if text else text
            if one.finish_reason is not None:
                rest = self._mouth.rest(one.index)
                if text:
                    shown = (shown or "") + rest
                elif rest:
                    flushed.append(self._extra(event, one.index, rest))
            if shown != text:
                document = document or msgspec.json.decode(sse.data_of(event))
                assert document is not None
                choice = document["choices"][place]
                choice["delta"]["content"] = shown
                if choice.get("logprobs"):
                    # They are of other words.
                    choice["logprobs"] = None
            empty &= not shown and one.finish_reason is None
        if document is None:
            return b"".join([*flushed, event])
        if empty and not document.get("usage") and all(_says_nothing(one) for one in document["choices"]):
            return b""
        return b"".join([*flushed, written(event, document)])

    def _extra(self, event: bytes, index: int, text: str) -> bytes:
        document = msgspec.json.decode(sse.data_of(event))
        document.pop("usage", None)
        document["choices"] = [{"index": index, "delta": {"content": text}, "finish_reason": None}]
        return written(b"", document)

    def rest(self) -> bytes:
        """See Speech."""
        held = [(index, self._mouth.rest(index)) for index in self._mouth.open]
        about = {"id": f"chatcmpl-{self._mouth.answer_id}", "object": "chat.completion.chunk"}
        about["model"] = msgspec.json.decode(self._mouth.model)
        return b"".join(
            written(b"", {**about, "choices": [{"index": index, "delta": {"content": text}, "finish_reason": None}]})
            for index, text in held
            if text
        )

    def whole(self, body: bytes) -> bytes:
        """See Speech."""
        try:
            fields = _top.decode(body)
            choices = msgspec.json.decode(fields["choices"])
            changed = False
            for choice in choices if self._mouth.rewrites else ():
                message = choice.get("message") or {}
                text = message.get("content")
                said = self._mouth.whole(text, counts=True) if isinstance(text, str) else text
                if said != text:
                    message["content"], changed = said, True
                    choice["logprobs"] = None if choice.get("logprobs") else choice.get("logprobs")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return body
        own = self._of_dac(fields)
        return join_fields(own | ({"choices": msgspec.json.encode(choices)} if changed else {}))


def _rest_of_form(event: bytes) -> _Rest:
    document = msgspec.json.decode(sse.data_of(event))
    choice = document["choices"][0]
    if choice.get("logprobs"):
        return _Rest.MORE
    return _Rest.NOTHING if not document.get("usage") and set(choice["delta"]) == {"content"} else _Rest.SOMETHING


def _printable(data: bytes) -> bool:
    """Whether it is UTF-8: a JSON string as it stands."""
    try:
        return bool(data.decode())
    except UnicodeDecodeError:
        return False


def _says_nothing(choice: dict[str, Any]) -> bool:
    return choice.get("delta") == {"content": ""} and choice.get("finish_reason") is None
