"""What is kept of every source: its last good copy in the data folder above its shipped snapshot, and how it stands.

Only how it stands is in memory; records are read from their files when they are joined. What the snapshot knows and the
copy does not have counts too: a source may list less in its API than a catalogue of it holds.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import threading
from collections.abc import Callable, Collection, Iterable

import msgspec

from services.router.sources import SourceRecord, last_good

SHIPPED = pathlib.Path(__file__).parent.parent / "snapshot"
_log = logging.getLogger("dac.router.sources")


@dataclasses.dataclass(frozen=True)
class SourceStatus:
    """How one source stands."""

    source: str
    origin: str
    """fetched: it was asked; shipped: the snapshot; "" = nothing is known from it."""
    rows: int
    dropped: int
    """Rows of the last answer that could not be true."""
    seen_at_s: float
    """Unix time of what is known; 0 = nothing is."""
    age_s: float
    tried_at_s: float
    """Unix time of the last try of this process; 0 = none."""
    error: str
    """Why the last try failed; empty when it did not."""
    asked: bool
    """Whether it is asked by the clock."""


@dataclasses.dataclass(frozen=True)
class State:
    """What is known of a source's files."""

    fetched_at_s: float = 0.0
    """0 = there is no copy, only what is shipped."""
    fetched_rows: int = 0
    dropped: int = 0
    etag: str = ""
    shipped_at_s: float = 0.0
    shipped_rows: int = 0
    tried_at_s: float = 0.0
    error: str = ""


class Kept:
    """The copies of all sources. Its methods that read and write files may run in threads."""

    def __init__(
        self,
        folder: pathlib.Path,
        shipped: pathlib.Path,
        names: Iterable[str],
        asked: Collection[str],
        now: Callable[[], float],
    ) -> None:
        self._folder, self._shipped, self._asked, self._now = folder, shipped, asked, now
        self._states = {name: State() for name in names}
        self._lock = threading.Lock()
        self._aside: set[str] = set()
        """Sources whose copies are of no use; said once."""
        self.generation = 0
        """Rises with everything that changes what sources say."""

    def state(self, name: str) -> State:
        """How a source stands."""
        return self._states[name]

    def status(self, name: str) -> SourceStatus:
        """How a source stands, to be shown."""
        one = self._states[name]
        seen_at_s = one.fetched_at_s or one.shipped_at_s
        origin = "fetched" if one.fetched_at_s else "shipped" if one.shipped_at_s else ""
        return SourceStatus(
            name,
            origin,
            one.fetched_rows if one.fetched_at_s else one.shipped_rows,
            one.dropped,
            seen_at_s,
            max(0.0, self._now() - seen_at_s) if seen_at_s else 0.0,
            one.tried_at_s,
            one.error,
            name in self._asked,
        )

    def survey(self) -> None:
        """Reads the first lines of all files: enough to say what is known."""
        for name in self._states:
            shipped, copy = self._heading(self._shipped, name), self._heading(self._folder, name)
            if shipped is not None:
                self._set(name, shipped_at_s=shipped.fetched_at_s, shipped_rows=shipped.rows)
            if copy is not None:
                self._set(name, fetched_at_s=copy.fetched_at_s, fetched_rows=copy.rows)

    def records(self, name: str) -> list[SourceRecord]:
        """All that is known from a source. A copy that is of no use is said so once and left aside."""
        try:
            copy = last_good.read(last_good.path_of(self._folder, name))
            self._note(name, copy)
            fetched = copy.records
        except FileNotFoundError:
            fetched = []
            self._set(name, fetched_at_s=0.0, fetched_rows=0, etag="")
        except last_good.Unreadable as error:
            fetched = []
            if name not in self._aside:
                _log.warning("the copy of source %s is left aside, the snapshot counts: %s", name, error)
            self._aside.add(name)
            why = self._states[name].error or f"its copy is left aside: {error}"
            self._set(name, fetched_at_s=0.0, fetched_rows=0, etag="", error=why)
        have = {one.id for one in fetched}
        return [*fetched, *(one for one in self._of_snapshot(name) if one.id not in have)]

    def take(self, copy: last_good.Copy) -> None:
        """Keeps an answer. Raises OSError."""
        last_good.write(self._folder, copy)
        self._aside.discard(copy.source)
        self._note(copy.source, copy)
        with self._lock:
            self.generation += 1

    def confirm(self, name: str) -> None:
        """The source said that nothing changed: the copy is as good as new. Raises Unreadable, OSError."""
        try:
            copy = last_good.read(last_good.path_of(self._folder, name))
        except (FileNotFoundError, last_good.Unreadable):
            # Without it the whole answer is asked for the next time.
            self._set(name, etag="")
            raise
        fresh = msgspec.structs.replace(copy, fetched_at_s=self._now())
        last_good.write(self._folder, fresh)
        self._note(name, fresh)

    def adopt(self, name: str, fresh_s: float) -> bool:
        """Takes over what another process of this data folder fetched since, when it is that fresh; whether it did."""
        heading = self._heading(self._folder, name)
        if heading is None or heading.fetched_at_s <= self._states[name].fetched_at_s:
            return False
        if self._now() - heading.fetched_at_s >= fresh_s:
            return False
        try:
            self._note(name, last_good.read(last_good.path_of(self._folder, name)))
        except (FileNotFoundError, last_good.Unreadable):
            return False
        with self._lock:
            self.generation += 1
        return True

    def tried(self, name: str, error: str) -> None:
        """A try ended."""
        self._set(name, tried_at_s=self._now(), error=error)

    def _of_snapshot(self, name: str) -> list[SourceRecord]:
        try:
            copy = last_good.read(last_good.path_of(self._shipped, name))
        except FileNotFoundError:
            return []
        except last_good.Unreadable as error:
            _log.warning("the shipped snapshot of %s is left aside: %s", name, error)
            return []
        # A snapshot's rows were all seen on its day. Nobody has them yet, and thousands of copies take longer than all
        # else of reading them.
        for one in copy.records:
            msgspec.structs.force_setattr(one, "seen_at_s", copy.fetched_at_s)
        return copy.records

    def _heading(self, folder: pathlib.Path, name: str) -> last_good.Heading | None:
        try:
            return last_good.heading_of(last_good.path_of(folder, name))
        except (FileNotFoundError, last_good.Unreadable):
            return None

    def _note(self, name: str, copy: last_good.Copy) -> None:
        self._set(
            name,
            fetched_at_s=copy.fetched_at_s,
            fetched_rows=len(copy.records),
            dropped=copy.dropped,
            etag=copy.etag,
        )

    def _set(self, name: str, **changes: object) -> None:
        with self._lock:
            self._states[name] = dataclasses.replace(self._states[name], **changes)  # type: ignore[arg-type]
