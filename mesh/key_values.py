"""Small shared values with a life time, and their store in one process's memory.

Nothing here may be the truth: a store never raises, and what it holds may be gone at any time.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

MEMORY_KEYS_MAX = 100_000
CALL_TIMEOUT_S = 0.04
"""How long a call waits for a server, unless its caller can wait longer."""

Subscriber = Callable[[bytes], None]

_log = logging.getLogger("mesh.redis")


class KeyValueStore(Protocol):
    """What services see, whatever is behind it."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when there is none or its time is over."""

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` for `ttl_s`."""

    async def add(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Keep `value` for `ttl_s` unless there is one already; whether it is kept."""

    async def delete(self, key: str) -> None:
        """Forget `key`."""

    async def incr(self, key: str, ttl_s: float) -> int:
        """Count one up and return the count; the life time runs from the first count."""

    async def publish(self, channel: str, payload: bytes) -> None:
        """Tell every subscriber, at most once each."""

    async def subscribe(self, channel: str, callback: Subscriber) -> None:
        """Call back for every payload published from now on."""

    async def close(self) -> None:
        """Give everything back."""


class MemoryStore:
    """One process's own store: bounded, the oldest keys go first."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._values: dict[str, tuple[bytes, float]] = {}
        self._subscribers: dict[str, list[Subscriber]] = {}

    async def get(self, key: str) -> bytes | None:
        """See KeyValueStore."""
        value, until = self._values.get(key, (None, 0.0))
        if value is not None and until <= self._now():
            del self._values[key]
            return None
        return value

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """See KeyValueStore."""
        self._put(key, value, self._now() + ttl_s)

    async def add(self, key: str, value: bytes, ttl_s: float) -> bool:
        """See KeyValueStore."""
        if await self.get(key) is not None:
            return False
        self._put(key, value, self._now() + ttl_s)
        return True

    async def delete(self, key: str) -> None:
        """See KeyValueStore."""
        self._values.pop(key, None)

    async def incr(self, key: str, ttl_s: float) -> int:
        """See KeyValueStore."""
        value, until = self._values.get(key, (b"0", 0.0))
        fresh = until <= self._now()
        count = 1 if fresh else int(value) + 1
        self._put(key, str(count).encode(), self._now() + ttl_s if fresh else until)
        return count

    async def publish(self, channel: str, payload: bytes) -> None:
        """See KeyValueStore."""
        for callback in self._subscribers.get(channel, ()):
            try:
                callback(payload)
            except Exception:
                _log.exception("a subscriber of %s failed", channel)

    async def subscribe(self, channel: str, callback: Subscriber) -> None:
        """See KeyValueStore."""
        self._subscribers.setdefault(channel, []).append(callback)

    async def close(self) -> None:
        """See KeyValueStore."""
        self._values.clear()
        self._subscribers.clear()

    def _put(self, key: str, value: bytes, until: float) -> None:
        self._values.pop(key, None)
        self._values[key] = (value, until)
        if len(self._values) > MEMORY_KEYS_MAX:
            del self._values[next(iter(self._values))]
