"""Text at rest: what the stores ask of a sealer, an organisation's keys, and the sealer that leaves text plain.

A row with user text has a column `sealed` beside its text columns. When `OrgKey.seal` gives bytes, they are stored
there and the text columns stay empty; when it gives None, the text columns hold the text and `sealed` is NULL. Reading
never asks for the switch: a row that has `sealed` is opened, any other is read as it is.

Ask for the key before a transaction is begun: the first question of an organisation is answered by the database.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Protocol

import msgspec

from mesh.envelope_keys import CannotOpen, seal, unseal
from services.memory import errors

FORMAT = b"\x01"
HEADER_BYTES = 17
"""A format byte and the id of the data key, in front of what is sealed."""
_TERM_MASK = (1 << 63) - 1

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, str]).decode


class OrgKey(Protocol):
    """An organisation's keys, as they were when they were asked for. Not to be kept across requests."""

    @property
    def generation(self) -> str:
        """Another one after the organisation's memory was erased: what is held in memory of an earlier one is void."""

    @property
    def key_id(self) -> str:
        """The data key that seals now; empty when text stays plain."""

    def seal(self, about: str, fields: Mapping[str, str]) -> bytes | None:
        """The texts of the row that `about` names ("messages/<id>"), sealed; None when they are stored plain."""

    def open(self, about: str, sealed: bytes) -> dict[str, str]:
        """What `seal` was given. Raises FAILED_PRECONDITION when the row is another, or its key is gone."""

    def seal_data(self, about: str, data: bytes) -> bytes | None:
        """As `seal`, for a row whose content is bytes."""

    def open_data(self, about: str, sealed: bytes) -> bytes:
        """As `open`, for what `seal_data` gave."""

    def term_id(self, term: str) -> int:
        """A number from 0 to 2^63 - 1 for a term: the same one for the same term in one organisation."""


class Sealer(Protocol):
    """Hands out the keys of organisations."""

    enabled: bool
    """Whether new text is sealed."""

    async def key_of(self, org_id: str) -> OrgKey:
        """An organisation's keys; made at first use, and durable before they are given. Raises UNAVAILABLE."""


class SealingKeys:
    """Keys of one organisation: several open, one of them seals, and one numbers terms."""

    __slots__ = ("_keys", "_org_id", "_terms", "generation", "key_id")

    def __init__(
        self, org_id: str, keys: Mapping[str, bytes], key_id: str, *, terms: bytes, generation: str = ""
    ) -> None:
        """`keys` by their ids; `key_id` is the one that seals, "" = none; `terms` empty = terms are not keyed."""
        self._org_id, self._keys, self._terms = org_id, {uuid.UUID(one).bytes: key for one, key in keys.items()}, terms
        self.key_id, self.generation = key_id, generation

    def seal(self, about: str, fields: Mapping[str, str]) -> bytes | None:
        """See OrgKey."""
        return self.seal_data(about, _encode(fields)) if self.key_id else None

    def open(self, about: str, sealed: bytes) -> dict[str, str]:
        """See OrgKey."""
        return _decode(self.open_data(about, sealed))

    def seal_data(self, about: str, data: bytes) -> bytes | None:
        """See OrgKey."""
        if not self.key_id:
            return None
        key_id = uuid.UUID(self.key_id).bytes
        return FORMAT + key_id + seal(self._keys[key_id], data, self._bound(about, key_id))

    def open_data(self, about: str, sealed: bytes) -> bytes:
        """See OrgKey."""
        key_id = bytes(sealed[1:HEADER_BYTES])
        key = self._keys.get(key_id)
        if key is None or sealed[:1] != FORMAT:
            raise errors.key_gone(about)
        try:
            return unseal(key, sealed[HEADER_BYTES:], self._bound(about, key_id))
        except CannotOpen:
            raise errors.cannot_open(about) from None

    def term_id(self, term: str) -> int:
        """See OrgKey."""
        digest = hashlib.blake2b(term.encode(), digest_size=8, key=self._terms).digest()
        return int.from_bytes(digest, "big") & _TERM_MASK

    def _bound(self, about: str, key_id: bytes) -> bytes:
        return b"\0".join((b"memory", self._org_id.encode(), about.encode(), key_id))


class PlainSealer:
    """Seals nothing and needs no database: for measuring, and for parts that are tried alone."""

    enabled = False

    async def key_of(self, org_id: str) -> OrgKey:
        """See Sealer."""
        return SealingKeys(org_id, {}, "", terms=b"")


def header_of(key_id: str) -> bytes:
    """What everything begins with that this data key sealed."""
    return FORMAT + uuid.UUID(key_id).bytes
