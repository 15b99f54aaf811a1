"""Texts of requests in PostgreSQL: stored once, sealed by the keys of all whom their request concerns."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dac.type.v1.record_pb2 import RequestRecord
from mesh.postgres import Database
from services.audit import errors
from services.audit.sealing.form import KIND_TEXT, Place, Plain, is_sealed, plain_request
from services.audit.sealing.payloads import Payloads
from services.audit.store import KIND_REQUEST, TRIES

SALT_BYTES = 32
RECORDS = """SELECT r.org_id::text, r.request_id::text, r.record
  FROM unnest($1::uuid[], $2::uuid[]) AS k (org_id, request_id)
  JOIN requests r ON r.org_id = k.org_id AND r.request_id = k.request_id"""
# A record that was removed since it was read has no text any more.
KEEP = """INSERT INTO request_texts (org_id, request_id, text)
  SELECT n.* FROM unnest($1::uuid[], $2::uuid[], $3::bytea[]) AS n (org_id, request_id, text)
  JOIN requests r ON r.org_id = n.org_id AND r.request_id = n.request_id
  ON CONFLICT (org_id, request_id) DO NOTHING"""
TEXT = "SELECT text FROM request_texts WHERE org_id = $1 AND request_id = $2"


class Text(NamedTuple):
    """What was said in a request."""

    org_id: str
    request_id: str
    salt: bytes
    text: bytes
    """A RecordedText, serialised."""


def commitment_of(salt: bytes, text: bytes) -> bytes:
    """What the record of the request says of its text."""
    return hashlib.sha256(b"t/v1" + salt + text).digest()


@dataclass(frozen=True)
class TextStore:
    """Texts in the schema `audit`."""

    database: Database
    payloads: Payloads

    async def keep(self, texts: Sequence[Text]) -> list[str]:
        """Stores texts that their records commit to; the ids of requests that have no record yet.

        A text to which no record commits is not stored.
        """
        asked = {(one.org_id, one.request_id): one for one in texts}
        org_ids = sorted({one.org_id for one in texts})
        async with self.database.transaction(*org_ids) as connection:
            rows = await connection.fetch(RECORDS, *map(list, zip(*asked, strict=True)))
        places = [(Place(row[0], KIND_REQUEST, row[1]), row[2]) for row in rows]
        plain = []
        for (place, _), record in zip(places, await self.payloads.opened(places), strict=True):
            one = asked.pop((place.org_id, place.record_id))
            if not is_sealed(record) and _commits(record, one):
                subjects = plain_request(place, record)[0].subjects
                plain.append(Plain(place._replace(kind=KIND_TEXT), one.salt + one.text, subjects, b""))
        await self._store(plain, org_ids)
        return [request_id for _, request_id in asked]

    async def _store(self, plain: Sequence[Plain], org_ids: Sequence[str]) -> None:
        if not plain:
            return
        for _ in range(TRIES):
            sealed = await self.payloads.sealed(plain)
            async with self.database.transaction(*org_ids) as connection:
                if not await self.payloads.still_live(connection, sealed):
                    continue
                places = [one.place for one in plain]
                ids = [one.org_id for one in places], [one.record_id for one in places]
                await connection.execute(KEEP, *ids, list(sealed.rows))
                return
        raise errors.keys_destroyed_meanwhile()

    async def text(self, org_id: str, request_id: str) -> bytes | None:
        """A RecordedText, serialised; None = there is none that opens."""
        async with self.database.transaction(org_id) as connection:
            stored = await connection.fetchval(TEXT, org_id, request_id)
        if stored is None:
            return None
        (opened,) = await self.payloads.opened([(Place(org_id, KIND_TEXT, request_id), stored)])
        return None if is_sealed(opened) else opened[SALT_BYTES:]


def _commits(record: bytes, one: Text) -> bool:
    said = RequestRecord.FromString(record).text_commitment
    return hmac.compare_digest(said, commitment_of(one.salt, one.text))
