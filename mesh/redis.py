"""Small shared values with a life time: Redis or Valkey when there is one, this process's memory when not.

Nothing here may be the truth: a call never raises and never waits longer than 50 ms. When the server goes away,
calls are answered from memory until a background task finds it again.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CALL_TIMEOUT_S = 0.04
RECONNECT_S = 0.25
MEMORY_KEYS_MAX = 100_000
FAILURES = (RedisError, OSError, TimeoutError)

Subscriber = Callable[[bytes], None]

_log = logging.getLogger(__name__)


class KeyValueStore(Protocol):
    """What services see, whatever is behind it."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when there is none or its time is over."""

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep `value` for `ttl_s`."""

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


async def connect(url: str | None, *, now: Callable[[], float] = time.monotonic) -> KeyValueStore:
    """The store at `url` (redis://, rediss://, unix://), or one in memory. Returns at once if the server is down."""
    return MemoryStore(now) if url is None else RedisStore(url, MemoryStore(now))


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


class RedisStore:
    """A server, with memory behind it."""

    def __init__(self, url: str, memory: MemoryStore) -> None:
        self._memory = memory
        self._client: Any = client.from_url(
            url,
            socket_timeout=CALL_TIMEOUT_S,
            socket_connect_timeout=CALL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=64,
        )
        self._channels: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.connected = True
        """False while calls are answered from memory."""

    async def get(self, key: str) -> bytes | None:
        """See KeyValueStore."""
        value: bytes | None = await self._either(lambda: self._client.get(key), lambda: self._memory.get(key))
        return value

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """See KeyValueStore."""
        ttl_ms = max(1, math.ceil(ttl_s * 1000))
        await self._either(lambda: self._client.set(key, value, px=ttl_ms), lambda: self._memory.set(key, value, ttl_s))

    async def delete(self, key: str) -> None:
        """See KeyValueStore."""
        await self._either(lambda: self._client.delete(key), lambda: self._memory.delete(key))

    async def incr(self, key: str, ttl_s: float) -> int:
        """See KeyValueStore."""

        async def count() -> int:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.incr(key).pexpire(key, max(1, math.ceil(ttl_s * 1000)), nx=True)
            return int((await pipeline.execute())[0])

        return int(await self._either(count, lambda: self._memory.incr(key, ttl_s)))

    async def publish(self, channel: str, payload: bytes) -> None:
        """See KeyValueStore."""
        await self._either(
            lambda: self._client.publish(channel, payload), lambda: self._memory.publish(channel, payload)
        )

    async def subscribe(self, channel: str, callback: Subscriber) -> None:
        """See KeyValueStore. Payloads published before the server has confirmed may be missed."""
        await self._memory.subscribe(channel, callback)
        if channel not in self._channels:
            self._channels.add(channel)
            confirmed = asyncio.Event()
            self._tasks[f"subscribe {channel}"] = asyncio.create_task(self._receive(channel, confirmed))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(confirmed.wait(), CALL_TIMEOUT_S)

    async def close(self) -> None:
        """See KeyValueStore."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(*FAILURES):
            await self._client.aclose()
        await self._memory.close()

    async def _either(self, remote: Callable[[], Awaitable[Any]], local: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if self.connected:
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    return await remote()
            except FAILURES as error:
                self._lost(error)
        return await local()

    def _lost(self, error: BaseException) -> None:
        if self.connected:
            self.connected = False
            _log.warning("Redis is not available, using memory: %s: %s", type(error).__name__, error)
            self._tasks["reconnect"] = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        while not self.connected:
            await asyncio.sleep(RECONNECT_S)
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._client.ping()
                self.connected = True
                _log.info("Redis is available again")

    async def _receive(self, channel: str, confirmed: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(*FAILURES):
                async with self._client.pubsub() as subscription:
                    await subscription.subscribe(channel)
                    while True:
                        # The subscription waits as long as it must; only commands have the short limit.
                        message = await subscription.get_message(timeout=None)
                        if message is not None and message["type"] == "message":
                            await self._memory.publish(channel, message["data"])
                        elif message is not None:
                            confirmed.set()
            await asyncio.sleep(RECONNECT_S)
