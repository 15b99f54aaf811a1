"""Drops old leaves of the log, whole windows from its beginning on; runs in the leader, beside the sequencer."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from mesh.errors import MeshError
from mesh.tlog.leaves import NUMBERS, OF_THE_LOG, read_leaf
from mesh.tlog.packing import WINDOW
from mesh.tlog.redactions import PREFIX
from mesh.tlog.tiles import WIDTH
from services.audit.log.packer import middle_time
from services.audit.log.packs import Place as PackedPlace
from services.audit.log.store import LogStore

_log = logging.getLogger(__name__)
MOST_WINDOWS = 64
"""So many are dropped at once: nothing is appended while they go."""
NEVER, AGE, PAYLOADS, PACKING = "never", "age", "payloads", "packing"
OWN_KINDS = {NUMBERS[kind] for kind in OF_THE_LOG}


class BeginAt(Protocol):
    """Who appends the leaf that declares a start, and drops what is before it."""

    def __call__(self, start: int, *, needs_archive: bool) -> Awaitable[str]:
        """ "appended", or why nothing was done."""


class Plan(NamedTuple):
    """What goes next."""

    start: int
    """The first entry that the log has."""
    end: int
    """Entries before it go at the next round; `start` = none."""
    waits_for: str
    """Why no more than these: "never", "age", "packing", "archive", "heads", "hold", "payloads"; "" = there is more."""
    due_at: dt.datetime | None
    """When the first window that stays is old enough; None = not known yet."""


class Dropper:
    """Drops what is old enough, archived, without a payload and held by nobody."""

    def __init__(
        self,
        store: LogStore,
        begin_at: BeginAt,
        *,
        kept_days: int,
        needs_archive: bool,
        every_s: float,
        clock: Callable[[], dt.datetime],
    ) -> None:
        """`kept_days`: 0 = nothing is dropped. `needs_archive`: only what an archive was reported to have."""
        self._store, self._begin_at = store, begin_at
        self.kept_days, self.needs_archive = kept_days, needs_archive
        self._kept = dt.timedelta(days=min(kept_days, 700_000))
        self._every_s, self._clock = every_s, clock

    async def run(self) -> None:
        """Drops for as long as this replica leads; never returns."""
        while True:
            try:
                while await self.round():
                    pass
            except MeshError as error:
                _log.warning("old leaves of the audit log are not dropped: %s", error.message)
            except Exception:
                _log.exception("dropping old leaves of the audit log failed")
            await asyncio.sleep(self._every_s)

    async def round(self) -> int:
        """Drops once; how many entries. Raises MeshError."""
        plan = await self.plan()
        if plan.end <= plan.start or await self._begin_at(plan.end, needs_archive=self.needs_archive) != "appended":
            return 0
        return plan.end - plan.start

    async def plan(self) -> Plan:
        """What goes next, and what the rest waits for."""
        start = (await self._store.started()).idx
        end, waits_for, due_at = start, "", None
        while not waits_for and end - start < MOST_WINDOWS * WINDOW:
            waits_for, due_at = await self._waits(end)
            end += 0 if waits_for else WINDOW
        return Plan(start, end, waits_for, due_at)

    async def _waits(self, first: int) -> tuple[str, dt.datetime | None]:
        """Why the window that begins with an entry stays, "" = it may go; and when it is old enough."""
        end = first + WINDOW
        packed = await self._store.packs.packed()
        if end > packed.stop:
            return PACKING if self._kept else NEVER, None
        if not self._kept:
            return NEVER, None
        due_at = _due(middle_time(await self._store.leaves(end - WIDTH, end)), self._kept)
        if due_at >= self._clock():
            return AGE, due_at
        waits_for = await self._store.start_waits(end, needs_archive=self.needs_archive)
        if not waits_for and any(not _goes_with(one) for one in await self._store.packs.payloads(first, end, packed)):
            waits_for = PAYLOADS
        return waits_for, due_at


_LAST = dt.datetime.max.replace(tzinfo=dt.UTC)


def _due(newest: str, kept: dt.timedelta) -> dt.datetime:
    """When entries up to a time are old enough; what has no time is never."""
    try:
        return dt.datetime.fromisoformat(newest) + kept
    except (ValueError, OverflowError):
        return _LAST


def _goes_with(place: PackedPlace) -> bool:
    """Whether an entry keeps what it has for as long as its leaf: the log's own, and audit's word on what is gone."""
    if place.entry.kind in OWN_KINDS:
        return True
    try:
        leaf = read_leaf(place.entry.leaf)
    except ValueError:
        return False
    return leaf.kind == "change" and leaf.action.startswith(PREFIX)
