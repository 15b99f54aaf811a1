"""The servicer of providers' keys: who may, proto in, desk, proto out; and what audit is told."""

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

from dac.provider.v1 import key_pb2, key_pb2_grpc
from dac.type.v1 import principal_pb2
from mesh.admin_record import Change, admin_change
from mesh.call import has_scope, require_scope
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid
from services.provider.conversions import provider_status
from services.provider.keys.desk import ProviderKeyDesk, visible_to
from services.provider.keys.keys import Describe, KeyDesk
from services.provider.keys.store import KeyRow
from services.provider.registry import Provider, Registry

PAGE = 100
Row = TypeVar("Row")


class KeyServicer(key_pb2_grpc.KeyServiceServicer):
    """dac.provider.v1.KeyService: providers that are added by hand, and several keys of one provider."""

    def __init__(self, desk: KeyDesk, registry: Registry, told: Callable[[], None], key_desk: ProviderKeyDesk) -> None:
        """`told` is called when there is something to tell audit."""
        self._desk, self._registry, self._told, self._key_desk = desk, registry, told, key_desk

    async def AddProvider(self, request: key_pb2.AddProviderRequest, context: Any) -> key_pb2.AddProviderResponse:
        """See the proto."""
        describe = _provider_describer(require_scope("operator").org_id)
        provider, test_ms = await self._desk.add(
            request.provider,
            request.kind,
            request.base_url,
            request.api_key,
            skip_test=request.skip_test,
            describe=describe,
        )
        self._told()
        return key_pb2.AddProviderResponse(provider=provider_status(provider), test_ms=test_ms)

    async def ListProviders(self, request: key_pb2.ListProvidersRequest, context: Any) -> key_pb2.ListProvidersResponse:
        """See the proto. The page token is the last name of the page before."""
        org_id = require_scope("admin").org_id
        if request.page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, it is {request.page_size}.")
        size = min(request.page_size or PAGE, PAGE)
        rest = [
            one for one in visible_to(self._registry.providers(), org_id) if one.entry.provider > request.page_token
        ]
        page = rest[:size]
        token = page[-1].entry.provider if len(rest) > size else ""
        return key_pb2.ListProvidersResponse(providers=[provider_status(one) for one in page], next_page_token=token)

    async def RemoveProvider(
        self, request: key_pb2.RemoveProviderRequest, context: Any
    ) -> key_pb2.RemoveProviderResponse:
        """See the proto."""
        describe = _provider_describer(require_scope("operator").org_id)
        await self._desk.remove(request.provider, describe=describe)
        self._told()
        return key_pb2.RemoveProviderResponse()

    async def CreateProviderKey(
        self, request: key_pb2.CreateProviderKeyRequest, context: Any
    ) -> key_pb2.CreateProviderKeyResponse:
        """See the proto."""
        principal = _allowed_for(request.org_id)
        row = await self._key_desk.create(
            request.org_id.lower(),
            request.provider,
            request.api_key,
            is_active=request.is_active if request.HasField("is_active") else True,
            weight=request.weight,
            request_id=request.request_id,
            describe=_key_describer(principal, request.org_id.lower()),
        )
        self._told()
        return key_pb2.CreateProviderKeyResponse(key=self._shown(row))

    async def ListProviderKeys(
        self, request: key_pb2.ListProviderKeysRequest, context: Any
    ) -> key_pb2.ListProviderKeysResponse:
        """See the proto. The page token is the last key's id of the page before."""
        _allowed_for(request.org_id)
        rows, token = await self._key_desk.keys(
            request.org_id.lower(), request.provider, request.page_size, request.page_token
        )
        return key_pb2.ListProviderKeysResponse(keys=[self._shown(row) for row in rows], next_page_token=token)

    async def UpdateProviderKey(
        self, request: key_pb2.UpdateProviderKeyRequest, context: Any
    ) -> key_pb2.UpdateProviderKeyResponse:
        """See the proto."""
        principal = _allowed_for(request.org_id)
        row = await self._key_desk.update(
            request.org_id.lower(),
            request.key_id,
            request.provider,
            request.api_key,
            is_active=request.is_active if request.HasField("is_active") else None,
            weight=request.weight if request.HasField("weight") else None,
            describe=_key_describer(principal, request.org_id.lower()),
        )
        self._told()
        return key_pb2.UpdateProviderKeyResponse(key=self._shown(row))

    async def DeleteProviderKey(
        self, request: key_pb2.DeleteProviderKeyRequest, context: Any
    ) -> key_pb2.DeleteProviderKeyResponse:
        """See the proto."""
        principal = _allowed_for(request.org_id)
        org_id = request.org_id.lower()
        describe = _key_describer(principal, org_id)
        await self._key_desk.delete(org_id, request.key_id, request.provider, describe=describe)
        self._told()
        return key_pb2.DeleteProviderKeyResponse()

    async def RotateProviderKeys(
        self, request: key_pb2.RotateProviderKeysRequest, context: Any
    ) -> key_pb2.RotateProviderKeysResponse:
        """See the proto."""
        require_scope("operator")
        done = await self._key_desk.rotate(request.limit, check_only=request.check_only)
        return key_pb2.RotateProviderKeysResponse(
            rotated=done.rotated, left=done.left, lost=done.lost, master_key_id=self._key_desk.master_key_id
        )

    def _shown(self, row: KeyRow) -> key_pb2.ProviderKey:
        shown = key_pb2.ProviderKey(
            key_id=row.key_id,
            org_id=row.org_id,
            provider=row.provider,
            key_hint=row.key_hint,
            is_active=row.is_active,
            weight=row.weight,
            unusable_because=self._key_desk.unusable_because(row),
        )
        shown.created_at.FromDatetime(row.created_at)
        shown.changed_at.FromDatetime(row.changed_at)
        return shown


def _allowed_for(org_id: str) -> principal_pb2.Principal:
    """The caller, who may manage this organisation's keys; everybody's ("") only the operator. Raises MeshError."""
    if not org_id:
        return require_scope("operator")
    principal = require_scope("admin")
    if not is_uuid(org_id):
        raise invalid("org_id", f'org_id "{org_id[:80]}" is not a UUID.')
    if org_id.lower() != principal.org_id and not has_scope(principal, "operator"):
        raise MeshError(
            Reason.PERMISSION_DENIED,
            "These are another organisation's keys: use a key of that organisation with scope admin.",
            metadata={"scope": "operator"},
        )
    return principal


def _describer(org_id: str, noun: str, name: Callable[[Row], str], public: Callable[[Row], object]) -> Describe[Row]:
    """Makes the audit record of a change. Without an organisation nobody could read one: then there is none."""

    def describe(action: str, before: Row | None, after: Row | None) -> Change | None:
        if not org_id:
            return None
        changed = after or before
        return admin_change(
            action,
            f"{noun}:{name(changed) if changed else ''}",
            datetime.datetime.now(datetime.UTC),
            org_id=org_id,
            before=None if before is None else public(before),
            after=None if after is None else public(after),
        )

    return describe


def _key_describer(actor: principal_pb2.Principal, org_id: str) -> Describe[KeyRow]:
    return _describer(org_id or actor.org_id, "provider_key", lambda row: row.key_id, _public_key)


def _provider_describer(org_id: str) -> Describe[Provider]:
    return _describer(org_id, "provider", lambda one: one.entry.provider, _public_provider)


def _public_key(row: KeyRow) -> dict[str, object]:
    """The fields its administrators may see."""
    fields = {"provider": row.provider, "owner": "organisation" if row.org_id else "everybody"}
    shown = {"base_url": row.base_url, "key_hint": row.key_hint, "is_active": row.is_active, "weight": row.weight}
    return {**fields, **shown}


def _public_provider(provider: Provider) -> dict[str, object]:
    """The fields anybody may see."""
    entry = provider.entry
    fields = {"provider": entry.provider, "kind": entry.kind, "base_url": entry.base_url}
    return {**fields, "key_hint": provider.key_hint}
