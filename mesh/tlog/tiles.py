"""C2SP tlog-tiles: a tree as files of 256 hashes and bundles of 256 entries; proofs from tiles; the growing edge."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mesh.tlog.merkle import EMPTY_ROOT, HASH_BYTES, Node, complete_root, fold, parents, peaks

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 63
ENTRIES = -1
"""The level of entry bundles."""
MAX_ENTRY_BYTES = 0xFFFF
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """The name of a tile or of an entry bundle."""

    level: int
    """From 0; ENTRIES for a bundle."""
    number: int
    """From 0, within its level."""
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path below the log's prefix."""
        groups = [f"{self.number % 1000:03d}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{partial}"

    @classmethod
    def parse(cls, path: str) -> Tile | None:
        """The tile of a path; None for a path that names none."""
        found = _PATH.fullmatch(path)
        if not found:
            return None
        index = int(found["index"].replace("/", "").replace("x", ""))
        level = ENTRIES if found["level"] == "entries" else int(found["level"])
        tile = cls(level, index, int(found["width"] or WIDTH))
        fits = level <= MAX_LEVEL and (tile.width < WIDTH) == (found["width"] is not None)
        return tile if fits and tile.path == path else None


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes the tile has in a tree of `size`; 0 = it has none."""
    return max(0, min(WIDTH, (size >> (HEIGHT * max(level, 0))) - index * WIDTH))


def tiles_of(size: int) -> list[Tile]:
    """Every tile of a tree, also partial ones."""
    found, level = [], 0
    while count := size >> (HEIGHT * level):
        found += [Tile(level, index, width_at(level, index, size)) for index in range(-(-count // WIDTH))]
        level += 1
    return found


def tile_of(node: Node) -> tuple[int, int]:
    """(level, index) of the tile that a complete subtree is computed from."""
    level, index = node
    return level // HEIGHT, (index << (level % HEIGHT)) // WIDTH


class TileHashes:
    """Hashes of complete subtrees from tiles at hand, remembered row by row."""

    def __init__(self, tiles: Mapping[tuple[int, int], bytes]) -> None:
        self._rows = {
            place: [[hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]]
            for place, hashes in tiles.items()
        }

    def __call__(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree. Raises KeyError or IndexError for a tile that is not at hand or too small."""
        place = tile_of((level, index))
        rows, height = self._rows[place], level % HEIGHT
        while len(rows) <= height:
            below = rows[-1]
            rows.append(parents(below[: len(below) & ~1]))
        return rows[height][index - ((place[1] * WIDTH) >> height)]


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """An entry bundle. Raises ValueError for an entry that is too long."""
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry of {len(entry)} bytes does not fit a bundle")
        parts += [struct.pack(">H", len(entry)), entry]
    return b"".join(parts)


def unpack_entries(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises ValueError."""
    found, at = [], 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if at + 2 > len(bundle) or end > len(bundle):
            raise ValueError("the entry bundle breaks off")
        found.append(bundle[at + 2 : end])
        at = end
    return found


class FullTile(NamedTuple):
    """A tile that has become full."""

    level: int
    number: int
    root: bytes
    hashes: bytes


class Edge:
    """The right edge of a growing tree: the hashes of its partial tiles. Appends give the tiles that became full."""

    def __init__(self, size: int = 0, rows: Sequence[Sequence[bytes]] = ()) -> None:
        """`rows`: by level, the hashes of the partial tile of a tree of `size`. Raises ValueError when they do not."""
        self.size = size
        self._rows = [list(row) for row in rows]
        while size >> (HEIGHT * len(self._rows)):
            self._rows.append([])
        for level, row in enumerate(self._rows):
            if len(row) != (size >> (HEIGHT * level)) % WIDTH:
                raise ValueError(f"level {level} of a tree of {size} cannot end with {len(row)} hashes")

    def copy(self) -> Edge:
        """One to try something on."""
        return Edge(self.size, self._rows)

    def rows(self) -> list[list[bytes]]:
        """By level, the hashes of the partial tile; of a full one's level none."""
        return [list(row) for row in self._rows]

    def extend(self, hashes: Sequence[bytes], level: int = 0) -> list[FullTile]:
        """Appends leaves, or roots of whole tiles below a level where the tree has no partial ones."""
        self.size += len(hashes) << (HEIGHT * level)
        full: list[FullTile] = []
        arriving = list(hashes)
        while len(self._rows) < level:
            self._rows.append([])
        while arriving:
            if level == len(self._rows):
                self._rows.append([])
            row = self._rows[level] + arriving
            index = ((self.size >> (HEIGHT * level)) - len(row)) // WIDTH
            arriving = []
            for start in range(0, len(row) - len(row) % WIDTH, WIDTH):
                whole = row[start : start + WIDTH]
                root = complete_root(whole)
                full.append(FullTile(level, index + start // WIDTH, root, b"".join(whole)))
                arriving.append(root)
            self._rows[level] = row[len(row) - len(row) % WIDTH :]
            level += 1
        return full

    def root(self) -> bytes:
        """The root of the tree."""
        edge = [peak for row in reversed(self._rows) for peak in peaks(row)]
        return fold(edge) if edge else EMPTY_ROOT
