"""The keys that seal payloads: of users and of keys, wrapped by their organisation's, which the master key wraps.

A payload is sealed by the keys of all whom it concerns together: when one of them is destroyed it opens no more.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mesh.envelope_keys import KEY_BYTES, CannotOpen, Wrapper, seal, unseal
from mesh.ids import uuid7
from mesh.postgres import Database
from services.audit import errors
from services.audit.sealing.form import joint_key

PURPOSE = "audit:payload-keys"
"""Of the subkey that wraps organisations' keys."""
HELD_KEYS = 50_000
CHECK_S = 5.0
"""For so long a key that was read opens payloads; then it is asked for again: it may have been destroyed."""

BEGUN = "SELECT EXISTS (SELECT FROM payload_sealing)"
BEGIN = "INSERT INTO payload_sealing DEFAULT VALUES ON CONFLICT DO NOTHING"
ORG_KEYS = "SELECT org_id::text, wrapped_key, master_key_id FROM payload_org_keys WHERE org_id = ANY ($1::uuid[])"
ADD_ORG_KEYS = """INSERT INTO payload_org_keys (org_id, wrapped_key, master_key_id)
  SELECT o, w, $3 FROM unnest($1::uuid[], $2::bytea[]) AS n(o, w) ON CONFLICT DO NOTHING"""
BY_SUBJECT = """SELECT k.org_id::text, k.subject, k.key_id::text, k.wrapped_key FROM payload_keys k
  JOIN unnest($1::uuid[], $2::text[]) AS w(org_id, subject) ON w.org_id = k.org_id AND w.subject = k.subject
  WHERE k.destroyed_at IS NULL"""
BY_ID = """SELECT k.org_id::text, k.subject, k.key_id::text, k.wrapped_key FROM payload_keys k
  JOIN unnest($1::uuid[], $2::uuid[]) AS w(org_id, key_id) ON w.org_id = k.org_id AND w.key_id = k.key_id
  WHERE k.destroyed_at IS NULL"""
ADD = """INSERT INTO payload_keys (org_id, key_id, subject, wrapped_key)
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[]) ON CONFLICT DO NOTHING"""
# Until the writer's transaction ends: whoever destroys a key waits for it, and sees what it wrote.
ALIVE = """SELECT k.key_id FROM payload_keys k
  JOIN unnest($1::uuid[], $2::uuid[]) AS w(org_id, key_id) ON w.org_id = k.org_id AND w.key_id = k.key_id
  WHERE k.destroyed_at IS NULL ORDER BY k.org_id, k.key_id FOR KEY SHARE OF k"""
STALE = "SELECT org_id::text, stale FROM stale_payload_keys($1)"
STALE_ONE = """SELECT wrapped_key, master_key_id FROM payload_org_keys
  WHERE org_id = $1 AND master_key_id <> $2 FOR NO KEY UPDATE"""
REWRAP = "UPDATE payload_org_keys SET wrapped_key = $2, master_key_id = $3 WHERE org_id = $1"


class KeyOf(NamedTuple):
    """A subject's key."""

    org_id: str
    subject: str
    key_id: bytes
    key: bytes


class PayloadKeys:
    """The tables payload_org_keys and payload_keys, and what was read of them lately."""

    def __init__(
        self,
        database: Database,
        wrapper: Wrapper,
        *,
        check_s: float = CHECK_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._wrapper = database, wrapper
        self._check_s, self._monotonic = check_s, monotonic
        self._held: OrderedDict[tuple[str, bytes], tuple[bytes | None, float]] = OrderedDict()
        self._forgotten: dict[str, float] = {}
        self._begun = False

    async def begun(self) -> bool:
        """Whether anything was ever sealed in this database."""
        if not self._begun:
            async with self._database.transaction() as connection:
                self._begun = bool(await connection.fetchval(BEGUN))
        return self._begun

    async def of_subjects(self, subjects: Collection[tuple[str, str]]) -> dict[tuple[str, str], KeyOf]:
        """The keys of (organisation, subject), made at first use, durable before given. Raises MeshError."""
        wanted = sorted(subjects)
        org_ids = sorted({org_id for org_id, _ in wanted})
        async with self._database.transaction(*org_ids) as connection:
            found = await self._read(connection, BY_SUBJECT, wanted, whole=True)
            missing = sorted(set(wanted) - {(one.org_id, one.subject) for one in found})
            if missing:
                await connection.execute(BEGIN)
                wrapping = await self._org_keys(connection, sorted({org_id for org_id, _ in missing}), make=True)
                rows = []
                for org_id, subject in missing:
                    key_id = uuid7()
                    key = wrapping[org_id]
                    rows.append((org_id, key_id, subject, seal(key, os.urandom(KEY_BYTES), _bound(org_id, key_id))))
                await connection.execute(ADD, *map(list, zip(*rows, strict=True)))
                # Another replica may have been first: what is there now counts.
                found += await self._read(connection, BY_SUBJECT, missing, whole=True)
        return {(one.org_id, one.subject): one for one in found}

    async def known(self, org_id: str, subject: str) -> bytes | None:
        """The id of a subject's key; None when it has none."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(BY_SUBJECT, [org_id], [subject])
        return uuid.UUID(rows[0][2]).bytes if rows else None

    async def hold(self, connection: Any, keys: Iterable[tuple[str, bytes]]) -> bool:
        """Inside the transaction that writes what these (organisation, key id) seal: whether all of them still live."""
        wanted = sorted(set(keys))
        if not wanted:
            return True
        alive = await connection.fetch(ALIVE, [one[0] for one in wanted], [uuid.UUID(bytes=one[1]) for one in wanted])
        return len(alive) == len(wanted)

    async def load(self, keys: Iterable[tuple[str, bytes]], connection: Any = None, *, must: bool = False) -> None:
        """Makes keys by (organisation, id) ready for `joint`. Raises MeshError when `must` and no master key fits.

        `connection`: a transaction over these organisations, for who has one.
        """
        now = self._monotonic()
        missing = sorted({key for key in keys if not self._is_fresh(key, now, must)})
        if not missing:
            return
        wanted = [(org_id, str(uuid.UUID(bytes=key_id))) for org_id, key_id in missing]
        if connection is not None:
            found = await self._read(connection, BY_ID, wanted, must=must)
        else:
            org_ids = sorted({org_id for org_id, _ in wanted})
            async with self._database.transaction(*org_ids) as own:
                found = await self._read(own, BY_ID, wanted, must=must)
        read = {(one.org_id, one.key_id): one.key for one in found}
        for key in missing:
            self._held[key] = read.get(key), now
            self._held.move_to_end(key)
        while len(self._held) > HELD_KEYS:
            self._held.popitem(last=False)

    def _is_fresh(self, key: tuple[str, bytes], now: float, must: bool) -> bool:
        held = self._held.get(key)
        if held is None or now - held[1] >= self._check_s or held[1] <= self._forgotten.get(key[0], held[1] - 1):
            return False
        return held[0] is not None or not must

    def joint(self, org_id: str, key_ids: Sequence[bytes]) -> bytes:
        """The joint key of keys that were made ready. Raises CannotOpen when one of them is not there any more."""
        keys = [self._held.get((org_id, key_id), (None, 0.0))[0] for key_id in key_ids]
        if not keys or None in keys:
            raise CannotOpen
        return joint_key([key for key in keys if key is not None])

    def forget(self, org_id: str) -> None:
        """Reads an organisation's keys again before they open anything more."""
        self._forgotten[org_id] = self._monotonic()

    async def stale(self, present: str) -> Sequence[tuple[str, str, int]]:
        """See mesh.rotation.SealStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(STALE, present)
        return [("payload_org_keys", row[0], row[1]) for row in rows]

    async def reseal(self, table: str, org_id: str, present: str, limit: int, again: Wrapper) -> tuple[int, int]:
        """See mesh.rotation.SealStore; `again` unwraps and wraps."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(STALE_ONE, org_id, present)
            if row is None:
                return 0, 0
            try:
                key = again.unwrap(row[0], row[1], _bound(org_id, ""))
            except CannotOpen:
                return 0, 1
            if limit < 1:
                return 0, 0
            await connection.execute(REWRAP, org_id, again.wrap(key, _bound(org_id, "")), present)
        return 1, 0

    async def _org_keys(
        self, connection: Any, org_ids: Sequence[str], *, make: bool = False, must: bool = True
    ) -> Mapping[str, bytes]:
        """Organisations' keys, opened."""
        rows = await connection.fetch(ORG_KEYS, org_ids)
        missing = sorted(set(org_ids) - {row[0] for row in rows}) if make else []
        if missing:
            wrapped = [self._wrapper.wrap(os.urandom(KEY_BYTES), _bound(org_id, "")) for org_id in missing]
            await connection.execute(ADD_ORG_KEYS, missing, wrapped, self._wrapper.master_key_id)
            rows = await connection.fetch(ORG_KEYS, org_ids)
        found = {}
        for org_id, wrapped_key, master_key_id in rows:
            try:
                found[org_id] = self._wrapper.unwrap(wrapped_key, master_key_id, _bound(org_id, ""))
            except CannotOpen:
                if must:
                    raise errors.wrong_master_key(org_id, master_key_id) from None
        return found

    async def _read(
        self,
        connection: Any,
        statement: str,
        wanted: Sequence[tuple[str, str]],
        *,
        must: bool = True,
        whole: bool = False,
    ) -> list[KeyOf]:
        """Keys that are there and open; `whole` = raises for one that does not, `must` for an organisation's."""
        rows = await connection.fetch(statement, [one[0] for one in wanted], [one[1] for one in wanted])
        if not rows:
            return []
        wrapping = await self._org_keys(connection, sorted({row[0] for row in rows}), must=must)
        found = []
        for org_id, subject, key_id, wrapped in rows:
            try:
                key = unseal(wrapping[org_id], wrapped, _bound(org_id, key_id))
            except (CannotOpen, KeyError):
                if whole:
                    raise errors.payload_key_is_damaged(org_id, key_id) from None
                continue
            found.append(KeyOf(org_id, subject, uuid.UUID(key_id).bytes, key))
        return found


def _bound(org_id: str, key_id: str) -> bytes:
    return "\0".join(("audit", "payload_key", org_id, key_id)).encode()
