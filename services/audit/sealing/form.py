"""The bytes of a sealed record: which keys opened it, what of it filters may see, and the rest sealed.

A head of two bytes of form, the number of key ids, these, and an open part with its length in two bytes; then nonce and
AES-256-GCM, which binds the head, the organisation and the entry. The first byte is 0, with which no protobuf message
begins: a record says by itself whether it is sealed.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dac.type.v1.record_pb2 import AdminRecord, RequestRecord
from mesh.envelope_keys import CannotOpen, Random, seal, unseal
from mesh.ids import is_uuid
from mesh.tlog.leaves import CHANGE, KINDS, REQUEST
from mesh.tlog.redactions import PREFIX
from services.audit.retention.subjects import KEY, LEVELS, USER, Subject

MARK = b"\x00"
FORM = b"\x01"
ID_BYTES = 16
MOST_KEYS = 8
"""As many as the database looks for when a key is to be destroyed."""
NOBODY = ""
"""The subject of what concerns no user and no key: the organisation's own."""
PERSONS = (USER, KEY)
# What records of requests say again and again. Changing it needs another FORM.
_WORDS = (
    b"social_chatqa_retrievalcoding_helpediting_writingreasoning_mathbalancedcheapestfastestbestOUTCOME_"
    b"prepare\x11validate\x11generate\x11first_token\x11reserve\x11save_question\x11context\x11cache\x11route\x11store\x11save\x11"
    b"input_cachedreasoningoutput\x10input\x10stopended was named by the request.has the highest score of "
    b"openai/gpt-4o-minianthropic/claude-sonnet-4-5google/gemini-2.5-flashopenaianthropicenchat"
)


class Place(NamedTuple):
    """Which entry's record it is: a sealed one opens nowhere else."""

    org_id: str
    kind: int
    record_id: str

    @property
    def bound(self) -> bytes:
        """What a seal is bound to besides its head."""
        return "\0".join(("audit", "payload", self.org_id, KINDS.get(self.kind, ""), self.record_id)).encode()


def is_sealed(stored: bytes) -> bool:
    """Whether a stored record is sealed."""
    return stored[:1] == MARK


def subjects_of(kind: int, record: bytes) -> tuple[str, ...]:
    """Whom a record concerns, as erasure sees it: users and keys, or NOBODY. The keys of all of them seal it.

    What audit itself said, of a removal or a hold, is never erased and concerns nobody.
    """
    found: set[str] = set()
    try:
        if KINDS[kind] == REQUEST:
            for level in RequestRecord.FromString(record).path:
                name = LEVELS.get(level.kind)
                if name is not None and is_uuid(level.id):
                    found.add(str(Subject(name, level.id)))
        else:
            change = AdminRecord.FromString(record)
            if not change.action.startswith(PREFIX):
                found = {text for text in (change.actor, change.target) if _is_person(text)}
    except DecodeError:
        return (NOBODY,)
    return tuple(sorted(found)[:MOST_KEYS]) or (NOBODY,)


def _is_person(text: str) -> bool:
    try:
        return Subject.parse(text).kind in PERSONS
    except ValueError:
        return False


def open_part(kind: int, record: bytes) -> bytes:
    """What of a record stays readable: of a change who did what to what, as its leaf says; of a request nothing."""
    if KINDS[kind] != CHANGE:
        return b""
    try:
        change = AdminRecord.FromString(record)
    except DecodeError:
        return b""
    shown = AdminRecord(actor=change.actor[:256], action=change.action[:256], target=change.target[:256])
    return shown.SerializeToString()


def joint_key(keys: Sequence[bytes]) -> bytes:
    """The key of what concerns several subjects: without one of theirs it cannot be made. 32 bytes each."""
    return hmac.digest(b"".join(keys), b"dac audit payload 1", "sha256")


def seal_record(
    place: Place, key_ids: Sequence[bytes], joint: bytes, record: bytes, random: Random | None = None
) -> bytes:
    """The sealed record; `joint` is the joint key of `key_ids`."""
    shown = open_part(place.kind, record)
    head = b"".join((MARK, FORM, bytes((len(key_ids),)), *key_ids, len(shown).to_bytes(2, "big"), shown))
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, zdict=_WORDS)
    packed = packer.compress(record) + packer.flush()
    extra = {} if random is None else {"random": random}
    return head + seal(joint, packed, head + place.bound, **extra)


def key_ids_of(sealed: bytes) -> tuple[bytes, ...]:
    """The ids of the keys that open a sealed record. Raises CannotOpen when it is cut short or of another form."""
    if sealed[:2] != MARK + FORM or len(sealed) < 3 or len(sealed) < 3 + sealed[2] * ID_BYTES:
        raise CannotOpen
    return tuple(bytes(sealed[3 + at * ID_BYTES : 3 + (at + 1) * ID_BYTES]) for at in range(sealed[2]))


def open_record(place: Place, sealed: bytes, joint_of: Callable[[tuple[bytes, ...]], bytes]) -> bytes:
    """The record; `joint_of` gives the joint key of ids, or raises CannotOpen. Raises CannotOpen."""
    key_ids = key_ids_of(sealed)
    shown_at = 3 + len(key_ids) * ID_BYTES
    end = shown_at + 2 + int.from_bytes(sealed[shown_at : shown_at + 2], "big")
    packed = unseal(joint_of(key_ids), sealed[end:], sealed[:end] + place.bound)
    try:
        return zlib.decompressobj(-15, zdict=_WORDS).decompress(packed)
    except zlib.error:
        raise CannotOpen from None
