"""The models of the configuration's files, read again when a file changes, and kept as they were when it is bad.

Providers are not: where a model stands, its address and its keys are read at a start.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Iterable

from mesh.catalog import ModelEntry, ProviderEntry, parse_models
from mesh.config import ConfigError
from mesh.documents import Documents

_log = logging.getLogger(__name__)


class ModelFiles:
    """The models that files brought into force in a process."""

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
