"""How a log begins whose old leaves are gone: the declared start, and the tiles that are kept of what is before."""

from __future__ import annotations

from collections.abc import AsyncIterator

from mesh.tlog import merkle
from mesh.tlog.frames import begin_frame, kept_frame
from mesh.tlog.tiles import HEIGHT, TileHashes, tile_of
from services.audit import errors
from services.audit.log.store import LogStore

TILE_1 = 2 * HEIGHT
"""The entries below a tile of level 1, as a power of two."""
TOGETHER = 1 << 3 * HEIGHT
"""Kept tiles of so many entries travel together."""
PART_BYTES = 1 << 20


async def beginning(store: LogStore, first: int, start: int) -> AsyncIterator[bytes]:
    """Frames B and K for who reads from `first` on a log that begins with `start`; none where that is not before it."""
    declared = await store.start() if first < start else None
    if declared is None:
        return
    frame = begin_frame(declared.idx, declared.org_seqs)
    for at in range(0, len(frame), PART_BYTES):
        yield frame[at : at + PART_BYTES]
    for at in range(0, start, TOGETHER):
        end, span, tiles = min(start, at + TOGETHER), TILE_1, []
        while at >> span < end >> span:
            tiles += await store.tiles_between(span // HEIGHT - 1, at >> span, end >> span)
            span += HEIGHT
        yield b"".join(map(kept_frame, tiles))
    # The tile above these is not full yet: their roots stand nowhere else.
    rest = await store.tiles_between(0, start >> TILE_1 << HEIGHT, start >> HEIGHT)
    yield b"".join(map(kept_frame, rest))


async def hashes_of(store: LogStore, nodes: list[merkle.Node], size: int) -> TileHashes:
    """The hashes of complete subtrees of a tree. Raises FAILED_PRECONDITION where they went with old leaves."""
    places = {tile_of(node) for node in nodes}
    tiles = await store.tiles(places, size)
    if len(tiles) < len(places) and (start := (await store.started()).idx):
        raise errors.before_start(start)
    return TileHashes(tiles)
