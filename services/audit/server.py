"""The servicer of audit: proto in, store, proto out; and how the service is put together."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import grpc.aio
from google.api import httpbody_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from dac.audit.v1 import analytics_pb2_grpc, audit_pb2, audit_pb2_grpc, text_pb2_grpc
from dac.budget.v1 import record_pb2 as budget_record_pb2
from dac.budget.v1 import record_pb2_grpc as budget_record_pb2_grpc
from dac.type.v1 import record_pb2
from mesh import call
from mesh.errors import MeshError
from mesh.ids import is_uuid
from mesh.service import Context
from mesh.tlog.leaves import MAX_FIELD
from mesh.tlog.redactions import PREFIX
from services.audit import errors
from services.audit.analytics.rollups import Counting, Recounts, Rollups
from services.audit.analytics.server import AnalyticsServicer
from services.audit.analytics.upkeep import Upkeep
from services.audit.config import AuditConfig
from services.audit.events import EventLines, Tell
from services.audit.files import CSV, FORMS, change_file, request_file
from services.audit.follower import Arrivals, Fetched, Follower
from services.audit.lists import ChangeFilters, Listed, Lists, RequestFilters
from services.audit.log.events import asked_by, operation_of
from services.audit.log.provable import ProvableLog
from services.audit.paging import Place, page_size, read_token, write_token
from services.audit.retention.server import Retention
from services.audit.sealing.server import Sealing
from services.audit.store import CONSUMER, ChangeRow, PostgresAuditStore, RequestRow
from services.audit.texts.server import TextServicer
from services.audit.texts.store import TextStore

FOLLOW_BATCH = 200
EXPORT_BATCH = 100
"""So few, because making their text blocks whoever shares the process."""
MAX_APPEND = 1000
MAX_PAGE_BYTES = 1 << 20
"""Of changes: one that declares what was removed may have kilobytes."""
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_log = logging.getLogger(__name__)


def _when(stamp: Timestamp, field: str) -> dt.datetime:
    try:
        return stamp.ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise errors.invalid(field, "it is not a time between the years 1 and 9999") from None


def _started(record: record_pb2.RequestRecord) -> dt.datetime:
    """When the request began; a record with an impossible time is kept at the end of every list."""
    try:
        return _when(record.started_at, "started_at")
    except MeshError:
        return EPOCH


def request_row(record: record_pb2.RequestRecord) -> RequestRow:
    """How a request is stored: under the model that answered, else the one that was asked for."""
    answered = record.attempts[-1].model if record.attempts else ""
    return RequestRow(
        org_id=record.org_id,
        request_id=record.request_id,
        started_at=_started(record),
        model=_text(answered or record.asked_model),
        outcome=int(record.outcome) if record.outcome in record_pb2.Outcome.values() else 0,
        cost_nano_usd=record.cost_nano_usd,
        record=record.SerializeToString(),
        actor=_text(asked_by(record))[:MAX_FIELD],
        operation=_text(operation_of(record))[:MAX_FIELD],
    )


def _text(value: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return value.replace("\x00", "\ufffd")


def request_rows(records: Iterable[record_pb2.RequestRecord]) -> list[RequestRow]:
    """The rows of what belongs to an organisation; a record without proper ids has no place and is skipped."""
    rows = []
    for record in records:
        if is_uuid(record.org_id) and is_uuid(record.request_id):
            rows.append(request_row(record))
        else:
            _log.error("request %r of organisation %r is skipped: not UUIDs", record.request_id, record.org_id)
    return rows


def _fitting(rows: list[Listed], size: int) -> int:
    """How many rows a page holds: at most `size`, and no more than MAX_PAGE_BYTES, but one at least."""
    total = 0
    for count, row in enumerate(rows[:size]):
        total += len(row.record)
        if count and total > MAX_PAGE_BYTES:
            return count
    return size


def _place(token: str, filters: tuple[object, ...]) -> Place | None:
    if not token:
        return None
    place = read_token(token, filters)
    if place is None:
        raise errors.page_token_invalid()
    return place


def _searched(value: str, field: str, where: str = "GET /v1/changes") -> str:
    """A text to look for. Raises INVALID_REQUEST for one that PostgreSQL cannot hold."""
    if "\x00" in value:
        raise errors.invalid(field, f"it holds a NUL character, and no stored one does; {where} lists what there is")
    return value


def _unless_unset(message: Any, field: str) -> dt.datetime | None:
    return _when(getattr(message, field), field) if message.HasField(field) else None


def _request_filters(request: audit_pb2.ListRequestsRequest | audit_pb2.ExportRequestsRequest) -> RequestFilters:
    org_id = call.require_organisation("read").org_id
    if request.outcome not in record_pb2.Outcome.values():
        raise errors.invalid("outcome", f"{request.outcome} is none of {', '.join(record_pb2.Outcome.keys())}")
    return RequestFilters(
        org_id,
        _searched(request.model, "model", "GET /v1/models"),
        int(request.outcome),
        _unless_unset(request, "started_after"),
        _unless_unset(request, "started_before"),
        _searched(request.actor, "actor", "GET /v1/requests"),
        _searched(request.operation, "operation", "GET /v1/requests"),
    )


def _fits(filters: RequestFilters) -> Callable[[bytes], bool]:
    """Whether a record that was stored without the columns is one that was asked for."""

    def fits(stored: bytes) -> bool:
        record = record_pb2.RequestRecord.FromString(stored)
        return (not filters.actor or asked_by(record) == filters.actor) and (
            not filters.operation or operation_of(record) == filters.operation
        )

    return fits


def _change_filters(request: audit_pb2.ListChangesRequest | audit_pb2.ExportChangesRequest) -> ChangeFilters:
    return ChangeFilters(
        call.require_organisation("admin").org_id,
        _searched(request.actor, "actor"),
        _searched(request.action, "action"),
        _searched(request.target, "target"),
        _unless_unset(request, "after"),
        _unless_unset(request, "before"),
    )


def _form(asked: str) -> str:
    form = asked or CSV
    if form not in FORMS:
        raise errors.invalid("format", f"{form[:40]!r} is neither csv nor jsonl")
    return form


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """See dac.audit.v1.AuditService."""

    def __init__(
        self,
        store: PostgresAuditStore,
        lists: Lists,
        arrivals: Arrivals,
        config: AuditConfig,
        tell: Tell | None = None,
    ) -> None:
        self._store, self._lists, self._tell = store, lists, tell
        self._arrivals = arrivals
        self._config = config

    async def Append(self, request: audit_pb2.AppendRequest, context: Any) -> audit_pb2.AppendResponse:  # noqa: D102
        call.require_service()
        if len(request.records) > MAX_APPEND:
            raise errors.invalid("records", f"{len(request.records)} are more than {MAX_APPEND}")
        rows: dict[tuple[str, str], ChangeRow] = {}
        for record in request.records:
            if not is_uuid(record.record_id) or not is_uuid(record.org_id):
                raise errors.invalid(
                    "records", f"record_id {record.record_id!r} and org_id {record.org_id!r}: not UUIDs"
                )
            if record.action.startswith(PREFIX):
                raise errors.invalid("records", f"{record.action}: only audit itself says what it removed or holds")
            row = ChangeRow(record.org_id, record.record_id, _when(record.at, "records.at"), record.SerializeToString())
            rows.setdefault((row.org_id, row.record_id), row)
        if rows:
            await self.note(list(rows.values()))
        return audit_pb2.AppendResponse()

    async def note(self, rows: Sequence[ChangeRow]) -> None:
        """Stores what was done, for the log to take up."""
        stored = await self._store.insert_changes(rows)
        if self._tell is not None:
            self._tell.changes([record_pb2.AdminRecord.FromString(record) for record in stored])
        self._arrivals.announce()

    async def ListRequests(  # noqa: D102
        self, request: audit_pb2.ListRequestsRequest, context: Any
    ) -> audit_pb2.ListRequestsResponse:
        filters = _request_filters(request)
        place = _place(request.page_token, filters)
        rows, behind = await self._lists.fitting_requests(filters, place, page_size(request.page_size), _fits(filters))
        return audit_pb2.ListRequestsResponse(
            requests=[record_pb2.RequestRecord.FromString(row.record) for row in rows],
            next_page_token=write_token(behind, filters) if behind else "",
        )

    async def ExportRequests(  # noqa: D102
        self, request: audit_pb2.ExportRequestsRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        filters, file = _request_filters(request), request_file(_form(request.format))
        place: Place | None = None
        text = file.head
        while True:
            rows, place = await self._lists.fitting_requests(filters, place, EXPORT_BATCH, _fits(filters))
            text += file.lines([row.record for row in rows])
            yield httpbody_pb2.HttpBody(content_type=file.content_type, data=text.encode())
            if place is None:
                return
            text = ""

    async def GetRequest(  # noqa: D102
        self, request: audit_pb2.GetRequestRequest, context: Any
    ) -> audit_pb2.GetRequestResponse:
        org_id = call.require_organisation("read").org_id
        if not is_uuid(request.request_id):
            raise errors.request_not_found(request.request_id)
        gives_up_at = time.monotonic() + self._config.settle_wait_s
        while True:
            news = self._arrivals.next()
            record = await self._store.request(org_id, request.request_id)
            if record is not None:
                return audit_pb2.GetRequestResponse(request=record_pb2.RequestRecord.FromString(record))
            left_s = gives_up_at - time.monotonic()
            if left_s <= 0:
                raise errors.request_not_found(request.request_id)
            try:
                # The record may also be stored by another replica, which does not announce it here.
                await asyncio.wait_for(news.wait(), min(left_s, 0.25))
            except TimeoutError:
                pass

    async def ListChanges(  # noqa: D102
        self, request: audit_pb2.ListChangesRequest, context: Any
    ) -> audit_pb2.ListChangesResponse:
        filters = _change_filters(request)
        size = page_size(request.page_size)
        rows = await self._lists.changes(filters, _place(request.page_token, filters), size + 1)
        size = _fitting(rows, size)
        return audit_pb2.ListChangesResponse(
            changes=[record_pb2.AdminRecord.FromString(row.record) for row in rows[:size]],
            next_page_token=write_token(rows[size - 1].place, filters) if len(rows) > size else "",
        )

    async def ExportChanges(  # noqa: D102
        self, request: audit_pb2.ExportChangesRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        filters, file = _change_filters(request), change_file(_form(request.format))
        place: Place | None = None
        text = file.head
        while True:
            rows = await self._lists.changes(filters, place, EXPORT_BATCH)
            text += file.lines([row.record for row in rows])
            yield httpbody_pb2.HttpBody(content_type=file.content_type, data=text.encode())
            if len(rows) < EXPORT_BATCH:
                return
            text, place = "", rows[-1].place

    async def FollowRequests(  # noqa: D102
        self, request: audit_pb2.FollowRequestsRequest, context: Any
    ) -> AsyncIterator[audit_pb2.FollowRequestsResponse]:
        org_id = call.require_organisation("read").org_id
        position = await self._store.newest(org_id)
        while True:
            news = self._arrivals.next()
            rows = await self._store.arrived(org_id, position, FOLLOW_BATCH)
            for row_position, record in rows:
                position = row_position
                yield audit_pb2.FollowRequestsResponse(request=record_pb2.RequestRecord.FromString(record))
            if not rows:
                try:
                    await asyncio.wait_for(news.wait(), self._config.follow_poll_s)
                except TimeoutError:
                    pass


class AuditService:
    """The assembled service."""

    def __init__(self, context: Context) -> None:
        assert context.database is not None, "audit needs PostgreSQL"
        self._context = context
        self._config: AuditConfig = context.config
        self._database = context.database
        self.arrivals = Arrivals()
        self.sealing = Sealing(self._database, context.keyring, seals=self._config.seal_payloads)
        payloads = self.sealing.payloads
        self.store = PostgresAuditStore(self._database, payloads)
        tell = EventLines() if self._config.event_lines else None
        self.audit = AuditServicer(self.store, Lists(self._database, payloads), self.arrivals, self._config, tell)
        self.log = ProvableLog(context, self.arrivals, payloads)
        rollups = Rollups(self._config, _now)
        self.texts = TextServicer(TextStore(self._database, payloads), self.audit.note, _now)
        counting = Counting(self._database, rollups, tell, payloads)
        recounts = Recounts(self._database, rollups, payloads)
        self.retention = Retention(self._database, self.log.store, counting, self.arrivals, self._config, _now, tell)
        duties = (*self.log.duties, self.retention.run)
        self._follower = Follower(self._database, self.store, self._fetch, self.arrivals, self._config, duties)
        self._task: asyncio.Task[None] | None = None
        self.analytics = AnalyticsServicer(self._database, rollups, counting, recounts, self._config, _now)
        self.upkeep = Upkeep(self._database, rollups, counting, recounts, _now, self._config)
        self.arrivals.also(self.upkeep.wake)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, server)
        self.log.register(server)
        self.retention.register(server)
        self.sealing.register(server)
        text_pb2_grpc.add_TextServiceServicer_to_server(self.texts, server)
        analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(self.analytics, server)

    async def start(self) -> None:
        """Begins to follow budget's records and to count them."""
        self.upkeep.start()
        self._task = asyncio.create_task(self._follower.run(), name="audit-follower")

    async def close(self) -> None:
        """Stops following; what was not stored yet is still in budget's outbox."""
        await self.upkeep.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def health(self) -> None:
        """Raises MeshError when PostgreSQL does not answer."""
        await self._database.check()

    async def _fetch(self, cursor: str) -> Fetched:
        stub = budget_record_pb2_grpc.RecordServiceStub(self._context.channel_to("budget"))
        request = budget_record_pb2.FetchRecordsRequest(
            consumer=CONSUMER, cursor=cursor, limit=self._config.fetch_limit, wait_s=self._config.fetch_wait_s
        )
        with call.acting_as("audit"):
            answer = await stub.FetchRecords(request, timeout=self._config.fetch_wait_s + 10)
        return Fetched(request_rows(answer.records), answer.cursor)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def build(context: Context) -> AuditService:
    """Puts the service together; opens nothing."""
    return AuditService(context)
