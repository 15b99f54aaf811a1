"""Where the several keys of providers are kept: everybody's in one table, those of organisations in another."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mesh.admin_record import Change
from mesh.postgres import Database
from services.provider.keys.vault import Place, SealedKey
from services.provider.store import count

GLOBAL, OWN = "global_keys", "provider_keys"


@dataclasses.dataclass(frozen=True, slots=True)
class KeyRow:
    """One stored key."""

    org_id: str
    """Whose it is; empty = everybody's."""
    key_id: str
    provider: str
    base_url: str
    sealed: SealedKey
    key_hint: str
    is_active: bool
    weight: int
    request_id: str
    created_at: datetime.datetime
    changed_at: datetime.datetime

    @property
    def place(self) -> Place:
        """What its ciphertext is bound to."""
        return Place(self.provider, self.base_url, OWN if self.org_id else GLOBAL, self.org_id, self.key_id)


Edit = Callable[[KeyRow], tuple[KeyRow, Change | None]]
"""The row as it is → as it shall be, and what audit is told."""


class KeyStore(Protocol):
    """Rows by organisation ("" = everybody's); every change also raises the version of providers."""

    async def versions(self) -> Mapping[str, int]:
        """The organisations that ever had a key, each with the version of its keys."""

    async def read(self, org_id: str) -> Sequence[KeyRow]:
        """An organisation's keys, oldest first."""

    async def add(self, row: KeyRow, change: Change | None, *, most: int) -> KeyRow | None:
        """Adds a row; the row that has this request_id already; None when there are `most` already."""

    async def edit(self, org_id: str, key_id: str, edit: Edit) -> KeyRow | None:
        """Changes a row in one transaction; None when there is none."""

    async def remove(self, org_id: str, key_id: str, change: Change | None) -> bool:
        """Removes a row; False when there was none."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Sql:
    """The statements over one table, written out: `$` parameters are all that varies in a statement."""

    read: str
    find_request: str
    number: str
    add: str
    find: str
    change: str
    remove: str


_GLOBAL = _Sql(
    read=(
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, is_active, "
        "weight, request_id, created_at, changed_at FROM global_keys WHERE $1 = '' ORDER BY created_at, "
        "key_id"
    ),
    find_request=(
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, is_active, "
        "weight, request_id, created_at, changed_at FROM global_keys WHERE $1 = '' AND request_id = $2"
    ),
    number=("SELECT count(*) FROM global_keys WHERE $1 = '' AND provider = $2"),
    add=(
        "INSERT INTO global_keys (key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, "
        "key_hint, is_active, weight, request_id, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, "
        "$7, $8, $9, $10, $11, $12)"
    ),
    find=(
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, is_active, "
        "weight, request_id, created_at, changed_at FROM global_keys WHERE key_id = $1 AND $2 = '' FOR "
        "UPDATE"
    ),
    change=(
        "UPDATE global_keys SET base_url = $3, sealed_key = $4, sealed_data_key = $5, master_key_id = $6, "
        "key_hint = $7, is_active = $8, weight = $9, changed_at = $10 WHERE key_id = $1 AND $2 = ''"
    ),
    remove=("DELETE FROM global_keys WHERE key_id = $1 AND $2 = '' RETURNING key_id"),
)
_OWN = _Sql(
    read=(
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, is_active, "
        "weight, request_id, created_at, changed_at FROM provider_keys WHERE org_id = $1 ORDER BY "
        "created_at, key_id"
    ),
    find_request=(
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, is_active, "
        "weight, request_id, created_at, changed_at FROM provider_keys WHERE org_id = $1 AND request_id = $2"
    ),
    number=("SELECT count(*) FROM provider_keys WHERE org_id = $1 AND provider = $2"),
    add=(
        "INSERT INTO provider_keys (key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, "
        "key_hint, is_active, weight, request_id, created_at, changed_at, org_id) VALUES ($1, $2, $3, $4, "
        "$5, $6, $7, $8, $9, $10, $11, $12, $13)"
    ),
    find=(
        "SELECT key_id, provider, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, is_active, "
        "weight, request_id, created_at, changed_at FROM provider_keys WHERE key_id = $1 AND org_id = $2 FOR "
        "UPDATE"
    ),
    change=(
        "UPDATE provider_keys SET base_url = $3, sealed_key = $4, sealed_data_key = $5, master_key_id = $6, "
        "key_hint = $7, is_active = $8, weight = $9, changed_at = $10 WHERE key_id = $1 AND org_id = $2"
    ),
    remove=("DELETE FROM provider_keys WHERE key_id = $1 AND org_id = $2 RETURNING key_id"),
)


class PostgresKeyStore:
    """The tables global_keys and provider_keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def versions(self) -> Mapping[str, int]:
        """See KeyStore."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id::text, version FROM key_organisations()")
        return {row[0]: row[1] for row in rows}

    async def read(self, org_id: str) -> Sequence[KeyRow]:
        """See KeyStore."""
        async with self._database.transaction(*_orgs(org_id)) as connection:
            rows = await connection.fetch(_sql(org_id).read, org_id)
        return [_row(org_id, row) for row in rows]

    async def add(self, row: KeyRow, change: Change | None, *, most: int) -> KeyRow | None:
        """See KeyStore."""
        org_id, sql = row.org_id, _sql(row.org_id)
        async with self._database.transaction(*_orgs(org_id)) as connection:
            # Before the count, so that two that add at once see each other.
            await _raise_version(connection, org_id)
            known = await connection.fetchrow(sql.find_request, org_id, row.request_id)
            if known is not None:
                return _row(org_id, known)
            if await connection.fetchval(sql.number, org_id, row.provider) >= most:
                return None
            await connection.execute(sql.add, *_values(row), *_orgs(org_id))
            await count(connection, change)
        return row

    async def edit(self, org_id: str, key_id: str, edit: Edit) -> KeyRow | None:
        """See KeyStore."""
        sql = _sql(org_id)
        async with self._database.transaction(*_orgs(org_id)) as connection:
            await _raise_version(connection, org_id)
            found = await connection.fetchrow(sql.find, key_id, org_id)
            if found is None:
                return None
            row, change = edit(_row(org_id, found))
            await connection.execute(
                sql.change,
                key_id,
                org_id,
                row.base_url,
                row.sealed.sealed_key,
                row.sealed.sealed_data_key,
                row.sealed.master_key_id,
                row.key_hint,
                row.is_active,
                row.weight,
                row.changed_at,
            )
            await count(connection, change)
        return row

    async def remove(self, org_id: str, key_id: str, change: Change | None) -> bool:
        """See KeyStore."""
        async with self._database.transaction(*_orgs(org_id)) as connection:
            await _raise_version(connection, org_id)
            gone = await connection.fetchval(_sql(org_id).remove, key_id, org_id)
            if gone is not None:
                await count(connection, change)
        return gone is not None


def _sql(org_id: str) -> _Sql:
    return _OWN if org_id else _GLOBAL


def _orgs(org_id: str) -> tuple[str, ...]:
    return (org_id,) if org_id else ()


async def _raise_version(connection: Any, org_id: str) -> None:
    """Locks the organisation's keys until the transaction's end, too."""
    if org_id:
        await connection.execute(
            "INSERT INTO key_versions (org_id, version) VALUES ($1, 1) "
            "ON CONFLICT (org_id) DO UPDATE SET version = key_versions.version + 1",
            org_id,
        )
    else:
        await connection.execute("SELECT version FROM providers_version FOR UPDATE")


def _values(row: KeyRow) -> list[Any]:
    sealed = row.sealed
    return [
        row.key_id,
        row.provider,
        row.base_url,
        sealed.sealed_key,
        sealed.sealed_data_key,
        sealed.master_key_id,
        row.key_hint,
        row.is_active,
        row.weight,
        row.request_id,
        row.created_at,
        row.changed_at,
    ]


def _row(org_id: str, row: Any) -> KeyRow:
    return KeyRow(
        org_id,
        str(row["key_id"]),
        row["provider"],
        row["base_url"],
        SealedKey(row["sealed_key"], row["sealed_data_key"], row["master_key_id"]),
        row["key_hint"],
        row["is_active"],
        row["weight"],
        row["request_id"],
        row["created_at"],
        row["changed_at"],
    )
