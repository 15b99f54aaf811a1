"""Texts of requests in PostgreSQL: stored once, sealed by the keys of all whom their request concerns."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dac.type.v1.record_pb2 import RequestRecord
from mesh.postgres import Database
from mesh.tlog.leaves import SALT_BYTES, commit_text
from services.audit.sealing.form import KIND_TEXT, Place, Plain, is_sealed, plain_request
from services.audit.sealing.payloads import Payloads
from services.audit.store import BY_IDS, KIND_REQUEST, stored_sealed

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
            rows = await connection.fetch(BY_IDS, *map(list, zip(*asked, strict=True)))
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

        async def insert(connection: Any, sealed: Sequence[bytes]) -> None:
            places = [one.place for one in plain]
            ids = [one.org_id for one in places], [one.record_id for one in places]
            await connection.execute(KEEP, *ids, list(sealed))

        await stored_sealed(self, org_ids, lambda: self.payloads.sealed(plain), insert)

    async def text(self, org_id: str, request_id: str) -> bytes | None:
        """A RecordedText, serialised; None = there is none that opens."""
        async with self.database.transaction(org_id) as connection:
            stored = await connection.fetchval(TEXT, org_id, request_id)
        if stored is None:
            return None
        (opened,) = await self.payloads.opened([(Place(org_id, KIND_TEXT, request_id), stored)])
        # What does not open is given as it is stored. (How it begins says nothing: a salt is any bytes.)
        return None if opened == stored else opened[SALT_BYTES:]


def _commits(record: bytes, one: Text) -> bool:
    said = RequestRecord.FromString(record).text_commitment
    return hmac.compare_digest(said, commit_text(one.salt, one.text))
