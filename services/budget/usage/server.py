"""The servicer of usage: what was used and charged, as rows, as a file, at a glance, and of the caller itself."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.api import httpbody_pb2

from dac.budget.v1 import usage_pb2, usage_pb2_grpc
from dac.type.v1 import principal_pb2
from mesh import call
from mesh.ids import is_uuid
from services.budget import errors
from services.budget.budget_form import to_message, zone_named
from services.budget.budget_store import PostgresBudgetStore, Status
from services.budget.ledger.rows import LevelKind
from services.budget.ledger.windows import Window, start_of
from services.budget.usage.file import CONTENT_TYPES, UsageFile
from services.budget.usage.store import PostgresUsageStore
from services.budget.usage.usage import STEPS, Dimension, Position, Query, Row, read_token

DEFAULT_PAGE = 100
MAX_PAGE = 1000
EXPORT_PAGE = 5000
"""Rows read at once for a file: no connection is held while a slow reader takes them."""
MAX_DIMENSIONS = 4
MAX_SHOWN = 200
"""Budgets at a glance."""
MAX_READ = 10_000
"""Budgets among which the fullest are looked for."""
MAX_TEXT = 300
FIRST_YEAR, LAST_YEAR = 1970, 9000
"""Times that a database and a calendar can reckon with."""


@dataclass(frozen=True)
class Asked:
    """A checked question with its time steps and its fingerprint."""

    query: Query
    steps: tuple[dt.datetime, ...]
    question: str


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    """See dac.budget.v1.UsageService."""

    def __init__(self, store: PostgresUsageStore, budgets: PostgresBudgetStore, now: Callable[[], dt.datetime]) -> None:
        self._store, self._budgets, self._now = store, budgets, now

    async def QueryUsage(  # noqa: D102
        self, request: usage_pb2.QueryUsageRequest, context: Any
    ) -> usage_pb2.QueryUsageResponse:
        org_id = call.require_organisation("read").org_id
        if request.page_size < 0:
            raise errors.invalid("page_size", f"{request.page_size} is negative; 0 = {DEFAULT_PAGE}")
        size = min(request.page_size, MAX_PAGE) or DEFAULT_PAGE
        position = read_token(request.page_token) if request.page_token else None
        if request.page_token and position is None:
            raise errors.invalid("page_token", "it is not one that this method returned; start without it")
        asked = self._asked(org_id, request, position)
        after = Row(step=position.step, group=position.group) if position else None
        page = await self._store.page(asked.query, asked.steps, after, size)
        response = usage_pb2.QueryUsageResponse(rows=[_row(one, asked.steps) for one in page.rows])
        response.total.CopyFrom(_row(page.total, ()))
        if page.has_more:
            response.next_page_token = _behind(page.rows[-1], asked).token()
        return response

    async def ExportUsage(  # noqa: D102
        self, request: usage_pb2.ExportUsageRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        org_id = call.require_organisation("read").org_id
        form = request.format or "csv"
        if form not in CONTENT_TYPES:
            raise errors.invalid("format", f"{form[:40]!r} is neither csv nor json")
        asked = self._asked(org_id, request, None)
        file = UsageFile(form, asked.query.dimensions, asked.steps)
        after: Row | None = None
        text = file.head()
        while True:
            page = await self._store.page(asked.query, asked.steps, after, EXPORT_PAGE)
            text += file.rows(page.rows)
            if not page.has_more:
                break
            after = page.rows[-1]
            yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPES[form], data=text.encode())
            text = ""
        yield httpbody_pb2.HttpBody(content_type=CONTENT_TYPES[form], data=(text + file.tail()).encode())

    async def GetMyUsage(  # noqa: D102
        self, request: usage_pb2.GetMyUsageRequest, context: Any
    ) -> usage_pb2.GetMyUsageResponse:
        principal = call.require_organisation()
        wanted = usage_pb2.QueryUsageRequest(group_by=[int(Dimension.MODEL)], level=_own_level(principal))  # type: ignore[list-item]
        for field in ("start_at", "end_at"):
            if request.HasField(field):
                getattr(wanted, field).CopyFrom(getattr(request, field))
        asked = self._asked(principal.org_id, wanted, None)
        page = await self._store.page(asked.query, (), None, MAX_PAGE)
        response = usage_pb2.GetMyUsageResponse(rows=[_row(one, ()) for one in page.rows])
        response.total.CopyFrom(_row(page.total, ()))
        return response

    async def GetBudgetStatus(  # noqa: D102
        self, request: usage_pb2.GetBudgetStatusRequest, context: Any
    ) -> usage_pb2.GetBudgetStatusResponse:
        org_id = call.require_organisation("read").org_id
        now = self._now()
        found = sorted(await self._budgets.page(org_id, "", MAX_READ, now), key=_fullness, reverse=True)
        shown = await self._budgets.paced(org_id, found[:MAX_SHOWN], now)
        day, month = (start_of(window, now) for window in (Window.DAY, Window.MONTH))
        today, this_month = await self._store.charged_since(org_id, day, month)
        response = usage_pb2.GetBudgetStatusResponse(
            budgets=[to_message(one, now) for one in shown], today_nano_usd=today, month_nano_usd=this_month
        )
        stop = await self._budgets.stopped(org_id, now)
        if stop is not None:
            response.stop_reason = stop.limit.note
            response.stopped_at.FromDatetime(stop.created_at or now)
        return response

    async def GetMyBalance(  # noqa: D102
        self, request: usage_pb2.GetMyBalanceRequest, context: Any
    ) -> usage_pb2.GetMyBalanceResponse:
        principal = call.require_organisation()
        now = self._now()
        path = {(int(level.kind), level.id) for level in principal.path}
        found = await self._budgets.on_path(principal.org_id, sorted(one for _, one in path if is_uuid(one)), now)
        found = [one for one in found if (one.limit.level.kind, one.limit.level.level_id) in path]
        response = usage_pb2.GetMyBalanceResponse(
            balances=[_balance(one, now) for one in sorted(found, key=_tightness)]
        )
        general = [_left(one) for one in found if one.limit.is_hard and not one.limit.selector]
        stop = await self._budgets.stopped(principal.org_id, now)
        if stop is not None:
            response.stopped_at.FromDatetime(stop.created_at or now)
            general.append(0)
        if any(left is not None for left in general):
            response.remaining_nano_usd = min(left for left in general if left is not None)
        return response

    def _asked(
        self,
        org_id: str,
        request: usage_pb2.QueryUsageRequest | usage_pb2.ExportUsageRequest,
        position: Position | None,
    ) -> Asked:
        """The question, checked. A page that goes on keeps the times of the first one. Raises INVALID_REQUEST."""
        question = _fingerprint(request)
        if position is not None and position.question != question:
            raise errors.invalid("page_token", "it belongs to another question; ask the same, or start without it")
        zone = zone_named(request.time_zone)
        if position is not None:
            start, end = position.start, position.end
        else:
            now = self._now()
            end = _moment(request, "end_at") or now
            start = _moment(request, "start_at") or start_of(Window.MONTH, now, zone)
        if start >= end:
            raise errors.invalid("start_at", f"{start.isoformat()} is not before end_at, {end.isoformat()}")
        query = Query(
            org_id,
            start,
            end,
            dimensions=_dimensions(request.group_by),
            step=_step(request.step),
            zone=zone,
            level=_level(request.level, org_id) if request.HasField("level") else "",
            model=_text("model", request.model),
            provider=_text("provider", request.provider),
            tag=_tag(request.tag),
            tag_key=_text("tag_key", request.tag_key),
        )
        if (Dimension.TAG in query.dimensions) != bool(query.tag_key):
            raise errors.invalid("tag_key", "name the tag's key together with DIMENSION_TAG, and only then")
        try:
            return Asked(query, query.steps, question)
        except (ValueError, OverflowError) as error:
            raise errors.invalid("step", str(error)) from None


def _left(status: Status) -> int | None:
    """What is left under a limit; None = it is unlimited."""
    limit = status.limit.limit_nano_usd
    return None if limit is None else max(0, limit - status.spent_nano_usd - status.reserved_nano_usd)


def _fullness(status: Status) -> float:
    limit = status.limit.limit_nano_usd
    if limit is None:
        return -1.0
    return (status.spent_nano_usd + status.reserved_nano_usd) / limit if limit else float("inf")


def _tightness(status: Status) -> tuple[bool, int, str]:
    left = _left(status)
    return left is None, left or 0, status.limit.budget_id


def _balance(status: Status, now: dt.datetime) -> usage_pb2.Balance:
    shown = to_message(status, now)
    balance = usage_pb2.Balance(
        budget_id=shown.budget_id,
        level=shown.level,
        model=shown.model,
        tag=shown.tag,
        spent_nano_usd=shown.spent_nano_usd,
        reserved_nano_usd=shown.reserved_nano_usd,
        enforcement=shown.enforcement,
    )
    left = _left(status)
    if left is not None:
        balance.limit_nano_usd, balance.remaining_nano_usd = shown.limit_nano_usd, left
    if shown.HasField("resets_at"):
        balance.resets_at.CopyFrom(shown.resets_at)
    return balance


def _own_level(principal: principal_pb2.Principal) -> principal_pb2.Level:
    """The caller's user, or its key when it has none. Raises INVALID_REQUEST for neither."""
    for kind in (LevelKind.USER, LevelKind.KEY):
        for level in reversed(principal.path):
            if int(level.kind) == kind:
                return level
    raise errors.invalid("authorization", "this is for callers with a user or a key; GET /v2/usage is for all others")


def _fingerprint(request: usage_pb2.QueryUsageRequest | usage_pb2.ExportUsageRequest) -> str:
    asked = type(request)()
    asked.CopyFrom(request)  # type: ignore[arg-type]
    if isinstance(asked, usage_pb2.QueryUsageRequest):
        asked.ClearField("page_token")
        asked.ClearField("page_size")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()[:16]


def _moment(request: Any, field: str) -> dt.datetime | None:
    if not request.HasField(field):
        return None
    try:
        moment: dt.datetime = getattr(request, field).ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        moment = dt.datetime.max.replace(tzinfo=dt.UTC)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise errors.invalid(field, f"say a time from {FIRST_YEAR} to {LAST_YEAR}, e.g. 2026-11-01T00:00:00Z")
    return moment


def _dimensions(group_by: Sequence[int]) -> tuple[Dimension, ...]:
    known = {int(one) for one in Dimension}
    if any(one not in known for one in group_by) or len(set(group_by)) < len(group_by):
        names = ", ".join(f"DIMENSION_{one.name}" for one in Dimension)
        raise errors.invalid("group_by", f"name each dimension once, of {names}")
    if len(group_by) > MAX_DIMENSIONS:
        raise errors.invalid("group_by", f"{len(group_by)} dimensions are too many; name at most {MAX_DIMENSIONS}")
    return tuple(Dimension(one) for one in group_by)


def _step(step: int) -> Window | None:
    if step in (0, Window.NONE):
        return None
    if step not in STEPS:
        raise errors.invalid("step", "steps are WINDOW_HOUR, WINDOW_DAY, WINDOW_WEEK or WINDOW_MONTH")
    return Window(step)


def _level(level: principal_pb2.Level, org_id: str) -> str:
    kind = int(level.kind)
    if kind not in tuple(LevelKind):
        raise errors.invalid("level.kind", "say KIND_ORG, KIND_TEAM, KIND_PROJECT, KIND_USER or KIND_KEY")
    if not is_uuid(level.id):
        raise errors.invalid("level.id", f"{level.id[:60]!r} is not a UUID")
    if kind == LevelKind.ORG:
        if level.id.lower() != org_id:
            raise errors.invalid("level.id", f"it must be your own organisation, {org_id}")
        return ""  # Everything is below it, also what was charged before paths were kept.
    return f"{LevelKind(kind).name.lower()}:{level.id.lower()}"


def _text(field: str, text: str) -> str:
    if len(text) > MAX_TEXT or "\x00" in text:
        raise errors.invalid(field, f"it must have at most {MAX_TEXT} characters, and no NUL")
    return text


def _tag(tag: str) -> str:
    if tag and "=" not in tag:
        raise errors.invalid("tag", f"{tag[:60]!r} is not key=value")
    return _text("tag", tag)


def _behind(row: Row, asked: Asked) -> Position:
    return Position(asked.question, asked.query.start, asked.query.end, row.step, row.group)


def _row(row: Row, steps: Sequence[dt.datetime]) -> usage_pb2.UsageRow:
    message = usage_pb2.UsageRow(
        group=row.group,
        requests=row.requests,
        input_tokens=row.input_tokens,
        input_cached_tokens=row.input_cached_tokens,
        cache_write_tokens=row.cache_write_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        cost_nano_usd=row.cost_nano_usd,
    )
    if steps:
        message.start.FromDatetime(steps[row.step - 1])
    return message
