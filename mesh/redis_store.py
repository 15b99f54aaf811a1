"""The shared values of `mesh.key_values` on a server. Loaded only where one is configured."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mesh.key_values import CALL_TIMEOUT_S, MemoryStore, Subscriber

RECONNECT_S = 0.25
FAILURES = (RedisError, OSError, TimeoutError)

_log = logging.getLogger("mesh.redis")


class RedisStore:
    """A server, with memory behind it."""

    def __init__(self, url: str, memory: MemoryStore, *, call_timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._memory, self._call_timeout_s = memory, call_timeout_s
        self._client: Any = client.from_url(
            url,
            socket_timeout=call_timeout_s,
            socket_connect_timeout=call_timeout_s,
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

    async def add(self, key: str, value: bytes, ttl_s: float) -> bool:
        """See KeyValueStore."""
        ttl_ms = max(1, math.ceil(ttl_s * 1000))
        kept = await self._either(
            lambda: self._client.set(key, value, px=ttl_ms, nx=True), lambda: self._memory.add(key, value, ttl_s)
        )
        return bool(kept)

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
                await asyncio.wait_for(confirmed.wait(), self._call_timeout_s)

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
                async with asyncio.timeout(self._call_timeout_s):
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
                async with asyncio.timeout(self._call_timeout_s):
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
