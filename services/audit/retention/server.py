"""The servicer of retention: proto in, keeper, proto out; and what the leader does of it by the clock."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc.aio

from dac.audit.v1 import retention_pb2 as pb
from dac.audit.v1 import retention_pb2_grpc
from dac.type.v1.record_pb2 import AdminRecord
from mesh import call
from mesh.admin_record import actor_of
from mesh.errors import MeshError
from mesh.ids import is_uuid, uuid7
from mesh.postgres import Database
from services.audit import errors
from services.audit.analytics.rollups import Counting
from services.audit.config import AuditConfig
from services.audit.events import Tell
from services.audit.follower import Arrivals
from services.audit.log.store import LogStore
from services.audit.retention.keeper import PRUNER, Keeper, Order, Outcome
from services.audit.retention.store import Hold, RetentionStore
from services.audit.retention.subjects import Subject

MAX_BASIS = 500
PRUNE_S = 20.0
"""One call prunes for so long, then says that there is more."""
REMEMBERED = dt.timedelta(days=2)
"""How long a removed record is known not to come back; budget's outbox forgets within minutes what audit has read."""
FIRST_DAY = dt.datetime(1, 1, 1, tzinfo=dt.UTC)

_log = logging.getLogger(__name__)


class RetentionServicer(retention_pb2_grpc.RetentionServiceServicer):
    """See dac.audit.v1.RetentionService."""

    def __init__(self, keeper: Keeper, store: RetentionStore, clock: Callable[[], dt.datetime]) -> None:
        self._keeper, self._store, self._clock = keeper, store, clock

    async def Erase(self, request: pb.EraseRequest, context: Any) -> pb.EraseResponse:  # noqa: D102
        org_id, order = _ordered(request.org_id, request.basis, "basis")
        done = await self._keeper.erase(org_id, _subject(request.subject), order, dry_run=request.dry_run)
        return pb.EraseResponse(
            requests=done.requests,
            changes=done.changes,
            waiting=done.waiting,
            declarations=done.declarations,
            pending=done.pending,
        )

    async def Prune(self, request: pb.PruneRequest, context: Any) -> pb.PruneResponse:  # noqa: D102
        principal = call.require_scope("operator")
        before = _before(request, self._clock())
        changes_before = before if request.with_changes else FIRST_DAY
        if request.org_id and not is_uuid(request.org_id):
            raise errors.invalid("org_id", f"{request.org_id[:80]!r} is not an organisation's id")
        order = Order(actor_of(principal), f"before {before.isoformat()}", call.current().request_id)
        org_ids = [request.org_id] if request.org_id else await self._store.organisations(before, changes_before)
        gives_up_at = time.monotonic() + PRUNE_S
        done = Outcome()
        for org_id in org_ids:
            done = done.plus(
                await self._keeper.prune(
                    org_id,
                    before,
                    changes_before,
                    order,
                    dry_run=request.dry_run,
                    until=lambda: time.monotonic() > gives_up_at,
                )
            )
            if time.monotonic() > gives_up_at:
                break
        return pb.PruneResponse(
            requests=done.requests,
            changes=done.changes,
            waiting=done.waiting,
            held=done.held,
            has_more=done.has_more or time.monotonic() > gives_up_at,
        )

    async def SetHold(self, request: pb.SetHoldRequest, context: Any) -> pb.SetHoldResponse:  # noqa: D102
        org_id, order = _ordered(request.org_id, request.reason, "reason")
        subject = str(_subject(request.subject)) if request.subject else ""
        return pb.SetHoldResponse(hold=_form(org_id, await self._keeper.set_hold(org_id, subject, order)))

    async def LiftHold(self, request: pb.LiftHoldRequest, context: Any) -> pb.LiftHoldResponse:  # noqa: D102
        org_id, order = _ordered(request.org_id, request.reason, "reason", is_needed=False)
        if not is_uuid(request.hold_id):
            raise errors.no_such_hold(request.hold_id[:80])
        return pb.LiftHoldResponse(hold=_form(org_id, await self._keeper.lift_hold(org_id, request.hold_id, order)))

    async def ListHolds(self, request: pb.ListHoldsRequest, context: Any) -> pb.ListHoldsResponse:  # noqa: D102
        org_id = _organisation(request.org_id)
        return pb.ListHoldsResponse(holds=[_form(org_id, one) for one in await self._keeper.holds(org_id)])


def _organisation(named: str) -> str:
    """Whose records: the caller's own, or for the operator those that the request names."""
    principal = call.require_scope("admin")
    org_id = named or principal.org_id
    if named and named != principal.org_id and not call.has_scope(principal, "operator"):
        raise errors.invalid("org_id", "only the operator names another organisation")
    if not is_uuid(org_id):
        raise errors.invalid("org_id", "the operator's token has no organisation: name one, or use a key of one")
    return org_id


def _ordered(named: str, basis: str, field: str, *, is_needed: bool = True) -> tuple[str, Order]:
    org_id = _organisation(named)
    if is_needed and not basis.strip():
        raise errors.invalid(field, "say why: it stands on the record")
    if len(basis) > MAX_BASIS or "\x00" in basis:
        raise errors.invalid(field, f"it is longer than {MAX_BASIS} characters, or has a NUL")
    return org_id, Order(actor_of(call.require_principal()), basis.strip(), call.current().request_id)


def _subject(text: str) -> Subject:
    try:
        return Subject.parse(text)
    except ValueError as error:
        raise errors.invalid("subject", str(error)) from None


def _before(request: pb.PruneRequest, now: dt.datetime) -> dt.datetime:
    try:
        before = request.before.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise errors.invalid("before", "it is not a time between the years 1 and 9999") from None
    if not request.HasField("before") or before > now:
        raise errors.invalid("before", "name a time that is past")
    return before


def _form(org_id: str, hold: Hold) -> pb.Hold:
    made = pb.Hold(hold_id=hold.hold_id, org_id=org_id, subject=hold.subject, reason=hold.reason, actor=hold.actor)
    made.set_at.FromDatetime(hold.set_at)
    return made


class Retention:
    """The assembled retention."""

    def __init__(
        self,
        database: Database,
        log: LogStore,
        counting: Counting,
        arrivals: Arrivals,
        config: AuditConfig,
        clock: Callable[[], dt.datetime],
        tell: Tell | None = None,
    ) -> None:
        async def count(org_id: str) -> None:
            while await counting.some([org_id]):
                pass

        self.store = RetentionStore(database, log.payloads)

        def recorded(change: bytes) -> None:
            if tell is not None:
                tell.changes([AdminRecord.FromString(change)])
            arrivals.announce()

        self.keeper = Keeper(self.store, log, count=count, recorded=recorded, clock=clock, new_id=uuid7)
        self.servicer = RetentionServicer(self.keeper, self.store, clock)
        self._config, self._clock = config, clock

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        retention_pb2_grpc.add_RetentionServiceServicer_to_server(self.servicer, server)

    async def run(self) -> None:
        """What the leader does: carries out what is declared, and prunes what is too old; never returns."""
        pruned_at = -self._config.prune_every_s
        while True:
            try:
                await self.keeper.carry_out_all()
                if time.monotonic() - pruned_at >= self._config.prune_every_s:
                    await self.prune()
                    pruned_at = time.monotonic()
            except MeshError as error:
                _log.warning("retention is put off: %s", error.message)
            except Exception:
                _log.exception("retention failed")
            await asyncio.sleep(min(self._config.upkeep_s, self._config.prune_every_s))

    async def prune(self) -> Outcome:
        """One round over every organisation: removes what is older than the configuration keeps."""
        now, done = self._clock(), Outcome()
        requests_before = _cut(now, self._config.request_payload_kept_days)
        changes_before = _cut(now, self._config.change_payload_kept_days)
        order = Order(
            PRUNER,
            f"retention of {self._config.request_payload_kept_days} and {self._config.change_payload_kept_days} days",
        )
        for org_id in await self.store.organisations(requests_before, changes_before):
            done = done.plus(await self.keeper.prune(org_id, requests_before, changes_before, order))
        await self.store.forget_removed(now - REMEMBERED)
        return done


def _cut(now: dt.datetime, kept_days: int) -> dt.datetime:
    """What is older than so many whole days goes: a day goes whole, and its figures stay as they were counted."""
    if kept_days <= 0:
        return FIRST_DAY
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return max(today - dt.timedelta(days=min(kept_days, 700_000)), FIRST_DAY)
