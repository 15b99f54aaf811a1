"""Where the breakers that an operator holds are kept, for all replicas and beyond a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from mesh.postgres import Database
from services.router.deciding.breakers import State

CHANNEL = "router_held_breakers"
_STATES = {"open": State.OPEN, "closed": State.CLOSED}
_HOLD = """INSERT INTO held_breakers (model, provider, state) VALUES ($1, $2, $3)
  ON CONFLICT (model, provider) DO UPDATE SET state = $3, held_at = now()"""
_LET_GO = "DELETE FROM held_breakers WHERE model = $1 AND provider = $2"

Held = Mapping[tuple[str, str], State]
"""(model, provider) → what it is held at."""


class HeldStore(Protocol):
    """Where it is kept."""

    async def follow(self, changed: Callable[[], None], let_go: Callable[[str, str], None]) -> None:
        """Calls `changed` soon after any replica changed something, and before it `let_go` with the model and the
        provider whose breaker is to decide for itself again; best effort."""

    async def read(self) -> Held:
        """All that are held. Raises MeshError."""

    async def put(self, model: str, provider: str, state: State | None) -> None:
        """Holds one, or lets it go (None). Raises MeshError."""


class PostgresHeldStore:
    """The schema `router`, as far as it is about breakers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def follow(self, changed: Callable[[], None], let_go: Callable[[str, str], None]) -> None:
        """See HeldStore."""

        def heard(payload: str) -> None:
            try:
                if payload:
                    let_go(*msgspec.json.decode(payload, type=tuple[str, str]))
            finally:
                changed()

        await self._database.listen(CHANNEL, heard, on_gap=changed)

    async def read(self) -> Held:
        """See HeldStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT model, provider, state FROM held_breakers")
        return {(row["model"], row["provider"]): _STATES[row["state"]] for row in rows}

    async def put(self, model: str, provider: str, state: State | None) -> None:
        """See HeldStore."""
        async with self._database.transaction() as connection:
            if state is None:
                await connection.execute(_LET_GO, model, provider)
            else:
                await connection.execute(_HOLD, model, provider, state.value)
            told = msgspec.json.encode((model, provider)).decode() if state is None else ""
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, told)
