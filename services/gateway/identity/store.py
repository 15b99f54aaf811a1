"""Identity's rows: organisations, keys, the epoch, and changes waiting for audit."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh.admin_record import Change
from mesh.postgres_errors import Conflict
from services.gateway import errors
from services.gateway.identity.organisation_store import OrganisationStore, PostgresOrganisations
from services.gateway.identity.places import Place
from services.gateway.identity.rows import FoundPlace, KeyInfo, KeyPlace, KeyRow, NewKey, OrganisationRow
from services.gateway.identity.tree_store import PostgresTree, TreeStore, check_place, lock_tree

KeyEdit = Callable[[KeyPlace], tuple[KeyPlace, Change | None]]
"""A key as it stands → as it is to be, and what audit is told (None when nothing changed)."""


class Store(TreeStore, OrganisationStore, Protocol):
    """What identity keeps."""

    async def epoch(self) -> int:
        """How often keys have changed."""

    async def find_key(self, lookup_id: str) -> Sequence[KeyRow]:
        """The keys of a lookup id (one, but for a collision)."""

    async def find_place(self, org_id: str, team_id: str, project_id: str) -> FoundPlace:
        """A team ("" = none) or a project ("" = none) of the organisation, with the teams above."""

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

    async def add_key(self, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change) -> KeyInfo:
        """Adds a key. Raises NOT_FOUND or INVALID_REQUEST for a place that is none."""

    async def edit_key(self, org_id: str, key_id: str, edit: KeyEdit, *, teamless: bool) -> KeyInfo | None:
        """Changes a key's name and place; None when there is none. Raises as `add_key` does, and INVALID_REQUEST when
        the key is to be `teamless` and its project has a team."""

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


_SHOWN = """org_id::text, key_id::text, name, prefix, scopes, models, created_at, expires_at, revoked_at,
  coalesce((SELECT p.team_id FROM projects p WHERE p.org_id = api_keys.org_id AND p.project_id = api_keys.project_id),
    team_id)::text AS team_id, project_id::text, user_id::text, without_persona"""
_KEYS = f"""SELECT {_SHOWN} FROM api_keys WHERE org_id = $1
  AND ($3::timestamptz IS NULL OR (created_at, key_id) < ($3, $4::uuid))
  ORDER BY created_at DESC, key_id DESC LIMIT $2"""  # noqa: S608
_KEY = f"""SELECT {_SHOWN} FROM api_keys WHERE org_id = $1 AND key_id = $2"""  # noqa: S608
_REVOKE = f"""UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE org_id = $1 AND key_id = $2
  RETURNING {_SHOWN}"""  # noqa: S608
_KEY_PLACE = """SELECT name, coalesce(team_id::text, '') AS team_id, coalesce(project_id::text, '') AS project_id,
  coalesce(user_id::text, '') AS user_id, without_persona FROM api_keys
  WHERE org_id = $1 AND key_id = $2 FOR UPDATE"""
_MOVE_KEY = """UPDATE api_keys SET name = $3, team_id = nullif($4::text, '')::uuid,
  project_id = nullif($5::text, '')::uuid, user_id = nullif($6::text, '')::uuid, without_persona = $7
  WHERE org_id = $1 AND key_id = $2"""
_FIND_KEY = """SELECT org_id::text, key_id::text, hash, scopes, models, expires_at, revoked_at, team_ids::text[],
  coalesce(project_id::text, ''), coalesce(user_id::text, ''), without_persona FROM find_speaking_key($1)"""
_FIND_PLACE = """SELECT team_path($1, coalesce(p.team_id, nullif($2::text, '')::uuid))::text[],
  p.project_id IS NOT NULL, coalesce(p.team_id::text, '')
  FROM (SELECT nullif($3::text, '')::uuid AS wanted) AS named
  LEFT JOIN projects p ON p.org_id = $1 AND p.project_id = named.wanted"""
_OUTBOX = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


def _info(row: Any) -> KeyInfo:
    values = dict(row)
    place = {name: values[name] or "" for name in ("team_id", "project_id", "user_id")}
    return KeyInfo(**{**values, **place, "scopes": tuple(values["scopes"]), "models": tuple(values["models"])})


async def _insert_key(connection: Any, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change) -> None:
    await connection.execute(
        "INSERT INTO api_keys (org_id, key_id, lookup_id, name, prefix, hash, scopes, models, created_at, "
        "expires_at, revoked_at, team_id, project_id, user_id, without_persona) VALUES ($1, $2, $3, $4, $5, $6, $7, "
        "$8, $9, $10, $11, nullif($12::text, '')::uuid, nullif($13::text, '')::uuid, nullif($14::text, '')::uuid, $15)",
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
        key.team_id,
        key.project_id,
        key.user_id,
        key.without_persona,
    )
    await connection.execute(_OUTBOX, key.org_id, change.record_id, change.record)


class PostgresStore(PostgresTree, PostgresOrganisations):
    """Store in PostgreSQL."""

    async def epoch(self) -> int:
        """See Store."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval("SELECT epoch FROM key_epoch"))

    async def find_key(self, lookup_id: str) -> Sequence[KeyRow]:
        """See Store."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_FIND_KEY, lookup_id)
        return [
            KeyRow(r[0], r[1], bytes(r[2]), tuple(r[3]), tuple(r[4]), r[5], r[6], Place(tuple(r[7]), r[8], r[9]), r[10])
            for r in rows
        ]

    async def find_place(self, org_id: str, team_id: str, project_id: str) -> FoundPlace:
        """See Store."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(_FIND_PLACE, org_id, team_id, project_id)
        return FoundPlace(tuple(row[0]), row[1], row[2])

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

    async def add_key(self, key: KeyInfo, lookup_id: str, hashed: bytes, change: Change) -> KeyInfo:
        """See Store."""
        async with self._database.transaction(key.org_id) as connection:
            if not (key.team_id or key.project_id or key.user_id):
                # Whoever deletes the organisation waits, or is waited for.
                if not await connection.fetch("SELECT FROM organisations WHERE org_id = $1 FOR SHARE", key.org_id):
                    raise errors.not_found("organisation", key.org_id)
                await _insert_key(connection, key, lookup_id, hashed, change)
                return key
            await lock_tree(connection, key.org_id)
            await check_place(connection, key.org_id, KeyPlace(key.name, key.team_id, key.project_id, key.user_id))
            await _insert_key(connection, key, lookup_id, hashed, change)
            return _info(await connection.fetchrow(_KEY, key.org_id, key.key_id))

    async def edit_key(self, org_id: str, key_id: str, edit: KeyEdit, *, teamless: bool) -> KeyInfo | None:
        """See Store."""
        async with self._database.transaction(org_id) as connection:
            await lock_tree(connection, org_id)
            row = await connection.fetchrow(_KEY_PLACE, org_id, key_id)
            if row is None:
                return None
            wanted, change = edit(KeyPlace(**dict(row)))
            project_team_id = await check_place(connection, org_id, wanted)
            if teamless and project_team_id:
                raise errors.project_elsewhere(wanted.project_id, project_team_id)
            if change is not None:
                place = wanted.team_id, wanted.project_id, wanted.user_id
                await connection.execute(_MOVE_KEY, org_id, key_id, wanted.name, *place, wanted.without_persona)
                await connection.execute(_OUTBOX, org_id, change.record_id, change.record)
            return _info(await connection.fetchrow(_KEY, org_id, key_id))

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
