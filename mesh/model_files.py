"""The models of the configuration's files, read again when a file changes, and kept as they were when it is bad.

Providers are not: where a model stands, its address and its keys are read at a start.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable

from mesh.catalog import ModelEntry, ProviderEntry, parse_models
from mesh.config import ConfigError
from mesh.documents import Documents
from mesh.following import Follower

LOOK_S = 0.5
"""How often the files are looked at."""
_log = logging.getLogger(__name__)


class ModelFiles:
    """The models in force in a process; all of its services ask the same one."""

    def __init__(
        self,
        documents: Documents | None,
        providers: Iterable[ProviderEntry],
        models: tuple[ModelEntry, ...],
        read_on: dt.date | None = None,
    ) -> None:
        """`providers`, `models` and the day of the shipped catalog's prices as they were read at the start."""
        self._documents, self._providers = documents, {one.provider for one in providers}
        self._stamp = documents.first_stamp if documents is not None else ()
        self._lock = threading.Lock()
        self.now = models
        self.read_on = read_on
        self.problem = ""
        """Why the models that stand in the files now are not in force; empty when they are."""

    @property
    def changed(self) -> bool:
        """Whether the files are other ones than those that were read last."""
        return self._documents is not None and self._documents.stamp() != self._stamp

    def look(self) -> None:
        """Reads the files again if they changed. A large catalog takes a moment: from a thread."""
        with self._lock:
            if self._documents is None or (stamp := self._documents.stamp()) == self._stamp:
                return
            self._stamp = stamp
            try:
                shipped, own = self._documents.read("models", "aliases")
                found = parse_models(own, shipped, self._providers)
            except ConfigError as error:
                _log.error("the models in the files are bad, and those from before stay in force: %s", error.message)
                self.problem = error.message
                return
            if self.problem:
                _log.info("the models in the files are good again")
            self.problem = ""
            if found != self.now:
                self.now = found
                _log.info("models were read anew from the files: %d", len(found))


class ModelFollower(Follower):
    """Hands a service the models of the files whenever other ones are in force."""

    def __init__(
        self, name: str, files: ModelFiles, take: Callable[[tuple[ModelEntry, ...]], Awaitable[None] | None]
    ) -> None:
        """`take` is called again later when it raises MeshError."""
        super().__init__(f"{name}-models", self._look, LOOK_S, _log)
        self._files, self._take, self._taken = files, take, files.now

    async def _look(self) -> None:
        if self._files.changed:
            await asyncio.to_thread(self._files.look)
        if (now := self._files.now) is not self._taken:
            taking = self._take(now)
            if inspect.isawaitable(taking):
                await taking
            self._taken = now
