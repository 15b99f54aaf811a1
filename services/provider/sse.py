"""Server-sent events as bytes: splitting a stream at blank lines, wherever the network cut it."""

from collections.abc import Iterator

from services.provider.errors import ProviderFault, garbage

DONE = b"data: [DONE]\n\n"


class Splitter:
    """Takes chunks as they come and gives whole events, their blank line included."""

    def __init__(self, provider: str = "the provider", max_event_bytes: int = 1 << 20) -> None:
        self._pending = b""
        self._provider = provider
        self._limit = max_event_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes. Raises ProviderFault for one that is too large."""
        seen = max(0, len(self._pending) - 3)
        data = self._pending + chunk if self._pending else chunk
        events = []
        start = 0
        while (end := _end_of_event(data, max(start, seen))) > 0:
            events.append(data[start:end])
            start = seen = end
        self._pending = data[start:]
        if len(self._pending) > self._limit or any(len(event) > self._limit for event in events):
            raise _too_large(self._provider, self._limit)
        return events

    def rest(self) -> bytes:
        """What came after the last blank line."""
        return self._pending


def _too_large(provider: str, limit: int) -> ProviderFault:
    return garbage(provider, f"one stream event is larger than {limit} bytes")


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
    """The data of every event in a piece of a stream."""
    for event in Splitter(max_event_bytes=len(data) + 1).feed(data):
        yield data_of(event)
