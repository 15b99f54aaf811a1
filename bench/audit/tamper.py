"""Edits of a stored log by somebody who owns the database, and for some of them the signing key: are they found?

The log is in memory, and goes to the same verification as `dac audit verify`, with one checkpoint from outside. Edits
that need the key to hide change what that checkpoint was made of: behind it nobody can tell.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from dac.type.v1 import record_pb2
from mesh.tlog import merkle
from mesh.tlog.frames import StoredEntry, counts_frame, entry_frame, head_frame, stretch_frame, tile_frame
from mesh.tlog.leaves import Leaf, commit, read_leaf, write_leaf
from mesh.tlog.notes import Checkpoint, NoteSigner
from mesh.tlog.side_by_side import check_stretch
from mesh.tlog.stretches import BrokenStream
from mesh.tlog.tiles import HEIGHT, WIDTH, Edge, FullTile
from mesh.tlog.verification import Verification

SIZE, KEPT_AT = 300, 280
"""Entries of the log, and of the checkpoint that was kept outside."""
SIGNER = NoteSigner("bench.example/log", b"b" * 32)
THIEF = NoteSigner("bench.example/log", b"t" * 32)


@dataclasses.dataclass
class StoredLog:
    """What is stored."""

    entries: list[StoredEntry]
    tiles: list[FullTile]
    note: str
    key: str
    counts: tuple[int, int]

    def copy(self) -> StoredLog:
        """One to edit."""
        return StoredLog(list(self.entries), list(self.tiles), self.note, self.key, self.counts)

    def stream(self) -> bytes:
        """What verification reads."""
        parts = [head_frame(self.key, self.note), *map(entry_frame, self.entries), *map(tile_frame, self.tiles)]
        return b"".join((*parts, counts_frame(*self.counts)))

    def part(self, first: int, end: int = 0) -> list[bytes]:
        """A stretch; without an end everything from its beginning on."""
        behind = end or len(self.entries) + WIDTH
        entries = [entry_frame(entry) for entry in self.entries if first <= entry.idx < behind]
        full = ((tile, (tile.number + 1) << (HEIGHT * (tile.level + 1))) for tile in self.tiles)
        tiles = [tile_frame(tile) for tile, at in full if first < at <= behind]
        if end:
            return [stretch_frame(first, end), *entries, *tiles, stretch_frame(first, end)]
        return [head_frame(self.key, self.note), *entries, *tiles, counts_frame(*self.counts)]

    def rebuilt(self, signer: NoteSigner = SIGNER) -> StoredLog:
        """With numbers, tiles, counts and checkpoint made to fit the entries: what a forger with the key does."""
        edge, seqs = Edge(), dict[str, int]()
        entries, tiles = [], list[FullTile]()
        for idx, entry in enumerate(self.entries):
            leaf = read_leaf(entry.leaf)
            seqs[leaf.org_id] = seqs.get(leaf.org_id, 0) + 1
            renumbered = Leaf(**{**_fields(leaf), "org_seq": str(seqs[leaf.org_id])})
            entries.append(entry._replace(idx=idx, leaf=write_leaf(renumbered)))
            tiles += edge.extend([merkle.hash_leaf(entries[-1].leaf)])
        note = signer.sign(Checkpoint(signer.verifier.name, edge.size, edge.root()).text())
        return StoredLog(entries, tiles, note, str(signer.verifier), (len(entries), 0))


def _fields(leaf: Leaf) -> dict[str, str]:
    return {name: getattr(leaf, name) for name in leaf.__struct_fields__}


def _id(rng: random.Random) -> str:
    return f"{rng.getrandbits(32):08x}-0000-7000-8000-{rng.getrandbits(48):012x}"


def _entry(rng: random.Random, idx: int, org_id: str, request_id: str = "") -> StoredEntry:
    record = record_pb2.RequestRecord(
        request_id=request_id or _id(rng),
        org_id=org_id,
        outcome=record_pb2.OUTCOME_OK,
        cost_nano_usd=rng.randrange(10**9),
    )
    record.attempts.add(model=f"test/{rng.randrange(9)}")
    raw, salt = record.SerializeToString(), rng.randbytes(32)
    leaf = Leaf(
        action="chat",
        actor=f"key:{org_id}",
        commitment=commit(salt, raw),
        cost_nano_usd=str(record.cost_nano_usd),
        decision="ok",
        id=record.request_id,
        kind="request",
        org_id=org_id,
        org_seq="0",
        target=f"model:{record.attempts[0].model}",
        time="2026-01-01T00:00:00.000000Z",
        trace_id="",
    )
    at_us, model, cost = 1_767_225_600_000_000, record.attempts[0].model, record.cost_nano_usd
    return StoredEntry(idx, 1, write_leaf(leaf), salt, raw, at_us, model, 1, cost)


def build(rng: random.Random, size: int = SIZE) -> StoredLog:
    """A log of requests of five organisations."""
    orgs = [_id(rng) for _ in range(5)]
    entries = [_entry(rng, idx, rng.choice(orgs)) for idx in range(size)]
    return StoredLog(entries, [], "", "", (0, 0)).rebuilt()


def kept_checkpoint(log: StoredLog, size: int = KEPT_AT) -> Checkpoint:
    """The checkpoint that left the machine when the log had that size."""
    return Checkpoint(
        SIGNER.verifier.name, size, merkle.root_of([merkle.hash_leaf(e.leaf) for e in log.entries[:size]])
    )


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip(rng: random.Random, log: StoredLog) -> StoredLog:
    """One bit of a leaf, a salt, a record, a column, a tile or the checkpoint."""
    place = rng.randrange(len(log.entries))
    entry, what = log.entries[place], rng.randrange(7)
    if what == 0:
        log.entries[place] = entry._replace(leaf=_flipped(rng, entry.leaf))
    elif what == 1:
        log.entries[place] = entry._replace(salt=_flipped(rng, entry.salt or b""))
    elif what == 2:
        log.entries[place] = entry._replace(record=_flipped(rng, entry.record or b""))
    elif what == 3:
        log.entries[place] = entry._replace(cost_nano_usd=entry.cost_nano_usd ^ (1 << rng.randrange(30)))
    elif what == 4:
        log.entries[place] = entry._replace(at_us=entry.at_us ^ (1 << rng.randrange(40)))
    elif what == 5:
        tile = log.tiles[0]
        log.tiles[0] = tile._replace(hashes=_flipped(rng, tile.hashes))
    else:
        log.note = _flipped(rng, log.note.encode()).decode("utf-8", "replace")
    return log


def drop(rng: random.Random, log: StoredLog) -> StoredLog:
    """An entry, its salt or its record; with the others moved up, or not."""
    place, what = rng.randrange(len(log.entries)), rng.randrange(4)
    if what == 0:
        log.entries[place] = log.entries[place]._replace(salt=None)
    elif what == 1:
        log.entries[place] = log.entries[place]._replace(record=None)
    else:
        del log.entries[place]
        log.counts = len(log.entries), 0
        if what == 3:
            log.entries = [entry._replace(idx=idx) for idx, entry in enumerate(log.entries)]
    return log


def reorder(rng: random.Random, log: StoredLog) -> StoredLog:
    """Two entries change places."""
    one, other = rng.sample(range(len(log.entries)), 2)
    first, second = log.entries[one], log.entries[other]
    log.entries[one], log.entries[other] = second._replace(idx=one), first._replace(idx=other)
    return log


def swap_organisation(rng: random.Random, log: StoredLog) -> StoredLog:
    """An entry is given to another organisation."""
    place = rng.randrange(len(log.entries))
    leaf = read_leaf(log.entries[place].leaf)
    others = [other for entry in log.entries if (other := read_leaf(entry.leaf).org_id) != leaf.org_id]
    moved = Leaf(**{**_fields(leaf), "org_id": rng.choice(others)})
    log.entries[place] = log.entries[place]._replace(leaf=write_leaf(moved))
    return log


def truncate(rng: random.Random, log: StoredLog) -> StoredLog:
    """The end is cut off, and the checkpoint stays."""
    del log.entries[rng.randrange(len(log.entries)) :]
    log.tiles = [tile for tile in log.tiles if (tile.number + 1) << (8 * tile.level + 8) <= len(log.entries)]
    log.counts = len(log.entries), 0
    return log


def roll_back(rng: random.Random, log: StoredLog) -> StoredLog:
    """The log as it was once, with the checkpoint that it had then."""
    del log.entries[rng.randrange(1, KEPT_AT) :]
    return log.rebuilt()


def fork(rng: random.Random, log: StoredLog) -> StoredLog:
    """From some entry on other things have happened; signed with the key."""
    begin = rng.randrange(KEPT_AT)
    org_ids = [read_leaf(entry.leaf).org_id for entry in log.entries]
    log.entries[begin:] = [_entry(rng, idx, org_ids[idx]) for idx in range(begin, SIZE)]
    return log.rebuilt()


def re_sign(rng: random.Random, log: StoredLog) -> StoredLog:
    """One entry is replaced and everything made to fit: with the key, or with another one."""
    place = rng.randrange(KEPT_AT)
    leaf = read_leaf(log.entries[place].leaf)
    log.entries[place] = _entry(rng, place, leaf.org_id, leaf.id)
    return log.rebuilt(rng.choice([SIGNER, THIEF]))


EDITS: dict[str, Callable[[random.Random, StoredLog], StoredLog]] = {
    edit.__name__: edit for edit in (flip, drop, reorder, swap_organisation, truncate, roll_back, fork, re_sign)
}


def is_found(log: StoredLog, outside: Checkpoint | None) -> bool:
    """Whether verification objects, with the log's key pinned, to the stream and to stretches of it."""
    return not holds_as_stream(log, outside) and not holds_in_stretches(log, outside)


def holds_as_stream(log: StoredLog, outside: Checkpoint | None) -> bool:
    """Whether the log verifies when it is read as a whole."""
    verification = Verification(SIGNER.verifier, outside)
    try:
        verification.feed(log.stream())
        return verification.finish()
    except BrokenStream:
        return False


def holds_in_stretches(log: StoredLog, outside: Checkpoint | None, tiles: int = 1) -> bool:
    """Whether it does when stretches of so many tiles are checked each by itself, and the rest behind them."""
    verification = Verification(SIGNER.verifier, outside)
    size = (max((entry.idx for entry in log.entries), default=-1) + 1) // WIDTH * WIDTH
    try:
        for first in range(0, size, tiles * WIDTH):
            end = min(first + tiles * WIDTH, size)
            verification.join(check_stretch(log.part, first, end, verification.kept_size), end)
        verification.feed(b"".join(log.part(verification.due)))
        return verification.finish()
    except BrokenStream:
        return False


def measure(edits: int, seed: int = 9) -> dict[str, int]:
    """Random edits and how many were found; `missed_<edit>` for kinds of which one was not."""
    rng = random.Random(seed)
    log = build(rng)
    outside = kept_checkpoint(log)
    if not (holds_as_stream(log, outside) and holds_in_stretches(log, outside)):
        raise AssertionError("the log as it is does not verify")
    found = {"edits": edits, "detected": 0}
    names = list(EDITS)
    for number in range(edits):
        name = names[number % len(names)]
        if is_found(EDITS[name](rng, log.copy()), outside):
            found["detected"] += 1
        else:
            found[f"missed_{name}"] = found.get(f"missed_{name}", 0) + 1
    return found
