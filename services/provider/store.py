"""Where API-added providers are kept."""

import dataclasses
import datetime
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh.admin_changes import put_out
from mesh.admin_record import Change
from mesh.postgres import Database
from services.provider.keys.vault import SealedKey

CHANNEL = "provider_changed"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One API-added provider."""

    provider: str
    kind: str
    base_url: str
    sealed: SealedKey
    key_hint: str
    upstream_models: tuple[str, ...]
    changed_at: datetime.datetime


class ProviderStore(Protocol):
    """Rows with a version that grows at every change."""

    async def version(self) -> int:
        """The version now."""

    async def read(self) -> tuple[int, Sequence[Row]]:
        """The version and every row, of one moment."""

    async def put(self, row: Row, change: Change | None) -> None:
        """Adds or replaces a row, and keeps the change for audit."""

    async def remove(self, provider: str, change: Change | None) -> bool:
        """Removes a row, and keeps the change for audit; False when there was none."""

    async def follow(self, changed: Callable[[], None]) -> None:
        """Calls `changed` soon after any replica changed a row, best effort."""


class PostgresStore:
    """The table provider.providers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """See ProviderStore."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval("SELECT version FROM providers_version"))

    async def read(self) -> tuple[int, Sequence[Row]]:
        """See ProviderStore. The version is read first: a change in between is read again, never missed."""
        async with self._database.transaction() as connection:
            version = int(await connection.fetchval("SELECT version FROM providers_version"))
            rows = await connection.fetch(
                "SELECT provider, kind, base_url, sealed_key, sealed_data_key, master_key_id, key_hint, "
                "upstream_models, changed_at FROM providers ORDER BY provider"
            )
        return version, [
            Row(
                row["provider"],
                row["kind"],
                row["base_url"],
                SealedKey(row["sealed_key"], row["sealed_data_key"], row["master_key_id"]),
                row["key_hint"],
                tuple(row["upstream_models"]),
                row["changed_at"],
            )
            for row in rows
        ]

    async def put(self, row: Row, change: Change | None) -> None:
        """See ProviderStore."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO providers (provider, kind, base_url, sealed_key, sealed_data_key, master_key_id, "
                "key_hint, upstream_models, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
                "ON CONFLICT (provider) DO UPDATE SET kind = $2, base_url = $3, sealed_key = $4, "
                "sealed_data_key = $5, master_key_id = $6, key_hint = $7, upstream_models = $8, changed_at = $9",
                row.provider,
                row.kind,
                row.base_url,
                row.sealed.sealed_key,
                row.sealed.sealed_data_key,
                row.sealed.master_key_id,
                row.key_hint,
                list(row.upstream_models),
                row.changed_at,
            )
            await count(connection, change)

    async def remove(self, provider: str, change: Change | None) -> bool:
        """See ProviderStore."""
        async with self._database.transaction() as connection:
            gone = await connection.fetchval("DELETE FROM providers WHERE provider = $1 RETURNING provider", provider)
            if gone is not None:
                await count(connection, change)
        return gone is not None

    async def follow(self, changed: Callable[[], None]) -> None:
        """See ProviderStore."""
        await self._database.listen(CHANNEL, lambda _: changed(), on_gap=changed)


async def count(connection: Any, change: Change | None) -> None:
    """Inside the transaction of a change: keeps its record for audit, and tells replicas to read again."""
    if change is not None:
        await put_out(connection, change)
    await connection.execute("UPDATE providers_version SET version = version + 1")
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
