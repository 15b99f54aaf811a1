"""Packed entries of the log: what is read from packs instead of rows, and what is still there beside them."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mesh.postgres import Database
from mesh.tlog.frames import packed_frame
from mesh.tlog.leaves import NUMBERS, read_leaf
from mesh.tlog.packing import WINDOW, PackedEntry, pack, unpack
from services.audit.sealing import form
from services.audit.sealing.form import is_sealed
from services.audit.sealing.payloads import PLAIN, Payloads

_log = logging.getLogger(__name__)
PACKED = "SELECT idx, log_packed() FROM log_started()"
UNPACKED = "SELECT idx, org_id, org_seq, kind, record_id, pos, leaf FROM log_unpacked($1)"
PACK = "SELECT log_pack($1, $2, $3, $4, $5, $6, $7)"
PAYLOADS = "SELECT idx, salt, stored, leaf FROM log_payloads($1, $2, $3, $4, $5)"
BY_ID = "SELECT packed FROM log_packs WHERE org_id = $1 AND $2::uuid BETWEEN first_id AND last_id ORDER BY last_seq"
BY_SEQ = "SELECT packed FROM log_packs WHERE org_id = $1 AND last_seq > $2 ORDER BY last_seq LIMIT 1"
RECORDS = """SELECT u.idx, s.salt, CASE u.kind
    WHEN 1 THEN (SELECT r.record FROM requests r WHERE r.org_id = $1 AND r.request_id = u.record_id)
    WHEN 2 THEN (SELECT c.record FROM changes c WHERE c.org_id = $1 AND c.record_id = u.record_id) END AS record
  FROM unnest($2::bigint[], $3::smallint[], $4::uuid[]) AS u(idx, kind, record_id)
  LEFT JOIN log_salts s ON s.idx = u.idx AND s.org_id = $1"""


class Entry(NamedTuple):
    """A leaf of an organisation with what it commits to."""

    idx: int
    org_seq: int
    leaf: bytes
    salt: bytes | None
    record: bytes | None


class Place(NamedTuple):
    """An entry with the organisation that its table gives it to."""

    org_id: str
    entry: PackedEntry


# An organisation's pack is read again for each page of an export, and no pack ever changes.
_lately = functools.lru_cache(maxsize=4)(unpack)


def _unpacked(packed: bytes) -> list[PackedEntry]:
    """A pack's entries; none of a damaged one, so that whoever verifies sees what is missing."""
    try:
        return _lately(packed)
    except ValueError as error:
        _log.error("a pack of the audit log cannot be read: %s", error)
        return []


def _in_order(rows: Sequence[Sequence[Any]]) -> list[Place]:
    """The entries of packs, given with whose they are."""
    places = [Place(str(row[0]), entry) for row in rows for entry in _unpacked(row[1])]
    places.sort(key=lambda place: place.entry.idx)
    return places


class Packs:
    """The packs in the schema `audit`."""

    def __init__(self, database: Database, payloads: Payloads = PLAIN) -> None:
        self._database, self._payloads = database, payloads
        self._window: tuple[int, list[Place]] = -1, []

    async def packed(self) -> range:
        """The entries that are packed and not dropped: whole windows from the log's start on."""
        async with self._database.transaction() as connection:
            start, windows = await connection.fetchrow(PACKED)
        return range(start, windows * WINDOW)

    async def unpacked(self, window: int) -> list[Place]:
        """The entries of a window that is not packed yet, of all organisations."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(UNPACKED, window)
        return [Place(str(row[1]), PackedEntry(row[0], row[2], row[3], str(row[4]), row[5], row[6])) for row in rows]

    async def store(self, window: int, places: Sequence[Place], packs: dict[str, bytes]) -> bool:
        """Stores the packs of a window by organisation; false when the table does not hold what they give back."""
        own: dict[str, list[PackedEntry]] = {org_id: [] for org_id in packs}
        for org_id, entry in places:
            own[org_id].append(entry)
        back = sorted((entry for packed in packs.values() for entry in unpack(packed)), key=lambda entry: entry.idx)
        digest = hashlib.sha256(b"".join(hashlib.sha256(entry.leaf).digest() for entry in back)).digest()
        async with self._database.transaction() as connection:
            done = await connection.fetchval(
                PACK,
                window,
                list(own),
                [entries[-1].org_seq for entries in own.values()],
                [min(entry.record_id for entry in entries) for entries in own.values()],
                [max(entry.record_id for entry in entries) for entries in own.values()],
                [packs[org_id] for org_id in own],
                digest,
            )
        return bool(done)

    async def sweep(self, first: int, end: int) -> int:
        """Removes the rows of packed entries that have no salt any more; how many."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval("SELECT log_sweep($1, $2)", first, end))

    async def between(self, first: int, end: int, packed: range) -> list[Place]:
        """Entries of all organisations out of those that are `packed`, in order."""
        found: list[Place] = []
        first, end = max(first, packed.start), min(end, packed.stop)
        for window in range(first // WINDOW, -(-end // WINDOW)):
            found += [place for place in await self._whole(window) if first <= place.entry.idx < end]
        return found

    async def _whole(self, window: int) -> list[Place]:
        """The entries of a window that is packed; the last one is at hand, as a log is read piece by piece."""
        if self._window[0] != window:
            async with self._database.transaction() as connection:
                rows = await connection.fetch("SELECT org_id, packed FROM log_window($1)", window)
            # A tenth of a second: requests that this process serves go on.
            places = await asyncio.to_thread(_in_order, rows)
            if not places:
                return []
            self._window = window, places
        return self._window[1]

    async def payloads(self, first: int, end: int, packed: range) -> list[Place]:
        """The packed entries of which something is still stored: salt, record, or both."""
        places = await self.between(first, end, packed)
        left = {row[0] for row in await self._stored(places) if row[1] is not None or row[2] is not None}
        return [place for place in places if place.entry.idx in left]

    async def frames(self, first: int, end: int, packed: range) -> list[bytes]:
        """Frames of packed entries, with what is still stored of their records."""
        places = await self.between(first, end, packed)
        there = {row[0]: (row[1], row[2], row[3]) for row in await self._stored(places)}
        parts = []
        for _, entry in places:
            salt, stored, kept = there.get(entry.idx, (None, None, None))
            parts.append(packed_frame(entry.idx, entry.kind, entry.leaf, salt, stored))
            if kept not in (None, entry.leaf):
                # Two leaves of one entry: whoever verifies sees both, and finds the second in a place that is taken.
                parts.append(packed_frame(entry.idx, entry.kind, kept, salt, stored))
        return parts

    async def _stored(self, places: Sequence[Place]) -> Sequence[Sequence[Any]]:
        """Of entries: index, salt, the row behind the leaf, the leaf; those of which nothing is there are left out."""
        async with self._database.transaction() as connection:
            rows: Sequence[Sequence[Any]] = await connection.fetch(
                PAYLOADS,
                [place.entry.idx for place in places],
                [place.org_id for place in places],
                [place.entry.kind for place in places],
                [place.entry.record_id for place in places],
                [place.entry.position for place in places],
            )
        return rows

    async def entry(self, org_id: str, record_id: str, size: int) -> Entry | None:
        """The entry of a record in a tree of that size, if it is packed."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(BY_ID, org_id, record_id)
        found = (
            entry for row in rows for entry in _unpacked(row[0]) if entry.record_id == record_id and entry.idx < size
        )
        one = next(found, None)
        return (await self._joined(org_id, [one]))[0] if one else None

    async def entries_of(self, org_id: str, after_seq: int, size: int, most: int) -> list[Entry]:
        """An organisation's entries behind a number as far as one pack has them, in order."""
        async with self._database.transaction(org_id) as connection:
            packed = await connection.fetchval(BY_SEQ, org_id, after_seq)
        entries = [one for one in _unpacked(packed) if one.org_seq > after_seq and one.idx < size] if packed else []
        return await self._joined(org_id, entries[:most])

    async def _joined(self, org_id: str, entries: Sequence[PackedEntry]) -> list[Entry]:
        """Entries with what is still stored of their records."""
        if not entries:
            return []
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(
                RECORDS,
                org_id,
                [entry.idx for entry in entries],
                [entry.kind for entry in entries],
                [entry.record_id for entry in entries],
            )
        there = {row[0]: (row[1], row[2]) for row in rows}
        joined = [Entry(one.idx, one.org_seq, one.leaf, *there[one.idx]) for one in entries]
        return await opened_entries(self._payloads, org_id, joined)


async def opened_entries(payloads: Payloads, org_id: str, entries: Sequence[Entry]) -> list[Entry]:
    """Entries with plain records; one that does not open is left as it is stored."""
    sealed = [at for at, entry in enumerate(entries) if entry.record is not None and is_sealed(entry.record)]
    found = list(entries)
    if sealed:
        records = [(_payload_place(org_id, entries[at].leaf), entries[at].record or b"") for at in sealed]
        for at, record in zip(sealed, await payloads.opened(records), strict=True):
            found[at] = found[at]._replace(record=record)
    return found


def _payload_place(org_id: str, leaf: bytes) -> form.Place:
    """Where a leaf says that its record belongs; a leaf that nobody can read says nothing that opens."""
    try:
        told = read_leaf(leaf)
    except ValueError:
        return form.Place(org_id, 0, "")
    return form.Place(org_id, NUMBERS.get(told.kind, 0), told.id)


def packed_by_organisation(places: Iterable[Place]) -> dict[str, bytes]:
    """The packs of some entries. Raises ValueError when one would not give back what went into it."""
    own: dict[str, list[PackedEntry]] = {}
    for org_id, entry in places:
        own.setdefault(org_id, []).append(entry)
    return {org_id: pack(org_id, entries) for org_id, entries in own.items()}
