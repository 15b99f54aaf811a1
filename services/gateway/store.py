"""Identity's rows: organisations, keys, the epoch, and changes waiting for audit."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh.postgres import Conflict, Database
from services.gateway import errors


@dataclasses.dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is checked."""

    org_id: str
    key_id: str
    hash: bytes
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it is shown."""

    org_id: str
    key_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class OrganisationRow:
    """An organisation."""

    org_id: str
    name: str
    created_at: dt.datetime
    has_changes: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """An administrative change on its way to audit."""

    record_id: str
    record: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be added."""

    key: KeyInfo
    lookup_id: str
    hash: bytes
    change: Change


class Store(Protocol):
    """What identity keeps."""

    async def epoch(self) -> int:
        """How often keys have changed."""

    async def find_key(self, lookup_id: str) -> Sequence[KeyRow]:
        """The keys of a lookup id (one, but for a collision)."""

    async def listen(self, changed: Callable[[], None]) -> None:
        """Calls `changed` when keys change or may have changed unheard."""

    async def bind_master_key(self, master_key_id: str) -> tuple[str, bytes]:
        """Ties an unbound database to a master key; the one it is tied to, and its sealed peppers."""

    async def rebind_master_key(
        self, former_id: str, master_key_id: str, sealed_peppers: bytes, org_id: str, change: Change
    ) -> bool:
        """Ties a database to another master key, and keeps the change for audit; False when it is not tied to
        `former_id`."""

    async def organisations(self) -> list[OrganisationRow]:
        """All of them, oldest first."""

    async def add_organisation(self, row: OrganisationRow, change: Change) -> bool:
        """Adds one; False when the name is taken."""

    async def add_key(self, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change) -> None:
        """Adds a key."""

    async def add_bootstrap_key(
        self, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change, *, only_first: bool
    ) -> bool:
        """Adds a key of a start, one start at a time; False when it is there, or `only_first` and there is any."""

    async def add_foreign_keys(self, org_id: str, keys: Sequence[NewKey]) -> list[KeyInfo]:
        """Adds those that are not there, all or none; the keys that stand now.

        Raises ALREADY_EXISTS for a key that another organisation has.
        """

    async def keys(self, org_id: str, limit: int, before: tuple[dt.datetime, str] | None) -> list[KeyInfo]:
        """The organisation's keys, newest first."""

    async def revoke(self, org_id: str, key_id: str, at: dt.datetime, change: Change) -> KeyInfo | None:
        """Revokes a key (once); None when there is none."""

    async def changes(self, org_id: str) -> list[Change]:
        """What waits for audit."""

    async def told(self, org_id: str, record_ids: Sequence[str]) -> None:
        """Audit has these."""


_SHOWN = "org_id::text, key_id::text, name, prefix, scopes, models, created_at, expires_at, revoked_at"
_KEYS = f"""SELECT {_SHOWN} FROM api_keys WHERE org_id = $1
  AND ($3::timestamptz IS NULL OR (created_at, key_id) < ($3, $4::uuid))
  ORDER BY created_at DESC, key_id DESC LIMIT $2"""  # noqa: S608
_KEY = f"""SELECT {_SHOWN} FROM api_keys WHERE org_id = $1 AND key_id = $2"""  # noqa: S608
_REVOKE = f"""UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND key_id = $2
  RETURNING {_SHOWN}"""  # noqa: S608
_OUTBOX = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


def _info(row: Any) -> KeyInfo:
    values = dict(row)
    return KeyInfo(**{**values, "scopes": tuple(values["scopes"]), "models": tuple(values["models"])})


async def _insert_key(connection: Any, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change) -> None:
    await connection.execute(
        "INSERT INTO api_keys (org_id, key_id, lookup_id, name, prefix, hash, scopes, models, created_at, "
        "expires_at, revoked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        key.org_id,
        key.key_id,
        lookup_id,
        key.name,
        key.prefix,
        hashed,
        list(key.scopes),
        list(key.models),
        key.created_at,
        key.expires_at,
        key.revoked_at,
    )
    await connection.execute(_OUTBOX, key.org_id, change.record_id, change.record)


class PostgresStore:
    """Store in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def epoch(self) -> int:
        """See Store."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval("SELECT epoch FROM key_epoch"))

    async def find_key(self, lookup_id: str) -> Sequence[KeyRow]:
        """See Store."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT org_id::text, key_id::text, hash, scopes, models, expires_at, revoked_at FROM find_key($1)",
                lookup_id,
            )
        return [KeyRow(r[0], r[1], bytes(r[2]), tuple(r[3]), tuple(r[4]), r[5], r[6]) for r in rows]

    async def listen(self, changed: Callable[[], None]) -> None:
        """See Store."""
        await self._database.listen("dac_keys", lambda _payload: changed(), on_gap=changed)

    async def bind_master_key(self, master_key_id: str) -> tuple[str, bytes]:
        """See Store."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO key_check (master_key_id) VALUES ($1) ON CONFLICT DO NOTHING", master_key_id
            )
            row = await connection.fetchrow("SELECT master_key_id, sealed_peppers FROM key_check")
            return row[0], bytes(row[1])

    async def rebind_master_key(
        self, former_id: str, master_key_id: str, sealed_peppers: bytes, org_id: str, change: Change
    ) -> bool:
        """See Store."""
        async with self._database.transaction(org_id) as connection:
            query = "UPDATE key_check SET master_key_id = $2, sealed_peppers = $3 WHERE master_key_id = $1"
            done = bool(await connection.execute(query, former_id, master_key_id, sealed_peppers) == "UPDATE 1")
            if done:
                await connection.execute(_OUTBOX, org_id, change.record_id, change.record)
            return done

    async def organisations(self) -> list[OrganisationRow]:
        """See Store."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT org_id::text, name, created_at, has_changes FROM list_organisations()"
            )
        return [OrganisationRow(*row) for row in rows]

    async def add_organisation(self, row: OrganisationRow, change: Change) -> bool:
        """See Store."""
        try:
            async with self._database.transaction(row.org_id) as connection:
                await connection.execute(
                    "INSERT INTO organisation_names (name, taken_at) VALUES ($1, $2)", row.name, row.created_at
                )
                await connection.execute(
                    "INSERT INTO organisations (org_id, name, created_at) VALUES ($1, $2, $3)",
                    row.org_id,
                    row.name,
                    row.created_at,
                )
                await connection.execute(_OUTBOX, row.org_id, change.record_id, change.record)
        except Conflict:
            return False
        return True

    async def add_key(self, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change) -> None:
        """See Store."""
        async with self._database.transaction(key.org_id) as connection:
            await _insert_key(connection, key, lookup_id, hashed, change)

    async def add_bootstrap_key(
        self, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change, *, only_first: bool
    ) -> bool:
        """See Store."""
        async with self._database.transaction(key.org_id) as connection:
            # Replicas that start together wait here for each other, and see what the first one added.
            await connection.execute("SELECT FROM key_check FOR UPDATE")
            if only_first:
                there = await connection.fetchval("SELECT EXISTS (SELECT FROM api_keys WHERE org_id = $1)", key.org_id)
            else:
                there = await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM find_key($1) WHERE hash = $2)", lookup_id, hashed
                )
            if not there:
                await _insert_key(connection, key, lookup_id, hashed, change)
            return not there

    async def add_foreign_keys(self, org_id: str, keys: Sequence[NewKey]) -> list[KeyInfo]:
        """See Store."""
        standing: list[KeyInfo] = []
        async with self._database.transaction(org_id) as connection:
            # Imports wait here for each other: a key must not come into two organisations.
            await connection.execute("SELECT FROM key_check FOR UPDATE")
            for new in keys:
                key_id = await connection.fetchval(
                    "SELECT key_id FROM find_key($1) WHERE hash = $2", new.lookup_id, new.hash
                )
                if key_id is None:
                    await _insert_key(connection, new.key, new.lookup_id, new.hash, new.change)
                    standing.append(new.key)
                else:
                    row = await connection.fetchrow(_KEY, org_id, key_id)
                    if row is None:
                        raise errors.key_elsewhere(new.key.name)
                    standing.append(_info(row))
        return standing

    async def keys(self, org_id: str, limit: int, before: tuple[dt.datetime, str] | None) -> list[KeyInfo]:
        """See Store."""
        at, key_id = before or (None, None)
        async with self._database.transaction(org_id) as connection:
            return [_info(row) for row in await connection.fetch(_KEYS, org_id, limit, at, key_id)]

    async def revoke(self, org_id: str, key_id: str, at: dt.datetime, change: Change) -> KeyInfo | None:
        """See Store."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(_REVOKE, org_id, key_id, at)
            if row is None:
                return None
            if row["revoked_at"] != at:
                return _info(row)  # Revoked before: nothing changed that audit should hear of.
            await connection.execute(_OUTBOX, org_id, change.record_id, change.record)
            return _info(row)

    async def changes(self, org_id: str) -> list[Change]:
        """See Store."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(
                "SELECT record_id::text, record FROM admin_outbox WHERE org_id = $1 ORDER BY record_id LIMIT 200",
                org_id,
            )
        return [Change(row[0], bytes(row[1])) for row in rows]

    async def told(self, org_id: str, record_ids: Sequence[str]) -> None:
        """See Store."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(
                "DELETE FROM admin_outbox WHERE org_id = $1 AND record_id = ANY ($2::uuid[])", org_id, list(record_ids)
            )
