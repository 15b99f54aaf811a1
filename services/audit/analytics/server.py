"""The servicer of analytics: proto in, rollups, proto out."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any

from dac.audit.v1 import analytics_pb2 as pb
from dac.audit.v1 import analytics_pb2_grpc
from dac.type.v1 import principal_pb2
from mesh import call
from mesh.ids import is_uuid
from mesh.postgres import Database
from services.audit import errors
from services.audit.analytics import form
from services.audit.analytics.cells import Grain
from services.audit.analytics.reading import Reader, Sums, joined
from services.audit.analytics.recommendations import recommended
from services.audit.analytics.rollups import Counting, Recounts, Rollups
from services.audit.analytics.windows import Window, day_of
from services.audit.config import AuditConfig

DEFAULT_LIMIT, MAX_LIMIT = 20, 200
EVIDENCE_DAYS = 30
MY_DIMENSIONS = (pb.ANALYTICS_DIMENSION_MODEL, pb.ANALYTICS_DIMENSION_INTENT)


class AnalyticsServicer(analytics_pb2_grpc.AnalyticsServiceServicer):
    """See dac.audit.v1.AnalyticsService."""

    def __init__(
        self,
        database: Database,
        rollups: Rollups,
        counting: Counting,
        recounts: Recounts,
        config: AuditConfig,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._database, self._rollups, self._counting, self._recounts = database, rollups, counting, recounts
        self._config, self._now = config, now

    async def GetDashboard(  # noqa: D102
        self, request: pb.GetDashboardRequest, context: Any
    ) -> pb.GetDashboardResponse:
        org_id = call.require_organisation("read").org_id
        window, wanted, only = self._window(request), form.dimensions(request.group_by), form.filters(request)
        if request.limit < 0:
            raise errors.invalid("limit", f"{request.limit} is negative; 0 = {DEFAULT_LIMIT}")
        limit = min(request.limit, MAX_LIMIT) or DEFAULT_LIMIT
        await self._counting.fresh(org_id)
        async with self._database.transaction(org_id) as connection:
            reader = Reader(connection, org_id, only)
            points = await reader.sums(window, window.step, "bucket")
            answer = pb.GetDashboardResponse(
                step=form.STEPS[window.step],
                total=form.figures(joined(points)),
                before=form.figures(await self._before(reader, window)),
                series=form.series(points),
            )
            for one in wanted:
                found = await reader.most(window, window.coarsest, form.DIMENSIONS[one], limit)
                answer.breakdowns.append(form.breakdown(one, *found))
        answer.start_at.FromDatetime(window.start)
        answer.end_at.FromDatetime(window.end)
        return answer

    async def GetMyDashboard(  # noqa: D102
        self, request: pb.GetMyDashboardRequest, context: Any
    ) -> pb.GetMyDashboardResponse:
        principal = call.require_organisation()
        org_id, owner, window = principal.org_id, _own(principal), self._window(request)
        await self._counting.fresh(org_id)
        async with self._database.transaction(org_id) as connection:
            reader = Reader(connection, org_id, {"owner": owner})
            points = await reader.sums(window, window.step, "bucket")
            total = joined(points)
            answer = pb.GetMyDashboardResponse(
                step=form.STEPS[window.step],
                total=form.figures(total),
                before=form.figures(await self._before(reader, window)),
                series=form.series(points),
                features=form.used(total.measures),
                preferences=form.preferences(await reader.preferences(window, window.coarsest)),
            )
            for one in MY_DIMENSIONS:
                found = await reader.most(window, window.coarsest, form.DIMENSIONS[int(one)], DEFAULT_LIMIT)
                answer.breakdowns.append(form.breakdown(int(one), *found))
            await self._talk(reader, window, answer.conversations)
        answer.start_at.FromDatetime(window.start)
        answer.end_at.FromDatetime(window.end)
        return answer

    async def ListRecommendations(  # noqa: D102
        self, request: pb.ListRecommendationsRequest, context: Any
    ) -> pb.ListRecommendationsResponse:
        org_id = call.require_organisation("read").org_id
        window = form.asked_days(request.start_date, request.end_date, self._now(), EVIDENCE_DAYS)
        team = form.team_id(request.team_id, "team_id")
        await self._counting.fresh(org_id)
        async with self._database.transaction(org_id) as connection:
            reader = Reader(connection, org_id, {"team_id": team})
            total = joined(await reader.sums(window, Grain.DAY))
            tried = await reader.tried(window)
            found = recommended(
                await reader.evidence(window), tried, total.measures, max(2, self._config.evidence_requests)
            )
        answer = pb.ListRecommendationsResponse(
            requests=total.measures["requests"],
            recommendations=[form.recommendation(one) for one in found.findings],
            missing=[pb.MissingEvidence(kind=kind, message=said) for kind, said in found.missing],  # type: ignore[arg-type]
        )
        answer.start_at.FromDatetime(window.start)
        answer.end_at.FromDatetime(window.end)
        return answer

    async def RebuildAnalytics(  # noqa: D102
        self, request: pb.RebuildAnalyticsRequest, context: Any
    ) -> AsyncIterator[pb.RebuildAnalyticsResponse]:
        org_id = call.require_organisation("admin").org_id
        first = day_of(request.start_date, "start_date").date() if request.start_date else dt.date.min
        last = day_of(request.end_date, "end_date").date() if request.end_date else dt.date.max
        for day in await self._recounts.days(org_id):
            if first <= day <= last:
                count = await self._recounts.day(org_id, day)
                yield pb.RebuildAnalyticsResponse(date=day.isoformat(), requests=count)

    def _window(self, request: pb.GetDashboardRequest | pb.GetMyDashboardRequest) -> Window:
        return form.asked_window(request, self._now(), self._rollups.kept_from(Grain.MINUTE))

    async def _before(self, reader: Reader, window: Window) -> Sums:
        before = window.before
        return joined(await reader.sums(before, before.coarsest))

    async def _talk(self, reader: Reader, window: Window, made: pb.GetMyDashboardResponse.Conversations) -> None:
        """Threads, and the hours of the day while they are kept. Threads are kept by the day: of a window within days
        they are those of its days."""
        made.threads, made.turns, made.longest_turns = await reader.threads(window)
        made.turns_per_thread = made.turns / made.threads if made.threads else 0.0
        if window.start >= self._rollups.kept_from(Grain.HOUR) and window.step is not Grain.MINUTE:
            made.requests_by_hour.extend(await reader.hours(window))


def _own(principal: principal_pb2.Principal) -> str:
    """The caller's user, or its key when it has none. Raises INVALID_REQUEST for neither."""
    for kind in (principal_pb2.Level.KIND_USER, principal_pb2.Level.KIND_KEY):
        for level in reversed(principal.path):
            if level.kind == kind and is_uuid(level.id):
                return level.id
    raise errors.invalid(
        "authorization", "this is for callers with a user or a key; GET /v2/analytics/dashboard is for all"
    )
