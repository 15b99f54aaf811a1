"""Checks a stretch of a log that knows nothing of what stands before it: so stretches can be checked side by side.

What a stretch cannot tell alone it gathers as facts: where each organisation's numbers begin, heads, declarations, what
is missing, the roots of its tiles. Whoever joins stretches in order (mesh/tlog/verification.py) does the rest.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dac.type.v1 import record_pb2
from mesh.tlog.frames import read_entries, read_tile
from mesh.tlog.leaves import CHANGE, DECISIONS, HEADS, KINDS, MAX_FIELD, OF_THE_LOG, REQUEST, Leaf, commit, read_leaf
from mesh.tlog.merkle import complete_root
from mesh.tlog.redactions import DECLARING, PREFIX
from mesh.tlog.tiles import WIDTH, FullTile

_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)
TOLD = 20
"""So many findings are told in words; the others are counted."""
_MOST_DIGITS = 19
"""Of a number of an organisation."""
Reader = Callable[[bytes, int], int]
"""Takes the frame that begins at a place; where it ends, 0 = not all of it is there."""


class Finding(NamedTuple):
    """Something that does not hold."""

    where: str
    what: str


class BrokenStream(ValueError):
    """What came is not the stream of a log."""


class ToldHeads(NamedTuple):
    """A leaf that says the last number of every organisation, which only who knows the entries before can check."""

    idx: int
    leaf: Leaf
    salt: bytes
    counts: dict[str, int]
    """How many entries each organisation has since the heads before."""


class ToldStart(NamedTuple):
    """A leaf that says with which entry the log begins."""

    idx: int
    leaf: Leaf
    salt: bytes


class ToldDeclaration(NamedTuple):
    """A change that declares records gone."""

    idx: int
    org_id: str
    place: int
    """Its place among the organisation's entries of the stretch, from 0."""
    record: bytes


@dataclass
class Stretch:
    """What a stretch of a log holds, and what of it does not hold."""

    first: int
    entries: int = 0
    findings: list[Finding] = field(default_factory=list)
    faults: int = 0
    stored: dict[str, int] = field(default_factory=lambda: {REQUEST: 0, CHANGE: 0})
    """The leaves of each kind whose record is there."""
    roots: list[bytes] = field(default_factory=list)
    """Of the tiles of level 0 that became full, the first of which is `first` // 256."""
    rest: list[bytes] = field(default_factory=list)
    """The hashes of leaves behind the last full tile."""
    kept: list[bytes] | None = None
    """Of the tile in which the checkpoint from outside ends, the hashes of leaves that it covers."""
    upper: list[FullTile] = field(default_factory=list)
    """Tiles of higher levels as they are stored."""
    begins: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By organisation: its first entry here, and the number that this has."""
    heads: list[ToldHeads] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """How many entries each organisation has behind the last of `heads`."""
    starts: list[ToldStart] = field(default_factory=list)
    declarations: list[ToldDeclaration] = field(default_factory=list)
    missing: dict[str, tuple[array[int], array[int]]] = field(default_factory=dict)
    """By organisation: entries without record and salt, their places among its entries here, and in the log."""

    def tell(self, where: str, what: str) -> None:
        """Notes a finding."""
        self.faults += 1
        if len(self.findings) < TOLD:
            self.findings.append(Finding(where, what))


class StretchCheck:
    """Takes the frames of a stretch in any parts; `cut` gives what was gathered."""

    def __init__(self, first: int, kept_size: int = 0, others: Mapping[int, Reader] | None = None) -> None:
        """`first` begins a tile. `kept_size`: of the checkpoint from outside. `others`: who takes other frames."""
        self.size = first
        """The entry that is due."""
        self._kept_size = kept_size
        self._readers: dict[int, Reader] = {ord("T"): self._tile, **(others or {})}
        self._rest = b""
        self._hashes: list[bytes] = []
        self._number = first // WIDTH
        """Of the tile that is being filled."""
        self._full: dict[int, tuple[bytes, bytes]] = {}
        self._begin()

    def _begin(self) -> None:
        self._found = Stretch(self.size)
        self._due: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def begin_at(self, first: int) -> None:
        """What came so far is no entry: `first` is due, which begins a tile. Raises BrokenStream."""
        if self.size or first % WIDTH:
            raise BrokenStream(f"the log cannot begin with entry {first} here")
        self.size, self._number = first, first // WIDTH
        self._begin()

    def feed(self, part: bytes) -> None:
        """The next bytes. Raises BrokenStream."""
        data = self._rest + part if self._rest else part
        at, end = 0, len(data)
        try:
            while at < end:
                behind = read_entries(data, at, self._entry)
                if behind == at:
                    reader = self._readers.get(data[at])
                    if reader is not None:
                        behind = reader(data, at) or at
                    elif data[at] != ord("E"):
                        raise BrokenStream(f"byte {data[at]} begins no frame")
                if behind == at:
                    break
                at = behind
        except BrokenStream:
            raise
        except ValueError as error:
            raise BrokenStream(str(error)) from None
        self._rest = data[at:]

    @property
    def is_between_frames(self) -> bool:
        """Whether all that came were whole frames."""
        return not self._rest

    @property
    def waiting(self) -> int:
        """How many entries the next `cut` has."""
        return self._found.entries

    def cut(self, *, is_last: bool = False) -> Stretch:
        """What was gathered since the last cut; behind the last one a tile that is not there is a finding."""
        self._grow()
        found = self._found
        found.counts = self._counted()
        if is_last:
            found.rest = self._hashes
            if self._number == self._kept_size // WIDTH:
                found.kept = self._hashes[: self._kept_size % WIDTH]
            for number in sorted(self._full):
                found.tell(f"tile 0/{number}", "it is missing")
        self._begin()
        return found

    def _counted(self) -> dict[str, int]:
        """How many entries each organisation has since this was last asked."""
        behind, self._before = self._before, dict(self._due)
        counted = {}
        for org_id, due in self._due.items():
            count = due - (behind[org_id] if org_id in behind else self._claimed(org_id))
            if count:
                counted[org_id] = count
        return counted

    def _claimed(self, org_id: str) -> int:
        """The number that an organisation's first entry here has; what is none counts as 0, and is found."""
        number = self._found.begins[org_id][1]
        return int(number) if number.isdecimal() and len(number) <= _MOST_DIGITS else 0

    def _grow(self) -> None:
        """Makes tiles of the leaves that have come."""
        while len(self._hashes) >= WIDTH:
            hashes, self._hashes = self._hashes[:WIDTH], self._hashes[WIDTH:]
            if self._number == self._kept_size // WIDTH:
                self._found.kept = hashes[: self._kept_size % WIDTH]
            root = complete_root(hashes)
            self._found.roots.append(root)
            self._full[self._number] = root, b"".join(hashes)
            self._number += 1

    def _tile(self, data: bytes, at: int) -> int:
        end, tile = read_tile(data, at)
        if not end:
            return 0
        self._grow()
        if tile.level:
            self._found.upper.append(tile)
        elif self._full.pop(tile.number, None) != (tile.root, tile.hashes):
            self._found.tell(f"tile 0/{tile.number}", "it is not what the leaves hash to")
        return end

    def _entry(
        self,
        kind: int,
        idx: int,
        raw: bytes,
        salt: bytes,
        record: bytes | None,
        at_us: int,
        cost: int,
        outcome: int,
        model: bytes,
    ) -> None:
        found = self._found
        if idx != self.size:
            found.tell(f"entry {self.size}", f"entry {idx} stands in its place")
        self.size += 1
        found.entries += 1
        self._hashes.append(hashlib.sha256(b"\x00" + raw).digest())
        try:
            leaf = read_leaf(raw)
        except ValueError as error:
            found.tell(f"entry {idx}", f"its leaf cannot be read: {error}")
            return
        self._check_number(idx, leaf)
        if record is None or not salt or leaf.kind in OF_THE_LOG:
            wrong = self._without_record(kind, idx, leaf, salt, record)
        else:
            if leaf.kind in found.stored:
                found.stored[leaf.kind] += 1
            if commit(salt, record) != leaf.commitment:
                wrong = f"the record of {leaf.kind} {leaf.id} is not what its leaf commits to"
            elif wrong := wrong_column(leaf, kind, at_us, cost, outcome, model, record):
                wrong = f"{wrong} of {leaf.kind} {leaf.id} is not what its leaf says"
            elif leaf.action in DECLARING and leaf.kind == CHANGE:
                found.declarations.append(ToldDeclaration(idx, leaf.org_id, self._place(leaf.org_id), record))
        if wrong:
            found.tell(f"entry {idx}", wrong)

    def _check_number(self, idx: int, leaf: Leaf) -> None:
        org_id = leaf.org_id
        due = self._due.get(org_id)
        if due is None:
            self._found.begins[org_id] = idx, leaf.org_seq
            due = self._claimed(org_id)
        elif leaf.org_seq != str(due):
            self._found.tell(f"entry {idx}", f"number {leaf.org_seq} of organisation {org_id}, where {due} is due")
        self._due[org_id] = due + 1

    def _place(self, org_id: str) -> int:
        return self._due[org_id] - 1 - self._claimed(org_id)

    def _without_record(self, kind: int, idx: int, leaf: Leaf, salt: bytes, record: bytes | None) -> str:
        """What is wrong with heads, a start, or an entry without record or salt; that a later one may declare."""
        found = self._found
        if leaf.kind in OF_THE_LOG:
            # Nothing takes their salt away, so no declaration excuses that it is missing.
            if not salt:
                return f"the salt of {leaf.kind} {leaf.id} is missing"
            if KINDS.get(kind) != leaf.kind:
                return f"the kind of {leaf.kind} {leaf.id} is not what its leaf says"
            if leaf.kind == HEADS:
                found.heads.append(ToldHeads(idx, leaf, salt, self._counted()))
            else:
                found.starts.append(ToldStart(idx, leaf, salt))
            return ""
        is_own = leaf.kind != REQUEST and leaf.action.startswith(PREFIX)
        if record is None and not salt and not is_own:
            places, idxs = found.missing.setdefault(leaf.org_id, (array("q"), array("q")))
            places.append(self._place(leaf.org_id))
            idxs.append(idx)
            return ""
        if record is not None and leaf.kind in found.stored:
            found.stored[leaf.kind] += 1
        return f"the {'record' if record is None else 'salt'} of {leaf.kind} {leaf.id} is missing"


@functools.lru_cache(maxsize=64)
def _second_us(second: str) -> int:
    """Microseconds from 1970 to a second: entries that follow each other are mostly of the same few."""
    return (dt.datetime.fromisoformat(second) - _EPOCH) // _MICROSECOND


@functools.lru_cache(maxsize=256)
def _target(model: bytes) -> str:
    """What a leaf's target says of a model, as the row shows it."""
    return f"model:{model.decode('utf-8', 'replace')}"[:MAX_FIELD]


def wrong_column(
    leaf: Leaf, kind: int, at_us: int, cost_nano_usd: int, outcome: int, model: bytes, record: bytes
) -> str:
    """Which column of the stored row differs from the leaf; empty = none."""
    if KINDS.get(kind) != leaf.kind:
        return "the kind"
    time = leaf.time
    try:
        told_us = _second_us(time[:19]) + int(time[20:26])
    except ValueError:
        return "the time"
    if told_us != at_us:
        return "the time"
    if kind == _CHANGE:
        return ""
    if leaf.cost_nano_usd != str(cost_nano_usd):
        return "the cost"
    if not 0 <= outcome < len(DECISIONS) or leaf.decision != DECISIONS[outcome]:
        return "the outcome"
    if leaf.target:
        return "" if leaf.target.replace("\x00", "\ufffd") == _target(model) else "the model"
    # Nobody answered: the row shows what was asked for, which only the record says.
    try:
        asked = record_pb2.RequestRecord.FromString(record).asked_model
    except DecodeError:
        asked = ""
    return "" if asked.replace("\x00", "\ufffd") == model.decode("utf-8", "replace") else "the model"


_CHANGE = next(number for number, name in KINDS.items() if name == CHANGE)
