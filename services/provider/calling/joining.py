"""Joining the parts of an answer that broke and was taken up: one stream to its caller, whatever came from whom.

One class per wire format of callers. Each wraps the exchange of the attempt that goes on, and lets through only what
its caller has not seen: one beginning, one id, no text twice, one usage over all parts.
"""

import dataclasses
from typing import Any, NamedTuple

import msgspec

from mesh import sse
from mesh.usage import openai_usage
from services.provider.adapters import Exchange, Outgoing, Result, Shown
from services.provider.adapters.messages_from_openai import usage_object
from services.provider.calling.events import Attempt, Rescue, Usage, added
from services.provider.calling.overlap import Differs, Trimmer
from services.provider.errors import differs

_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "extra_content")
_encode = msgspec.json.encode


class Broken(NamedTuple):
    """An answer to take up."""

    shown: Shown
    first_chunk: dict[str, Any]
    """The first chunk its caller saw; empty for formats that name the answer only once."""


class _Join:
    """What all formats share."""

    def __init__(self, inner: Exchange, broken: Broken, attempt: Attempt, before: Usage) -> None:
        self._inner, self._broken, self._attempt, self._before = inner, broken, attempt, before
        way = attempt.rescue
        self._trimmer = Trimmer(broken.shown.text, anew_only=way is Rescue.RESTART, glue=way is Rescue.INSTRUCTION)
        self._marked = self._other = False
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The request with the shown part."""
        return self._inner.outgoing()

    def plain(self, raw: bytes) -> bytes:
        """Only streams are taken up."""
        return self._inner.plain(raw)

    def event(self, event: bytes) -> bytes:
        """The event without what was shown before."""
        said = self._inner.event(event)
        self._follow()
        return self._joined(said) if said else b""

    def end(self) -> bytes:
        """See Exchange."""
        said = self._inner.end()
        self._follow()
        return self._joined(said)

    def error_body(self, body: bytes) -> bytes:
        """See Exchange."""
        return self._inner.error_body(body)

    def result(self, *, need_text: bool) -> Result:
        """This attempt's own usage; the whole text."""
        result = self._inner.result(need_text=need_text)
        return dataclasses.replace(result, text=self._whole()) if need_text else result

    def shown(self) -> Shown | None:
        """See adapters.Shows."""
        return None if self._other else Shown(self._whole(), self._broken.shown.block)

    def _whole(self) -> str:
        return self._broken.shown.text + self._trimmer.added

    def _follow(self) -> None:
        inner = self._inner
        self.first, self.finished, self.done = inner.first, inner.finished, inner.done

    def _joined(self, said: bytes) -> bytes:
        raise NotImplementedError

    def _total(self) -> Usage:
        return added((self._before, self._inner.result(need_text=False).usage))

    def _mark(self, made: dict[str, Any]) -> None:
        """Writes the seam into the first thing that is said behind it."""
        if not self._marked:
            self._marked = True
            made["dac"] = {
                "rescue": {
                    "way": self._attempt.rescue.name.lower(),
                    "model": self._attempt.model,
                    "provider": self._attempt.provider,
                    "shown_chars": len(self._broken.shown.text),
                }
            }

    def _new(self, piece: str, *, last: bool) -> str:
        """What of a text is new; `last`: no more comes. Raises ProviderFault when it is another answer."""
        try:
            text = self._trimmer.feed(piece) if piece else ""
            return text + self._trimmer.flush() if last else text
        except Differs:
            raise differs(self._attempt.provider) from None


class ChatJoin(_Join):
    """OpenAI's chat completions."""

    def _joined(self, said: bytes) -> bytes:
        events = []
        for data in sse.events_in(said):
            if data == b"[DONE]":
                events.append(sse.DONE)
            elif isinstance(chunk := sse.read_json(data), dict) and self._is_news(chunk):
                events.append(b"data: " + _encode(chunk) + b"\n\n")
        return b"".join(events)

    def _is_news(self, chunk: dict[str, Any]) -> bool:
        """Takes out of a chunk what the caller has; False when nothing is left."""
        chunk |= {name: value for name in ("id", "created") if (value := self._broken.first_chunk.get(name))}
        news = False
        for choice in chunk.get("choices") or []:
            delta, ended = choice.get("delta"), bool(choice.get("finish_reason"))
            if isinstance(delta, dict) or ended:
                # Some end without a delta.
                choice["delta"] = self._trimmed(delta if isinstance(delta, dict) else {}, last=ended)
                news = news or bool(choice["delta"])
            news = news or ended
        if isinstance(chunk.get("usage"), dict):
            chunk["usage"], news = openai_usage(self._total()), True
        if news:
            self._mark(chunk)
        return news

    def _trimmed(self, delta: dict[str, Any], *, last: bool) -> dict[str, Any]:
        """A delta without what was said before."""
        content = delta.pop("content", None)
        left = {name: value for name, value in delta.items() if value and name not in ("role", *_REASONING)}
        self._other = self._other or bool(left)
        text = self._new(content if isinstance(content, str) else "", last=last or bool(left))
        return {"content": text, **left} if text else left


class MessagesJoin(_Join):
    """Anthropic's messages: the open text block goes on; other blocks follow it; thinking is left out."""

    def __init__(self, inner: Exchange, broken: Broken, attempt: Attempt, before: Usage) -> None:
        super().__init__(inner, broken, attempt, before)
        self._places: dict[int, int] = {}
        self._next = broken.shown.block
        self._closed = False
        """The text block that was open has ended."""

    def shown(self) -> Shown | None:
        """See adapters.Shows."""
        return None if self._closed else super().shown()

    def _joined(self, said: bytes) -> bytes:
        return b"".join(
            _named(made)
            for data in sse.events_in(said)
            if isinstance(event := sse.read_json(data), dict)
            for made in self._said_on(event)
        )

    def _said_on(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        kind = event.get("type")
        if kind == "message_start":
            return []
        if kind == "message_delta" and isinstance(event.get("usage"), dict):
            event["usage"] |= {name: value for name, value in usage_object(self._total()).items() if value is not None}
        if kind == "content_block_start":
            return self._begun(event)
        if kind in ("content_block_delta", "content_block_stop"):
            return self._gone_on(event)
        if kind in ("message_delta", "message_stop"):
            # An answer that had nothing to add has no block of its own.
            return [*self._closing(), event]
        return [event]

    def _closing(self) -> list[dict[str, Any]]:
        """The end of the open text block, unless it has ended."""
        if self._closed:
            return []
        block = self._broken.shown.block
        made = [self._text(block, self._new("", last=True)), {"type": "content_block_stop", "index": block}]
        self._closed = True
        return [one for one in made if one]

    def _begun(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        block = event.get("content_block") or {}
        if block.get("type") in ("thinking", "redacted_thinking"):
            return []
        goes_on = not self._places
        if goes_on and block.get("type") != "text":
            # The open text block ends here, without another word.
            self._places[-1] = self._next
            self._next, goes_on = self._next + 1, False
            ended = self._closing()
        else:
            ended = []
        self._places[event["index"]], self._next = self._next, self._next + 1
        self._other = self._other or not goes_on
        if goes_on:
            return []
        return [one for one in [*ended, {**event, "index": self._places[event["index"]]}] if one]

    def _gone_on(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        place = self._places.get(event.get("index", 0))
        if place is None:
            return []
        delta = event.get("delta") or {}
        if place != self._broken.shown.block:
            return [{**event, "index": place}]
        if event["type"] == "content_block_stop":
            made = self._closing()
        elif delta.get("type") == "text_delta":
            made = [self._text(place, self._new(str(delta.get("text") or ""), last=False))]
        else:
            made = [{**event, "index": place}]
        return [one for one in made if one]

    def _text(self, place: int, piece: str) -> dict[str, Any]:
        if not piece:
            return {}
        made = {
            "type": "content_block_delta",
            "index": place,
            "delta": {"type": "text_delta", "text": piece},
        }
        self._mark(made)
        return made


def _named(event: dict[str, Any]) -> bytes:
    return b"event: " + str(event.get("type")).encode() + b"\ndata: " + _encode(event) + b"\n\n"
