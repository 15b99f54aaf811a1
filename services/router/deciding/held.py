"""The breakers that an operator holds, as this replica follows them: in force everywhere within a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mesh.errors import MeshError
from mesh.following import Follower
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.held_store import Held, HeldStore

START_TRIES = 4
START_PAUSE_S = 0.2
_log = logging.getLogger(__name__)


class HeldBreakers:
    """Keeps this replica's breakers as operators hold them."""

    def __init__(
        self, store: HeldStore, breakers: Breakers, known: Callable[[str, str], bool], *, poll_s: float
    ) -> None:
        """`known`: whether there is such a model at such a provider; one that comes later is held from then on."""
        self._store, self._breakers, self._known = store, breakers, known
        self._follower = Follower("router-held-breakers", self.refresh, poll_s, _log)
        # What was read before a change must not be put in force after it.
        self._lock = asyncio.Lock()
        self._wanted: Held = {}
        """What was read last, also of models that are not known now."""

    async def start(self) -> None:
        """Reads what is held, and follows. A busy PostgreSQL is asked again: until it is read, a model that an operator
        took out of service would be asked."""
        for left in reversed(range(START_TRIES)):
            try:
                await self.refresh()
                break
            except MeshError as error:
                if not left:
                    _log.warning("the breakers that operators hold could not be read yet: %s", error.message)
                    break
            await asyncio.sleep(START_PAUSE_S)
        await self._store.follow(self._follower.wake, self._let_go)
        self._follower.start()

    async def close(self) -> None:
        """Stops following."""
        await self._follower.close()

    async def hold(self, model: str, provider: str, state: State | None) -> None:
        """Holds a breaker here and everywhere, or lets it go. Raises MeshError, and then nothing has changed."""
        async with self._lock:
            await self._store.put(model, provider, state)
            wanted = {key: one for key, one in self._wanted.items() if key != (model, provider)}
            self._wanted = wanted if state is None else {**wanted, (model, provider): state}
            self._breakers.force(model, provider, state)

    def _let_go(self, model: str, provider: str) -> None:
        """An operator let it go on some replica: it begins closed here too, also when it was open by its own count."""
        if self._known(model, provider):
            self._breakers.force(model, provider, None)

    def apply(self) -> None:
        """Puts in force what was read last; to be called when other models are known than before."""
        wanted = {key: state for key, state in self._wanted.items() if self._known(*key)}
        here = self._breakers.held()
        for key in here.keys() - wanted.keys():
            self._breakers.force(*key, None)
        for key, state in wanted.items():
            if here.get(key) is not state:
                self._breakers.force(*key, state)

    async def refresh(self) -> None:
        """Puts in force what is held now. Raises MeshError."""
        async with self._lock:
            self._wanted = await self._store.read()
            self.apply()
