"""Where what the operator says of organisations is kept: each change is one transaction with its version and record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mesh.postgres import Database
from services.router.policies import policy_errors as errors
from services.router.policies.policies import TenantRules
from services.router.policies.store import EVERYBODY, POLICY, Author, PostgresPolicyStore, VersionRow, tell

_NEXT = "SELECT coalesce(max(version), 0) + 1 FROM tenant_versions WHERE org_id = $1"
_VERSION = """INSERT INTO tenant_versions (org_id, version, action, document, actor, at)
  VALUES ($1, $2, $3, $4, $5, $6)"""
_VERSIONS = """SELECT version, action, document, actor, at FROM tenant_versions
  WHERE org_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3"""
_TAKE = "DELETE FROM tenant_rules WHERE org_id = $1 RETURNING policy, routing_mode, allowed_models, regions"
_KEEP = """INSERT INTO tenant_rules (org_id, policy, routing_mode, allowed_models, regions, changed_at)
  VALUES ($1, $2, $3, $4, $5, $6)"""

Filed = Callable[[str], bool]
"""Whether a file has the policy of that name, or it is built in."""
Read = Callable[[str], TenantRules]
"""The rules that a version's document says. Raises what forbids that they stand again."""


class PostgresTenantStore:
    """The schema `router`, as far as it is about tenants."""

    def __init__(self, database: Database, policies: PostgresPolicyStore) -> None:
        self._database, self._policies = database, policies

    async def put(self, wanted: TenantRules, author: Author, filed: Filed) -> None:
        """Says what holds for an organisation. Raises NOT_FOUND."""
        async with self._policies.changing(wanted.org_id, author, EVERYBODY) as connection:
            await self._put(connection, wanted, author, filed, "set")

    async def rollback(self, org_id: str, version: int, author: Author, read: Read, filed: Filed) -> TenantRules:
        """Says again what an earlier version said; 0 = the one before. Raises NOT_FOUND, and what `read` does."""
        async with self._policies.changing(org_id, author, EVERYBODY) as connection:
            latest = await connection.fetchval(_NEXT, org_id) - 1
            wanted = version or latest - 1
            found = await connection.fetchrow(_VERSIONS, org_id, wanted + 1, 1)
            if found is None or found["version"] != wanted:
                raise errors.tenant_version_not_found(org_id, wanted, latest)
            rules = read(found["document"])
            await self._put(connection, rules, author, filed, "rollback")
        return rules

    async def versions(self, org_id: str, before: int, limit: int) -> list[VersionRow]:
        """The states of what was said of an organisation, the latest first, below a version."""
        async with self._database.transaction(org_id) as connection:
            return [VersionRow(*row) for row in await connection.fetch(_VERSIONS, org_id, before, limit)]

    async def _put(self, connection: Any, wanted: TenantRules, author: Author, filed: Filed, action: str) -> None:
        org_id, after = wanted.org_id, tenant_said(wanted)
        # Whoever deletes a policy of everybody's waits, or is waited for.
        await connection.execute("SELECT FROM policy_counts WHERE org_id = $1 FOR SHARE", EVERYBODY)
        policy = wanted.policy
        if policy and not filed(policy) and await connection.fetchrow(POLICY, EVERYBODY, policy) is None:
            raise errors.policy_not_found(policy)
        row = await connection.fetchrow(_TAKE, org_id)
        before = tenant_said(TenantRules(org_id, row[0], row[1], tuple(row[2]), tuple(row[3]))) if row else {}
        if after:
            lists = list(wanted.allowed_models), list(wanted.regions)
            await connection.execute(_KEEP, org_id, policy, wanted.routing_mode, *lists, author.at)
        if before == after:
            return
        document = msgspec.json.encode(after, order="deterministic").decode()
        version = await connection.fetchval(_NEXT, org_id)
        said = action if after or action == "rollback" else "remove"
        await connection.execute(_VERSION, org_id, version, said, document, author.actor, author.at)
        await tell(connection, author.seal(before or None, after or None))


def tenant_said(rules: TenantRules) -> dict[str, object]:
    """What is said at all, for records; empty = nothing."""
    said = {
        "policy": rules.policy,
        "routing_mode": rules.routing_mode,
        "allowed_models": list(rules.allowed_models),
        "regions": list(rules.regions),
    }
    return {key: value for key, value in said.items() if value}
