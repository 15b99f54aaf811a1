"""The servicer of tenants: an organisation of identity's with its rules in the router and its month in budget."""

from __future__ import annotations

import logging
from typing import Any

from dac.gateway.v1 import tenant_pb2, tenant_pb2_grpc
from dac.router.v1 import tenant_rules_pb2
from mesh import call as calls
from mesh.admin_record import actor_of
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid
from services.gateway.identity.identity import Identity
from services.gateway.identity.rows import OrganisationRow
from services.gateway.identity.tenant_rules import NANO_USD, Held, nano_of

PAGE = 50
RULES = ("policy", "routing_mode", "allowed_models", "regions")
BUDGET = "monthly_budget_usd"
_log = logging.getLogger("dac.gateway.tenants")


class TenantServicer(tenant_pb2_grpc.TenantServiceServicer):
    """See dac.gateway.v1.TenantService."""

    def __init__(self, identity: Identity, held: Held) -> None:
        self._identity, self._held = identity, held

    async def CreateTenant(self, request: tenant_pb2.CreateTenantRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("operator")
        budget = nano_of(request.monthly_budget_usd) if request.HasField(BUDGET) else None
        if not request.tenant_name:
            raise invalid("tenant_name", 'tenant_name is missing: up to 63 of a-z, 0-9 and "-".')
        row = await self._identity.create_organisation(request.tenant_name, actor_of(principal))
        rules = tenant_rules_pb2.TenantRules(
            org_id=row.org_id,
            policy=request.policy,
            routing_mode=request.routing_mode,
            allowed_models=request.allowed_models,
            regions=request.regions,
        )
        try:
            if _says(rules):
                await self._held.say(rules)
            if budget is not None:
                await self._held.allow(row.org_id, budget)
        except BaseException:
            # An organisation without its bounds might do anything.
            await self._identity.known.delete(row, actor_of(principal), self._identity.default_org_id)
            raise
        return tenant_pb2.CreateTenantResponse(tenant=await self._tenant(row))

    async def ListTenants(self, request: tenant_pb2.ListTenantsRequest, context: Any) -> Any:  # noqa: D102
        calls.require_scope("operator")
        if request.page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, not {request.page_size}.")
        if request.page_token and not is_uuid(request.page_token):
            raise invalid("page_token", "page_token is not one that this list gave: leave it out.")
        size = min(request.page_size or PAGE, PAGE)
        # Ids are in the order of their making.
        rows = sorted(await self._identity.organisations(), key=lambda row: row.org_id)
        rest = [row for row in rows if row.org_id > request.page_token]
        rules = await self._held.rules()
        shown = [await self._tenant(row, rules) for row in rest[:size]]
        token = rest[size - 1].org_id if len(rest) > size else ""
        return tenant_pb2.ListTenantsResponse(tenants=shown, next_page_token=token)

    async def GetTenant(self, request: tenant_pb2.GetTenantRequest, context: Any) -> Any:  # noqa: D102
        calls.require_scope("operator")
        row = await self._identity.known.find(request.tenant_id)
        return tenant_pb2.GetTenantResponse(tenant=await self._tenant(row))

    async def UpdateTenant(self, request: tenant_pb2.UpdateTenantRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("operator")
        budget = nano_of(request.monthly_budget_usd) if request.HasField(BUDGET) else None
        _check_clear(request)
        row = await self._identity.known.find(request.tenant_id)
        if any(getattr(request, name) or name in request.clear for name in RULES):
            await self._held.say(await self._changed(row, request))
        if budget is not None or BUDGET in request.clear:
            await self._held.allow(row.org_id, budget)
        if request.tenant_name:
            await self._identity.known.rename(row, request.tenant_name, actor_of(principal))
        row = await self._identity.known.find(row.org_id)
        return tenant_pb2.UpdateTenantResponse(tenant=await self._tenant(row))

    async def DeleteTenant(self, request: tenant_pb2.DeleteTenantRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("operator")
        row = await self._identity.known.find(request.tenant_id)
        # First what can be refused; what is left of it in the router or in budget is for nobody then.
        await self._identity.known.delete(row, actor_of(principal), self._identity.default_org_id)
        try:
            await self._held.say(tenant_rules_pb2.TenantRules(org_id=row.org_id))
            await self._held.allow(row.org_id, None)
        except MeshError as error:
            if error.reason is not Reason.MANAGED_BY_FILE:
                _log.warning("rules or budget of the deleted organisation %s stay: %s", row.org_id, error.message)
        return tenant_pb2.DeleteTenantResponse()

    async def _changed(
        self, row: OrganisationRow, request: tenant_pb2.UpdateTenantRequest
    ) -> tenant_rules_pb2.TenantRules:
        rules = tenant_rules_pb2.TenantRules(org_id=row.org_id)
        standing = (await self._held.rules(row.org_id)).get(row.org_id)
        if standing is not None:
            rules.CopyFrom(standing)
        for name in RULES:
            if name in request.clear:
                rules.ClearField(name)
        for name in ("policy", "routing_mode"):
            if getattr(request, name):
                setattr(rules, name, getattr(request, name))
        for name in ("allowed_models", "regions"):
            if getattr(request, name):
                getattr(rules, name)[:] = getattr(request, name)
        return rules

    async def _tenant(
        self, row: OrganisationRow, known: dict[str, tenant_rules_pb2.TenantRules] | None = None
    ) -> tenant_pb2.Tenant:
        rules = (await self._held.rules(row.org_id) if known is None else known).get(row.org_id)
        shown = tenant_pb2.Tenant(tenant_id=row.org_id, tenant_name=row.name)
        if rules is not None:
            shown.policy, shown.routing_mode, shown.managed_by = rules.policy, rules.routing_mode, rules.managed_by
            shown.allowed_models.extend(rules.allowed_models)
            shown.regions.extend(rules.regions)
        budget = await self._held.monthly(row.org_id)
        if budget is not None and not budget.unlimited:
            shown.monthly_budget_usd = budget.limit_nano_usd / NANO_USD
        shown.created_at.FromDatetime(row.created_at)
        return shown


def _says(rules: tenant_rules_pb2.TenantRules) -> bool:
    return any(getattr(rules, name) for name in RULES)


def _check_clear(request: tenant_pb2.UpdateTenantRequest) -> None:
    """Raises INVALID_REQUEST."""
    for name in request.clear:
        if name not in (*RULES, BUDGET):
            raise invalid("clear", f'"{name[:40]}" cannot be cleared: say some of {", ".join((*RULES, BUDGET))}.')
        if request.HasField(BUDGET) if name == BUDGET else bool(getattr(request, name)):
            raise invalid("clear", f"{name} is said and cleared at once: do one of them.")
