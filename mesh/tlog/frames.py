"""How the whole log travels to whoever verifies it: frames in one stream of bytes.

C: verifier key and checkpoint, first, and once more where the log had to be read on; the last one counts. E: an entry
with salt, record and the columns that lists show of the record.
T: a full tile, behind its entries. N: how many requests and changes are stored, last. Where old entries are gone, B
says with which one the log begins and the last number of each organisation before it, and K are the tiles that are kept
of what is gone; both before the entries. A stretch that was asked for has no C and no N: S says which entries it has,
before them and once more behind them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from mesh.tlog.merkle import HASH_BYTES
from mesh.tlog.tiles import WIDTH, FullTile

HEAD = struct.Struct(">cII")
ENTRY = struct.Struct(">chqii")
"""Kind and index, the lengths of leaf and salt; then these two."""
ROW = struct.Struct(">qqhii")
"""Time in microseconds since 2000, cost, outcome, the lengths of model and record; then these two."""
_entry_at, _row_at = ENTRY.unpack_from, ROW.unpack_from
_E, _ENTRY_SIZE, _ROW_SIZE = ord("E"), ENTRY.size, ROW.size
EPOCH_US = 946_684_800_000_000
"""The year 2000, as PostgreSQL counts, in microseconds since 1970."""
TILE = struct.Struct(">cBQ")
BEGIN = struct.Struct(">cQI")
"""The entry, and the length of the numbers, a JSON object; then these."""
COUNTS = struct.Struct(">cQQ")
STRETCH = struct.Struct(">cQQ")
"""The first entry, and the one behind the last."""
ABSENT = -1
"""The length of a record that is not there."""
TILE_BYTES = WIDTH * HASH_BYTES
_NO_TILE = FullTile(0, 0, b"", b"")
CONTENT_TYPE = "application/vnd.dac.audit-log"


class StoredEntry(NamedTuple):
    """An entry as it is stored, with the row that it is about."""

    idx: int
    kind: int
    leaf: bytes
    salt: bytes | None
    record: bytes | None
    at_us: int
    """The row's time in microseconds since 1970."""
    model: str
    outcome: int
    cost_nano_usd: int


def head_frame(verifier_key: str, checkpoint: str) -> bytes:
    """The frame C."""
    key, note = verifier_key.encode(), checkpoint.encode()
    return HEAD.pack(b"C", len(key), len(note)) + key + note


def entry_frame(entry: StoredEntry) -> bytes:
    """The frame E."""
    idx, kind, leaf, salt, record, at_us, model, outcome, cost = entry
    salt, shown = salt or b"", model.encode()
    head = ENTRY.pack(b"E", kind, idx, len(leaf), len(salt))
    if record is None:
        return b"".join((head, leaf, salt, ROW.pack(0, 0, 0, 0, ABSENT)))
    row = ROW.pack(at_us - EPOCH_US, cost, outcome, len(shown), len(record))
    return b"".join((head, leaf, salt, row, shown, record))


def packed_frame(idx: int, kind: int, leaf: bytes, salt: bytes | None, stored: bytes | None) -> bytes:
    """The frame E of a packed entry; `stored`: ROW with model and record, where there still is a record."""
    head = ENTRY.pack(b"E", kind, idx, len(leaf), len(salt or b""))
    return b"".join((head, leaf, salt or b"", stored or ROW.pack(0, 0, 0, 0, ABSENT)))


class TakeEntry(Protocol):
    """Who is given the entries of a stream, one by one."""

    def __call__(
        self,
        kind: int,
        idx: int,
        leaf: bytes,
        salt: bytes,
        record: bytes | None,
        at_us: int,
        cost_nano_usd: int,
        outcome: int,
        model: bytes,
        /,
    ) -> None:
        """As StoredEntry; no salt is empty, and the model is as it came."""


def read_entries(data: bytes, at: int, take: TakeEntry) -> int:
    """Hands over the frames E that follow each other from a place on; where the next frame begins.

    Stops before a frame that is not whole. Raises ValueError. Nothing is made of an entry but its parts: this runs for
    each one.
    """
    size = len(data)
    while at < size and data[at] == _E:
        leaf_at = at + _ENTRY_SIZE
        if leaf_at > size:
            break
        _, kind, idx, leaf_size, salt_size = _entry_at(data, at)
        salt_at = leaf_at + leaf_size
        row_at = salt_at + salt_size
        model_at = row_at + _ROW_SIZE
        if leaf_size < 0 or salt_size < 0:
            raise ValueError("an entry has a length below zero")
        if model_at > size:
            break
        at_us, cost, outcome, model_size, record_size = _row_at(data, row_at)
        record_at = model_at + model_size
        end = record_at if record_size == ABSENT else record_at + record_size
        if model_size < 0 or end < record_at:
            raise ValueError("an entry has a length below zero")
        if end > size:
            break
        record = None if record_size == ABSENT else data[record_at:end]
        take(
            kind,
            idx,
            data[leaf_at:salt_at],
            data[salt_at:row_at],
            record,
            at_us + EPOCH_US,
            cost,
            outcome,
            data[model_at:record_at],
        )
        at = end
    return at


def stretch_frame(first: int, end: int) -> bytes:
    """The frame S."""
    return STRETCH.pack(b"S", first, end)


def tile_frame(tile: FullTile) -> bytes:
    """The frame T."""
    return _tile_frame(b"T", tile)


def _tile_frame(letter: bytes, tile: FullTile) -> bytes:
    return TILE.pack(letter, tile.level, tile.number) + tile.root + tile.hashes


def begin_frame(start: int, org_seqs: Mapping[str, int]) -> bytes:
    """The frame B."""
    told = json.dumps(dict(org_seqs), separators=(",", ":")).encode()
    return BEGIN.pack(b"B", start, len(told)) + told


def read_begin(data: bytes, at: int) -> tuple[int, int, dict[str, int]]:
    """Of the frame B: where the next one begins (0 = it is not all there), entry and numbers. Raises ValueError."""
    if len(data) - at < BEGIN.size:
        return 0, 0, {}
    _, start, length = BEGIN.unpack_from(data, at)
    end = at + BEGIN.size + length
    if end > len(data):
        return 0, 0, {}
    return end, start, msgspec.json.decode(data[end - length : end], type=dict[str, int])


def kept_frame(tile: FullTile) -> bytes:
    """The frame K."""
    return _tile_frame(b"K", tile)


def read_tile(data: bytes, at: int) -> tuple[int, FullTile]:
    """Of a frame T or K: where the next one begins (0 = it is not all there), and the tile."""
    if len(data) - at < TILE.size + HASH_BYTES + TILE_BYTES:
        return 0, _NO_TILE
    _, level, number = TILE.unpack_from(data, at)
    root_at: int = at + TILE.size
    hashes_at = root_at + HASH_BYTES
    end = hashes_at + TILE_BYTES
    return end, FullTile(level, number, data[root_at:hashes_at], data[hashes_at:end])


def counts_frame(requests: int, changes: int) -> bytes:
    """The frame N."""
    return COUNTS.pack(b"N", requests, changes)
