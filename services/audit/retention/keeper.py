"""What may go, goes in two steps: an entry of the log declares which entries lose their payload, then it is removed.

Killed between the two, whoever leads next carries the declaration out. Before the first nothing is missing; after it
everything that is missing is declared: the log verifies at any moment.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dac.type.v1.record_pb2 import AdminRecord, RequestRecord
from mesh.admin_record import admin_change
from mesh.tlog.redactions import ERASE, HOLD, PREFIX, PRUNE, UNHOLD, spans_of, write_spans
from services.audit import errors
from services.audit.log.store import LogStore
from services.audit.retention.store import Found, Hold, Removal, RetentionStore
from services.audit.retention.subjects import REQUEST, Subject
from services.audit.sealing.form import is_sealed
from services.audit.store import KIND_CHANGE, KIND_REQUEST, ChangeRow

PAGE = 5000
"""Records that are looked at, and at most declared, at once."""
MOST_CHARS = 12_000
"""Of the list of entries in one declaration."""
LOOK_AGAIN_S = 0.1
PRUNER = "service:audit"


class Order(NamedTuple):
    """Who asks for it, and why."""

    actor: str
    basis: str
    request_id: str = ""


class Outcome(NamedTuple):
    """What was declared, or would be."""

    requests: int = 0
    changes: int = 0
    waiting: int = 0
    """Records that concern it and stay for now: they have no leaf yet, or are not counted yet."""
    held: int = 0
    """Records that a legal hold keeps."""
    declarations: tuple[str, ...] = ()
    pending: int = 0
    """Declarations that are not carried out yet; the leader does that."""
    has_more: bool = False

    def plus(self, other: Outcome) -> Outcome:
        """Both together."""
        return Outcome(
            self.requests + other.requests,
            self.changes + other.changes,
            self.waiting + other.waiting,
            self.held + other.held,
            self.declarations + other.declarations,
            self.pending + other.pending,
            self.has_more or other.has_more,
        )


class Placed(NamedTuple):
    """A record with its number among the organisation's entries."""

    org_seq: int
    idx: int
    kind: int
    record_id: str


def in_pieces(placed: Sequence[Placed], most_chars: int = MOST_CHARS) -> list[list[Placed]]:
    """Rising numbers in pieces whose lists of spans are no longer than that; one empty piece for none."""
    pieces: list[list[Placed]] = [[]]
    # A number that begins a span, the comma, and the dash and number that may end it.
    length, last = 0, 0
    for one in placed:
        grown = 0 if one.org_seq == last + 1 and pieces[-1] else 2 * (len(str(one.org_seq)) + 1)
        if length + grown > most_chars:
            pieces.append([])
            length, grown = 0, 2 * (len(str(one.org_seq)) + 1)
        pieces[-1].append(one)
        length, last = length + grown, one.org_seq
    return pieces


class Keeper:
    """Erases, prunes, holds; acts inside one organisation at a time."""

    def __init__(
        self,
        store: RetentionStore,
        log: LogStore,
        *,
        count: Callable[[str], Awaitable[None]],
        recorded: Callable[[bytes], None],
        clock: Callable[[], dt.datetime],
        new_id: Callable[[], str],
        wait_s: float = 10.0,
        page: int = PAGE,
    ) -> None:
        """`count` brings an organisation's figures up to date; `recorded` hears of each change."""
        self._store, self._log, self._count, self._recorded = store, log, count, recorded
        self._clock, self._new_id, self._wait_s, self._page = clock, new_id, wait_s, page

    async def holds(self, org_id: str) -> list[Hold]:
        """The organisation's legal holds, the oldest first."""
        return await self._store.holds(org_id)

    async def set_hold(self, org_id: str, subject: str, order: Order) -> Hold:
        """Holds a subject, or with "" everything."""
        hold = Hold(self._new_id(), subject, order.basis, order.actor, self._clock())
        after = {"hold_id": hold.hold_id, "basis": order.basis}
        change = self._change(org_id, HOLD, subject, order, after)
        kept = await self._store.set_hold(org_id, hold, change)
        self._recorded(change.record)
        return kept

    async def lift_hold(self, org_id: str, hold_id: str, order: Order) -> Hold:
        """Lifts a hold. Raises NOT_FOUND, and PERMISSION_DENIED for the operator's hold and anybody else."""
        hold = next((one for one in await self._store.holds(org_id) if one.hold_id == hold_id), None)
        if hold is None:
            raise errors.no_such_hold(hold_id)
        if hold.actor == "operator" != order.actor:
            raise errors.hold_is_the_operators(hold_id)
        after = {"hold_id": hold_id, "basis": order.basis}
        change = self._change(org_id, UNHOLD, hold.subject, order, after)
        if not await self._store.lift_hold(org_id, hold_id, change):
            raise errors.no_such_hold(hold_id)
        self._recorded(change.record)
        return hold

    async def erase(self, org_id: str, subject: Subject, order: Order, *, dry_run: bool = False) -> Outcome:
        """Removes every payload that concerns a subject. Raises FAILED_PRECONDITION where a legal hold keeps one."""
        holds = await self._store.holds(org_id)
        for hold in holds:
            if hold.subject in ("", str(subject)):
                raise errors.held(hold.hold_id, hold.subject, hold.reason)
        await self._count(org_id)
        found: dict[int, list[str]] = {KIND_REQUEST: [], KIND_CHANGE: []}
        waiting = 0
        async for kind, one in self._concerned(org_id, subject):
            _refuse_held(kind, one, holds)
            if one.waits:
                waiting += 1
            else:
                found[kind].append(one.record_id)
        if subject.kind == REQUEST and not found[KIND_REQUEST] and not waiting:
            raise errors.request_not_found(subject.id)
        placed: list[Placed] = []
        for kind, record_ids in found.items():
            for start in range(0, len(record_ids), self._page):
                placed += await self._placed(org_id, kind, record_ids[start : start + self._page])
        waiting += sum(map(len, found.values())) - len(placed)
        outcome = await self._declare(org_id, subject, ERASE, order, sorted(placed), holds, dry_run=dry_run)
        return outcome._replace(waiting=waiting, pending=await self._settled(org_id, outcome.declarations))

    async def prune(
        self,
        org_id: str,
        requests_before: dt.datetime,
        changes_before: dt.datetime,
        order: Order,
        *,
        dry_run: bool = False,
        until: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Removes payloads of before these times, except those that are held; `until` says when to stop for now."""
        if not dry_run and await self._settled(org_id, [one[1] for one in await self._store.open(org_id)]):
            return Outcome(pending=1)
        holds = await self._store.holds(org_id)
        if any(not hold.subject for hold in holds):
            return Outcome()
        done = Outcome()
        async for kind, page in self._old(org_id, requests_before, changes_before, with_records=bool(holds)):
            free = [one for one in page if not one.waits and not _holding(kind, one, holds)]
            free = [one for one in free if kind == KIND_REQUEST or not _is_own(one)]
            placed = sorted(await self._placed(org_id, kind, [one.record_id for one in free]))
            if placed:
                made = await self._declare(org_id, None, PRUNE, order, placed, holds, dry_run=dry_run)
                made = made._replace(pending=await self._settled(org_id, made.declarations))
                done = done.plus(made)
            done = done._replace(
                waiting=done.waiting + sum(one.waits for one in page) + len(free) - len(placed),
                held=done.held + sum(1 for one in page if not one.waits and _holding(kind, one, holds)),
            )
            if done.pending or until():
                return done._replace(has_more=True)
        return done

    async def carry_out_all(self) -> int:
        """Carries out what others declared and did not come to; how many are still waiting."""
        left = 0
        for org_id, record_id in await self._store.open():
            left += await self._store.carry_out(org_id, record_id) != "done"
        return left

    async def _concerned(self, org_id: str, subject: Subject) -> AsyncIterator[tuple[int, Found]]:
        if subject.kind == REQUEST:
            for one in await self._store.request(org_id, subject.id):
                yield KIND_REQUEST, one
            return
        for kind in (KIND_REQUEST, KIND_CHANGE):
            after = 0
            while True:
                page, last = await self._store.naming(kind, org_id, subject, after, self._page)
                for one in page:
                    if concerns(kind, one.record, subject) and not (kind == KIND_CHANGE and _is_own(one)):
                        yield kind, one
                if not last:
                    break
                after = last

    async def _old(
        self, org_id: str, requests_before: dt.datetime, changes_before: dt.datetime, *, with_records: bool
    ) -> AsyncIterator[tuple[int, list[Found]]]:
        after: Found | None = None
        while page := await self._store.old_requests(
            org_id, requests_before, after, self._page, with_records=with_records
        ):
            yield KIND_REQUEST, page
            after = page[-1]
        after = None
        while page := await self._store.old_changes(org_id, changes_before, after, self._page):
            yield KIND_CHANGE, page
            after = page[-1]

    async def _placed(self, org_id: str, kind: int, record_ids: Sequence[str]) -> list[Placed]:
        places = await self._log.places(org_id, kind, record_ids) if record_ids else {}
        return [Placed(place.org_seq, place.idx, kind, record_id) for record_id, place in places.items()]

    async def _declare(
        self,
        org_id: str,
        subject: Subject | None,
        action: str,
        order: Order,
        placed: Sequence[Placed],
        holds: Sequence[Hold],
        *,
        dry_run: bool,
    ) -> Outcome:
        """Declares entries gone, in as many changes as their list needs."""
        declarations = []
        for piece in [] if dry_run else in_pieces(placed):
            after = {
                "basis": order.basis,
                "count": len(piece),
                "entries": write_spans(spans_of(one.org_seq for one in piece)),
            }
            change = self._change(org_id, action, str(subject or ""), order, after)
            removal = Removal(
                [one.record_id for one in piece if one.kind == KIND_REQUEST],
                [one.record_id for one in piece if one.kind == KIND_CHANGE],
                [one.idx for one in piece],
            )
            if not await self._store.declare(org_id, change, subject and subject.person, removal, holds):
                raise errors.holds_changed()
            declarations.append(change.record_id)
            self._recorded(change.record)
        requests = sum(one.kind == KIND_REQUEST for one in placed)
        return Outcome(requests, len(placed) - requests, declarations=tuple(declarations))

    async def _settled(self, org_id: str, declarations: Sequence[str]) -> int:
        """Carries declarations out as the log takes them up; how many are not carried out in time."""
        left = list(declarations)
        gives_up_at = asyncio.get_running_loop().time() + self._wait_s
        while left:
            states = {one: await self._store.carry_out(org_id, one) for one in left}
            left = [one for one in left if states[one] != "done"]
            if "held" in states.values() or asyncio.get_running_loop().time() >= gives_up_at:
                break
            if left:
                await asyncio.sleep(LOOK_AGAIN_S)
        return len(left)

    def _change(self, org_id: str, action: str, target: str, order: Order, after: Mapping[str, object]) -> ChangeRow:
        target, now = target or f"organisation:{org_id}", self._clock()
        change = admin_change(
            action, target, now, org_id=org_id, after=after, actor=order.actor, request_id=order.request_id
        )
        return ChangeRow(org_id, change.record_id, now, change.record)


def concerns(kind: int, record: bytes, subject: Subject) -> bool:
    """Whether a record is about a subject; one that nobody can read is about none.

    One that is still sealed does not open any more: its keys say whom it is about, and it was found by them.
    """
    if is_sealed(record):
        return True
    try:
        if kind == KIND_REQUEST:
            return subject.concerns_request(RequestRecord.FromString(record))
        return subject.concerns_change(AdminRecord.FromString(record))
    except DecodeError:
        return False


def _is_own(change: Found) -> bool:
    """Whether a change is audit's own word on what was removed or held, which stays."""
    try:
        return AdminRecord.FromString(change.record).action.startswith(PREFIX)
    except DecodeError:
        return True


def _holding(kind: int, one: Found, holds: Sequence[Hold]) -> Hold | None:
    return next((hold for hold in holds if concerns(kind, one.record, Subject.parse(hold.subject))), None)


def _refuse_held(kind: int, one: Found, holds: Sequence[Hold]) -> None:
    hold = _holding(kind, one, holds)
    if hold is not None:
        raise errors.held(hold.hold_id, hold.subject, hold.reason)
