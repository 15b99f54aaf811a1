"""Where policies made through the API are kept: every change is one transaction with its version and its record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from mesh.postgres import Database
from services.router.policies import policy_errors as errors
from services.router.policies.policies import Assignment, TenantRules

EVERYBODY = "00000000-0000-0000-0000-000000000000"
"""The organisation that the installation's own policies are kept under."""
CHANNEL = "router_policies"
MOST_POLICIES = 500
"""Of one organisation."""
MOST_ASSIGNMENTS = 10_000
_COUNT = """INSERT INTO policy_counts (org_id, changes) VALUES ($1, 1)
  ON CONFLICT (org_id) DO UPDATE SET changes = policy_counts.changes + 1"""
POLICY = """SELECT name, version, document, created_at, changed_at FROM policies WHERE org_id = $1 AND name = $2"""
_NEXT = "SELECT coalesce(max(version), 0) + 1 FROM policy_versions WHERE org_id = $1 AND name = $2"
_KEEP = """INSERT INTO policies (org_id, name, version, document, request_id, created_at, changed_at)
  VALUES ($1, $2, $3, $4, $5, $6, $6)
  ON CONFLICT (org_id, name) DO UPDATE SET version = $3, document = $4, changed_at = $6
  RETURNING name, version, document, created_at, changed_at"""
_VERSION = """INSERT INTO policy_versions (org_id, name, version, action, document, actor, at)
  VALUES ($1, $2, $3, $4, $5, $6, $7)"""
TELL = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"


@dataclasses.dataclass(frozen=True)
class PolicyRow:
    """A policy as it stands."""

    name: str
    version: int
    document: str
    created_at: dt.datetime
    changed_at: dt.datetime

    @property
    def etag(self) -> str:
        """Versions never come again, so the version says it."""
        return str(self.version)


@dataclasses.dataclass(frozen=True)
class VersionRow:
    """A state that a policy was in."""

    version: int
    action: str
    document: str
    actor: str
    at: dt.datetime


@dataclasses.dataclass(frozen=True)
class OrgRows:
    """Everything of one organisation."""

    policies: tuple[PolicyRow, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    assigned_at: Mapping[str, dt.datetime] = dataclasses.field(default_factory=dict)
    """By level."""
    tenant: TenantRules | None = None


@dataclasses.dataclass(frozen=True)
class Change:
    """What audit is told: a serialised AdminRecord and whose it is."""

    org_id: str
    record_id: str
    record: bytes


Seal = Callable[[object, object], Change | None]
"""(before, after) → what audit is told; None = there is nobody who could read it."""


@dataclasses.dataclass(frozen=True)
class Author:
    """Who changes, when, and what is told of it."""

    actor: str
    org_id: str
    """Whose record it is; empty = nobody's."""
    at: dt.datetime
    seal: Seal


class PostgresPolicyStore:
    """The schema `router`, as far as it is about policies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def follow(self, changed: Callable[[], None]) -> None:
        """Calls `changed` soon after any replica changed something, best effort."""
        await self._database.listen(CHANNEL, lambda _: changed(), on_gap=changed)

    async def counts(self) -> dict[str, int]:
        """Every organisation with rows → how often they changed."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id::text, changes FROM policy_organisations()")
        return {row[0]: row[1] for row in rows}

    async def names(self) -> dict[str, str]:
        """Organisation → its name, as the gateway last said."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id::text, name FROM organisation_names()")
        return {row[0]: row[1] for row in rows}

    async def read(self, org_id: str) -> OrgRows:
        """Everything of one organisation."""
        async with self._database.transaction(org_id) as connection:
            policies = await connection.fetch(
                "SELECT name, version, document, created_at, changed_at FROM policies WHERE org_id = $1 ORDER BY name",
                org_id,
            )
            assignments = await connection.fetch(
                "SELECT level_kind, level_id::text, policy, changed_at FROM policy_assignments WHERE org_id = $1 "
                "ORDER BY level_id",
                org_id,
            )
            tenant = await connection.fetchrow(
                "SELECT policy, routing_mode, allowed_models, regions FROM tenant_rules WHERE org_id = $1", org_id
            )
        return OrgRows(
            tuple(PolicyRow(*row) for row in policies),
            tuple(Assignment(row[0], row[1], row[2]) for row in assignments),
            {row[1]: row[3] for row in assignments},
            tenant and TenantRules(org_id, tenant[0], tenant[1], tuple(tenant[2]), tuple(tenant[3])),
        )

    async def create(self, org_id: str, name: str, document: str, request_id: str, author: Author) -> PolicyRow:
        """Makes a policy; the one that this request_id made already. Raises ALREADY_EXISTS."""
        async with self.changing(org_id, author) as connection:
            if request_id:
                known = await connection.fetchrow(
                    "SELECT name, version, document, created_at, changed_at FROM policies "
                    "WHERE org_id = $1 AND request_id = $2",
                    org_id,
                    request_id,
                )
                if known is not None:
                    if known["name"] != name:
                        raise errors.request_id_used(request_id)
                    return PolicyRow(*known)
            if await connection.fetchrow(POLICY, org_id, name) is not None:
                raise errors.policy_exists(name)
            if await connection.fetchval("SELECT count(*) FROM policies WHERE org_id = $1", org_id) >= MOST_POLICIES:
                raise errors.too_many("policies", MOST_POLICIES)
            return await self._keep(connection, org_id, name, document, "create", author, None, request_id)

    async def update(self, org_id: str, name: str, document: str, etag: str, author: Author) -> PolicyRow:
        """Replaces what a policy says. Raises NOT_FOUND, or FAILED_PRECONDITION for another etag."""
        async with self.changing(org_id, author) as connection:
            before = await self._standing(connection, org_id, name, etag)
            return await self._keep(connection, org_id, name, document, "update", author, before)

    async def rollback(
        self, org_id: str, name: str, version: int, etag: str, author: Author, check: Callable[[str], object]
    ) -> PolicyRow:
        """Says again what an earlier version said; 0 = the one before. Raises NOT_FOUND, FAILED_PRECONDITION, and what
        `check` says of a document that is no policy any more."""
        async with self.changing(org_id, author) as connection:
            latest = await connection.fetchval(_NEXT, org_id, name) - 1
            if not latest:
                raise errors.policy_not_found(name)
            standing = await connection.fetchrow(POLICY, org_id, name)
            before = PolicyRow(*standing) if standing is not None else None
            if etag and etag != (before.etag if before else ""):
                raise errors.etag_conflict(name, etag, before.etag if before else "")
            wanted = version or latest - 1
            document = await connection.fetchval(
                "SELECT document FROM policy_versions WHERE org_id = $1 AND name = $2 AND version = $3",
                org_id,
                name,
                wanted,
            )
            if not document:
                raise errors.version_not_found(name, wanted, latest)
            check(document)
            return await self._keep(connection, org_id, name, document, "rollback", author, before)

    async def delete(self, org_id: str, name: str, etag: str, author: Author) -> None:
        """Takes a policy away that is for nobody. Raises NOT_FOUND or FAILED_PRECONDITION."""
        async with self.changing(org_id, author) as connection:
            before = await self._standing(connection, org_id, name, etag)
            if org_id == EVERYBODY:
                uses = await connection.fetchval("SELECT shared_policy_uses($1)", name)
            else:
                uses = await connection.fetchval(
                    "SELECT count(*) FROM policy_assignments WHERE org_id = $1 AND policy = $2", org_id, name
                )
            if uses:
                raise errors.policy_in_use(name, uses)
            await connection.execute("DELETE FROM policies WHERE org_id = $1 AND name = $2", org_id, name)
            version = await connection.fetchval(_NEXT, org_id, name)
            await connection.execute(_VERSION, org_id, name, version, "delete", "", author.actor, author.at)
            await tell(connection, author.seal(_said(before), None))

    async def versions(self, org_id: str, name: str, before: int, limit: int) -> list[VersionRow]:
        """The states of a policy, the latest first, below a version."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(
                "SELECT version, action, document, actor, at FROM policy_versions "
                "WHERE org_id = $1 AND name = $2 AND version < $3 ORDER BY version DESC LIMIT $4",
                org_id,
                name,
                before,
                limit,
            )
        return [VersionRow(*row) for row in rows]

    async def assign(self, org_id: str, wanted: Assignment, author: Author, filed: bool) -> None:
        """Puts a level under a policy. `filed`: a file has it, or it is built in. Raises NOT_FOUND."""
        async with self.changing(org_id, author, EVERYBODY) as connection:
            # Whoever deletes a policy of everybody's waits, or is waited for.
            await connection.execute("SELECT FROM policy_counts WHERE org_id = $1 FOR SHARE", EVERYBODY)
            known = filed or await connection.fetchval(
                "SELECT EXISTS (SELECT FROM policies WHERE org_id = ANY ($1::uuid[]) AND name = $2)",
                [org_id, EVERYBODY],
                wanted.policy,
            )
            if not known:
                raise errors.policy_not_found(wanted.policy)
            before = await connection.fetchval(
                "SELECT policy FROM policy_assignments WHERE org_id = $1 AND level_id = $2", org_id, wanted.level_id
            )
            count = await connection.fetchval("SELECT count(*) FROM policy_assignments WHERE org_id = $1", org_id)
            if before is None and count >= MOST_ASSIGNMENTS:
                raise errors.too_many("assignments", MOST_ASSIGNMENTS)
            await connection.execute(
                "INSERT INTO policy_assignments (org_id, level_kind, level_id, policy, changed_at) "
                "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (org_id, level_id) DO UPDATE "
                "SET level_kind = $2, policy = $4, changed_at = $5",
                org_id,
                wanted.level_kind,
                wanted.level_id,
                wanted.policy,
                author.at,
            )
            if before != wanted.policy:
                await tell(connection, author.seal(before and {"policy": before}, {"policy": wanted.policy}))

    async def unassign(self, org_id: str, level_id: str, author: Author) -> None:
        """Takes a level out from under its policy. Raises NOT_FOUND."""
        async with self.changing(org_id, author) as connection:
            before = await connection.fetchval(
                "DELETE FROM policy_assignments WHERE org_id = $1 AND level_id = $2 RETURNING policy", org_id, level_id
            )
            if before is None:
                raise errors.assignment_not_found(level_id)
            await tell(connection, author.seal({"policy": before}, None))

    async def name_organisations(self, names: Mapping[str, str]) -> bool:
        """Keeps what organisations are called; whether anything is new."""
        known = await self.names()
        gone, new = set(known) - set(names), {one: name for one, name in names.items() if known.get(one) != name}
        if not gone and not new:
            return False
        async with self._database.transaction(EVERYBODY, *gone, *new) as connection:
            await connection.execute("DELETE FROM organisations WHERE org_id = ANY ($1::uuid[])", [*gone, *new])
            await connection.execute(
                "INSERT INTO organisations (org_id, name) SELECT * FROM unnest($1::uuid[], $2::text[]) "
                "ON CONFLICT (org_id) DO UPDATE SET name = EXCLUDED.name",
                list(new),
                list(new.values()),
            )
            await connection.execute(_COUNT, EVERYBODY)
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
        return True

    async def untold(self) -> Sequence[Change]:
        """Some of the changes that audit does not have yet."""
        async with self._database.transaction() as connection:
            orgs = [
                row[0] for row in await connection.fetch("SELECT org_id::text FROM untold_organisations() LIMIT 50")
            ]
        if not orgs:
            return []
        async with self._database.transaction(*orgs) as connection:
            rows = await connection.fetch(
                "SELECT org_id::text, record_id::text, record FROM admin_outbox WHERE org_id = ANY ($1::uuid[]) "
                "ORDER BY record_id LIMIT 200",
                orgs,
            )
        return [Change(row[0], row[1], bytes(row[2])) for row in rows]

    async def told(self, changes: Sequence[Change]) -> None:
        """Forgets changes that audit has."""
        orgs = sorted({one.org_id for one in changes})
        async with self._database.transaction(*orgs) as connection:
            await connection.execute(
                "DELETE FROM admin_outbox WHERE org_id = ANY ($1::uuid[]) AND record_id = ANY ($2::uuid[])",
                orgs,
                [one.record_id for one in changes],
            )

    @contextlib.asynccontextmanager
    async def changing(self, org_id: str, author: Author, *more: str) -> AsyncIterator[Any]:
        """A transaction that alone changes this organisation's rows, and tells replicas when it is done."""
        others = {one for one in (author.org_id, *more) if one and one != org_id}
        async with self._database.transaction(org_id, *sorted(others)) as connection:
            await connection.execute(_COUNT, org_id)
            yield connection
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)

    @staticmethod
    async def _standing(connection: Any, org_id: str, name: str, etag: str) -> PolicyRow:
        row = await connection.fetchrow(POLICY, org_id, name)
        if row is None:
            raise errors.policy_not_found(name)
        found = PolicyRow(*row)
        if etag and etag != found.etag:
            raise errors.etag_conflict(name, etag, found.etag)
        return found

    @staticmethod
    async def _keep(
        connection: Any,
        org_id: str,
        name: str,
        document: str,
        action: str,
        author: Author,
        before: PolicyRow | None,
        request_id: str = "",
    ) -> PolicyRow:
        version = await connection.fetchval(_NEXT, org_id, name)
        row = PolicyRow(*await connection.fetchrow(_KEEP, org_id, name, version, document, request_id, author.at))
        await connection.execute(_VERSION, org_id, name, version, action, document, author.actor, author.at)
        await tell(connection, author.seal(_said(before), _said(row)))
        return row


def _said(row: PolicyRow | None) -> object:
    return None if row is None else {"version": row.version, "rules": row.document}


async def tell(connection: Any, change: Change | None) -> None:
    """Puts a change where audit will be told of it."""
    if change is not None:
        await connection.execute(TELL, change.org_id, change.record_id, change.record)
