"""Checks a whole log: joins its stretches in order to one tree, every number, and the signatures.

The log comes as one stream (`feed`), or first as stretches that others have checked (`join`) and then the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError

from dac.type.v1 import record_pb2
from mesh.tlog.frames import COUNTS, HEAD, STRETCH, read_begin, read_tile
from mesh.tlog.heads import NOBODY, wrong_heads
from mesh.tlog.leaves import CHANGE, REQUEST
from mesh.tlog.merkle import EMPTY_ROOT, HASH_BYTES, complete_root, is_consistent
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, open_checkpoint
from mesh.tlog.redactions import Redactions, declared_by
from mesh.tlog.starts import named_start, wrong_start
from mesh.tlog.stretches import TOLD, BrokenStream, Finding, Stretch, StretchCheck, ToldDeclaration, ToldStart
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
        self.start = 0
        """The first entry of the log; those before are gone, as a later one has to declare."""
        self._bases: dict[str, int] = {}
        self._declared_start: tuple[int, ToldStart] | None = None
        self._first_heads = -1
        self.kept_proof: Sequence[bytes] | None = None
        """The consistency proof from the outside checkpoint to `checkpoint`; needed where it ends before `start`."""
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
            others = {ord("C"): self._head, ord("N"): self._numbers, ord("B"): self._begin, ord("K"): self._kept_tile}
            stream = self._stream = StretchCheck(self.due, self.kept_size, others)
        stream.feed(part)
        if stream.waiting >= JOIN_EVERY:
            self._join(stream.cut())

    def begin(self, parts: Iterable[bytes]) -> None:
        """How the log begins, as the stretch up to its first entry; before others are joined. Raises BrokenStream."""
        others = {ord("S"): self._bound, ord("B"): self._begin, ord("K"): self._kept_tile}
        self._stream = StretchCheck(0, 0, others)
        for part in parts:
            self._stream.feed(part)
        if not self._stream.is_between_frames or self._stream.waiting:
            raise BrokenStream("the beginning of the log broke off")
        self._stream, self.due = None, self.start

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
        self._check_start()
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

    def _bound(self, data: bytes, at: int) -> int:
        return at + STRETCH.size if len(data) - at >= STRETCH.size else 0

    def _begin(self, data: bytes, at: int) -> int:
        end, start, org_seqs = read_begin(data, at)
        if end:
            assert self._stream is not None, "frames come from the stream"
            self._stream.begin_at(start)
            self.start, self._bases, self.org_seqs = start, org_seqs, dict(org_seqs)
        return end

    def _kept_tile(self, data: bytes, at: int) -> int:
        """A tile of what is gone: its hashes are taken for the leaves', and the signed root says whether they are."""
        end, tile = read_tile(data, at)
        if not end:
            return 0
        hashes = [tile.hashes[place : place + HASH_BYTES] for place in range(0, len(tile.hashes), HASH_BYTES)]
        if tile.level == 0:
            is_right = complete_root(hashes) == tile.root
            self._extend([tile.root])
        else:
            if tile.level == 1:
                self._extend(hashes)
            is_right = self._full.pop((tile.level, tile.number), None) == (tile.root, tile.hashes)
        if not is_right:
            self._tell(f"tile {tile.level}/{tile.number}", "it is not what the tiles below it hash to")
        return end

    def _join(self, stretch: Stretch) -> None:
        self.faults += stretch.faults
        self.findings += stretch.findings[: max(0, TOLD - len(self.findings))]
        self._joined += stretch.entries
        for kind, count in stretch.stored.items():
            self._stored[kind] += count
        firsts = self._check_numbers(stretch)
        for start in stretch.starts:
            self._declare_start(start)
        for heads in stretch.heads:
            self._first_heads = heads.idx if self._first_heads < 0 else self._first_heads
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
            base, spans = self._bases.get(told.org_id, 0), declared_by(record.after_json, org_seq)
            # Of what is gone with its leaf nothing is looked for.
            left = [(max(first, base + 1), last) for first, last in spans if last > base]
            self._redactions.declare(told.org_id, left)
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

    def _declare_start(self, told: ToldStart) -> None:
        try:
            start = named_start(told.leaf)
        except ValueError as error:
            self._tell(f"entry {told.idx}", str(error))
            return
        if start > told.idx or (self._declared_start and start <= self._declared_start[0]):
            self._tell(f"entry {told.idx}", f"the log cannot begin with entry {start} from there on")
        self._declared_start = start, told

    def _check_start(self) -> None:
        """What is gone from the beginning is what the newest leaf of this kind says."""
        start, told = self._declared_start or (0, None)
        gone = f"the entries before {self.start} are gone"
        if start != self.start:
            self._tell("log", f"{gone}, and its entries declare that of those before {start}")
        elif told is not None and (wrong := wrong_start(told.leaf, start, self._bases, told.salt)):
            self._tell(f"entry {told.idx}", f"start {told.leaf.id}: {wrong}")
        elif told is not None and not start <= self._first_heads < told.idx:
            self._tell(f"entry {told.idx}", f"{gone}, and no heads behind them say which numbers they had")

    def _check_roots(self) -> None:
        size = self.checkpoint.size if self.checkpoint else 0
        root = self._edge.root() if self._is_whole else EMPTY_ROOT
        if self.start + self.entries != size:
            begin = f" from {self.start} on" if self.start else ""
            self._tell("log", f"it has {self.entries} entries{begin}, and its checkpoint says {size}")
        elif self.checkpoint and root != self.checkpoint.root:
            self._tell("log", "its entries do not hash to the root of its checkpoint")

    def _check_outside(self) -> None:
        kept = self._outside
        if kept is None:
            return
        if self.key is not None and kept.origin != self.key.name:
            self._tell("saved checkpoint", f"it is of another log: {kept.origin}")
        elif kept.size < self.start:
            self._check_before_start(kept)
        elif self.start + self.entries < kept.size or self._outside_root is None:
            self._tell("saved checkpoint", f"the log had {kept.size} entries when it was saved, and has {self.entries}")
        elif self._outside_root != kept.root:
            self._tell("saved checkpoint", f"the first {kept.size} entries are not those that it was made of")

    def _check_before_start(self, kept: Checkpoint) -> None:
        """Of a checkpoint whose last entries are gone: a proof made of the tiles that are kept."""
        of = f"it is of {kept.size} entries, which are gone"
        if self.kept_proof is None:
            self._tell("saved checkpoint", f"{of}: check an archive against it (dac audit verify --archive)")
        elif not self.checkpoint or not is_consistent(
            kept.size, self.checkpoint.size, self.kept_proof, kept.root, self.checkpoint.root
        ):
            self._tell("saved checkpoint", f"{of}, and the log does not go on from it")

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
