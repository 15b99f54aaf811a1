"""Where data keys are kept, and the sealer that hands them out: made at first use, held for seconds."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mesh.envelope_keys import KEY_BYTES, CannotOpen, Wrapper
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory import errors
from services.memory.sealing.sealing import OrgKey, SealingKeys
from services.memory.unstopped import seen

PURPOSE = "memory:data-keys"
"""Of the subkey that wraps data keys."""
TEXT, TERMS = "text", "terms"
CHANNEL = "memory_data_keys"
ERASED = "erased "
"""In front of the organisation, in the news that its memory was erased."""
HELD_ORGANISATIONS = 10_000

Clock = Callable[[], dt.datetime]
_READ = """SELECT key_id::text, purpose, wrapped_key, master_key_id, retired_at FROM data_keys
    WHERE org_id = $1 AND destroyed_at IS NULL ORDER BY created_at, key_id"""
_ADD = """INSERT INTO data_keys (org_id, key_id, purpose, wrapped_key, master_key_id, created_at, retired_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING key_id"""
_TELL = "SELECT pg_notify($1, $2)"


class DataKeys:
    """The table data_keys."""

    def __init__(self, database: Database, wrapper: Wrapper, *, clock: Clock) -> None:
        self._database, self._wrapper, self._clock = database, wrapper, clock

    async def read(self, org_id: str, purposes: Sequence[str]) -> SealingKeys:
        """An organisation's keys; those of `purposes` that it does not have yet are made. Raises MeshError."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_READ, org_id)
            have = {row["purpose"] for row in rows if row["retired_at"] is None}
            missing = [purpose for purpose in purposes if purpose not in have]
            for purpose in missing:
                await self._add(connection, org_id, purpose, retired_at=None)
            if missing:
                await connection.execute(_TELL, CHANNEL, org_id)
                # Another replica may have been first: what is there now counts.
                rows = await connection.fetch(_READ, org_id)
        return self._opened(org_id, rows, seals=TEXT in purposes)

    async def prepare(self, org_id: str) -> str:
        """A further data key that only opens yet, so that every replica knows it before a row needs it; its id."""
        async with self._database.transaction(org_id) as connection:
            key_id = await self._add(connection, org_id, TEXT, retired_at=self._clock())
            await connection.execute(_TELL, CHANNEL, org_id)
        return key_id

    async def turn_to(self, connection: Any, org_id: str, key_id: str) -> bool:
        """Inside a transaction: this key seals from now on; False when it was destroyed meanwhile."""
        await connection.execute(
            "UPDATE data_keys SET retired_at = $2 WHERE org_id = $1 AND purpose = 'text' AND retired_at IS NULL",
            org_id,
            self._clock(),
        )
        turned = await connection.fetchval(
            "UPDATE data_keys SET retired_at = NULL WHERE org_id = $1 AND key_id = $2 AND destroyed_at IS NULL "
            "RETURNING key_id",
            org_id,
            key_id,
        )
        await connection.execute(_TELL, CHANNEL, org_id)
        return turned is not None

    async def destroy_unused(self, org_id: str, retired_before: dt.datetime) -> int:
        """Destroys earlier data keys that no row is sealed by; how many."""
        destroyed = 0
        async with self._database.transaction(org_id) as connection:
            # Locked as for deletion: whoever is writing a row with one of them is waited for.
            rows = await connection.fetch(
                "SELECT key_id FROM data_keys WHERE org_id = $1 AND purpose = 'text' AND retired_at < $2 "
                "AND destroyed_at IS NULL FOR UPDATE",
                org_id,
                retired_before,
            )
            for row in rows:
                used = await connection.fetchval("SELECT data_key_in_use($1, $2)", org_id, row["key_id"], timeout=300)
                if not used:
                    await connection.execute(
                        "UPDATE data_keys SET destroyed_at = $3, wrapped_key = '' WHERE org_id = $1 AND key_id = $2",
                        org_id,
                        row["key_id"],
                        self._clock(),
                    )
                    destroyed += 1
        return destroyed

    async def has_earlier(self, org_id: str) -> bool:
        """Whether there are data keys that only open."""
        async with self._database.transaction(org_id) as connection:
            found = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM data_keys WHERE org_id = $1 AND purpose = 'text' "
                "AND retired_at IS NOT NULL AND destroyed_at IS NULL)",
                org_id,
            )
        return bool(found)

    async def organisations(self) -> list[str]:
        """Whose text there is."""
        async with self._database.transaction() as connection:
            return [str(row[0]) for row in await connection.fetch("SELECT organisations_with_text()")]

    async def stale(self, present: str) -> Sequence[tuple[str, str, int]]:
        """See mesh.rotation.SealStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id::text, stale FROM stale_data_keys($1)", present)
        return [("data_keys", row["org_id"], row["stale"]) for row in rows]

    async def reseal(self, table: str, org_id: str, present: str, limit: int, again: Wrapper) -> tuple[int, int]:
        """See mesh.rotation.SealStore; `again` unwraps and wraps."""
        done = lost = 0
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(
                "SELECT key_id::text, purpose, wrapped_key, master_key_id FROM data_keys WHERE org_id = $1 "
                "AND master_key_id <> $2 AND destroyed_at IS NULL ORDER BY key_id FOR NO KEY UPDATE",
                org_id,
                present,
            )
            for row in rows:
                bound = _bound(org_id, row["key_id"], row["purpose"])
                try:
                    key = again.unwrap(row["wrapped_key"], row["master_key_id"], bound)
                except CannotOpen:
                    lost += 1
                    continue
                if done < limit:
                    done += 1
                    await connection.execute(
                        "UPDATE data_keys SET wrapped_key = $3, master_key_id = $4 WHERE org_id = $1 AND key_id = $2",
                        org_id,
                        row["key_id"],
                        again.wrap(key, bound),
                        present,
                    )
        return done, lost

    async def _add(self, connection: Any, org_id: str, purpose: str, *, retired_at: dt.datetime | None) -> str:
        key_id, wrapper = uuid7(), self._wrapper
        wrapped = wrapper.wrap(os.urandom(KEY_BYTES), _bound(org_id, key_id, purpose))
        values = (purpose, wrapped, wrapper.master_key_id, self._clock(), retired_at)
        await connection.execute(_ADD, org_id, key_id, *values)
        return key_id

    def _opened(self, org_id: str, rows: Sequence[Any], *, seals: bool) -> SealingKeys:
        keys: dict[str, bytes] = {}
        present = generation = ""
        terms = b""
        for row in rows:
            bound = _bound(org_id, row["key_id"], row["purpose"])
            try:
                key = self._wrapper.unwrap(row["wrapped_key"], row["master_key_id"], bound)
            except CannotOpen:
                raise errors.wrong_master_key(org_id, row["master_key_id"]) from None
            if row["purpose"] == TERMS:
                terms, generation = key, row["key_id"]
            else:
                keys[row["key_id"]] = key
                present = row["key_id"] if row["retired_at"] is None else present
        return SealingKeys(org_id, keys, present if seals else "", terms=terms, generation=generation)


class KeyedSealer:
    """Hands out organisations' keys: held for `check_s`, and read again at once when a replica tells of a change."""

    def __init__(self, keys: DataKeys, *, enabled: bool, check_s: float, monotonic: Callable[[], float]) -> None:
        self.enabled = enabled
        self._keys, self._check_s, self._monotonic = keys, check_s, monotonic
        self._purposes = (TERMS, TEXT) if enabled else (TERMS,)
        self._held: OrderedDict[str, tuple[SealingKeys, float]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[SealingKeys]] = {}
        self._erased: list[Callable[[str], None]] = []

    async def key_of(self, org_id: str) -> OrgKey:
        """See Sealer."""
        held = self._held.get(org_id)
        if held is not None and self._monotonic() - held[1] < self._check_s:
            return held[0]
        reading = self._reading.get(org_id)
        if reading is None:
            reading = self._reading[org_id] = asyncio.create_task(self._read(org_id))
            reading.add_done_callback(seen)
        # Who asked first may go away; the others still wait for the answer.
        return await asyncio.shield(reading)

    def on_erased(self, callback: Callable[[str], None]) -> None:
        """Calls `callback(org_id)` soon after any replica erased an organisation's memory, to drop what is held of it.

        News can be lost: what is held also ends when `OrgKey.generation` is another one.
        """
        self._erased.append(callback)

    async def follow(self, listen: Callable[..., Awaitable[Any]]) -> None:
        """Listens to what replicas tell; `listen` is Database.listen."""
        await listen(CHANNEL, self._told, on_gap=self._held.clear)

    def forget(self, org_id: str) -> None:
        """Reads the organisation's keys again before they are used again."""
        self._held.pop(org_id, None)
        # What is being read may be what was before.
        self._reading.pop(org_id, None)

    async def close(self) -> None:
        """Stops reading."""
        reading = list(self._reading.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def _told(self, payload: str) -> None:
        org_id = payload.removeprefix(ERASED)
        self.forget(org_id)
        if payload != org_id:
            for callback in self._erased:
                callback(org_id)

    async def _read(self, org_id: str) -> SealingKeys:
        mine, asked_at = asyncio.current_task(), self._monotonic()
        try:
            keys = await self._keys.read(org_id, self._purposes)
            if self._reading.get(org_id) is mine:
                self._held[org_id] = (keys, asked_at)
                self._held.move_to_end(org_id)
                if len(self._held) > HELD_ORGANISATIONS:
                    self._held.popitem(last=False)
            return keys
        finally:
            if self._reading.get(org_id) is mine:
                del self._reading[org_id]


def _bound(org_id: str, key_id: str, purpose: str) -> bytes:
    return "\0".join(("memory", "data_key", purpose, org_id, key_id)).encode()
