"""How providers cut a stream into events. Bytes in, whole events out, wherever the network cut them."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from mesh.sse import EventTooLarge, Splitter


class Splits(Protocol):
    """Takes pieces as they come and gives whole events."""

    def feed(self, chunk: bytes, /) -> list[bytes]:
        """The events that `chunk` completes. Raises EventTooLarge, or ValueError for bytes that are no such stream."""


@dataclasses.dataclass(frozen=True, slots=True)
class Framing:
    """One way to send a stream."""

    content_type: str
    """What the answer is asked to be, and must be."""
    splitter: Callable[[int], Splits]
    """Makes a splitter, given the largest event in bytes."""
    tail: bytes = b""
    """What completes an event that is still open when the stream is over."""
    fits: Callable[[str], bool] | None = None
    """Says of the answer's content type whether it will do, streamed or not; None = it must be `content_type`, which
    is otherwise only what is asked for."""


class Lines:
    """One JSON document a line; empty lines are nothing."""

    def __init__(self, max_event_bytes: int) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes, self._limit = 0, max_event_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes. Raises EventTooLarge."""
        *whole, rest = chunk.split(b"\n")
        lines = []
        for line in whole:
            lines.append(b"".join([*self._pending, line]).strip())
            self._pending, self._pending_bytes = [], 0
        if rest:
            self._pending.append(rest)
            self._pending_bytes += len(rest)
        if self._pending_bytes > self._limit or any(len(line) > self._limit for line in lines):
            raise EventTooLarge(self._limit)
        return [line for line in lines if line]


SSE = Framing("text/event-stream", Splitter, b"\n\n")
NDJSON = Framing("application/x-ndjson", Lines, b"\n")
