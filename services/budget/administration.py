"""Budgets of an organisation: proto in, store, proto out; every change leaves an AdminRecord."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

from dac.budget.v1 import budget_pb2
from mesh import call
from mesh.admin_record import Change, admin_change
from mesh.ids import is_uuid, uuid7
from services.budget import budget_form, errors
from services.budget.budget_store import PostgresBudgetStore, SealChange, Status
from services.budget.ledger.rows import STOP, Level, LevelKind, Limit
from services.budget.ledger.verification import verify
from services.budget.ledger.windows import Window
from services.budget.paging import page_asked, token_behind

MAX_NOTE_CHARS = 200


class Administration:
    """Sets, lists, deletes, stops and verifies budgets of the caller's organisation."""

    def __init__(self, store: PostgresBudgetStore, now: Callable[[], dt.datetime], told: asyncio.Event) -> None:
        self._store = store
        self._now = now
        self._told = told

    async def set(
        self, request: budget_pb2.SetBudgetRequest | budget_pb2.CreateBudgetRequest, *, only_new: bool = False
    ) -> budget_pb2.Budget:
        """See BudgetService.SetBudget and CreateBudget. A level may have one budget for each window and selector."""
        principal = call.require_organisation("admin")
        limit = budget_form.limit_of(request, principal.org_id)
        seal = self._sealer(principal.org_id, "budget.set")
        status = await self._store.set(limit, self._now(), seal, only_new=only_new)
        self._told.set()
        return budget_form.to_message(status, self._now())

    async def change(self, request: budget_pb2.UpdateBudgetRequest) -> budget_pb2.Budget:
        """See BudgetService.UpdateBudget."""
        principal = call.require_organisation("admin")
        budget_id = _known_form(request.budget_id)

        def changed(limit: Limit) -> Limit:
            return budget_form.changed(limit, request)

        seal = self._sealer(principal.org_id, "budget.set")
        status = await self._store.change(principal.org_id, budget_id, changed, self._now(), seal)
        self._told.set()
        return budget_form.to_message(status, self._now())

    async def get(self, request: budget_pb2.GetBudgetRequest) -> budget_pb2.Budget:
        """See BudgetService.GetBudget."""
        principal = call.require_organisation("read")
        now = self._now()
        found = await self._store.get(principal.org_id, _known_form(request.budget_id), now)
        return budget_form.to_message((await self._store.paced(principal.org_id, [found], now))[0], now)

    async def list(self, request: budget_pb2.ListBudgetsRequest) -> budget_pb2.ListBudgetsResponse:
        """See BudgetService.ListBudgets."""
        principal = call.require_organisation("read")
        size, after_id = page_asked(request)
        now = self._now()
        found = await self._store.page(principal.org_id, after_id, size + 1, now)
        token = token_behind(found[size - 1].limit.budget_id) if len(found) > size else ""
        shown = await self._store.paced(principal.org_id, found[:size], now)
        budgets = [budget_form.to_message(status, now) for status in shown]
        return budget_pb2.ListBudgetsResponse(budgets=budgets, next_page_token=token)

    async def delete(self, request: budget_pb2.DeleteBudgetRequest) -> budget_pb2.DeleteBudgetResponse:
        """See BudgetService.DeleteBudget."""
        principal = call.require_organisation("admin")
        seal = self._sealer(principal.org_id, "budget.delete")
        await self._store.delete(principal.org_id, _known_form(request.budget_id), self._now(), seal)
        self._told.set()
        return budget_pb2.DeleteBudgetResponse()

    async def stop(self, request: budget_pb2.StopSpendingRequest) -> budget_pb2.StopSpendingResponse:
        """See BudgetService.StopSpending. A second time it only changes the reason."""
        principal = call.require_organisation("admin")
        if len(request.reason) > MAX_NOTE_CHARS or not request.reason.isprintable():
            raise errors.invalid("reason", f"it has at most {MAX_NOTE_CHARS} printable characters")
        level = Level(principal.org_id, LevelKind.ORG, principal.org_id)
        wanted = Limit(uuid7(), level, Window.NONE, 0, selector=STOP, thresholds_percent=(), note=request.reason)
        status = await self._store.set(wanted, self._now(), self._sealer(principal.org_id, "spending.stop"))
        self._told.set()
        response = budget_pb2.StopSpendingResponse()
        if status.created_at is not None:
            response.stopped_at.FromDatetime(status.created_at)
        return response

    async def resume(self) -> budget_pb2.ResumeSpendingResponse:
        """See BudgetService.ResumeSpending."""
        principal = call.require_organisation("admin")
        standing = await self._store.stopped(principal.org_id, self._now())
        if standing is not None:
            seal = self._sealer(principal.org_id, "spending.resume")
            await self._store.delete(principal.org_id, standing.limit.budget_id, self._now(), seal)
            self._told.set()
        return budget_pb2.ResumeSpendingResponse(was_stopped=standing is not None)

    async def verify(self) -> budget_pb2.VerifyLedgerResponse:
        """See BudgetService.VerifyLedger."""
        found = await verify(self._store.database, call.require_organisation("admin").org_id)
        return budget_pb2.VerifyLedgerResponse(
            differences=found.differences, ledger_rows=found.ledger_rows, open_reservations=found.open_reservations
        )

    def _sealer(self, org_id: str, action: str) -> SealChange:
        def seal(before: Status | None, after: Status | None) -> Change:
            about = after or before
            assert about is not None
            target = f"budget:{about.limit.budget_id}"
            was = None if before is None else budget_form.public(before.limit)
            now = None if after is None else budget_form.public(after.limit)
            return admin_change(action, target, self._now(), org_id=org_id, before=was, after=now)

        return seal


def _known_form(budget_id: str) -> str:
    if not is_uuid(budget_id):
        raise errors.budget_not_found(budget_id[:80])
    return budget_id
