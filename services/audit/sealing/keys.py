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

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.envelope_keys import KEY_BYTES, CannotOpen, Wrapper, seal, unseal
from mesh.ids import uuid7
from mesh.postgres import Database
from services.audit import errors
from services.audit.sealing.form import ID_BYTES, joint_cipher

PURPOSE = "audit:payload-keys"
"""Of the subkey that wraps organisations' keys."""
HELD = 50_000
"""Ciphers that are kept at hand, and subjects' keys."""
TRIES = 5
"""So often keys are read anew because others were destroyed meanwhile."""
CHECK_S = 5.0
"""For so long a key that was read opens payloads; then it is asked for again: it may have been destroyed."""

BEGUN = "SELECT EXISTS (SELECT FROM payload_sealing)"
BEGIN = "INSERT INTO payload_sealing DEFAULT VALUES ON CONFLICT DO NOTHING"
ORG_KEYS = """SELECT org_id::text, wrapped_key, master_key_id, destroyed FROM payload_org_keys
  WHERE org_id = ANY ($1::uuid[])"""
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
HOLD = """SELECT org_id::text, destroyed FROM payload_org_keys WHERE org_id = ANY ($1::uuid[])
  ORDER BY org_id FOR KEY SHARE"""
STALE = "SELECT org_id::text, stale FROM stale_payload_keys($1)"
STALE_ONE = """SELECT wrapped_key, master_key_id FROM payload_org_keys
  WHERE org_id = $1 AND master_key_id <> $2 FOR NO KEY UPDATE"""
REWRAP = "UPDATE payload_org_keys SET wrapped_key = $2, master_key_id = $3 WHERE org_id = $1"

Joint = tuple[str, bytes]
"""An organisation, and the ids of keys one after another."""


class Sealer(NamedTuple):
    """What seals for some subjects together."""

    key_ids: bytes
    cipher: AESGCM


class _Own:
    """What was read of an organisation to seal with."""

    def __init__(self, destroyed: int) -> None:
        self.destroyed = destroyed
        self.keys: dict[str, tuple[bytes, bytes]] = {}
        """Id and key by subject."""
        self.sealers: dict[tuple[str, ...], Sealer] = {}


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
        self._own: dict[str, _Own] = {}
        self._subjects = 0
        self._opening: OrderedDict[Joint, tuple[AESGCM | None, float]] = OrderedDict()
        self._forgotten: dict[str, float] = {}
        self._begun = False

    async def begun(self) -> bool:
        """Whether anything was ever sealed in this database."""
        if not self._begun:
            async with self._database.transaction() as connection:
                self._begun = bool(await connection.fetchval(BEGUN))
        return self._begun

    async def sealers(
        self, wanted: Collection[tuple[str, tuple[str, ...]]]
    ) -> tuple[Mapping[tuple[str, tuple[str, ...]], Sealer], Mapping[str, int]]:
        """What seals for each organisation's subjects together, made at first use and durable before it is given; and
        what is known of the organisations, for `hold`. Raises MeshError."""
        for _ in range(TRIES):
            missing = sorted({(org, one) for org, subjects in wanted for one in subjects if not self._has(org, one)})
            if not missing:
                break
            await self._learn(missing)
        else:
            raise errors.keys_destroyed_meanwhile()
        found = {(org, subjects): self._sealer(self._own[org], subjects) for org, subjects in wanted}
        return found, {org: self._own[org].destroyed for org, _ in wanted}

    async def hold(self, connection: Any, known: Mapping[str, int]) -> bool:
        """Inside the transaction that stores sealed records: whether no key was destroyed since these were known."""
        rows = await connection.fetch(HOLD, sorted(known))
        changed = known.keys() - {org_id for org_id, destroyed in rows if known[org_id] == destroyed}
        for org_id in changed:
            self._drop(org_id)
        return not changed

    async def known(self, org_id: str, subject: str) -> bytes | None:
        """The id of a subject's key; None when it has none."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(BY_SUBJECT, [org_id], [subject])
        return uuid.UUID(rows[0][2]).bytes if rows else None

    async def ciphers(
        self, wanted: Iterable[Joint], connection: Any = None, *, must: bool = False
    ) -> dict[Joint, AESGCM | None]:
        """What opens, by organisation and ids of keys; None where one of these is destroyed or does not open.

        `connection`: a transaction over these organisations, for who has one. Raises MeshError when `must` and the
        master key at hand is another one.
        """
        now, found = self._monotonic(), dict[Joint, AESGCM | None]()
        for joint in wanted:
            held = self._opening.get(joint)
            if held is not None and self._is_fresh(joint[0], held[1], now) and not (must and held[0] is None):
                found[joint] = held[0]
            else:
                found[joint] = None
        missing = [joint for joint, cipher in found.items() if cipher is None]
        if missing:
            found |= await self._read_ciphers(missing, connection, now, must=must)
        return found

    def forget(self, org_id: str) -> None:
        """Lets an organisation's keys go; they are read again before they open or seal anything more."""
        # What is being read at this moment may be what was before.
        self._forgotten[org_id] = self._monotonic()
        self._drop(org_id)
        for joint in [joint for joint in self._opening if joint[0] == org_id]:
            del self._opening[joint]

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

    def _has(self, org_id: str, subject: str) -> bool:
        own = self._own.get(org_id)
        return own is not None and subject in own.keys

    def _drop(self, org_id: str) -> None:
        own = self._own.pop(org_id, None)
        self._subjects -= len(own.keys) if own else 0

    @staticmethod
    def _sealer(own: _Own, subjects: tuple[str, ...]) -> Sealer:
        sealer = own.sealers.get(subjects)
        if sealer is None:
            keys = [own.keys[one] for one in subjects]
            sealer = Sealer(b"".join(key_id for key_id, _ in keys), joint_cipher([key for _, key in keys]))
            own.sealers[subjects] = sealer
        return sealer

    async def _learn(self, missing: Sequence[tuple[str, str]]) -> None:
        """Reads keys to seal with, and makes those that are not there."""
        if self._subjects > HELD:
            self._own.clear()
            self._subjects = 0
        org_ids = sorted({org_id for org_id, _ in missing})
        async with self._database.transaction(*org_ids) as connection:
            wrapping = await self._org_keys(connection, org_ids, make=True)
            found = await self._read(connection, BY_SUBJECT, missing, wrapping, whole=True)
            fresh = sorted(set(missing) - {(org_id, subject) for org_id, subject, _, _ in found})
            if fresh:
                rows = []
                for org_id, subject in fresh:
                    made = uuid7()
                    wrapped = seal(wrapping[org_id][0], os.urandom(KEY_BYTES), _bound(org_id, made))
                    rows.append((org_id, made, subject, wrapped))
                await connection.execute(ADD, *map(list, zip(*rows, strict=True)))
                # Another replica may have been first: what is there now counts.
                found += await self._read(connection, BY_SUBJECT, fresh, wrapping, whole=True)
        for org_id in org_ids:
            own = self._own.get(org_id)
            if own is None or own.destroyed != wrapping[org_id][1]:
                # What was read before may be of a key that is destroyed by now.
                self._drop(org_id)
                self._own[org_id] = _Own(wrapping[org_id][1])
        for org_id, subject, key_id, key in found:
            self._subjects += subject not in self._own[org_id].keys
            self._own[org_id].keys[subject] = key_id, key

    def _is_fresh(self, org_id: str, read_at: float, now: float) -> bool:
        return now - read_at < self._check_s and read_at > self._forgotten.get(org_id, read_at - 1)

    async def _read_ciphers(
        self, joints: Sequence[Joint], connection: Any, now: float, *, must: bool
    ) -> dict[Joint, AESGCM | None]:
        parts = {joint: [joint[1][at : at + ID_BYTES] for at in range(0, len(joint[1]), ID_BYTES)] for joint in joints}
        wanted = sorted({(org_id, str(uuid.UUID(bytes=one))) for (org_id, _), ids in parts.items() for one in ids})
        org_ids = sorted({org_id for org_id, _ in wanted})

        async def read(within: Any) -> list[tuple[str, str, bytes, bytes]]:
            return await self._read(within, BY_ID, wanted, await self._org_keys(within, org_ids, must=must))

        if connection is not None:
            rows = await read(connection)
        else:
            async with self._database.transaction(*org_ids) as within:
                rows = await read(within)
        keys = {(org_id, key_id): key for org_id, _, key_id, key in rows}
        found: dict[Joint, AESGCM | None] = {}
        for joint, ids in parts.items():
            own = [keys[joint[0], one] for one in ids if (joint[0], one) in keys]
            found[joint] = joint_cipher(own) if ids and len(own) == len(ids) else None
            self._opening[joint] = found[joint], now
            self._opening.move_to_end(joint)
        while len(self._opening) > HELD:
            self._opening.popitem(last=False)
        return found

    async def _org_keys(
        self, connection: Any, org_ids: Sequence[str], *, make: bool = False, must: bool = True
    ) -> dict[str, tuple[bytes, int]]:
        """Organisations' keys, opened, and how many of their subjects' keys were destroyed."""
        rows = await connection.fetch(ORG_KEYS, org_ids)
        missing = sorted(set(org_ids) - {row[0] for row in rows}) if make else []
        if missing:
            await connection.execute(BEGIN)
            wrapped = [self._wrapper.wrap(os.urandom(KEY_BYTES), _bound(org_id, "")) for org_id in missing]
            await connection.execute(ADD_ORG_KEYS, missing, wrapped, self._wrapper.master_key_id)
            rows = await connection.fetch(ORG_KEYS, org_ids)
        found = {}
        for org_id, wrapped_key, master_key_id, destroyed in rows:
            try:
                found[org_id] = self._wrapper.unwrap(wrapped_key, master_key_id, _bound(org_id, "")), destroyed
            except CannotOpen:
                if must:
                    raise errors.wrong_master_key(org_id, master_key_id) from None
        return found

    @staticmethod
    async def _read(
        connection: Any,
        statement: str,
        wanted: Sequence[tuple[str, str]],
        wrapping: Mapping[str, tuple[bytes, int]],
        *,
        whole: bool = False,
    ) -> list[tuple[str, str, bytes, bytes]]:
        """Organisation, subject, id and key of those that open; `whole` = raises for one that does not."""
        found = []
        for org_id, subject, key_id, wrapped in await connection.fetch(
            statement, [one[0] for one in wanted], [one[1] for one in wanted]
        ):
            try:
                key = unseal(wrapping[org_id][0], wrapped, _bound(org_id, key_id))
            except (CannotOpen, KeyError):
                if whole:
                    raise errors.payload_key_is_damaged(org_id, key_id) from None
                continue
            found.append((org_id, subject, uuid.UUID(key_id).bytes, key))
        return found


def _bound(org_id: str, key_id: str) -> bytes:
    return "\0".join(("audit", "payload_key", org_id, key_id)).encode()
