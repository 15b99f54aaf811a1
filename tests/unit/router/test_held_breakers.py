"""A replica that starts beside a busy PostgreSQL holds what operators hold from its first decision on."""

from __future__ import annotations

import time
from collections.abc import Callable

from mesh.errors import MeshError, Reason
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.held import HeldBreakers
from services.router.deciding.held_store import Held


class Busy:
    """A store that cannot be reached a few times, as when connections take too long."""

    def __init__(self, faults: int) -> None:
        self.faults = faults

    async def follow(self, changed: Callable[[], None], let_go: Callable[[str, str], None]) -> None:
        """Nothing changes."""

    async def read(self) -> Held:
        if self.faults:
            self.faults -= 1
            raise MeshError(Reason.UNAVAILABLE, "The database did not answer in time.")
        return {("a/best", "a"): State.OPEN}

    async def put(self, model: str, provider: str, state: State | None) -> None:
        raise AssertionError("nobody changes anything")


async def started(faults: int) -> Breakers:
    breakers = Breakers(time.monotonic)
    held = HeldBreakers(Busy(faults), breakers, lambda model, provider: True, poll_s=60)
    await held.start()
    await held.close()
    return breakers


async def test_a_busy_database_is_asked_again() -> None:
    assert (await started(0)).state("a/best", "a") is State.OPEN
    assert (await started(2)).state("a/best", "a") is State.OPEN


async def test_a_database_that_is_away_holds_no_start_up() -> None:
    assert (await started(1_000)).state("a/best", "a") is State.CLOSED
