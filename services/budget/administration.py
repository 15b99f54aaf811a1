"""Budgets of an organisation: proto in, store, proto out; every change leaves an AdminRecord."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from collections.abc import Callable

from dac.budget.v1 import budget_pb2
from dac.type.v1 import principal_pb2, record_pb2
from mesh import call
from mesh.ids import is_uuid, uuid7
from services.budget import errors
from services.budget.budget_store import PostgresBudgetStore, SealChange, Status
from services.budget.ledger import Level, LevelKind, Limit
from services.budget.windows import Window, end_of

MAX_PAGE = 200
DEFAULT_PAGE = 50
MAX_LIMIT_NANO_USD = 2**62


def actor_of(principal: principal_pb2.Principal) -> str:
    """The actor of an administrative record."""
    if principal.kind == principal_pb2.Principal.KIND_SERVICE:
        return f"service:{principal.service}"
    if principal.kind == principal_pb2.Principal.KIND_OPERATOR:
        return "operator"
    return f"key:{principal.key_id}" if principal.key_id else f"user:{principal.user_id}"


def to_message(status: Status) -> budget_pb2.Budget:
    """The public form of a budget."""
    limit = status.limit
    message = budget_pb2.Budget(
        budget_id=limit.budget_id,
        level=principal_pb2.Level(kind=principal_pb2.Level.Kind.Name(limit.level.kind), id=limit.level.level_id),
        window=budget_pb2.Window.Name(int(limit.window)),
        limit_nano_usd=limit.limit_nano_usd,
        spent_nano_usd=status.spent_nano_usd,
        reserved_nano_usd=status.reserved_nano_usd,
    )
    end = end_of(limit.window, status.window_start)
    if end is not None:
        message.resets_at.FromDatetime(end)
    return message


def _public(status: Status | None) -> str:
    if status is None:
        return ""
    limit = status.limit
    fields = {
        "level": LevelKind(limit.level.kind).name.lower(),
        "level_id": limit.level.level_id,
        "window": limit.window.name.lower(),
        "limit_nano_usd": str(limit.limit_nano_usd),
    }
    return json.dumps(fields)


class Administration:
    """Sets, lists, deletes and verifies budgets of the caller's organisation."""

    def __init__(self, store: PostgresBudgetStore, now: Callable[[], dt.datetime], told: asyncio.Event) -> None:
        self._store = store
        self._now = now
        self._told = told

    async def set(self, request: budget_pb2.SetBudgetRequest) -> budget_pb2.SetBudgetResponse:
        """See BudgetService.SetBudget. A level may have one budget for each window."""
        principal = self._caller("admin")
        level, kind, window = request.level, int(request.level.kind), int(request.window)
        if kind not in (LevelKind.ORG, LevelKind.KEY):
            raise errors.invalid("level.kind", "budgets are enforced on KIND_ORG and KIND_KEY; use one of them")
        level_id = level.id or (principal.org_id if kind == LevelKind.ORG else "")
        if not is_uuid(level_id):
            raise errors.invalid("level.id", f"{level_id!r} is not a UUID; GET /v1/keys lists the ids of your keys")
        if kind == LevelKind.ORG and level_id != principal.org_id:
            raise errors.invalid("level.id", f"it must be your own organisation, {principal.org_id}")
        if window not in tuple(Window):
            raise errors.invalid("window", "say WINDOW_NONE, WINDOW_DAY or WINDOW_MONTH")
        if not 0 <= request.limit_nano_usd <= MAX_LIMIT_NANO_USD:
            raise errors.invalid("limit_nano_usd", f"{request.limit_nano_usd} is not in 0…{MAX_LIMIT_NANO_USD}")
        wanted = Limit(uuid7(), Level(principal.org_id, kind, level_id), Window(window), request.limit_nano_usd)
        status = await self._store.set(wanted, self._now(), self._sealer(principal, "budget.set"))
        self._told.set()
        return budget_pb2.SetBudgetResponse(budget=to_message(status))

    async def list(self, request: budget_pb2.ListBudgetsRequest) -> budget_pb2.ListBudgetsResponse:
        """See BudgetService.ListBudgets."""
        principal = self._caller("read")
        size = min(request.page_size, MAX_PAGE) if request.page_size > 0 else DEFAULT_PAGE
        if request.page_size < 0:
            raise errors.invalid("page_size", f"{request.page_size} is negative; 0 = {DEFAULT_PAGE}")
        after_id = ""
        if request.page_token:
            try:
                after_id = base64.urlsafe_b64decode(request.page_token).decode()
            except ValueError:
                after_id = "?"
            if not is_uuid(after_id):
                raise errors.invalid("page_token", "it is not one that this method returned; start without it")
        found = await self._store.page(principal.org_id, after_id, size + 1, self._now())
        token = base64.urlsafe_b64encode(found[size - 1].limit.budget_id.encode()).decode() if len(found) > size else ""
        return budget_pb2.ListBudgetsResponse(budgets=[to_message(s) for s in found[:size]], next_page_token=token)

    async def delete(self, request: budget_pb2.DeleteBudgetRequest) -> budget_pb2.DeleteBudgetResponse:
        """See BudgetService.DeleteBudget."""
        principal = self._caller("admin")
        if not is_uuid(request.budget_id):
            raise errors.budget_not_found(request.budget_id)
        seal = self._sealer(principal, "budget.delete")
        await self._store.delete(principal.org_id, request.budget_id, self._now(), seal)
        self._told.set()
        return budget_pb2.DeleteBudgetResponse()

    async def verify(self) -> budget_pb2.VerifyLedgerResponse:
        """See BudgetService.VerifyLedger."""
        found = await self._store.verify(self._caller("admin").org_id)
        return budget_pb2.VerifyLedgerResponse(
            differences=found.differences, ledger_rows=found.ledger_rows, open_reservations=found.open_reservations
        )

    @staticmethod
    def _caller(scope: str) -> principal_pb2.Principal:
        principal = call.require_scope(scope)
        if not principal.org_id:
            raise errors.invalid("org_id", "this needs a key of an organisation; the operator's token has none")
        return principal

    def _sealer(self, principal: principal_pb2.Principal, action: str) -> SealChange:
        request_id = call.current().request_id

        def seal(before: Status | None, after: Status | None) -> tuple[str, bytes]:
            about = after or before
            assert about is not None
            record = record_pb2.AdminRecord(
                record_id=uuid7(),
                org_id=principal.org_id,
                actor=actor_of(principal),
                action=action,
                target=f"budget:{about.limit.budget_id}",
                before_json=_public(before),
                after_json=_public(after),
                request_id=request_id,
            )
            record.at.FromDatetime(self._now())
            return record.record_id, record.SerializeToString()

        return seal
