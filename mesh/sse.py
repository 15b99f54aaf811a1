"""Server-sent events as bytes: splitting a stream at blank lines wherever the network cut it, and how much answer
the events of an OpenAI-dialect stream carry. Pure: bytes in, values out."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"
_TEXTS = ("content", "refusal")
_REASONING = ("reasoning_content", "reasoning")


class EventTooLarge(Exception):
    """One event is larger than the splitter's limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"one stream event is larger than {limit_bytes} bytes")


class Splitter:
    """Takes chunks as they come and gives whole events, their blank line included."""

    def __init__(self, max_event_bytes: int = 1 << 20) -> None:
        self._pending = b""
        self._limit = max_event_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes. Raises EventTooLarge."""
        data = self._pending + chunk if self._pending else chunk
        if data.find(b"\n") == len(data) - 2 and data.endswith(b"\n\n"):
            # As most providers send: each event a line, and in a piece of its own.
            events, self._pending = [data], b""
        elif b"\r" in data:
            events = self._feed_slowly(data, max(0, len(self._pending) - 3))
        else:
            *whole, self._pending = data.split(b"\n\n")
            events = [event + b"\n\n" for event in whole]
        if len(data) > self._limit and max(map(len, (self._pending, *events))) > self._limit:
            raise EventTooLarge(self._limit)
        return events

    def _feed_slowly(self, data: bytes, seen: int) -> list[bytes]:
        """The same where lines may end with carriage returns; nothing ends before `seen`."""
        events = []
        start = 0
        while (end := _end_of_event(data, max(start, seen))) > 0:
            events.append(data[start:end])
            start = seen = end
        self._pending = data[start:]
        return events

    def rest(self) -> bytes:
        """What came after the last blank line."""
        return self._pending


def _end_of_event(data: bytes, start: int) -> int:
    """Where the first event ends (behind its blank line), or 0."""
    plain = data.find(b"\n\n", start)
    carriage = data.find(b"\r\n\r\n", start, plain if plain >= 0 else len(data))
    if carriage >= 0:
        return carriage + 4
    return plain + 2 if plain >= 0 else 0


def data_of(event: bytes) -> bytes:
    """The event's data; empty for comments."""
    if event.startswith(b"data:") and event.find(b"\n") >= len(event) - 4:
        return event[5:].strip()
    return b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))


def events_in(data: bytes) -> Iterator[bytes]:
    """The data of every whole event in a piece of a stream."""
    for event in Splitter(max_event_bytes=len(data) + 1).feed(data):
        yield data_of(event)


def read_json(data: bytes) -> Any:
    """The JSON in `data`, also with broken UTF-8, lone surrogates or numbers out of range; None for what is none."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def answer_bytes(frames: Iterable[bytes]) -> int:
    """How many bytes of answer the frames of an OpenAI-dialect stream carry, all choices together. Never raises.

    Counted are content, refusal, reasoning, and the names and arguments of tool calls, as UTF-8. Frames may be cut
    anywhere; what is no event, or no JSON, counts nothing.
    """
    total = 0
    data: list[bytes] = []
    for line in [*b"".join(frames).splitlines(), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:])
        elif not line and data:
            total += answer_bytes_of(read_json(b"\n".join(data)))
            data = []
    return total


def answer_bytes_of(document: Any) -> int:
    """The same for one decoded stream event or one whole chat.completion."""
    choices = document.get("choices") if isinstance(document, dict) else None
    total = 0
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            said = choice.get("delta") or choice.get("message")
            total += _said_bytes(said) if isinstance(said, dict) else 0
    return total


def _said_bytes(said: dict[str, Any]) -> int:
    """The answer in one delta or message."""
    total = sum(_text_bytes(said.get(name)) for name in _TEXTS)
    # Some providers say their reasoning twice, under the old name and the new one.
    total += max(_text_bytes(said.get(name)) for name in _REASONING)
    calls = said.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    for function in [*functions, said.get("function_call")]:
        if isinstance(function, dict):
            total += _text_bytes(function.get("name")) + _text_bytes(function.get("arguments"))
    return total


def _text_bytes(value: Any) -> int:
    """The UTF-8 bytes of a text, or of the texts in a list of parts."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return sum(len(text.encode("utf-8", "replace")) for text in texts if isinstance(text, str))
    return 0
