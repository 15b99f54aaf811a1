"""The RPCs of PolicyService that are about tenants: what the operator says of organisations as a whole."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

from dac.router.v1 import tenant_rules_pb2 as pb
from mesh.call import require_scope
from mesh.errors import invalid
from mesh.ids import is_uuid
from services.router.changes import author
from services.router.policies import policy_errors as errors
from services.router.policies.book import PolicyBook
from services.router.policies.form import decode, tenant_rules
from services.router.policies.messages import of_tenant, of_tenant_version
from services.router.policies.policies import API, TenantRules
from services.router.policies.store import EVERYBODY
from services.router.policies.tenant_store import PostgresTenantStore, tenant_said

PAGE = 100


class TenantDesk:
    """Says what holds for organisations, and tells what was said."""

    def __init__(
        self,
        book: PolicyBook,
        store: PostgresTenantStore | None,
        now: Callable[[], dt.datetime],
        changed: Callable[[], Awaitable[None]],
        current: Callable[[], Awaitable[None]],
    ) -> None:
        """`changed` is called behind every change; `current` reads what other replicas wrote."""
        self._book, self._kept, self._now, self._changed, self._current = book, store, now, changed, current

    async def listed(self, request: pb.ListTenantRulesRequest) -> pb.ListTenantRulesResponse:
        """See PolicyService.ListTenantRules."""
        require_scope("operator")
        await self._current()
        tenants = self._book.tenants()
        wanted = [request.org_id.lower()] if request.org_id else sorted(tenants)
        return pb.ListTenantRulesResponse(tenants=[of_tenant(tenants[one]) for one in wanted if one in tenants])

    async def put(self, request: pb.SetTenantRulesRequest) -> pb.SetTenantRulesResponse:
        """See PolicyService.SetTenantRules."""
        principal, said = require_scope("operator"), request.rules
        if not is_uuid(said.org_id) or said.org_id == EVERYBODY:
            raise invalid("rules.org_id", f'"{said.org_id[:80]}" is no id of an organisation.')
        org_id = said.org_id.lower()
        given = {
            "policy": said.policy,
            "routing_mode": said.routing_mode,
            "allowed_models": list(said.allowed_models),
            "regions": list(said.regions),
        }
        wanted = tenant_rules(org_id, given, API, "rules")
        await self._current()
        tenant = self._filed(org_id)
        if tenant is not None:
            if tenant_said(tenant) == tenant_said(wanted):
                return pb.SetTenantRulesResponse(rules=of_tenant(tenant))
            raise errors.tenant_of_file(org_id)
        by = author(principal, "tenant.set", f"organisation:{org_id}", self._now(), org_id=org_id)
        await self._store.put(wanted, by, self._has_policy)
        await self._changed()
        return pb.SetTenantRulesResponse(rules=of_tenant(wanted))

    async def versions(self, request: pb.ListTenantRulesVersionsRequest) -> pb.ListTenantRulesVersionsResponse:
        """See PolicyService.ListTenantRulesVersions. The page token is the last version of the page before."""
        require_scope("operator")
        await self._current()
        org_id = self._org_of(request.tenant_id)
        if request.page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, it is {request.page_size}.")
        size = min(request.page_size or PAGE, PAGE)
        if request.page_token and not (request.page_token.isascii() and request.page_token.isdigit()):
            raise invalid("page_token", f'page_token "{request.page_token[:40]}" is of no list of versions.')
        before = min(int(request.page_token[:18] or 2**62), 2**62)
        found = await self._store.versions(org_id, before, size + 1)
        token = str(found[size - 1].version) if len(found) > size else ""
        return pb.ListTenantRulesVersionsResponse(
            versions=[of_tenant_version(org_id, row) for row in found[:size]], next_page_token=token
        )

    async def rollback(self, request: pb.RollbackTenantRulesRequest) -> pb.RollbackTenantRulesResponse:
        """See PolicyService.RollbackTenantRules."""
        principal = require_scope("operator")
        if request.version < 0:
            raise invalid("version", f"version must not be negative, it is {request.version}.")
        await self._current()
        org_id = self._org_of(request.tenant_id)
        if self._filed(org_id) is not None:
            raise errors.tenant_of_file(org_id)
        by = author(principal, "tenant.rollback", f"organisation:{org_id}", self._now(), org_id=org_id)
        rules = await self._store.rollback(
            org_id,
            request.version,
            by,
            lambda document: tenant_rules(org_id, decode(document), API, "version"),
            self._has_policy,
        )
        await self._changed()
        return pb.RollbackTenantRulesResponse(rules=of_tenant(rules) if tenant_said(rules) else None)

    @property
    def _store(self) -> PostgresTenantStore:
        if self._kept is None:
            raise errors.no_policy_database()
        return self._kept

    def _org_of(self, tenant_id: str) -> str:
        """The organisation of that id or name. Raises NOT_FOUND."""
        org_id = tenant_id.lower() if is_uuid(tenant_id) else self._book.organisation_named(tenant_id)
        if not org_id or org_id == EVERYBODY:
            raise errors.no_tenant(tenant_id)
        return org_id

    def _filed(self, org_id: str) -> TenantRules | None:
        """What a file says of the organisation."""
        tenant = self._book.tenants().get(org_id)
        return tenant if tenant is not None and tenant.managed_by != API else None

    def _has_policy(self, name: str) -> bool:
        return name in self._book.files.now.policies


class TenantRpcs:
    """The methods of PolicyService that are about tenants."""

    tenants: TenantDesk

    async def ListTenantRules(self, request: pb.ListTenantRulesRequest, context: Any) -> pb.ListTenantRulesResponse:
        """See the proto."""
        return await self.tenants.listed(request)

    async def SetTenantRules(self, request: pb.SetTenantRulesRequest, context: Any) -> pb.SetTenantRulesResponse:
        """See the proto."""
        return await self.tenants.put(request)

    async def ListTenantRulesVersions(
        self, request: pb.ListTenantRulesVersionsRequest, context: Any
    ) -> pb.ListTenantRulesVersionsResponse:
        """See the proto."""
        return await self.tenants.versions(request)

    async def RollbackTenantRules(
        self, request: pb.RollbackTenantRulesRequest, context: Any
    ) -> pb.RollbackTenantRulesResponse:
        """See the proto."""
        return await self.tenants.rollback(request)
