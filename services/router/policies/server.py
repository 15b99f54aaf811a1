"""The servicer of policies: who may, proto in, store, proto out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from dac.router.v1 import policy_pb2, policy_pb2_grpc, router_pb2
from dac.type.v1 import principal_pb2
from mesh.call import has_scope, require_principal, require_scope, require_service
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid
from services.router.changes import author
from services.router.entries.server import EntryDesk, EntryRpcs
from services.router.policies import policy_errors as errors
from services.router.policies.book import PolicyBook, managed_by
from services.router.policies.form import check_name, decode, encode, parse
from services.router.policies.messages import (
    asked_of,
    changes_message,
    of_assignment,
    of_policy,
    of_row,
    of_tenant,
    of_version,
    rules_said,
)
from services.router.policies.policies import API, Assignment, RoutingPolicy, bounded
from services.router.policies.store import EVERYBODY, PolicyRow, PostgresPolicyStore
from services.router.policies.tenant_store import PostgresTenantStore
from services.router.policies.tenants import TenantDesk, TenantRpcs
from services.router.policies.trial import MOST_REQUESTS, Trial

PAGE = 100
MOST_DOCUMENT_BYTES = 65_536
MOST_MISSING = 20
_ORG = principal_pb2.Level.KIND_ORG


class PolicyServicer(EntryRpcs, TenantRpcs, policy_pb2_grpc.PolicyServiceServicer):
    """dac.router.v1.PolicyService."""

    def __init__(
        self,
        book: PolicyBook,
        store: PostgresPolicyStore | None,
        base: RoutingPolicy,
        now: Callable[[], dt.datetime],
        told: Callable[[], None],
        entries: EntryDesk,
        tenants: PostgresTenantStore | None,
    ) -> None:
        self.entries = entries
        self.tenants = TenantDesk(book, tenants, now, self._changed, self._current)
        self._book, self._kept, self._base, self._now, self._told = book, store, base, now, told
        self.trial: Trial | None = None
        """What decides anew; set once there is something that decides."""

    async def CreatePolicy(
        self, request: policy_pb2.CreatePolicyRequest, context: Any
    ) -> policy_pb2.CreatePolicyResponse:
        """See the proto."""
        principal, org_id = _writer(shared=request.shared)
        check_name(request.name)
        if request.request_id and not is_uuid(request.request_id):
            raise invalid("request_id", f'request_id "{request.request_id[:80]}" is not a UUID.')
        document = self._document(request.name, request.rules)
        await self._book.refresh()
        standing = managed_by(self._book, request.name)
        if standing != API:
            raise errors.policy_of_file(request.name, standing)
        if org_id != EVERYBODY and request.name in self._book.now.shared:
            raise errors.policy_exists(request.name)
        by = author(principal, "policy.create", _target(request.name), self._now(), org_id=principal.org_id)
        row = await self._store.create(org_id, request.name, document, request.request_id.lower(), by)
        return policy_pb2.CreatePolicyResponse(policy=await self._written(org_id, row))

    async def GetPolicy(self, request: policy_pb2.GetPolicyRequest, context: Any) -> policy_pb2.GetPolicyResponse:
        """See the proto."""
        org_id = require_principal().org_id
        await self._current()
        for policy in self._seen(org_id):
            if policy.name == request.name:
                return policy_pb2.GetPolicyResponse(policy=policy)
        raise errors.policy_not_found(request.name)

    async def ListPolicies(
        self, request: policy_pb2.ListPoliciesRequest, context: Any
    ) -> policy_pb2.ListPoliciesResponse:
        """See the proto. The page token is the last name of the page before."""
        org_id, size = require_principal().org_id, _page_size(request.page_size)
        await self._current()
        rest = [one for one in self._seen(org_id) if one.name > request.page_token]
        token = rest[size - 1].name if len(rest) > size else ""
        return policy_pb2.ListPoliciesResponse(policies=rest[:size], next_page_token=token)

    async def UpdatePolicy(
        self, request: policy_pb2.UpdatePolicyRequest, context: Any
    ) -> policy_pb2.UpdatePolicyResponse:
        """See the proto."""
        principal, org_id = _writer(shared=request.shared)
        document = self._document(request.name, request.rules)
        self._check_ours(org_id, request.name)
        by = author(principal, "policy.update", _target(request.name), self._now(), org_id=principal.org_id)
        row = await self._store.update(org_id, request.name, document, request.etag, by)
        return policy_pb2.UpdatePolicyResponse(policy=await self._written(org_id, row))

    async def DeletePolicy(
        self, request: policy_pb2.DeletePolicyRequest, context: Any
    ) -> policy_pb2.DeletePolicyResponse:
        """See the proto."""
        principal, org_id = _writer(shared=request.shared)
        self._check_ours(org_id, request.name)
        by = author(principal, "policy.delete", _target(request.name), self._now(), org_id=principal.org_id)
        await self._store.delete(org_id, request.name, request.etag, by)
        await self._changed()
        return policy_pb2.DeletePolicyResponse()

    async def ListPolicyVersions(
        self, request: policy_pb2.ListPolicyVersionsRequest, context: Any
    ) -> policy_pb2.ListPolicyVersionsResponse:
        """See the proto. The page token is the last version of the page before."""
        _, org_id = _writer(shared=request.shared)
        size = _page_size(request.page_size)
        if request.page_token and not (request.page_token.isascii() and request.page_token.isdigit()):
            raise invalid("page_token", f'page_token "{request.page_token[:40]}" is of no list of versions.')
        before = min(int(request.page_token[:18] or 2**62), 2**62)
        found = await self._store.versions(org_id, request.name, before, size + 1)
        if not found and not request.page_token:
            self._check_ours(org_id, request.name)
            raise errors.policy_not_found(request.name)
        token = str(found[size - 1].version) if len(found) > size else ""
        return policy_pb2.ListPolicyVersionsResponse(
            versions=[of_version(row) for row in found[:size]], next_page_token=token
        )

    async def RollbackPolicy(
        self, request: policy_pb2.RollbackPolicyRequest, context: Any
    ) -> policy_pb2.RollbackPolicyResponse:
        """See the proto."""
        principal, org_id = _writer(shared=request.shared)
        if request.version < 0:
            raise invalid("version", f"version must not be negative, it is {request.version}.")
        self._check_ours(org_id, request.name)
        by = author(principal, "policy.rollback", _target(request.name), self._now(), org_id=principal.org_id)

        def check(document: str) -> None:
            parse(request.name, decode(document), self._base, request.name)

        row = await self._store.rollback(org_id, request.name, request.version, request.etag, by, check)
        return policy_pb2.RollbackPolicyResponse(policy=await self._written(org_id, row))

    async def AssignPolicy(
        self, request: policy_pb2.AssignPolicyRequest, context: Any
    ) -> policy_pb2.AssignPolicyResponse:
        """See the proto."""
        principal = _of_organisation("admin")
        org_id, wanted = principal.org_id, _level(request.level, principal.org_id)
        tenant = self._book.tenants().get(org_id)
        if wanted.level_id == org_id and tenant is not None and (tenant.policy or tenant.routing_mode):
            raise errors.assigned_by_operator(tenant.managed_by)
        wanted = Assignment(wanted.level_kind, wanted.level_id, check_name(request.policy, "policy"))
        by = author(principal, "policy.assign", _level_target(wanted.level_id), self._now(), org_id=org_id)
        await self._store.assign(org_id, wanted, by, wanted.policy in self._book.files.now.policies)
        await self._changed()
        said = of_assignment(wanted.level_kind, wanted.level_id, wanted.policy, exists=True, at=by.at)
        return policy_pb2.AssignPolicyResponse(assignment=said)

    async def UnassignPolicy(
        self, request: policy_pb2.UnassignPolicyRequest, context: Any
    ) -> policy_pb2.UnassignPolicyResponse:
        """See the proto."""
        principal = _of_organisation("admin")
        if not is_uuid(request.level_id):
            raise errors.assignment_not_found(request.level_id)
        by = author(principal, "policy.unassign", _level_target(request.level_id), self._now(), org_id=principal.org_id)
        await self._store.unassign(principal.org_id, request.level_id.lower(), by)
        await self._changed()
        return policy_pb2.UnassignPolicyResponse()

    async def ListAssignments(
        self, request: policy_pb2.ListAssignmentsRequest, context: Any
    ) -> policy_pb2.ListAssignmentsResponse:
        """See the proto. The page token is the last level of the page before."""
        org_id, size = _of_organisation("read").org_id, _page_size(request.page_size)
        await self._current()
        rows = self._book.rows(org_id)
        rest = sorted(
            (one for one in rows.assignments if one.level_id > request.page_token), key=lambda one: one.level_id
        )
        response = policy_pb2.ListAssignmentsResponse(
            assignments=[
                of_assignment(
                    one.level_kind,
                    one.level_id,
                    one.policy,
                    exists=self._book.now.named(org_id, one.policy) is not None,
                    at=rows.assigned_at.get(one.level_id),
                )
                for one in rest[:size]
            ],
            next_page_token=rest[size - 1].level_id if len(rest) > size else "",
        )
        tenant = self._book.tenants().get(org_id)
        if tenant is not None:
            response.tenant.CopyFrom(of_tenant(tenant))
        return response

    async def TestPolicy(self, request: policy_pb2.TestPolicyRequest, context: Any) -> policy_pb2.TestPolicyResponse:
        """See the proto."""
        org_id, said = _of_organisation("admin").org_id, rules_said(request.rules)
        if len(request.requests) > MOST_REQUESTS:
            raise invalid("requests", f"At most {MOST_REQUESTS} requests at once, not {len(request.requests)}.")
        policies = self._book.now
        tried = parse("tried", said, self._base, "tried")
        rules = policies.organisations.get(org_id)
        if rules is not None and rules.tenant is not None:
            tried = bounded(tried, rules.tenant)
        if self.trial is None:
            raise MeshError(Reason.UNAVAILABLE, "The router has nothing that decides yet: try again.")
        found = await self.trial.run(policies, org_id, tried, [asked_of(one) for one in request.requests])
        return changes_message(found, len(request.requests))

    async def NameOrganisations(
        self, request: policy_pb2.NameOrganisationsRequest, context: Any
    ) -> policy_pb2.NameOrganisationsResponse:
        """See the proto."""
        require_service("gateway")
        for one in request.organisations:
            if not is_uuid(one.org_id):
                raise invalid("organisations.org_id", f'"{one.org_id[:80]}" is no id of an organisation.')
        names = {one.org_id: one.name for one in request.organisations}
        if self._kept is not None and await self._kept.name_organisations(names):
            await self._changed()
        return policy_pb2.NameOrganisationsResponse()

    def status(self, principal: principal_pb2.Principal) -> router_pb2.PolicyStatus:
        """What the router knows of policies; of organisations only the caller's own, unless it is the operator."""
        now, is_operator = self._book.now, has_scope(principal, "operator")
        return router_pb2.PolicyStatus(
            shared=len(now.shared),
            organisations=len(now.organisations) if is_operator else 0,
            files_problem=self._book.files.problem if is_operator else "",
            age_s=self._book.age_s,
            missing=[
                f"{org_id}/{name}" for org_id, name in now.missing_names() if is_operator or org_id == principal.org_id
            ][:MOST_MISSING],
        )

    @property
    def _store(self) -> PostgresPolicyStore:
        if self._kept is None:
            raise errors.no_policy_database()
        return self._kept

    def _seen(self, org_id: str) -> list[policy_pb2.Policy]:
        """All policies as an organisation sees them, by name."""
        filed = self._book.files.now
        found = {row.name: of_row(row, shared=True) for row in self._book.rows(EVERYBODY).policies}
        for name, policy in filed.policies.items():
            found[name] = of_policy(policy, filed.written.get(name), managed_by(self._book, name))
        if org_id:
            found |= {row.name: of_row(row, shared=False) for row in self._book.rows(org_id).policies}
        return [found[name] for name in sorted(found)]

    def _check_ours(self, org_id: str, name: str) -> None:
        """Raises MANAGED_BY_FILE for a policy that the API cannot change, unless the organisation has one so called."""
        own = any(row.name == name for row in self._book.rows(org_id).policies)
        standing = managed_by(self._book, name)
        if standing != API and not own:
            raise errors.policy_of_file(name, standing)

    def _document(self, name: str, rules: policy_pb2.PolicyRules) -> str:
        """What is kept of a policy. Raises INVALID_REQUEST."""
        said = rules_said(rules)
        parse(check_name(name), said, self._base, name)
        document = encode(said)
        if len(document) > MOST_DOCUMENT_BYTES:
            raise invalid("rules", f"The rules have {len(document)} bytes; at most {MOST_DOCUMENT_BYTES} are kept.")
        return document

    async def _written(self, org_id: str, row: PolicyRow) -> policy_pb2.Policy:
        await self._changed()
        return of_row(row, shared=org_id == EVERYBODY)

    async def _changed(self) -> None:
        """This replica knows at once; the others within a second."""
        self._told()
        await self._current()

    async def _current(self) -> None:
        """Reads what another replica wrote; without the database what is known is shown."""
        try:
            await self._book.refresh()
        except MeshError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise


def _writer(*, shared: bool) -> tuple[principal_pb2.Principal, str]:
    """The caller and whose policies it changes. Raises PERMISSION_DENIED."""
    principal = require_scope("admin")
    if shared or not principal.org_id:
        if not has_scope(principal, "operator"):
            raise MeshError(
                Reason.PERMISSION_DENIED,
                'Everybody\'s policies need a key with scope "operator": leave out "shared" for your own.',
                metadata={"scope": "operator"},
            )
        return principal, EVERYBODY
    return principal, principal.org_id


def _of_organisation(scope: str) -> principal_pb2.Principal:
    principal = require_scope(scope)
    if not principal.org_id:
        raise invalid("org_id", "This needs a key of an organisation; the operator's token has none: see /v2/tenants.")
    return principal


def _level(level: principal_pb2.Level, org_id: str) -> Assignment:
    """The level that a caller names; the organisation needs no id. Raises INVALID_REQUEST."""
    kind = int(level.kind)
    if kind not in principal_pb2.Level.Kind.values() or not kind:
        raise invalid("level.kind", "level.kind: say KIND_ORG, KIND_TEAM, KIND_PROJECT, KIND_USER or KIND_KEY.")
    level_id = (level.id or (org_id if kind == _ORG else "")).lower()
    if not is_uuid(level_id):
        raise invalid("level.id", f'level.id: "{level_id[:80]}" is not a UUID; GET /v1/keys lists those of your keys.')
    if (kind == _ORG) != (level_id == org_id):
        raise invalid("level.id", f"level.id: KIND_ORG goes with your own organisation, {org_id}.")
    return Assignment(kind, level_id, "")


def _page_size(wanted: int) -> int:
    if wanted < 0:
        raise invalid("page_size", f"page_size must not be negative, it is {wanted}.")
    return min(wanted or PAGE, PAGE)


def _target(name: str) -> str:
    return f"policy:{name}"


def _level_target(level_id: str) -> str:
    return f"level:{level_id.lower()}"
