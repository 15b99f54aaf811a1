"""The one place where stored records are sealed and opened. Everything else of audit sees plain records.

What does not open stays as it is for whoever verifies (a finding), and is a bare record of its ids for lists.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dac.type.v1.record_pb2 import AdminRecord, RequestRecord
from mesh.envelope_keys import CannotOpen
from mesh.ids import is_uuid
from mesh.tlog.frames import ENTRY, ROW, StoredEntry, entry_frame, read_entries
from mesh.tlog.leaves import KINDS, REQUEST, read_leaf
from services.audit.sealing.form import MARK, Place, Plain, is_sealed, key_ids_of, open_record, seal_record
from services.audit.sealing.keys import Joint, PayloadKeys

_log = logging.getLogger(__name__)
Row = TypeVar("Row")
Ciphers = Mapping[Joint, AESGCM | None]
MOST_TOLD = 1000
"""Records that do not open are told once each, and no more than these."""
UNREADABLE = "This record cannot be opened: its key is not at hand or destroyed, or it was changed."


@dataclass(frozen=True)
class Sealed(Generic[Row]):
    """Rows as they are stored."""

    rows: Sequence[Row]
    known: Mapping[str, int] = field(default_factory=dict)
    """What was known of the organisations whose keys sealed them: see `still_live`."""


class _SealedEntry(NamedTuple):
    """An entry of the log whose record is sealed."""

    place: Place
    record: bytes
    entry: StoredEntry


@dataclass(frozen=True)
class Payloads:
    """Seals what is stored, if the switch is on, and opens what was."""

    keys: PayloadKeys | None = None
    """None: nothing is sealed and nothing opened, for parts that are tried alone."""
    seals: bool = False
    _told: set[str] = field(default_factory=set)

    async def sealed(self, plain: Sequence[Plain]) -> Sealed[bytes]:
        """Records as they are to be stored. Raises MeshError."""
        if not self.seals or self.keys is None or not plain:
            return Sealed([one.record for one in plain])
        sealers, known = await self.keys.sealers({(one.place.org_id, one.subjects) for one in plain})
        return Sealed([seal_record(one, *sealers[one.place.org_id, one.subjects]) for one in plain], known)

    async def still_live(self, connection: Any, sealed: Sealed[Any]) -> bool:
        """Inside the transaction that stores them: whether no key was destroyed meanwhile; if not, seal again."""
        return self.keys is None or not sealed.known or await self.keys.hold(connection, sealed.known)

    async def opened(
        self,
        records: Sequence[tuple[Place, bytes]],
        connection: Any = None,
        *,
        bare: bool = False,
        must: bool = False,
    ) -> list[bytes]:
        """Plain records. One that does not open is given as it is stored, or with `bare` as a record of its ids.

        `must`: raises FAILED_PRECONDITION when the master key at hand is another one than what wraps the keys.
        """
        if not any(stored[:1] == MARK for _, stored in records):
            return [stored for _, stored in records]
        ciphers = await self._ciphers(records, connection, must=must)
        return [
            self._one(place, stored, ciphers, bare=bare) if stored[:1] == MARK else stored for place, stored in records
        ]

    async def readable(self, records: Sequence[tuple[Place, bytes]], connection: Any) -> list[bytes]:
        """Plain records of those that open, for who counts them. Raises as `opened` with `must`."""
        return [one for one in await self.opened(records, connection, must=True) if not is_sealed(one)]

    async def opened_frames(self, blocks: list[bytes]) -> list[bytes]:
        """Blocks of frames E (mesh/tlog/frames.py) with plain records."""
        if self.keys is None or not await self.keys.begun():
            return blocks
        entries = [_parts_of(block) for block in blocks]
        places = [(one.place, one.record) for parts in entries for one in parts if isinstance(one, _SealedEntry)]
        if not places:
            return blocks
        ciphers = await self._ciphers(places)
        return [
            b"".join(one if isinstance(one, bytes) else self._frame(one, ciphers) for one in parts) for parts in entries
        ]

    async def key_id_of(self, org_id: str, subject: str) -> bytes | None:
        """The id that stands in the heads of what concerns a subject; None = nothing sealed does."""
        return await self.keys.known(org_id, subject) if self.keys is not None else None

    def forget(self, org_id: str) -> None:
        """Keys of an organisation may have been destroyed."""
        if self.keys is not None:
            self.keys.forget(org_id)

    async def _ciphers(
        self, records: Iterable[tuple[Place, bytes]], connection: Any = None, *, must: bool = False
    ) -> Ciphers:
        if self.keys is None:
            return {}
        wanted = {(place.org_id, key_ids_of(stored)) for place, stored in records if stored[:1] == MARK}
        return await self.keys.ciphers(wanted, connection, must=must)

    def _one(self, place: Place, stored: bytes, ciphers: Ciphers, *, bare: bool = False) -> bytes:
        try:
            cipher = ciphers.get((place.org_id, key_ids_of(stored)))
            if cipher is None:
                raise CannotOpen
            return open_record(place, stored, cipher)
        except CannotOpen:
            if place.record_id not in self._told and len(self._told) < MOST_TOLD:
                self._told.add(place.record_id)
                what = KINDS.get(place.kind, "entry")
                _log.error("the record of %s %s does not open: see `dac audit verify`", what, place.record_id)
            return bare_record(place) if bare else stored

    def _frame(self, sealed: _SealedEntry, ciphers: Ciphers) -> bytes:
        place, entry = sealed.place, sealed.entry
        record = self._one(place, sealed.record, ciphers)
        if is_sealed(record):
            return entry_frame(entry)
        model = entry.model
        if KINDS.get(place.kind) == REQUEST and not model:
            # The column of a sealed request shows no model that was only asked for: the record says it.
            asked = RequestRecord.FromString(record)
            model = "" if asked.attempts else asked.asked_model.replace("\x00", "\ufffd")
        return entry_frame(entry._replace(record=record, model=model))


def bare_record(place: Place) -> bytes:
    """What lists show of a record that does not open."""
    if KINDS.get(place.kind) == REQUEST:
        return RequestRecord(request_id=place.record_id, org_id=place.org_id, message=UNREADABLE).SerializeToString()
    return AdminRecord(record_id=place.record_id, org_id=place.org_id).SerializeToString()


def _parts_of(block: bytes) -> list[bytes | _SealedEntry]:
    """The sealed entries of a block of frames, and between them what stays as it is."""
    parts = list[bytes | _SealedEntry]()
    shown = at = 0

    def take(
        kind: int,
        idx: int,
        leaf: bytes,
        salt: bytes,
        record: bytes | None,
        at_us: int,
        cost_nano_usd: int,
        outcome: int,
        model: bytes,
    ) -> None:
        nonlocal shown, at
        begun, at = at, at + ENTRY.size + len(leaf) + len(salt) + ROW.size + len(model) + len(record or b"")
        place = _place_of(kind, leaf) if record is not None and is_sealed(record) else None
        if place is None or record is None:
            return
        if begun > shown:
            parts.append(block[shown:begun])
        entry = StoredEntry(idx, kind, leaf, salt or None, record, at_us, model.decode(), outcome, cost_nano_usd)
        parts.append(_SealedEntry(place, record, entry))
        shown = at

    with contextlib.suppress(ValueError):
        # What is no frame is not for us to judge: who verifies sees it.
        read_entries(block, 0, take)
    return [*parts, block[shown:]] if shown < len(block) else parts


def _place_of(kind: int, leaf: bytes) -> Place | None:
    """What the record of an entry is bound to; None for a leaf that does not say."""
    try:
        read = read_leaf(leaf)
    except ValueError:
        return None
    return Place(read.org_id, kind, read.id) if is_uuid(read.org_id) else None


PLAIN = Payloads()
"""Seals nothing and opens nothing."""
