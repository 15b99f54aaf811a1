"""Checks a whole log: joins its stretches in order to one tree, every number, and the signatures.

The log comes as one stream (`feed`), or first as stretches that others have checked (`join`) and then the rest of it.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from dac.type.v1 import record_pb2
from mesh.tlog.frames import COUNTS, HEAD
from mesh.tlog.heads import NOBODY, wrong_heads
from mesh.tlog.leaves import CHANGE, REQUEST
from mesh.tlog.merkle import EMPTY_ROOT
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from mesh.tlog.redactions import Redactions, declared_by
from mesh.tlog.stretches import TOLD, BrokenStream, Finding, Stretch, StretchCheck, ToldDeclaration
from mesh.tlog.tiles import WIDTH, Edge

JOIN_EVERY = 8192
"""Entries of the stream that are gathered before they are joined."""


class Verification:
    """Takes the log; then `finish`. `findings` are empty when everything held."""

    def __init__(self, key: VerifierKey | None, outside: Checkpoint | None) -> None:
        """`key`: the pinned one; without it the log's own is taken. `outside`: a checkpoint that was kept elsewhere."""
        self._key, self._outside = key, outside
        self.findings: list[Finding] = []
        self.faults = 0
        self.checkpoint: Checkpoint | None = None
        self.note = ""
        self.key: VerifierKey | None = None
        self._joined = 0
        self.due = 0
        """The entry that the next stretch begins with."""
        self.org_seqs: dict[str, int] = {}
        self._stored = {REQUEST: 0, CHANGE: 0}
        """The leaves of each kind whose record is there."""
        self.redacted = 0
        """Entries whose record is gone as a later entry declares."""
        self.pending = 0
        """Entries that are declared gone, and whose record is still there."""
        self._redactions = Redactions()
        self._counts: tuple[int, int] | None = None
        self._edge = Edge()
        self._is_whole = True
        """Whether each stretch has the entries that it should have: then they make one tree."""
        self._full: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._outside_root: bytes | None = None
        self._stream: StretchCheck | None = None

    def feed(self, part: bytes) -> None:
        """The next bytes of the stream. Raises BrokenStream."""
        stream = self._stream
        if stream is None:
            others = {ord("C"): self._head, ord("N"): self._numbers}
            stream = self._stream = StretchCheck(self.due, self.kept_size, others)
        stream.feed(part)
        if stream.waiting >= JOIN_EVERY:
            self._join(stream.cut())

    def join(self, stretch: Stretch, end: int) -> None:
        """The next stretch, which others checked, up to but without entry `end`; before the stream is fed."""
        if stretch.entries != end - stretch.first or stretch.rest:
            self._is_whole = False
            self._tell("log", f"of its entries {stretch.first} to {end - 1} it has {stretch.entries}")
        self._join(stretch)
        self.due = end

    def finish(self) -> bool:
        """After the last part: whether everything held. Raises BrokenStream for a stream that broke off."""
        if self._stream is None or not self._stream.is_between_frames or self._counts is None or self.key is None:
            raise BrokenStream("the log's stream broke off")
        self._join(self._stream.cut(is_last=True))
        self._check_roots()
        self._check_outside()
        self._check_redactions()
        self._check_counts()
        for level, number in sorted(self._full):
            self._tell(f"tile {level}/{number}", "it is missing")
        return self.faults == 0

    @property
    def entries(self) -> int:
        """How many entries came."""
        return self._joined + (self._stream.waiting if self._stream else 0)

    @property
    def organisations(self) -> int:
        """How many organisations have an entry."""
        return len(self.org_seqs.keys() - {NOBODY})

    @property
    def kept_size(self) -> int:
        """Of the checkpoint from outside; what checks stretches has to know it."""
        return self._outside.size if self._outside else 0

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

    def _numbers(self, data: bytes, at: int) -> int:
        if len(data) - at < COUNTS.size:
            return 0
        _, requests, changes = COUNTS.unpack_from(data, at)
        self._counts = requests, changes
        return at + COUNTS.size

    def _join(self, stretch: Stretch) -> None:
        self.faults += stretch.faults
        self.findings += stretch.findings[: max(0, TOLD - len(self.findings))]
        self._joined += stretch.entries
        for kind, count in stretch.stored.items():
            self._stored[kind] += count
        firsts = self._check_numbers(stretch)
        for heads in stretch.heads:
            self._count(heads.counts)
            if wrong := wrong_heads(heads.leaf, self.org_seqs, heads.salt):
                self._tell(f"entry {heads.idx}", f"heads {heads.leaf.id}: {wrong}")
        self._count(stretch.counts)
        for told in stretch.declarations:
            self._declare(told, firsts[told.org_id] + told.place)
        for org_id, (places, idxs) in stretch.missing.items():
            self._redactions.miss(org_id, [firsts[org_id] + place for place in places], idxs)
        if self._is_whole:
            self._grow(stretch)

    def _check_numbers(self, stretch: Stretch) -> dict[str, int]:
        """The number that is due to the first entry of each organisation; within a stretch they follow each other."""
        firsts = {}
        for org_id, (idx, number) in stretch.begins.items():
            due = firsts[org_id] = self.org_seqs.get(org_id, 0) + 1
            if number != str(due):
                self._tell(f"entry {idx}", f"number {number} of organisation {org_id}, where {due} is due")
        return firsts

    def _count(self, counts: dict[str, int]) -> None:
        for org_id, count in counts.items():
            self.org_seqs[org_id] = self.org_seqs.get(org_id, 0) + count

    def _declare(self, told: ToldDeclaration, org_seq: int) -> None:
        try:
            record = record_pb2.AdminRecord.FromString(told.record)
            self._redactions.declare(told.org_id, declared_by(record.after_json, org_seq))
        except (ValueError, DecodeError) as error:
            self._tell(f"entry {told.idx}", f"its declaration of what is gone cannot be read: {error}")

    def _grow(self, stretch: Stretch) -> None:
        """Takes a stretch's tiles into the tree, and looks at the root where the outside checkpoint was made."""
        roots, partial = stretch.roots, self.kept_size % WIDTH
        at = self.kept_size // WIDTH - stretch.first // WIDTH
        # Where it ends within a tile, the stretch that makes the tile full brings it, or the end of the log.
        covered = stretch.kept if partial else []
        if self._outside and 0 <= at <= len(roots) and covered is not None and len(covered) == partial:
            self._extend(roots[:at])
            kept = self._edge.copy()
            kept.extend(covered)
            self._outside_root = kept.root()
            roots = roots[at:]
        self._extend(roots)
        self._edge.extend(stretch.rest)
        for tile in stretch.upper:
            if self._full.pop((tile.level, tile.number), None) != (tile.root, tile.hashes):
                self._tell(f"tile {tile.level}/{tile.number}", "it is not what the leaves hash to")

    def _extend(self, roots: list[bytes]) -> None:
        for tile in self._edge.extend(roots, level=1):
            self._full[tile.level, tile.number] = (tile.root, tile.hashes)

    def _check_roots(self) -> None:
        size = self.checkpoint.size if self.checkpoint else 0
        root = self._edge.root() if self._is_whole else EMPTY_ROOT
        if self.entries != size:
            self._tell("log", f"it has {self.entries} entries, and its checkpoint says {size}")
        elif self.checkpoint and root != self.checkpoint.root:
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
            if not self._stored[kind] - self.pending <= stored <= self._stored[kind]:
                self._tell("log", f"{stored} {kind}s are stored, and {self._stored[kind]} have a leaf")
