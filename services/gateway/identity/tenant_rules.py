"""What router and budget hold of a tenant: its rules for routing, and what it may spend a month."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping

import grpc.aio

from dac.budget.v1 import budget_pb2
from dac.budget.v1.budget_pb2_grpc import BudgetServiceStub
from dac.router.v1 import policy_pb2, tenant_rules_pb2
from dac.router.v1.policy_pb2_grpc import PolicyServiceStub
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import acting_as, current, require_scope, serving
from mesh.errors import invalid
from mesh.principals import Signer
from services.gateway.identity import acting
from services.gateway.identity.places import NOWHERE

NANO_USD = 1_000_000_000
MOST_USD = 1e9
TIMEOUT_S = 10.0


def tell_router_names(
    channel_to: Callable[[str], grpc.aio.Channel],
) -> Callable[[Mapping[str, str]], Awaitable[None]]:
    """Tells the router what organisations are called."""
    stub = PolicyServiceStub(channel_to("router"))

    async def tell(names: Mapping[str, str]) -> None:
        said = [policy_pb2.OrganisationName(org_id=org_id, name=name) for org_id, name in names.items()]
        with acting_as("gateway"):
            await stub.NameOrganisations(policy_pb2.NameOrganisationsRequest(organisations=said), timeout=TIMEOUT_S)

    return tell


def nano_of(usd: float) -> int:
    """Dollars as budget takes them. Raises INVALID_REQUEST."""
    if not 0 <= usd <= MOST_USD:
        raise invalid("monthly_budget_usd", f"monthly_budget_usd must be between 0 and {MOST_USD:g}, not {usd:g}.")
    return round(usd * NANO_USD)


class Held:
    """Calls router and budget for the operator who asks."""

    def __init__(self, channel_to: Callable[[str], grpc.aio.Channel], signer: Signer) -> None:
        self._signer = signer
        self._policies, self._budgets = PolicyServiceStub(channel_to("router")), BudgetServiceStub(channel_to("budget"))

    async def rules(self, org_id: str = "") -> dict[str, tenant_rules_pb2.TenantRules]:
        """What is said of one organisation, or of all, by id."""
        request = tenant_rules_pb2.ListTenantRulesRequest(org_id=org_id)
        found = await self._policies.ListTenantRules(request, timeout=TIMEOUT_S)
        return {one.org_id: one for one in found.tenants}

    async def say(self, rules: tenant_rules_pb2.TenantRules) -> None:
        """Says it in place of what was said. Raises INVALID_REQUEST, NOT_FOUND or MANAGED_BY_FILE."""
        await self._policies.SetTenantRules(tenant_rules_pb2.SetTenantRulesRequest(rules=rules), timeout=TIMEOUT_S)

    async def monthly(self, org_id: str) -> budget_pb2.Budget | None:
        """The organisation's budget for a calendar month."""
        with self._within(org_id):
            token = ""
            while True:
                request = budget_pb2.ListBudgetsRequest(page_size=200, page_token=token)
                found = await self._budgets.ListBudgets(request, timeout=TIMEOUT_S)
                for one in found.budgets:
                    if (
                        one.level.kind == Level.KIND_ORG
                        and one.window == budget_pb2.WINDOW_MONTH
                        and not (one.model or one.tag)
                    ):
                        return one
                token = found.next_page_token
                if not token:
                    return None

    async def allow(self, org_id: str, limit_nano_usd: int | None) -> None:
        """Sets that budget; None takes it away."""
        standing = await self.monthly(org_id)
        with self._within(org_id):
            if limit_nano_usd is None:
                if standing is not None:
                    gone = budget_pb2.DeleteBudgetRequest(budget_id=standing.budget_id)
                    await self._budgets.DeleteBudget(gone, timeout=TIMEOUT_S)
            elif standing is None:
                made = budget_pb2.CreateBudgetRequest(
                    level=Level(kind=Level.KIND_ORG), window=budget_pb2.WINDOW_MONTH, limit_nano_usd=limit_nano_usd
                )
                await self._budgets.CreateBudget(made, timeout=TIMEOUT_S)
            else:
                change = budget_pb2.UpdateBudgetRequest(
                    budget_id=standing.budget_id, limit_nano_usd=limit_nano_usd, unlimited=False
                )
                await self._budgets.UpdateBudget(change, timeout=TIMEOUT_S)

    @contextlib.contextmanager
    def _within(self, org_id: str) -> Iterator[None]:
        """Calls made inside are the operator's, within that organisation: budget knows no other way into one."""
        principal = Principal()
        principal.CopyFrom(require_scope("operator"))
        principal.org_id = org_id
        acting.stand(principal, NOWHERE)
        call = dataclasses.replace(current(), principal=principal, signed_principal=self._signer.sign(principal))
        with serving(call):
            yield
