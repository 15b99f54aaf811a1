"""Packs old entries of the log, window by window; runs in the leader, beside the sequencer."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import statistics
from collections.abc import Sequence

from mesh.errors import MeshError
from mesh.tlog.leaves import read_leaf
from mesh.tlog.merkle import hash_leaf
from mesh.tlog.packing import WINDOW
from mesh.tlog.tiles import WIDTH
from services.audit import errors
from services.audit.log.packs import Place, packed_by_organisation
from services.audit.log.store import LogStore

_log = logging.getLogger(__name__)
SWEPT = 64 * WINDOW
"""So many entries are looked through at once for rows that are not needed any more."""


class Packer:
    """Packs what is old enough. An interrupted round has packed whole windows, and the next one goes on behind them."""

    def __init__(self, store: LogStore, after_days: int, every_s: float) -> None:
        """`after_days`: 0 = nothing is packed."""
        self._store, self._after, self._every_s = store, dt.timedelta(days=after_days), every_s

    async def run(self) -> None:
        """Packs for as long as this replica leads; never returns."""
        while True:
            try:
                if self._after:
                    await self.round(dt.datetime.now(dt.UTC))
            except MeshError as error:
                _log.warning("old entries of the audit log are not packed: %s", error.message)
            except Exception:
                _log.exception("packing old entries of the audit log failed")
            await asyncio.sleep(self._every_s)

    async def round(self, now: dt.datetime) -> int:
        """Packs every window that is due, and removes rows that packs have made superfluous; how many windows."""
        done, before = 0, (now - self._after).strftime("%Y-%m-%dT%H:%M:%S")
        packed = await self._store.packs.packed()
        end = packed.stop
        while await self._pack(end // WINDOW, before):
            done, end = done + 1, end + WINDOW
        for first in range(packed.start, end, SWEPT):
            await self._store.packs.sweep(first, min(first + SWEPT, end))
        return done

    async def _pack(self, window: int, before: str) -> bool:
        """Packs a window, if it is full and old. Raises MeshError when its leaves are not those of the tree."""
        first, end = window * WINDOW, (window + 1) * WINDOW
        head = await self._store.head()
        # The newest entries stay rows: the edge of the tree is computed from them.
        if end + WIDTH > head.size:
            return False
        # Times are those of the requests: a few that are wrong neither hurry a window nor hold it up.
        newest = middle_time(await self._store.leaves(end - WIDTH, end))
        if not newest or newest >= before:
            return False
        places = await self._store.packs.unpacked(window)
        tiles = await self._store.tiles_between(0, first // WIDTH, end // WIDTH)
        packs = await asyncio.to_thread(_packed, places, b"".join(tile.hashes for tile in tiles))
        if packs is None:
            raise errors.log_is_damaged(f"entries {first} to {end - 1} do not hash to their tiles")
        return await self._store.packs.store(window, places, packs)


def middle_time(leaves: Sequence[bytes]) -> str:
    """The time in the middle of those of some leaves; empty = there are none."""
    return statistics.median_low([_time(leaf) for leaf in leaves]) if leaves else ""


def _time(leaf: bytes) -> str:
    try:
        return read_leaf(leaf).time
    except ValueError:
        return ""


def _packed(places: Sequence[Place], hashes: bytes) -> dict[str, bytes] | None:
    """The packs of entries by organisation; None when they are not those of the tree."""
    if b"".join(hash_leaf(place.entry.leaf) for place in places) != hashes:
        return None
    return packed_by_organisation(places)
