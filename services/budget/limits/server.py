"""The servicer of rate limits: proto in, store, proto out; every change leaves an AdminRecord."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

from dac.budget.v1 import limit_pb2, limit_pb2_grpc
from dac.type.v1 import principal_pb2
from mesh import call
from mesh.admin_record import Change, admin_change
from mesh.ids import is_uuid, uuid7
from services.budget import errors
from services.budget.budget_form import level_named
from services.budget.ledger.rows import LevelKind
from services.budget.limits import rate_limit_errors
from services.budget.limits.admission import Admission, state_message
from services.budget.limits.rate_limits import RateLimit
from services.budget.limits.store import PostgresRateLimitStore, SealChange
from services.budget.paging import page_asked, token_behind

MAX_LIMIT = 10**12
MAX_MODELS = 200
VALUES = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")


def to_message(limit: RateLimit) -> limit_pb2.RateLimit:
    """The public form of a rate limit."""
    level = principal_pb2.Level(kind=principal_pb2.Level.Kind.Name(limit.level_kind), id=limit.level_id)
    message = limit_pb2.RateLimit(rate_limit_id=limit.rate_limit_id, level=level, model=limit.model)
    for name in VALUES:
        if (value := getattr(limit, name)) is not None:
            setattr(message, name, value)
    return message


def _public(limit: RateLimit | None) -> dict[str, str] | None:
    if limit is None:
        return None
    fields = {"level": LevelKind(limit.level_kind).name.lower(), "level_id": limit.level_id, "model": limit.model}
    values = {name: str(value) for name in VALUES if (value := getattr(limit, name)) is not None}
    return {**fields, **values}


def check_model(model: str) -> None:
    """Raises INVALID_REQUEST unless it is an id, or the beginning of ids before a star."""
    if len(model) > 200 or not model.isprintable() or "*" in model[:-1] or model == "*":
        raise errors.invalid(
            "model", f'{model[:60]!r} is neither a model\'s id nor the beginning of ids like "openai/*"; empty = all'
        )


class LimitServicer(limit_pb2_grpc.LimitServiceServicer):
    """See dac.budget.v1.LimitService."""

    def __init__(
        self,
        store: PostgresRateLimitStore,
        admission: Admission,
        now: Callable[[], dt.datetime],
        told: asyncio.Event,
    ) -> None:
        self._store, self._admission, self._now, self._told = store, admission, now, told

    async def SetRateLimit(  # noqa: D102
        self, request: limit_pb2.SetRateLimitRequest, context: Any
    ) -> limit_pb2.SetRateLimitResponse:
        principal = call.require_organisation("admin")
        level = level_named(request.level, principal.org_id)
        check_model(request.model)
        values = {name: getattr(request, name) for name in VALUES if request.HasField(name)}
        if not values:
            raise errors.invalid(VALUES[0], f"nothing is limited; say one of {', '.join(VALUES)}, or delete the limit")
        for name, value in values.items():
            if not 0 <= value <= MAX_LIMIT:
                raise errors.invalid(name, f"{value} is not in 0…{MAX_LIMIT}; 0 = none")
        wanted = RateLimit(uuid7(), level.org_id, level.kind, level.level_id.lower(), request.model, **values)
        limit = await self._store.set(wanted, self._sealer(principal.org_id, "rate_limit.set"))
        await self._changed()
        return limit_pb2.SetRateLimitResponse(rate_limit=to_message(limit))

    async def ListRateLimits(  # noqa: D102
        self, request: limit_pb2.ListRateLimitsRequest, context: Any
    ) -> limit_pb2.ListRateLimitsResponse:
        principal = call.require_organisation("read")
        size, after_id = page_asked(request)
        found = await self._store.page(principal.org_id, after_id, size + 1)
        token = token_behind(found[size - 1].rate_limit_id) if len(found) > size else ""
        return limit_pb2.ListRateLimitsResponse(
            rate_limits=[to_message(one) for one in found[:size]], next_page_token=token
        )

    async def DeleteRateLimit(  # noqa: D102
        self, request: limit_pb2.DeleteRateLimitRequest, context: Any
    ) -> limit_pb2.DeleteRateLimitResponse:
        principal = call.require_organisation("admin")
        if not is_uuid(request.rate_limit_id):
            raise rate_limit_errors.rate_limit_not_found(request.rate_limit_id[:60])
        seal = self._sealer(principal.org_id, "rate_limit.delete")
        await self._store.delete(principal.org_id, request.rate_limit_id, seal)
        await self._changed()
        return limit_pb2.DeleteRateLimitResponse()

    async def Admit(self, request: limit_pb2.AdmitRequest, context: Any) -> limit_pb2.AdmitResponse:  # noqa: D102
        principal = call.require_principal()
        if not is_uuid(principal.org_id):
            raise errors.invalid("org_id", "the principal has no organisation; ask with an organisation's key")
        if not is_uuid(request.request_id):
            raise errors.invalid("request_id", f"{request.request_id[:60]!r} is not a UUID; make one for each request")
        if len(request.models) > MAX_MODELS:
            raise errors.invalid("models", f"{len(request.models)} are more than {MAX_MODELS}")
        admitted = await self._admission.admit_unheld(principal, list(request.models), request.request_id)
        response = limit_pb2.AdmitResponse()
        if admitted is not None:
            response.rate_limit.CopyFrom(state_message(admitted.verdict.state))
        return response

    async def _changed(self) -> None:
        self._told.set()
        # What was set counts from the answer on, here; the other replicas follow.
        await self._admission.follow()

    def _sealer(self, org_id: str, action: str) -> SealChange:
        def seal(before: RateLimit | None, after: RateLimit | None) -> Change:
            about = after or before
            assert about is not None
            target, was, now = f"rate_limit:{about.rate_limit_id}", _public(before), _public(after)
            return admin_change(action, target, self._now(), org_id=org_id, before=was, after=now)

        return seal
