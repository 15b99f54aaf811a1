"""The log's tables: what waits, the head, and one statement that appends leaves, tiles and checkpoint together."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mesh.postgres import Database
from mesh.tlog import tiles
from mesh.tlog.merkle import EMPTY_ROOT, HASH_BYTES, hash_leaf
from mesh.tlog.tiles import FullTile, width_at
from services.audit.log.events import Stored
from services.audit.log.packs import Entry, Packs, opened_entries
from services.audit.sealing import form
from services.audit.sealing.form import is_sealed
from services.audit.sealing.payloads import PLAIN, Payloads

TAKE = "SELECT kind, pos, org_id, record_id, record FROM log_next($1, $2, $3)"
APPEND = "SELECT log_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
TAKE_LEAD = """UPDATE log_head SET epoch = epoch + 1,
  verifier_key = CASE WHEN verifier_key = '' THEN $1 ELSE verifier_key END RETURNING epoch"""
HEAD = "SELECT verifier_key, size, root, checkpoint, request_position, change_position, epoch FROM log_head"
ALL_SEQS = "SELECT org_id, org_seq FROM log_all_seqs()"
KEEP_HEADS = "SELECT log_keep_heads($1, $2, $3, $4)"
STARTED = "SELECT idx, archived, archived_at FROM log_started()"
START_LEAF = "SELECT idx, leaf_idx, leaf, salt, org_ids, org_seqs FROM log_start_leaf()"
NUMBERS_BEFORE = "SELECT org_id, org_seq FROM log_numbers_before($1)"
BEGIN = "SELECT log_begin($1, $2, $3, $4, $5)"
LONG_S = 120.0
"""For statements over whole windows."""
NEWEST_HEADS = "SELECT idx, at, leaf, salt, org_ids, org_seqs FROM log_newest_heads()"
ROOTS = "SELECT root FROM log_tiles WHERE level = $1 AND number >= $2 AND number < $3 ORDER BY number"
FULL_TILES = """SELECT t.level, t.number, t.hashes FROM log_tiles t
  JOIN unnest($1::smallint[], $2::bigint[]) AS w(level, number) ON t.level = w.level AND t.number = w.number"""
TILES_BETWEEN = """SELECT level, number, root, hashes FROM log_tiles
  WHERE level = $1 AND number >= $2 AND number < $3 ORDER BY number"""
ENTRY = """SELECT e.idx, e.org_seq, e.leaf, s.salt,
    CASE e.kind WHEN 1 THEN (SELECT r.record FROM requests r WHERE r.org_id = e.org_id AND r.request_id = e.record_id)
      ELSE (SELECT c.record FROM changes c WHERE c.org_id = e.org_id AND c.record_id = e.record_id) END AS record
  FROM log_entries e LEFT JOIN log_salts s ON s.idx = e.idx AND s.org_id = e.org_id
  WHERE e.org_id = $1 AND e.record_id = $2 AND e.idx < $3 ORDER BY e.idx LIMIT 1"""
PLACES = """SELECT e.record_id, e.idx, e.org_seq FROM log_entries e
  WHERE e.org_id = $1 AND e.kind = $2 AND e.record_id = ANY ($3::uuid[])"""
DECLARES_BEHIND = """SELECT EXISTS (SELECT FROM redactions r JOIN log_entries e
    ON e.org_id = r.org_id AND e.record_id = r.record_id AND e.kind = 2
  WHERE r.org_id = $1 AND r.done_at IS NOT NULL AND e.idx >= $2)"""
ENTRIES_OF = """SELECT e.idx, e.org_seq, e.leaf, s.salt,
    CASE e.kind WHEN 1 THEN (SELECT r.record FROM requests r WHERE r.org_id = e.org_id AND r.request_id = e.record_id)
      ELSE (SELECT c.record FROM changes c WHERE c.org_id = e.org_id AND c.record_id = e.record_id) END AS record
  FROM log_entries e LEFT JOIN log_salts s ON s.idx = e.idx AND s.org_id = e.org_id
  WHERE e.org_id = $1 AND e.org_seq > $2 AND e.idx < $3 ORDER BY e.org_seq LIMIT $4"""


class Head(NamedTuple):
    """What the log holds, and how far it has read."""

    verifier_key: str
    size: int
    root: bytes
    checkpoint: str
    request_position: int
    change_position: int
    epoch: int


NOTHING = Head("", 0, EMPTY_ROOT, "", 0, 0, 0)


class Batch(NamedTuple):
    """What is appended together."""

    rows: Sequence[Stored]
    org_seqs: Sequence[int]
    leaves: Sequence[bytes]
    salts: Sequence[bytes]
    tiles: Sequence[FullTile]


def _written(before: Head, after: Head, batch: Batch) -> tuple[object, ...]:
    """What the statement that appends is given."""
    return (
        before.epoch,
        before.size,
        before.root,
        after.root,
        after.checkpoint,
        after.request_position,
        after.change_position,
        [row.org_id for row in batch.rows],
        batch.org_seqs,
        [row.kind for row in batch.rows],
        [row.record_id for row in batch.rows],
        [row.position for row in batch.rows],
        batch.leaves,
        batch.salts,
        [tile.level for tile in batch.tiles],
        [tile.number for tile in batch.tiles],
        [tile.root for tile in batch.tiles],
        [tile.hashes for tile in batch.tiles],
    )


class Heads(NamedTuple):
    """The newest leaf that says the last number of every organisation, and what it was made of."""

    idx: int
    at: dt.datetime
    leaf: bytes
    salt: bytes
    org_seqs: dict[str, int]


class Started(NamedTuple):
    """Where the log begins."""

    idx: int
    """Entries before it are gone."""
    archived: int
    """So many entries an operator's archive was reported to have."""
    archived_at: dt.datetime | None


class Start(NamedTuple):
    """The leaf that declares where the log begins, and what it was made of."""

    idx: int
    leaf_idx: int
    leaf: bytes
    salt: bytes
    org_seqs: dict[str, int]
    """The last number of each organisation among what is gone."""


class _NotAppended(Exception):
    """A transaction is taken back: its leaf was not appended."""


class Place(NamedTuple):
    """Where a record's leaf stands."""

    idx: int
    org_seq: int


@dataclass(frozen=True)
class LogStore:
    """The log in the schema `audit`."""

    database: Database
    payloads: Payloads = PLAIN

    @functools.cached_property
    def packs(self) -> Packs:
        """The old entries. They are looked at behind the rows: what is packed meanwhile has left these by then."""
        return Packs(self.database, self.payloads)

    async def take_lead(self, verifier_key: str) -> int:
        """The epoch of a new leader; what an earlier one still tries to append is refused from here on."""
        return int(await self.database.call(TAKE_LEAD, verifier_key))

    async def head(self) -> Head:
        """What the log holds."""
        async with self.database.transaction() as connection:
            return Head(*await connection.fetchrow(HEAD))

    async def take(self, head: Head, most: int) -> list[Stored]:
        """What has no leaf yet, changes first, each kind in order of position; no smaller position is still to come."""
        rows = await self.database.rows(TAKE, head.request_position, head.change_position, most)
        if not any(is_sealed(row[4]) for row in rows):
            return [Stored(*row) for row in rows]
        # No leaf is written of what cannot be opened for want of a key: that waits, with everything behind it.
        records = [(form.Place(row[2], row[0], row[3]), row[4]) for row in rows]
        opened = await self.payloads.opened(records, must=True)
        return [Stored(*row)._replace(record=record) for row, record in zip(rows, opened, strict=True)]

    async def last_seqs(self, org_ids: Collection[str]) -> dict[str, int]:
        """The number of the last entry of each organisation."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id, org_seq FROM log_last_seqs($1)", list(org_ids))
        return {str(row[0]): row[1] for row in rows}

    async def append(self, before: Head, after: Head, batch: Batch) -> str:
        """Writes a batch and the head behind it at once: "appended", or "deposed" or "behind" and nothing written."""
        return str(await self.database.call(APPEND, *_written(before, after, batch)))

    async def append_heads(
        self, before: Head, after: Head, batch: Batch, at: dt.datetime, org_seqs: Mapping[str, int]
    ) -> str:
        """The same with a batch that is one leaf of heads, and what exports need of it."""
        async with self.database.transaction() as connection:
            done = str(await connection.fetchval(APPEND, *_written(before, after, batch)))
            if done == "appended":
                await connection.execute(KEEP_HEADS, before.size, at, list(org_seqs), list(org_seqs.values()))
        return done

    async def all_seqs(self) -> dict[str, int]:
        """The number of the last entry of every organisation."""
        async with self.database.transaction() as connection:
            return {str(row[0]): row[1] for row in await connection.fetch(ALL_SEQS)}

    async def newest_heads(self) -> Heads | None:
        """The newest heads; None in a log without."""
        async with self.database.transaction() as connection:
            row = await connection.fetchrow(NEWEST_HEADS)
        if row is None:
            return None
        return Heads(row[0], row[1], row[2], row[3], dict(zip(map(str, row[4]), row[5], strict=True)))

    async def started(self) -> Started:
        """Where the log begins."""
        async with self.database.transaction() as connection:
            return Started(*await connection.fetchrow(STARTED))

    async def start(self) -> Start | None:
        """The declared start; None in a log that has all its entries."""
        async with self.database.transaction() as connection:
            row = await connection.fetchrow(START_LEAF)
        if row is None:
            return None
        return Start(row[0], row[1], row[2] or b"", row[3] or b"", dict(zip(map(str, row[4]), row[5], strict=True)))

    async def start_waits(self, start: int, *, needs_archive: bool) -> str:
        """Why the log may not begin with an entry yet: "packing", "archive", "heads", "hold", "payloads"; else ""."""
        async with self.database.transaction() as connection:
            return str(
                await connection.fetchval("SELECT log_start_waits($1, $2)", start, needs_archive, timeout=LONG_S)
            )

    async def numbers_before(self, start: int) -> dict[str, int]:
        """The last number of every organisation among the entries before the edge of a window."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch(NUMBERS_BEFORE, start, timeout=LONG_S)
        return {str(row[0]): row[1] for row in rows}

    async def append_start(
        self, before: Head, after: Head, batch: Batch, start: int, org_seqs: Mapping[str, int], *, needs_archive: bool
    ) -> str:
        """Drops what is before `start` and appends the one leaf that declares it: "appended", or why nothing was."""
        numbers = [list(org_seqs), list(org_seqs.values())]
        try:
            async with self.database.transaction() as connection:
                done = await connection.fetchval(BEGIN, start, before.size, *numbers, needs_archive, timeout=LONG_S)
                if done == "begun":
                    done = await connection.fetchval(APPEND, *_written(before, after, batch))
                    if done != "appended":
                        raise _NotAppended(done)
        except _NotAppended as refused:
            return str(refused)
        return str(done)

    async def note_archive(self, size: int) -> int:
        """Notes that an archive has so many entries; the most that one was said to have."""
        async with self.database.transaction() as connection:
            return int(await connection.fetchval("SELECT log_note_archive($1)", size))

    async def edge_rows(self, size: int) -> list[list[bytes]]:
        """By level, the hashes of the partial tile at the right edge of a tree."""
        rows, level = [], 0
        while (count := size >> (tiles.HEIGHT * level)) or level == 0:
            number = count // tiles.WIDTH
            hashes = await self._row(level, number, count % tiles.WIDTH)
            rows.append([hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)])
            level += 1
        return rows

    async def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The hashes of a tile; None when there are not so many."""
        if width == tiles.WIDTH:
            found = await self.tiles({(level, number)}, (number + 1) << (tiles.HEIGHT * (level + 1)))
            return found.get((level, number))
        hashes = await self._row(level, number, width)
        return hashes if len(hashes) == width * HASH_BYTES else None

    async def _row(self, level: int, number: int, width: int) -> bytes:
        first = number * tiles.WIDTH
        if not width:
            return b""
        if level == 0:
            return b"".join(map(hash_leaf, await self.leaves(first, first + width)))
        async with self.database.transaction() as connection:
            return b"".join(row[0] for row in await connection.fetch(ROOTS, level - 1, first, first + width))

    async def tiles(self, places: Iterable[tuple[int, int]], size: int) -> dict[tuple[int, int], bytes]:
        """Tiles of a tree by (level, number), those at its right edge as wide as they are there."""
        wanted = {place: width_at(*place, size) for place in places}
        full = [place for place, width in wanted.items() if width == tiles.WIDTH]
        async with self.database.transaction() as connection:
            rows = await connection.fetch(FULL_TILES, [one[0] for one in full], [one[1] for one in full])
        found = {(row[0], row[1]): row[2] for row in rows}
        for (level, number), width in wanted.items():
            if 0 < width < tiles.WIDTH:
                found[level, number] = await self._row(level, number, width)
        return found

    async def tiles_between(self, level: int, first: int, end: int) -> list[FullTile]:
        """Full tiles of a level, in order."""
        async with self.database.transaction() as connection:
            return [FullTile(*row) for row in await connection.fetch(TILES_BETWEEN, level, first, end)]

    async def leaves(self, first: int, end: int) -> list[bytes]:
        """Leaves of all organisations, in order."""
        async with self.database.transaction() as connection:
            rows = [row[0] for row in await connection.fetch("SELECT leaf FROM log_leaves($1, $2)", first, end)]
        if len(rows) == end - first or first >= (packed := await self.packs.packed()).stop:
            return rows
        rest = await self.leaves(packed.stop, end) if packed.stop < end else []
        return [place.entry.leaf for place in await self.packs.between(first, end, packed)] + rest

    async def entry(self, org_id: str, record_id: str, size: int) -> Entry | None:
        """The entry of a record in a tree of that size."""
        async with self.database.transaction(org_id) as connection:
            row = await connection.fetchrow(ENTRY, org_id, record_id, size)
        if row is None:
            return await self.packs.entry(org_id, record_id, size)
        return (await opened_entries(self.payloads, org_id, [Entry(*row)]))[0]

    async def entries_of(self, org_id: str, after_seq: int, size: int, most: int) -> list[Entry]:
        """An organisation's entries in a tree of that size, in order, at most so many; none = there are no more."""
        async with self.database.transaction(org_id) as connection:
            entries = [Entry(*row) for row in await connection.fetch(ENTRIES_OF, org_id, after_seq, size, most)]
        # A pack has every number of its stretch; rows are left of some of them only.
        packed = await self.packs.entries_of(org_id, after_seq, size, most)
        return packed or await opened_entries(self.payloads, org_id, entries)

    async def places(self, org_id: str, kind: int, record_ids: Sequence[str]) -> dict[str, Place]:
        """Where the leaves of an organisation's records stand; those without one are left out."""
        async with self.database.transaction(org_id) as connection:
            rows = await connection.fetch(PLACES, org_id, kind, record_ids)
        return {str(row[0]): Place(row[1], row[2]) for row in rows}

    async def declares_behind(self, org_id: str, size: int) -> bool:
        """Whether records are gone whose declaration stands behind the first `size` entries."""
        async with self.database.transaction(org_id) as connection:
            return bool(await connection.fetchval(DECLARES_BEHIND, org_id, size))

    async def removed_since(self, head: Head, org_id: str | None = None) -> bool:
        """Whether records (of one organisation) are gone whose declaration a log with that head does not have."""
        async with self.database.transaction() as connection:
            return bool(await connection.fetchval("SELECT removed_since($1, $2)", head.change_position, org_id))

    async def blocks(self, first: int, end: int) -> list[bytes]:
        """Frames of entries of all organisations, with salt, plain record and the columns that lists show of it."""
        return await self.payloads.opened_frames(await self._blocks(first, end))

    async def _blocks(self, first: int, end: int) -> list[bytes]:
        async with self.database.transaction() as connection:
            blocks = [row[0] for row in await connection.fetch("SELECT log_blocks($1, $2)", first, end)]
        packed = await self.packs.packed()
        if packed.stop <= first:
            return blocks
        frames = await self.packs.frames(first, end, packed)
        return frames + (await self._blocks(packed.stop, end) if packed.stop < end else [])

    async def counts(self, head: Head) -> tuple[int, int]:
        """How many requests and changes a log with that head should have leaves of."""
        positions = head.request_position, head.change_position
        async with self.database.transaction() as connection:
            row = await connection.fetchrow("SELECT requests, changes FROM log_counts($1, $2)", *positions)
        return row[0], row[1]
