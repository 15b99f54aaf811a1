"""Hints between router replicas: one whose breaker opens tells the others through Redis or Valkey.

A hint is never the truth: each replica decides for itself, a hint may be lost, and nothing waits for one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from mesh.key_values import KeyValueStore
from services.router import errors
from services.router.deciding.breakers import State

CHANNEL = "dac:breakers"
FORCED_CHANNEL = "dac:breakers:forced"
MAX_WAITING = 256
"""Hints kept while the server is slow; a hint that does not fit is dropped."""

_log = logging.getLogger(__name__)


class Hint(msgspec.Struct, frozen=True):
    """A breaker that opened, and the replica that opened it."""

    model: str
    provider: str
    instance: str


class ForcedHint(msgspec.Struct, frozen=True):
    """A breaker that an operator holds, or lets go, and the replica that was told."""

    model: str
    provider: str
    state: str
    """open, closed or automatic."""
    instance: str


_STATES = {"open": State.OPEN, "closed": State.CLOSED, "automatic": None}
_WORDS = {state: word for word, state in _STATES.items()}


class BreakerHints:
    """Publishes this replica's hints from a background task and passes on those of others."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[KeyValueStore]],
        instance: str,
        hear: Callable[[str, str], None],
        hear_forced: Callable[[str, str, State | None], None],
    ) -> None:
        self._open_store, self._instance, self._hear, self._hear_forced = open_store, instance, hear, hear_forced
        self._waiting: asyncio.Queue[tuple[str, Hint | ForcedHint]] = asyncio.Queue(MAX_WAITING)
        self._store: KeyValueStore | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to listen and to publish. A server that is down is no failure; an address that is none is."""
        if self._store is not None:
            return
        try:
            self._store = await self._open_store()
        except ValueError:
            # The text of the error may hold a part of the password.
            raise errors.wrong_redis_url() from None
        await self._store.subscribe(CHANNEL, self._take)
        await self._store.subscribe(FORCED_CHANNEL, self._take_forced)
        self._task = asyncio.create_task(self._publish(self._store))

    async def close(self) -> None:
        """Stops both."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    def announce(self, model: str, provider: str) -> None:
        """Leaves a hint for the background task; waits for nothing."""
        self._leave(CHANNEL, Hint(model, provider, self._instance))

    def announce_forced(self, model: str, provider: str, state: State | None) -> None:
        """The same for a breaker that an operator holds, or lets go."""
        self._leave(FORCED_CHANNEL, ForcedHint(model, provider, _WORDS[state], self._instance))

    def _leave(self, channel: str, hint: Hint | ForcedHint) -> None:
        try:
            self._waiting.put_nowait((channel, hint))
        except asyncio.QueueFull:
            _log.warning("too many breakers change at once, the other replicas are not told of %s", hint.model)

    def _take(self, payload: bytes) -> None:
        try:
            hint = msgspec.json.decode(payload, type=Hint)
        except (msgspec.MsgspecError, UnicodeError) as error:
            _log.warning("a payload on %s is no hint and was ignored: %s", CHANNEL, error)
            return
        if hint.instance != self._instance:
            self._hear(hint.model, hint.provider)

    def _take_forced(self, payload: bytes) -> None:
        try:
            hint = msgspec.json.decode(payload, type=ForcedHint)
            state = _STATES[hint.state]
        except (msgspec.MsgspecError, UnicodeError, KeyError) as error:
            _log.warning("a payload on %s is no hint and was ignored: %s", FORCED_CHANNEL, error)
            return
        if hint.instance != self._instance:
            self._hear_forced(hint.model, hint.provider, state)

    async def _publish(self, store: KeyValueStore) -> None:
        while True:
            channel, hint = await self._waiting.get()
            try:
                await store.publish(channel, msgspec.json.encode(hint))
            except Exception:
                # A publisher that died would keep all later hints back.
                _log.exception("a hint could not be published, going on")
