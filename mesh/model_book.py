"""The models in force in a process: those of files, joined with those that the API made, current within a second."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from mesh.catalog import ModelEntry
from mesh.following import Follower
from mesh.model_entries import Joiner, ModelRow
from mesh.model_files import ModelFiles
from mesh.postgres import Database

CHANNEL = "dac_models"
LOOK_S = 0.5
"""How often the files are looked at."""
POLL_S = 5.0
"""How often the table is, should a notification be lost."""
FOLLOWING = ("router", "provider", "budget")
"""The services that go by models."""
_CHANGES = "SELECT changes FROM mesh.model_changes"
_ROWS = "SELECT model, version, document FROM mesh.models ORDER BY model"
_log = logging.getLogger(__name__)


class ModelBook:
    """All services of a process ask the same one."""

    def __init__(
        self, files: ModelFiles, database: Database | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without a database there are only the models of files."""
        self.files, self._database, self._clock = files, database, clock
        self.now: tuple[ModelEntry, ...] = files.now
        self.rows: Sequence[ModelRow] = ()
        self._joiner, self._lock = Joiner(), asyncio.Lock()
        self._joined: tuple[object, object] = (files.now, self.rows)
        """What `now` was made of."""
        self._due, self._changes, self._read_s = True, -1, float("-inf")
        self._problems: list[str] = []
        self._followers: list[Callable[[], None]] = []

    @property
    def problem(self) -> str:
        """Why models that stand somewhere are not in force; empty when all are."""
        return "; ".join(one for one in (self.files.problem, *self._problems) if one)

    @property
    def read_on(self) -> dt.date | None:
        """The day of the shipped catalog's prices."""
        return self.files.read_on

    async def load(self) -> None:
        """Reads the table, for a process that starts. Raises MeshError."""
        if self._database is not None:
            async with self._lock:
                await self._read(self._database)
                self._join()

    async def follow(self, wake: Callable[[], None]) -> None:
        """Calls `wake` when models may have changed."""
        self._followers.append(wake)
        if self._database is not None and len(self._followers) == 1:
            await self._database.listen(CHANNEL, lambda _: self.wake(), on_gap=self.wake)

    def wake(self) -> None:
        """The table was changed: every follower in this process looks at once."""
        self._due = True
        for wake in self._followers:
            wake()

    async def look(self) -> None:
        """Reads again what changed. Raises MeshError when the table cannot be read; the files are, then too."""
        async with self._lock:
            if self.files.changed:
                # A large catalog takes a moment.
                await asyncio.to_thread(self.files.look)
            try:
                if self._database is not None and (self._due or self._clock() - self._read_s >= POLL_S):
                    await self._read(self._database)
            finally:
                self._join()

    async def _read(self, database: Database) -> None:
        self._due = False
        try:
            async with database.transaction() as connection:
                changes = await connection.fetchval(_CHANGES)
                rows = await connection.fetch(_ROWS) if changes != self._changes else None
        except BaseException:
            self._due = True
            raise
        self._changes, self._read_s = changes, self._clock()
        if rows is not None:
            self.rows = [ModelRow(*row) for row in rows]

    def _join(self) -> None:
        filed, rows = self.files.now, self.rows
        if self._joined[0] is filed and self._joined[1] is rows:
            return
        self._joined = filed, rows
        found, problems = self._joiner.join(filed, rows)
        for problem in sorted(set(problems) - set(self._problems)):
            _log.error("a model of the API is not in force as it was written: %s", problem)
        self._problems = problems
        if found != self.now:
            self.now = found


class ModelFollower(Follower):
    """Hands a service the models whenever other ones are in force."""

    def __init__(
        self, name: str, book: ModelBook, take: Callable[[tuple[ModelEntry, ...]], Awaitable[None] | None]
    ) -> None:
        """`take` is called again later when it raises MeshError."""
        super().__init__(f"{name}-models", self._look, LOOK_S, _log)
        self._book, self._take, self._taken = book, take, book.now

    async def begin(self) -> None:
        """Follows in the background."""
        await self._book.follow(self.wake)
        self.start()

    async def _look(self) -> None:
        try:
            await self._book.look()
        finally:
            if (now := self._book.now) is not self._taken:
                taking = self._take(now)
                if inspect.isawaitable(taking):
                    await taking
                self._taken = now
