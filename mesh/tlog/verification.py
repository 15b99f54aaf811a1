"""Checks a whole log as it streams in: every leaf against its record, every root, every number, and the signatures."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Callable
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dac.type.v1 import record_pb2
from mesh.tlog.frames import COUNTS, HEAD, TILE, TILE_BYTES, StoredEntry, read_entry
from mesh.tlog.heads import NOBODY, wrong_heads
from mesh.tlog.leaves import CHANGE, DECISIONS, HEADS, KINDS, MAX_FIELD, REQUEST, Leaf, commit, read_leaf
from mesh.tlog.merkle import HASH_BYTES
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from mesh.tlog.redactions import DECLARING, PREFIX, Redactions, declared_by
from mesh.tlog.tiles import WIDTH, Edge

_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)
TOLD = 20
"""So many findings are told in words; the others are counted."""


class Finding(NamedTuple):
    """Something that does not hold."""

    where: str
    what: str


class BrokenStream(ValueError):
    """What came is not the stream of a log."""


class Verification:
    """Takes the stream in any parts; then `finish`. `findings` are empty when everything held."""

    def __init__(self, key: VerifierKey | None, outside: Checkpoint | None) -> None:
        """`key`: the pinned one; without it the log's own is taken. `outside`: a checkpoint that was kept elsewhere."""
        self._key, self._outside = key, outside
        self.findings: list[Finding] = []
        self.faults = 0
        self.checkpoint: Checkpoint | None = None
        self.note = ""
        self.key: VerifierKey | None = None
        self.entries = 0
        self.org_seqs: dict[str, int] = {}
        self._kinds = {REQUEST: 0, CHANGE: 0}
        """The leaves of each kind whose record is there."""
        self.redacted = 0
        """Entries whose record is gone as a later entry declares."""
        self.pending = 0
        """Entries that are declared gone, and whose record is still there."""
        self._redactions = Redactions()
        self._counts: tuple[int, int] | None = None
        self._edge = Edge()
        self._hashes: list[bytes] = []
        self._full: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._rest = b""
        self._outside_root: bytes | None = None

    def feed(self, part: bytes) -> None:
        """The next bytes of the stream. Raises BrokenStream."""
        data = self._rest + part if self._rest else part
        at, end = 0, len(data)
        readers: dict[int, Callable[[bytes, int], int]] = {
            ord("E"): self._entry,
            ord("T"): self._tile,
            ord("C"): self._head,
            ord("N"): self._numbers,
        }
        while at < end:
            reader = readers.get(data[at])
            if reader is None:
                raise BrokenStream(f"byte {data[at]} begins no frame")
            behind = reader(data, at)
            if behind == 0:
                break
            at = behind
        self._rest = data[at:]

    def finish(self) -> bool:
        """After the last part: whether everything held. Raises BrokenStream for a stream that broke off."""
        if self._rest or self._counts is None or self.key is None:
            raise BrokenStream("the log's stream broke off")
        self._grow()
        self._check_roots()
        self._check_outside()
        self._check_redactions()
        self._check_counts()
        for level, number in sorted(self._full):
            self._tell(f"tile {level}/{number}", "it is missing")
        return self.faults == 0

    @property
    def organisations(self) -> int:
        """How many organisations have an entry."""
        return len(self.org_seqs.keys() - {NOBODY})

    def _tell(self, where: str, what: str) -> None:
        self.faults += 1
        if len(self.findings) < TOLD:
            self.findings.append(Finding(where, what))

    def _head(self, data: bytes, at: int) -> int:
        if len(data) - at < HEAD.size:
            return 0
        _, key_length, note_length = HEAD.unpack_from(data, at)
        middle = at + HEAD.size + key_length
        end: int = middle + note_length
        if end > len(data):
            return 0
        try:
            own = VerifierKey.parse(data[at + HEAD.size : middle].decode())
            self.key = self._key or own
            self.note = data[middle:end].decode()
            if own != self.key:
                self._tell("key", f"the log shows the key {own}, not the one that was expected")
            if self.note:
                self.checkpoint = open_checkpoint(self.note, self.key)
        except (NoteError, UnicodeDecodeError) as error:
            self._tell("checkpoint", str(error))
        self.key = self.key or VerifierKey("unknown", bytes(32))
        return end

    def _entry(self, data: bytes, at: int) -> int:
        try:
            entry, end = read_entry(data, at)
        except ValueError as error:
            raise BrokenStream(str(error)) from None
        if entry is None:
            return 0
        if entry.idx != self.entries:
            self._tell(f"entry {self.entries}", f"entry {entry.idx} stands in its place")
        self.entries += 1
        self._hashes.append(hashlib.sha256(b"\x00" + entry.leaf).digest())
        if len(self._hashes) == WIDTH:
            self._grow()
        wrong = self._check_entry(entry)
        if wrong:
            self._tell(f"entry {entry.idx}", wrong)
        return end

    def _check_entry(self, entry: StoredEntry) -> str:
        """What is wrong with an entry beside its place in the tree; empty = nothing, or nothing yet."""
        try:
            leaf = read_leaf(entry.leaf)
        except ValueError as error:
            return f"its leaf cannot be read: {error}"
        self._check_number(entry.idx, leaf)
        if leaf.kind == HEADS:
            # Nothing takes the salt of heads away, so no declaration excuses that it is missing.
            if entry.salt is None:
                return f"the salt of heads {leaf.id} is missing"
            if KINDS.get(entry.kind) != HEADS:
                return f"the kind of heads {leaf.id} is not what its leaf says"
            wrong = wrong_heads(leaf, self.org_seqs, entry.salt)
            return f"heads {leaf.id}: {wrong}" if wrong else ""
        if entry.record is None or entry.salt is None:
            return self._missing(entry, leaf)
        if leaf.kind in self._kinds:
            self._kinds[leaf.kind] += 1
        if commit(entry.salt, entry.record) != leaf.commitment:
            return f"the record of {leaf.kind} {leaf.id} is not what its leaf commits to"
        wrong = _wrong_column(leaf, entry)
        if wrong:
            return f"{wrong} of {leaf.kind} {leaf.id} is not what its leaf says"
        return self._declare(leaf, entry.record) if leaf.action in DECLARING and leaf.kind == CHANGE else ""

    def _missing(self, entry: StoredEntry, leaf: Leaf) -> str:
        """An entry without record or salt: where both are gone, a later entry may declare that."""
        is_own = leaf.kind != REQUEST and leaf.action.startswith(PREFIX)
        if entry.record is None and entry.salt is None and not is_own:
            self._redactions.miss(leaf.org_id, self.org_seqs[leaf.org_id], entry.idx)
            return ""
        if entry.record is not None and leaf.kind in self._kinds:
            self._kinds[leaf.kind] += 1
        return f"the {'record' if entry.record is None else 'salt'} of {leaf.kind} {leaf.id} is missing"

    def _declare(self, leaf: Leaf, record: bytes) -> str:
        try:
            told = record_pb2.AdminRecord.FromString(record)
            self._redactions.declare(leaf.org_id, declared_by(told.after_json, self.org_seqs[leaf.org_id]))
        except (ValueError, DecodeError) as error:
            return f"its declaration of what is gone cannot be read: {error}"
        return ""

    def _check_number(self, idx: int, leaf: Leaf) -> None:
        expected = self.org_seqs.get(leaf.org_id, 0) + 1
        if leaf.org_seq != str(expected):
            self._tell(f"entry {idx}", f"number {leaf.org_seq} of organisation {leaf.org_id}, where {expected} is due")
        self.org_seqs[leaf.org_id] = expected

    def _tile(self, data: bytes, at: int) -> int:
        if len(data) - at < TILE.size + HASH_BYTES + TILE_BYTES:
            return 0
        _, level, number = TILE.unpack_from(data, at)
        root_at: int = at + TILE.size
        end = root_at + HASH_BYTES + TILE_BYTES
        self._grow()
        computed = self._full.pop((level, number), None)
        if computed != (data[root_at : root_at + HASH_BYTES], data[root_at + HASH_BYTES : end]):
            self._tell(f"tile {level}/{number}", "it is not what the leaves hash to")
        return end

    def _numbers(self, data: bytes, at: int) -> int:
        if len(data) - at < COUNTS.size:
            return 0
        _, requests, changes = COUNTS.unpack_from(data, at)
        self._counts = requests, changes
        return at + COUNTS.size

    def _grow(self) -> None:
        """Takes the gathered leaves into the tree, and looks at the root where the outside checkpoint was made."""
        waiting, self._hashes = self._hashes, []
        kept = self._outside
        if kept is not None and self._edge.size <= kept.size <= self._edge.size + len(waiting):
            split = kept.size - self._edge.size
            self._extend(waiting[:split])
            self._outside_root = self._edge.root()
            waiting = waiting[split:]
        self._extend(waiting)

    def _extend(self, hashes: list[bytes]) -> None:
        for tile in self._edge.extend(hashes):
            self._full[tile.level, tile.number] = (tile.root, tile.hashes)

    def _check_roots(self) -> None:
        size = self.checkpoint.size if self.checkpoint else 0
        if self.entries != size:
            self._tell("log", f"it has {self.entries} entries, and its checkpoint says {size}")
        elif self.checkpoint and self._edge.root() != self.checkpoint.root:
            self._tell("log", "its entries do not hash to the root of its checkpoint")

    def _check_outside(self) -> None:
        kept = self._outside
        if kept is None:
            return
        if self.key is not None and kept.origin != self.key.name:
            self._tell("saved checkpoint", f"it is of another log: {kept.origin}")
        elif self.entries < kept.size or self._outside_root is None:
            self._tell("saved checkpoint", f"the log had {kept.size} entries when it was saved, and has {self.entries}")
        elif self._outside_root != kept.root:
            self._tell("saved checkpoint", f"the first {kept.size} entries are not those that it was made of")

    def _check_redactions(self) -> None:
        self.redacted = self._redactions.missed
        for one in self._redactions.undeclared():
            self.redacted -= 1
            what = f"the record of number {one.org_seq} of organisation {one.org_id} is missing with its salt"
            self._tell(f"entry {one.idx}", f"{what}, and no later entry declares that")
        self.pending = self._redactions.declared() - self.redacted

    def _check_counts(self) -> None:
        for kind, stored in zip((REQUEST, CHANGE), self._counts or (0, 0), strict=True):
            # What is declared and was still there when its entry was read may be gone by now.
            if not self._kinds[kind] - self.pending <= stored <= self._kinds[kind]:
                self._tell("log", f"{stored} {kind}s are stored, and {self._kinds[kind]} have a leaf")


@functools.lru_cache(maxsize=64)
def _minute_us(minute: str) -> int:
    """Microseconds from 1970 to a minute: entries that follow each other are mostly of the same one."""
    return (dt.datetime.fromisoformat(minute) - _EPOCH) // _MICROSECOND


def _wrong_column(leaf: Leaf, entry: StoredEntry) -> str:
    """Which column of the stored row differs from the leaf; empty = none."""
    if KINDS.get(entry.kind) != leaf.kind:
        return "the kind"
    try:
        told_us = _minute_us(leaf.time[:16]) + int(leaf.time[17:19]) * 1_000_000 + int(leaf.time[20:26])
    except ValueError:
        return "the time"
    if told_us != entry.at_us:
        return "the time"
    if leaf.kind == CHANGE:
        return ""
    if leaf.cost_nano_usd != str(entry.cost_nano_usd):
        return "the cost"
    if not 0 <= entry.outcome < len(DECISIONS) or leaf.decision != DECISIONS[entry.outcome]:
        return "the outcome"
    if leaf.target:
        return "" if leaf.target.replace("\x00", "\ufffd") == f"model:{entry.model}"[:MAX_FIELD] else "the model"
    # Nobody answered: the row shows what was asked for, which only the record says.
    try:
        asked = record_pb2.RequestRecord.FromString(entry.record or b"").asked_model
    except DecodeError:
        asked = ""
    return "" if asked.replace("\x00", "\ufffd") == entry.model else "the model"
