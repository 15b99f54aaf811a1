"""A log as a folder of plain files (C2SP tlog-tiles): written, continued, and checked without the log.

`checkpoint` is written last and replaced at once, so the folder is at any time the archive of its checkpoint; files
beyond it are of a run that was interrupted. A folder that was begun when old leaves of the log had been dropped says in
`start` with which entry it begins; of what is before it has the tiles that the log kept.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mesh.tlog.heads import NOBODY
from mesh.tlog.leaves import START, read_leaf
from mesh.tlog.merkle import HASH_BYTES, complete_root, hash_leaf
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from mesh.tlog.starts import MOST_DIGITS, TARGET
from mesh.tlog.tiles import ENTRIES, HEIGHT, WIDTH, Edge, FullTile, Tile, tiles_of, unpack_entries, width_at

CHECKPOINT, KEY, BEGINS = "checkpoint", "verifier-key", "start"
TOLD = 20
"""So many findings are told; behind them checking stops."""


class ArchiveError(ValueError):
    """The folder and the log do not go together, or one of them does not hold; the folder is as it was."""


class Extended(NamedTuple):
    """What a run has done."""

    before: int
    """Entries that the folder had."""
    size: int


class Checked(NamedTuple):
    """What an archive holds."""

    entries: int
    organisations: int
    findings: list[str]


class Archive:
    """The folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def key(self) -> VerifierKey | None:
        """The key that the folder names; None when there is none. Raises ArchiveError."""
        try:
            return VerifierKey.parse((self.folder / KEY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (NoteError, OSError, UnicodeDecodeError) as error:
            raise ArchiveError(f"{self.folder / KEY}: {error}") from None

    def checkpoint(self, key: VerifierKey) -> Checkpoint | None:
        """The checkpoint that the folder is the archive of; None for a new folder. Raises ArchiveError."""
        try:
            return open_checkpoint((self.folder / CHECKPOINT).read_text(encoding="utf-8"), key)
        except FileNotFoundError:
            return None
        except (NoteError, OSError, UnicodeDecodeError) as error:
            raise ArchiveError(f"{self.folder / CHECKPOINT}: {error}") from None

    def extend(self, note: str, key: VerifierKey, fetch: Callable[[Tile], bytes], start: int = 0) -> Extended:
        """Makes the folder the archive of a newer checkpoint; `fetch` gives entry bundles from `start` on, and tiles.

        Raises ArchiveError.

        What the folder has is the beginning of the tree whose root is compared at the end, so it is a prefix of the
        log, or nothing is kept of the run.
        """
        new, old = self._opened(note, key), self.checkpoint(key)
        before, taken = old.size if old else 0, list[pathlib.Path]()
        if old and before < start:
            raise ArchiveError(
                f"the log begins with entry {start}, and the archive has {before}: what is between them was dropped"
            )
        if new.size < before:
            raise ArchiveError(f"the log has {new.size} entries, and the archive has {before} of it")
        try:
            edge = self._edge(old) if old else self._begun(start, fetch, taken)
            for number in range(edge.size // WIDTH, -(-new.size // WIDTH)):
                self._take(Tile(ENTRIES, number, width_at(ENTRIES, number, new.size)), edge, fetch, taken)
            if edge.root() != new.root:
                raise ArchiveError(f"the log's entries do not hash to the root of its checkpoint of {new.size}")
        except ArchiveError:
            for path in taken:
                path.unlink(missing_ok=True)
            raise
        for level, row in enumerate(edge.rows()):
            if row:
                self._write(Tile(level, (new.size >> (HEIGHT * level)) // WIDTH, len(row)).path, b"".join(row))
        self._write(KEY, f"{key}\n".encode())
        os.sync()
        self._write(CHECKPOINT, note.encode())
        self._tidy(before, new.size)
        return Extended(before, new.size)

    def start(self) -> int:
        """The first entry that the folder has. Raises ArchiveError."""
        try:
            text = (self.folder / BEGINS).read_text(encoding="utf-8")
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError) as error:
            raise ArchiveError(f"{self.folder / BEGINS}: {error}") from None
        digits = text.removesuffix("\n")
        if not digits.isdecimal() or len(digits) > MOST_DIGITS or int(digits) % WIDTH:
            raise ArchiveError(f"{self.folder / BEGINS} names no entry that begins a bundle")
        return int(digits)

    def _begun(self, start: int, fetch: Callable[[Tile], bytes], taken: list[pathlib.Path]) -> Edge:
        """The edge of a new folder, made of the tiles that the log kept; whether they are right the root says later."""
        edge = Edge()
        for tile in kept_tiles(start):
            for full in _with_kept(edge, tile, fetch(tile)):
                whole = Tile(full.level, full.number)
                taken.append(self.folder / whole.path)
                self._write(whole.path, full.hashes)
        if start:
            taken.append(self.folder / BEGINS)
            self._write(BEGINS, f"{start}\n".encode())
        return edge

    @staticmethod
    def _opened(note: str, key: VerifierKey) -> Checkpoint:
        try:
            return open_checkpoint(note, key)
        except NoteError as error:
            raise ArchiveError(f"the log's checkpoint does not hold: {error}") from None

    def _take(self, tile: Tile, edge: Edge, fetch: Callable[[Tile], bytes], taken: list[pathlib.Path]) -> None:
        """Writes a bundle and the tiles that become full with it."""
        path = self.folder / tile.path
        # Whole bundles of a run that was interrupted are here already; the root says whether they are right.
        is_here = tile.width == WIDTH and path.is_file()
        bundle = path.read_bytes() if is_here else fetch(tile)
        leaves = _unpacked(bundle, tile)
        known = edge.size - tile.number * WIDTH
        hashes = [hash_leaf(leaf) for leaf in leaves]
        if known and hashes[:known] != edge.rows()[0]:
            raise ArchiveError(f"{tile.path} does not begin with the entries that the archive has")
        taken.append(path)
        if not is_here:
            self._write(tile.path, bundle)
        for full in edge.extend(hashes[known:]):
            whole = Tile(full.level, full.number)
            taken.append(self.folder / whole.path)
            self._write(whole.path, full.hashes)

    def _edge(self, checkpoint: Checkpoint) -> Edge:
        """The right edge of the folder's tree, which must be that of its checkpoint."""
        rows, level = [], 0
        while count := checkpoint.size >> (HEIGHT * level):
            width = count % WIDTH
            hashes = self.read(Tile(level, count // WIDTH, width)) if width else b""
            rows.append([hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)])
            level += 1
        try:
            edge = Edge(checkpoint.size, rows)
        except ValueError as error:
            raise ArchiveError(f"the archive is damaged: {error}") from None
        if edge.root() != checkpoint.root:
            raise ArchiveError(f"the archive is damaged: its tiles do not hash to its checkpoint of {checkpoint.size}")
        return edge

    def read(self, tile: Tile) -> bytes:
        """A file of the folder. Raises ArchiveError."""
        try:
            return (self.folder / tile.path).read_bytes()
        except OSError as error:
            raise ArchiveError(f"the archive is damaged: {error}") from None

    def _write(self, path: str, data: bytes) -> None:
        """Writes a file as a whole or not at all."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            draft.write_bytes(data)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def _tidy(self, before: int, size: int) -> None:
        """Removes partial files of an earlier size; the specification allows it once there are wider ones."""
        needed = _partial(size)
        for path in _partial(before) - needed:
            (self.folder / path).unlink(missing_ok=True)

    def check(self, key: VerifierKey, outside: Checkpoint | None = None) -> Checked:
        """Computes everything anew from the entries. Raises ArchiveError for a folder that is no archive."""
        checkpoint = self.checkpoint(key)
        if checkpoint is None:
            raise ArchiveError(f"{self.folder} has no checkpoint")
        return _Check(self, checkpoint, outside).run()


def kept_tiles(start: int) -> Iterator[Tile]:
    """The tiles that a log which begins with an entry has of what is before it, those at the edge of lower ones."""
    whole = start >> 2 * HEIGHT
    yield from (Tile(1, number) for number in range(whole))
    yield from (Tile(0, number) for number in range(whole << HEIGHT, start >> HEIGHT))


def _with_kept(edge: Edge, tile: Tile, hashes: bytes) -> list[FullTile]:
    """Extends an edge by a kept tile; the tiles that are full with it, itself among them."""
    if len(hashes) != WIDTH * HASH_BYTES:
        raise ArchiveError(f"{tile.path} is no tile")
    row = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    if tile.level:
        return edge.extend(row, 1)
    root = complete_root(row)
    return [FullTile(0, tile.number, root, hashes), *edge.extend([root], 1)]


def _partial(size: int) -> set[str]:
    tiles = [tile for tile in tiles_of(size) if tile.width < WIDTH]
    return {one.path for tile in tiles for one in ([tile, tile._replace(level=ENTRIES)] if tile.level == 0 else [tile])}


def _unpacked(bundle: bytes, tile: Tile) -> list[bytes]:
    try:
        leaves = unpack_entries(bundle)
    except ValueError as error:
        raise ArchiveError(f"{tile.path}: {error}") from None
    if len(leaves) != tile.width:
        raise ArchiveError(f"{tile.path} has {len(leaves)} entries, not {tile.width}")
    return leaves


class _Check:
    """One pass over the entries of an archive."""

    def __init__(self, archive: Archive, checkpoint: Checkpoint, outside: Checkpoint | None) -> None:
        self._archive, self._checkpoint, self._outside = archive, checkpoint, outside
        self._edge, self._outside_root = Edge(), b""
        self._seqs: dict[str, int] = {}
        self._start, self._is_declared = archive.start(), False
        self._findings: list[str] = []

    def run(self) -> Checked:
        """What holds and what does not."""
        size = self._checkpoint.size
        self._begin()
        for number in range(self._start // WIDTH, -(-size // WIDTH)):
            try:
                tile = Tile(ENTRIES, number, width_at(ENTRIES, number, size))
                leaves = _unpacked(self._archive.read(tile), tile)
            except ArchiveError as error:
                self._findings.append(str(error))
                break
            self._take(leaves)
            if len(self._findings) >= TOLD:
                break
        self._finish()
        return Checked(self._edge.size - self._start, len(self._seqs.keys() - {NOBODY}), self._findings[:TOLD])

    def _begin(self) -> None:
        """Takes the tiles that are kept of what is before the first entry."""
        try:
            for tile in kept_tiles(self._start):
                for full in _with_kept(self._edge, tile, self._archive.read(tile)):
                    self._compare(Tile(full.level, full.number), full.hashes)
        except ArchiveError as error:
            self._findings.append(str(error))

    def _take(self, leaves: list[bytes]) -> None:
        first = self._edge.size
        for idx, raw in enumerate(leaves, first):
            self._check_leaf(idx, raw)
        hashes = [hash_leaf(raw) for raw in leaves]
        split = self._outside.size - first if self._outside else -1
        if 0 <= split <= len(hashes):
            self._extend(hashes[:split])
            self._outside_root = self._edge.root()
            hashes = hashes[split:]
        self._extend(hashes)

    def _check_leaf(self, idx: int, raw: bytes) -> None:
        try:
            leaf = read_leaf(raw)
        except ValueError as error:
            self._findings.append(f"entry {idx}: its leaf cannot be read: {error}")
            return
        if leaf.kind == START:
            self._is_declared |= leaf.target.startswith(f"{TARGET}{self._start}:")
        # What number an organisation's first one has behind entries that are gone, only who has the log can say.
        is_first = self._start and leaf.org_id not in self._seqs and leaf.org_seq.isdecimal()
        due = int(leaf.org_seq[:MOST_DIGITS]) if is_first else self._seqs.get(leaf.org_id, 0) + 1
        self._seqs[leaf.org_id] = due
        if leaf.org_seq != str(due):
            self._findings.append(
                f"entry {idx}: number {leaf.org_seq} of organisation {leaf.org_id}, where {due} is due"
            )

    def _extend(self, hashes: list[bytes]) -> None:
        for full in self._edge.extend(hashes):
            self._compare(Tile(full.level, full.number), full.hashes)

    def _compare(self, tile: Tile, hashes: bytes) -> None:
        try:
            if self._archive.read(tile) != hashes:
                self._findings.append(f"{tile.path}: it is not what the entries hash to")
        except ArchiveError as error:
            self._findings.append(str(error))

    def _finish(self) -> None:
        size = self._edge.size
        if self._start and not self._is_declared:
            self._findings.append(f"it begins with entry {self._start}, and no entry declares the ones before it gone")
        if size != self._checkpoint.size:
            self._findings.append(f"it has {size} entries, and its checkpoint says {self._checkpoint.size}")
            return
        for level, row in enumerate(self._edge.rows()):
            if row:
                self._compare(Tile(level, (size >> (HEIGHT * level)) // WIDTH, len(row)), b"".join(row))
        if self._edge.root() != self._checkpoint.root:
            self._findings.append("its entries do not hash to the root of its checkpoint")
        kept = self._outside
        if kept is None:
            return
        if kept.origin != self._checkpoint.origin:
            self._findings.append(f"the saved checkpoint is of another log: {kept.origin}")
        elif kept.size > size:
            self._findings.append(f"the log had {kept.size} entries when the checkpoint was saved; here are {size}")
        elif kept.size < self._start:
            self._findings.append(f"the saved checkpoint is of {kept.size} entries, which this archive does not have")
        elif self._outside_root != kept.root:
            self._findings.append(f"the first {kept.size} entries are not those that the saved checkpoint was made of")
