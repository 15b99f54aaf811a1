"""IdentityService: proto in → identity → proto out; and what identity needs of the wire (audit records)."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dac.gateway.v1 import identity_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh import call as calls
from mesh.admin_record import actor_of
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid
from services.gateway.identity.identity import ForeignKey, Identity
from services.gateway.identity.rows import KeyInfo, OrganisationRow
from services.gateway.identity.tree_server import TreeServicer


def _key(key: KeyInfo) -> identity_pb2.ApiKey:
    shown = identity_pb2.ApiKey(
        key_id=key.key_id,
        org_id=key.org_id,
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        models=key.models,
        team_id=key.team_id,
        project_id=key.project_id,
        user_id=key.user_id,
        without_persona=key.without_persona,
    )
    shown.created_at.FromDatetime(key.created_at)
    if key.expires_at is not None:
        shown.expires_at.FromDatetime(key.expires_at)
    if key.revoked_at is not None:
        shown.revoked_at.FromDatetime(key.revoked_at)
    return shown


def _time(message: Any, field: str) -> dt.datetime | None:
    try:
        return message.expires_at.ToDatetime(dt.UTC) if message.HasField("expires_at") else None
    except (ValueError, OverflowError):
        raise invalid(field, f"{field} must be between the years 1 and 9999.") from None


def _organisation(row: OrganisationRow) -> identity_pb2.Organisation:
    shown = identity_pb2.Organisation(org_id=row.org_id, name=row.name)
    shown.created_at.FromDatetime(row.created_at)
    return shown


async def _nothing() -> None:
    pass


class IdentityServicer(TreeServicer):
    """See dac.gateway.v1.IdentityService."""

    def __init__(
        self,
        identity: Identity,
        models_of: Callable[[Principal], Sequence[str]] = lambda _: (),
        taken_back: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """`taken_back` is awaited when a key was revoked, before that is answered."""
        super().__init__(identity.tree)
        self._identity, self._models_of, self._taken_back = identity, models_of, taken_back

    async def CreateOrganisation(self, request: identity_pb2.CreateOrganisationRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("operator")
        row = await self._identity.create_organisation(request.name, actor_of(principal))
        return identity_pb2.CreateOrganisationResponse(organisation=_organisation(row))

    async def ListOrganisations(self, request: identity_pb2.ListOrganisationsRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_principal()
        rows = await self._identity.organisations()
        if "operator" not in principal.scopes:
            rows = [row for row in rows if row.org_id == principal.org_id]
        return identity_pb2.ListOrganisationsResponse(organisations=[_organisation(row) for row in rows])

    async def CreateApiKey(self, request: identity_pb2.CreateApiKeyRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("admin")
        org_id = principal.org_id
        if request.org_id and request.org_id != org_id:
            await self._check_operator(principal, request.org_id)
            org_id = request.org_id
        key, token = await self._identity.create_key(
            org_id,
            request.name,
            request.scopes,
            request.models,
            _time(request, "expires_at"),
            held=principal.scopes,
            held_models=self._models_of(principal),
            actor=actor_of(principal),
            team_id=request.team_id,
            project_id=request.project_id,
            user_id=request.user_id,
            without_persona=request.without_persona,
        )
        return identity_pb2.CreateApiKeyResponse(key=_key(key), token=token)

    async def _check_operator(self, principal: Principal, org_id: str) -> None:
        if "operator" not in principal.scopes:
            raise MeshError(Reason.PERMISSION_DENIED, "Only the operator makes keys in another organisation.")
        if not is_uuid(org_id) or org_id not in {row.org_id for row in await self._identity.organisations()}:
            raise MeshError(Reason.NOT_FOUND, f'There is no organisation "{org_id[:80]}".')

    async def ListApiKeys(self, request: identity_pb2.ListApiKeysRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("admin")
        keys, token = await self._identity.keys(principal.org_id, request.page_size, request.page_token)
        return identity_pb2.ListApiKeysResponse(keys=[_key(key) for key in keys], next_page_token=token)

    async def UpdateApiKey(self, request: identity_pb2.UpdateApiKeyRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("admin")
        fields = ("name", "team_id", "project_id", "user_id", "without_persona")
        named = {field: getattr(request, field) for field in fields if request.HasField(field)}
        key = await self._identity.update_key(principal.org_id, request.key_id, actor_of(principal), **named)
        return identity_pb2.UpdateApiKeyResponse(key=_key(key))

    async def RevokeApiKey(self, request: identity_pb2.RevokeApiKeyRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("admin")
        key = await self._identity.revoke(principal.org_id, request.key_id, actor_of(principal))
        # It is revoked whatever comes of this: replicas follow within a second.
        with contextlib.suppress(MeshError):
            await self._taken_back()
        return identity_pb2.RevokeApiKeyResponse(key=_key(key))

    async def RotateMasterKey(self, request: identity_pb2.RotateMasterKeyRequest, context: Any) -> Any:  # noqa: D102
        actor = actor_of(calls.require_scope("operator"))
        bound_to, present = await self._identity.rotate_master_key(actor, check_only=request.check_only)
        return identity_pb2.RotateMasterKeyResponse(bound_to=bound_to, master_key_id=present)

    async def ImportKeys(self, request: identity_pb2.ImportKeysRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_scope("operator")
        keys = [
            ForeignKey(
                one.sha256,
                one.name,
                one.hint,
                tuple(one.models),
                _time(one, f"keys[{index}].expires_at"),
                one.blocked,
            )
            for index, one in enumerate(request.keys)
        ]
        done = await self._identity.import_keys(principal.org_id, keys, request.source, actor_of(principal))
        return identity_pb2.ImportKeysResponse(
            keys=[identity_pb2.ImportedKey(key=_key(key), added=added) for key, added in done]
        )

    async def GetCaller(self, request: identity_pb2.GetCallerRequest, context: Any) -> Any:  # noqa: D102
        principal = calls.require_principal()
        return identity_pb2.GetCallerResponse(
            org_id=principal.org_id, key_id=principal.key_id, scopes=principal.scopes, path=principal.path
        )
