"""Renaming and deleting organisations in PostgreSQL."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from mesh.admin_record import Change
from mesh.postgres import Database
from mesh.postgres_errors import Conflict
from services.gateway import errors
from services.gateway.identity.tree_store import lock_tree

_OUTBOX = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"
_HANGING = """SELECT kind, name, count(*) OVER () FROM (
    SELECT 'team' AS kind, name FROM teams WHERE org_id = $1 UNION ALL
    SELECT 'project', name FROM projects WHERE org_id = $1 UNION ALL
    SELECT 'user', name FROM users WHERE org_id = $1 UNION ALL
    SELECT 'key', name FROM api_keys WHERE org_id = $1 AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > $2)) AS found LIMIT 3"""


class OrganisationStore(Protocol):
    """What identity does to organisations that there are."""

    async def rename_organisation(self, org_id: str, name: str, at: dt.datetime, change: Change) -> bool:
        """Gives it another name; False when that is taken. Raises NOT_FOUND."""

    async def delete_organisation(self, org_id: str, at: dt.datetime, record_org_id: str, change: Change) -> None:
        """Removes it; what waits for audit waits under `record_org_id` from then on. Raises NOT_FOUND, or
        FAILED_PRECONDITION while something hangs on it."""


class PostgresOrganisations:
    """OrganisationStore in PostgreSQL."""

    _database: Database

    async def rename_organisation(self, org_id: str, name: str, at: dt.datetime, change: Change) -> bool:
        """See OrganisationStore."""
        try:
            async with self._database.transaction(org_id) as connection:
                await lock_tree(connection, org_id)
                before = await connection.fetchval("SELECT name FROM organisations WHERE org_id = $1", org_id)
                if before is None:
                    raise errors.not_found("organisation", org_id)
                await connection.execute("INSERT INTO organisation_names (name, taken_at) VALUES ($1, $2)", name, at)
                await connection.execute("UPDATE organisations SET name = $2 WHERE org_id = $1", org_id, name)
                await connection.execute("DELETE FROM organisation_names WHERE name = $1", before)
                await connection.execute(_OUTBOX, org_id, change.record_id, change.record)
        except Conflict:
            return False
        return True

    async def delete_organisation(self, org_id: str, at: dt.datetime, record_org_id: str, change: Change) -> None:
        """See OrganisationStore."""
        async with self._database.transaction(org_id, record_org_id) as connection:
            await lock_tree(connection, org_id)
            hanging = await connection.fetch(_HANGING, org_id, at)
            if hanging:
                named = ", ".join(f'the {kind} "{name}"' for kind, name, _ in hanging)
                more = hanging[0][2] - len(hanging)
                raise errors.in_use("organisation", org_id, named + (f" and {more} more" if more else ""))
            name = await connection.fetchval("DELETE FROM organisations WHERE org_id = $1 RETURNING name", org_id)
            if name is None:
                raise errors.not_found("organisation", org_id)
            await connection.execute("DELETE FROM organisation_names WHERE name = $1", name)
            await connection.execute("DELETE FROM idempotent_requests WHERE org_id = $1", org_id)
            # Only organisations that there are have their outbox told.
            await connection.execute("UPDATE admin_outbox SET org_id = $2 WHERE org_id = $1", org_id, record_org_id)
            await connection.execute(_OUTBOX, record_org_id, change.record_id, change.record)
