"""Coalescing across replicas: one of them leads a chat, the others wait for it and take its answer from the cache.

Redis holds who leads and that it has ended, under keyed hashes and for seconds; never a text. Without it, or when it
goes away, every replica leads its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from mesh.errors import MeshError, Reason
from mesh.key_values import KeyValueStore

CHANNEL = "dac:chats"
LEASE_S = 2.0
"""A leader that says nothing for so long is gone."""
ENDED_S = 10.0
"""How long it is remembered that a chat was answered: longer than a look into the cache takes."""
_LEADS, _STORED, _GONE = b"leads:", b"stored:", b"gone:"
_log = logging.getLogger("dac.gateway.replica_line")


class Standing(NamedTuple):
    """How it stands with a chat somewhere among the replicas."""

    leads: bool
    """Who asked leads it now."""
    leader_id: str = ""
    stored: bool = False
    """It was answered, and the answer is in the cache."""
    ended: bool = False


class ReplicaLine:
    """This replica's part. `start` begins to listen."""

    def __init__(
        self, open_store: Callable[[], Awaitable[KeyValueStore]], secret: bytes, *, lease_s: float = LEASE_S
    ) -> None:
        self._open_store, self._secret, self._lease_s = open_store, secret, lease_s
        self._store: KeyValueStore | None = None
        self._mine: dict[str, bytes] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to listen and to renew. A server that is down is no failure; an address that is none is."""
        try:
            self._store = await self._open_store()
        except ValueError:
            # The text of the error may hold a part of the password.
            raise MeshError(
                Reason.INVALID_REQUEST, "REDIS_URL is no address of Redis or Valkey: use redis://host:6379/0."
            ) from None
        await self._store.subscribe(CHANNEL, self._hear)
        self._spawn(self._renew())

    async def close(self) -> None:
        """Stops; what this replica leads is free for others when its lease is over."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def claim(self, key: bytes, request_id: str) -> Standing:
        """Leads the chat, or says who does, or that it was answered just now."""
        if self._store is None:
            return Standing(leads=True)
        name, mine = self._name(key), _LEADS + request_id.encode()
        for _ in range(3):
            if await self._store.add(name, mine, self._lease_s):
                self._mine[name] = mine
                return Standing(leads=True)
            standing = _read(await self._store.get(name))
            if standing is not None:
                return standing
        return Standing(leads=False, ended=True)

    async def wait(self, key: bytes) -> Standing:
        """Waits until the one who leads has ended or is gone."""
        name = self._name(key)
        while self._store is not None:
            heard = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(name, set()).add(heard)
            try:
                standing = _read(await self._store.get(name))
                if standing is None or standing.ended:
                    return standing or Standing(leads=False, ended=True)
                # What is published may be lost: then the lease says it, a little later.
                await asyncio.wait({heard}, timeout=self._lease_s / 2)
            finally:
                self._forget(name, heard)
        return Standing(leads=False, ended=True)

    def release(self, key: bytes, request_id: str, *, stored: bool, failed: bool) -> None:
        """Says that the chat has ended: off the answer's path."""
        name = self._name(key)
        if self._mine.pop(name, None) is not None and self._store is not None:
            self._spawn(self._end(self._store, name, request_id, stored=stored, failed=failed))

    async def _end(self, store: KeyValueStore, name: str, request_id: str, *, stored: bool, failed: bool) -> None:
        if failed:
            # Whoever comes first leads anew.
            await store.delete(name)
        else:
            await store.set(name, (_STORED if stored else _GONE) + request_id.encode(), ENDED_S if stored else 1.0)
        await store.publish(CHANNEL, name.encode())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            for name, value in list(self._mine.items()):
                if self._store is not None and name in self._mine:
                    try:
                        await self._store.set(name, value, self._lease_s)
                    except Exception:
                        _log.exception("a lease was not renewed, going on")

    def _hear(self, payload: bytes) -> None:
        for heard in self._waiting.get(payload.decode("utf-8", "replace"), ()):
            if not heard.done():
                heard.set_result(None)

    def _forget(self, name: str, heard: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(name)
        if waiting is not None:
            waiting.discard(heard)
            if not waiting:
                del self._waiting[name]

    def _name(self, key: bytes) -> str:
        return f"{CHANNEL}:{hmac.new(self._secret, key, hashlib.sha256).hexdigest()}"

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read(value: bytes | None) -> Standing | None:
    """What stands there; None = nobody leads."""
    if value is None:
        return None
    kind, _, leader = value.partition(b":")
    leader_id = leader.decode("ascii", "replace")
    return Standing(False, leader_id, stored=kind + b":" == _STORED, ended=kind + b":" != _LEADS)
