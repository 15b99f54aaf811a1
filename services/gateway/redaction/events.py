"""Values back in place of placeholders, in the events of a stream however the provider has cut them.

An event that ends within a possible placeholder waits, and those behind it with it; when the text goes on otherwise
they are sent as they came. So no event is made or lost, and what holds no placeholder stays byte for byte.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from dac.type.v1 import chat_pb2
from mesh import sse
from mesh.errors import MeshError
from services.gateway.redaction.bodies import Path, Steps, Texts, changes_of, is_json, rewritten, spliced
from services.gateway.redaction.placeholders import LIKE, Restorer, held_from

HELD_BYTES_MAX = 256 * 1024
"""A stream that says this much within a possible placeholder is no longer waited with."""
MOST_SAID = 1_000_000
"""How many values an answer has at most that is gone through: lists of likely tokens are long."""
_MAY_BEGIN = re.compile(rb'\[[A-Z"\\]|\\u005')
"""What every event holds in which a placeholder begins."""
_ARGUMENTS = "_arguments."
"""What the types of events are called that say the arguments of a call."""
Channel = tuple[Any, ...]
"""What goes on from event to event: one text of an answer."""
Said = tuple[Channel, Path]
"""A piece of a channel's text, and where it stands in its event."""


class _Held:
    """One event, whole."""

    __slots__ = ("changes", "data", "raw")

    def __init__(self, raw: bytes, data: bytes) -> None:
        self.raw, self.data = raw, data
        self.changes: dict[Path, str] = {}

    def written(self) -> bytes:
        """The event as it goes on."""
        if not self.changes:
            return self.raw
        at = 0 if self.raw.startswith(b"data:") else self.raw.index(b"\ndata:") + 1
        ends = self.raw[len(self.raw.rstrip(b"\r\n")) :]
        return self.raw[:at] + b"data: " + spliced(self.data, self.changes) + ends


@dataclasses.dataclass(slots=True)
class _Piece:
    """What one event says of a channel's text."""

    held: _Held
    path: Path
    text: str
    """What may still become something else."""
    in_json: bool
    """Values are written as within strings of JSON."""
    said: str = ""
    """What stands before it for good."""

    def becomes(self, made: str, was: str) -> None:
        """Writes what it says now into its event."""
        if self.said + made != was or self.path in self.held.changes:
            self.held.changes[self.path] = self.said + made


class StreamRestorer:
    """One stream on its way back. `shown` takes whole events and gives whole events."""

    def __init__(self, dialect: chat_pb2.Dialect, restorer: Restorer, *, in_json: bool) -> None:
        """`in_json`: the answer's text is JSON itself."""
        self._restorer, self._in_json = restorer, in_json
        self._pieces, self._ended = _DIALECTS[dialect]
        self._queue: list[_Held] = []
        self._queued_bytes = 0
        self._open: dict[Channel, list[_Piece]] = {}
        """The pieces, from the one in which a possible placeholder begins; by channel."""

    def shown(self, data: bytes) -> bytes:
        """What of the stream may go on by now."""
        if not self._queue and _MAY_BEGIN.search(data) is None:
            return data
        splitter = sse.Splitter(max_event_bytes=len(data) + 1)
        for raw in splitter.feed(data):
            self._add(raw)
        rest = splitter.rest()
        if rest:
            self._queue.append(_Held(rest, b""))
        if self._open and self._queued_bytes <= HELD_BYTES_MAX:
            return self._ready()
        return self.rest()

    def rest(self) -> bytes:
        """All that was held."""
        out = b"".join(one.written() for one in self._queue)
        self._queue, self._open, self._queued_bytes = [], {}, 0
        return out

    def _ready(self) -> bytes:
        """The events before the first that waits."""
        waiting = {id(pieces[0].held) for pieces in self._open.values()}
        index = next(at for at, one in enumerate(self._queue) if id(one) in waiting)
        if not index:
            return b""
        ready, self._queue = self._queue[:index], self._queue[index:]
        self._queued_bytes -= sum(len(one.raw) for one in ready)
        return b"".join(one.written() for one in ready)

    def _add(self, raw: bytes) -> None:
        data = sse.data_of(raw)
        held = _Held(raw, data)
        self._queue.append(held)
        self._queued_bytes += len(raw)
        document = _object(data)
        if document is None or b"\ndata:" in raw[raw.find(b"data:") + 5 :]:
            return
        pieces = list(self._pieces(document))
        for channel, path in pieces:
            for other in [one for one in self._open if one[0] == channel[0] and one != channel]:
                del self._open[other]
            in_json = self._in_json or is_json(path) or _ARGUMENTS in str(document.get("type"))
            self._say(channel, _Piece(held, path, _at(document, path), in_json))
        self._close(document)
        if not pieces and b"[" in data:
            # An event that says a text as a whole, such as the last one of a response.
            texts = _texts_said(document)
            held.changes |= changes_of(texts, self._restored) if texts is not None else {}

    def _close(self, document: dict[str, Any]) -> None:
        """Nothing more is said of the channels that this event ends."""
        ended = self._ended(document)
        for channel in [one for one in self._open if ended is None or one[0] in ended]:
            del self._open[channel]

    def _restored(self, text: str, in_json: bool) -> str:
        return self._restorer.text(text, in_json=in_json or self._in_json)

    def _say(self, channel: Channel, piece: _Piece) -> None:
        """One more piece of a channel's text."""
        if not piece.text:
            # Many of them would be joined anew with each that comes.
            return
        pieces = [*self._open.pop(channel, []), piece]
        joined = "".join(one.text for one in pieces)
        if "[" not in joined:
            return
        ends = list(itertools.accumulate(len(one.text) for one in pieces))
        made = self._made(pieces, joined, ends)
        for one, text in zip(pieces, made, strict=True):
            one.becomes(text, one.said + one.text)
        begins = held_from(joined)
        if begins < len(joined):
            first = _piece_of(ends, begins)
            one, left = pieces[first], ends[first] - begins
            one.said += made[first][: len(made[first]) - left]
            one.text = joined[begins : ends[first]]
            self._open[channel] = pieces[first:]

    def _made(self, pieces: Sequence[_Piece], joined: str, ends: Sequence[int]) -> list[str]:
        """What each piece says with values, each in the piece in which its placeholder begins."""
        parts: list[list[str]] = [[] for _ in pieces]
        at = 0
        for match in LIKE.finditer(joined):
            value = self._restorer.text(match.group(), in_json=pieces[-1].in_json)
            if value != match.group():
                _spread(parts, ends, joined, at, match.start())
                parts[_piece_of(ends, match.start())].append(value)
                at = match.end()
        _spread(parts, ends, joined, at, len(joined))
        return ["".join(part) for part in parts]


def _object(data: bytes) -> dict[str, Any] | None:
    """The event's document; None for one that cannot be written again as it was."""
    try:
        document = msgspec.json.decode(data) if data[:1] == b"{" else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _piece_of(ends: Sequence[int], place: int) -> int:
    return next(index for index, end in enumerate(ends) if place < end)


def _spread(parts: list[list[str]], ends: Sequence[int], joined: str, start: int, end: int) -> None:
    """Gives each piece its own part of the text between two places."""
    begins = 0
    for part, until in zip(parts, ends, strict=True):
        part.append(joined[max(start, begins) : min(end, until)])
        begins = until


def _texts_said(document: Any) -> Texts | None:
    """The texts of an answer; None for one that no model says, which keeps its placeholders."""
    texts = Texts(steps=Steps(MOST_SAID))
    try:
        texts.walk(document)
    except MeshError:
        return None
    return texts


def whole(body: bytes, restorer: Restorer, *, in_json: bool) -> bytes:
    """An answer that is no stream, with values."""
    document = sse.read_json(body) if b"[" in body else None
    texts = _texts_said(document) if document is not None else None
    if texts is None:
        return body
    return rewritten(body, texts, lambda text, inner: restorer.text(text, in_json=inner or in_json))


def _at(document: Any, path: Path) -> str:
    for step in path:
        document = document[step]
    return str(document)


_SAID = ("content", "refusal", "reasoning_content", "reasoning")


def _openai(document: dict[str, Any]) -> Iterator[Said]:
    choices = document.get("choices")
    for at, choice in enumerate(choices if isinstance(choices, list) else ()):
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            continue
        index = choice.get("index", 0)
        for name in _SAID:
            if isinstance(delta.get(name), str):
                yield (index, name), ("choices", at, "delta", name)
        calls = delta.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                place: Path = ("choices", at, "delta", "tool_calls", number, "function", "arguments")
                yield (index, "call", call.get("index", number)), place
        function = delta.get("function_call")
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            yield (index, "function"), ("choices", at, "delta", "function_call", "arguments")


def _anthropic(document: dict[str, Any]) -> Iterator[Said]:
    delta = document.get("delta")
    if document.get("type") == "content_block_delta" and isinstance(delta, dict):
        for name in ("text", "partial_json"):
            if isinstance(delta.get(name), str):
                yield (document.get("index"), name), ("delta", name)


def _responses(document: dict[str, Any]) -> Iterator[Said]:
    kind = document.get("type")
    if isinstance(kind, str) and kind.endswith(".delta") and isinstance(document.get("delta"), str):
        where = tuple(document.get(name) for name in ("output_index", "content_index", "summary_index"))
        yield (where[0], kind, *where[1:]), ("delta",)


def _openai_ended(document: dict[str, Any]) -> set[Any] | None:
    choices = document.get("choices")
    return {
        choice.get("index", 0)
        for choice in (choices if isinstance(choices, list) else ())
        if isinstance(choice, dict) and choice.get("finish_reason") is not None
    }


def _anthropic_ended(document: dict[str, Any]) -> set[Any] | None:
    kind = document.get("type")
    if kind in ("ping", "content_block_delta"):
        return set()
    return {document.get("index")} if kind == "content_block_stop" else None


def _responses_ended(document: dict[str, Any]) -> set[Any] | None:
    kind = document.get("type")
    if kind == "keepalive" or (isinstance(kind, str) and kind.endswith(".delta")):
        return set()
    return {document["output_index"]} if isinstance(document.get("output_index"), int) else None


_DIALECTS: dict[int, tuple[Callable[[dict[str, Any]], Iterator[Said]], Callable[[dict[str, Any]], set[Any] | None]]] = {
    chat_pb2.DIALECT_OPENAI_CHAT: (_openai, _openai_ended),
    chat_pb2.DIALECT_ANTHROPIC_MESSAGES: (_anthropic, _anthropic_ended),
    chat_pb2.DIALECT_OPENAI_RESPONSES: (_responses, _responses_ended),
}
"""By wire format: the pieces of text in an event, and the groups of channels that it ends (None = all)."""
