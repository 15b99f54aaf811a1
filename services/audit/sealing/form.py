"""The bytes of a sealed record: which keys opened it, what of it filters may see, and the rest sealed.

A head of two bytes of form, the number of key ids, these, and an open part with its length in two bytes; then nonce and
AES-256-GCM, which binds the head, the organisation and the entry. The first byte is 0, with which no protobuf message
begins: a record says by itself whether it is sealed.
"""

from __future__ import annotations

import hmac
import os
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from dac.type.v1.principal_pb2 import Level
from dac.type.v1.record_pb2 import AdminRecord, RequestRecord
from mesh.envelope_keys import NONCE_BYTES, CannotOpen
from mesh.ids import is_uuid
from mesh.tlog.leaves import KINDS
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
KIND_TEXT, TEXT = 100, "text"
"""What was said in a request: it stands beside its record, and in no leaf."""
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
        kind = TEXT if self.kind == KIND_TEXT else KINDS.get(self.kind, "")
        return "\0".join(("audit", "payload", self.org_id, kind, self.record_id)).encode()


def is_sealed(stored: bytes) -> bool:
    """Whether a stored record is sealed."""
    return stored[:1] == MARK


class Plain(NamedTuple):
    """A record that is to be sealed."""

    place: Place
    record: bytes
    subjects: tuple[str, ...]
    """Whom it concerns, as erasure sees it: users and keys, or NOBODY. The keys of all of them seal it."""
    shown: bytes
    """What of it stays readable."""


def plain_request(place: Place, record: bytes) -> tuple[Plain, bool]:
    """A request, and whether a model was asked."""
    try:
        told = RequestRecord.FromString(record)
    except DecodeError:
        return Plain(place, record, (NOBODY,), b""), False
    found = {str(Subject(LEVELS[level.kind], level.id)) for level in told.path if _is_subject(level)}
    return Plain(place, record, _named(found), b""), bool(told.attempts)


def plain_change(place: Place, record: bytes) -> Plain:
    """A change. What stays readable is who did what to what, as its leaf says.

    What audit itself said, of a removal or a hold, is never erased and concerns nobody.
    """
    try:
        told = AdminRecord.FromString(record)
    except DecodeError:
        return Plain(place, record, (NOBODY,), b"")
    is_own = told.action.startswith(PREFIX)
    found = set() if is_own else {text for text in (told.actor, told.target) if _is_person(text)}
    shown = AdminRecord(actor=told.actor[:256], action=told.action[:256], target=told.target[:256])
    return Plain(place, record, _named(found), shown.SerializeToString())


def _named(found: set[str]) -> tuple[str, ...]:
    return tuple(sorted(found)[:MOST_KEYS]) or (NOBODY,)


def _is_subject(level: Level) -> bool:
    return level.kind in LEVELS and is_uuid(level.id)


def _is_person(text: str) -> bool:
    try:
        return Subject.parse(text).kind in PERSONS
    except ValueError:
        return False


def joint_cipher(keys: Sequence[bytes]) -> AESGCM:
    """The cipher of what concerns several subjects: without one of their keys (32 bytes each) it cannot be made."""
    return AESGCM(hmac.digest(b"".join(keys), b"dac audit payload 1", "sha256"))


def seal_record(plain: Plain, key_ids: bytes, cipher: AESGCM) -> bytes:
    """The sealed record; `cipher` is the joint one of the keys, whose ids stand one after another."""
    count, size = len(key_ids) // ID_BYTES, len(plain.shown).to_bytes(2, "big")
    head = b"".join((MARK, FORM, bytes((count,)), key_ids, size, plain.shown))
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, zdict=_WORDS)
    packed = packer.compress(plain.record) + packer.flush()
    nonce = os.urandom(NONCE_BYTES)
    return b"".join((head, nonce, cipher.encrypt(nonce, packed, head + plain.place.bound)))


def key_ids_of(sealed: bytes) -> bytes:
    """The ids of the keys that open a sealed record, one after another; empty = it is cut short, or of another form."""
    if sealed[:2] != MARK + FORM or len(sealed) < 3:
        return b""
    end = 3 + sealed[2] * ID_BYTES
    return sealed[3:end] if len(sealed) >= end else b""


def open_record(place: Place, sealed: bytes, cipher: AESGCM) -> bytes:
    """The record. Raises CannotOpen."""
    shown_at = 3 + sealed[2] * ID_BYTES
    end = shown_at + 2 + int.from_bytes(sealed[shown_at : shown_at + 2], "big")
    try:
        packed = cipher.decrypt(
            sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :], sealed[:end] + place.bound
        )
        return zlib.decompressobj(-15, zdict=_WORDS).decompress(packed)
    except (InvalidTag, ValueError, zlib.error):
        raise CannotOpen from None
