"""The answer's own words in the events of a stream and in whole bodies, form by form: what a `Speech` is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import msgspec

from mesh import sse
from services.gateway.persona.voice import Voice, rewrite

_MODEL = re.compile(rb'("model"\s*:\s*)"(?:[^"\\]|\\.)*"')


class Speech(Protocol):
    """One answer of one form, said in the organisation's voice."""

    def __init__(self, mouth: Mouth) -> None:
        """`mouth` has the voices of its texts."""

    def shown(self, data: bytes) -> bytes:
        """Whole events in, whole events out: for each one, none or two. Byte for byte the same where nothing has to
        change."""

    def rest(self) -> bytes:
        """What waits at the end of a stream whose events did not say that a text ended."""

    def whole(self, body: bytes) -> bytes:
        """A whole answer."""


class Mouth:
    """The texts of one answer, each with its voice; counts what was put otherwise."""

    def __init__(self, name: str, model: Callable[[], str], answer_id: str, *, rewrites: bool) -> None:
        """`model`: the id of the model that answers by now; `answer_id`: DAC's own, without a prefix. Without
        `rewrites` only what tells the provider is taken out."""
        self._name, self._model, self.answer_id, self.rewrites = name, model, answer_id, rewrites
        self.voices: dict[object, Voice] = {}
        """Of the texts that have not ended."""
        self._before = 0
        self.changed = False
        """Whether something was put otherwise, or held, since it was last set."""

    @property
    def rewritten(self) -> int:
        """How many claims were put otherwise."""
        return self._before + sum(voice.rewritten for voice in self.voices.values())

    @property
    def model(self) -> bytes:
        """The model's id as JSON."""
        return msgspec.json.encode(self._model())

    def feed(self, key: object, text: str) -> str:
        """A piece of one text; what of it may be shown."""
        voice = self.voices.get(key)
        if voice is None:
            voice = self.voices[key] = Voice(self._name)
        said = voice.feed(text)
        if said != text:
            self.changed = True
        return said

    def rest(self, key: object) -> str:
        """What waits of one text, which has ended."""
        voice = self.voices.pop(key, None)
        if voice is None:
            return ""
        rest, self.changed = voice.rest(), True
        self._before += voice.rewritten
        return rest

    @property
    def open(self) -> list[object]:
        """The texts that have not ended."""
        return list(self.voices)

    def whole(self, text: str, *, counts: bool = False) -> str:
        """A whole text."""
        if not self.rewrites:
            return text
        said, rewritten = rewrite(text, self._name)
        self._before += rewritten if counts else 0
        return said

    def named(self, event: bytes) -> bytes:
        """An event with its first model put as DAC's id."""
        model = self.model
        return _MODEL.sub(lambda found: found[1] + model, event, count=1)


def each(said: Callable[[bytes], bytes], data: bytes) -> bytes:
    """What becomes of the whole events in a piece of a stream, each with its blank line."""
    if data.find(b"\n\n") == len(data) - 2:
        return said(data)
    return b"".join(map(said, sse.Splitter(max_event_bytes=len(data) + 1).feed(data)))


def written(event: bytes, document: object) -> bytes:
    """An event with another document."""
    begins = event.find(b"data:")
    return event[: max(0, begins)] + b"data: " + msgspec.json.encode(document) + b"\n\n"
