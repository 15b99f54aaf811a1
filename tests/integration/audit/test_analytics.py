"""Figures equal a plain recount of the records, however they came; nobody sees another's; rebuilding agrees."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dac.audit.v1 import analytics_pb2 as pb
from dac.type.v1 import record_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.audit.analytics.rollups import Counting, Recounts, Rollups
from services.audit.analytics.server import AnalyticsServicer
from services.audit.analytics.upkeep import Upkeep
from services.audit.config import AuditConfig
from services.audit.server import request_row
from services.audit.store import PostgresAuditStore
from tests.conftest import Migrated
from tests.integration.audit import made_records as made
from tests.integration.audit.engines import ENGINES, Make, figures_in
from tests.integration.audit.made_records import as_caller

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
CONFIG = AuditConfig(evidence_requests=30)
TABLES = ("rollup_minutes", "rollup_hours", "rollup_days", "thread_days")
PARTS = """SELECT p.relname, i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
  WHERE p.relname IN ('rollup_minutes', 'rollup_hours', 'rollup_days') AND p.relkind IN ('r', 'p')"""
SMALL = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Analytics:
    """Audit's store and its figures, without the loops: a test says when something is counted."""

    def __init__(self, database: Database) -> None:
        self.database = database
        rollups = Rollups(CONFIG, lambda: NOW)
        self.store = PostgresAuditStore(database)
        self.counting, self.recounts = Counting(database, rollups), Recounts(database, rollups)
        self.upkeep = Upkeep(database, rollups, self.counting, self.recounts, lambda: NOW, CONFIG)
        self.server = AnalyticsServicer(database, rollups, self.counting, self.recounts, CONFIG, lambda: NOW)

    async def keep(self, records: Sequence[record_pb2.RequestRecord]) -> None:
        """As the follower does."""
        await self.store.insert_requests([request_row(record) for record in records], "")

    async def dashboard(self, org_id: str, **fields: Any) -> pb.GetDashboardResponse:
        """The figures of the two days, as a reader of the organisation."""
        wanted = {"start_date": "2026-11-20", "end_date": "2026-11-21", **fields}
        with as_caller(org_id, "read"):
            return await self.server.GetDashboard(pb.GetDashboardRequest(**wanted), None)

    async def rows(self, org_id: str) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that was counted."""
        async with self.database.transaction(org_id) as connection:
            found = {}
            for table in TABLES:
                form = "SELECT t.* FROM {} t".format(table)  # noqa: UP032
                found[table] = sorted(tuple(map(str, row)) for row in await connection.fetch(form))
            return found


@pytest.fixture(scope="module", params=ENGINES)
async def figures(request: pytest.FixtureRequest, make_database: Make) -> AsyncIterator[Migrated]:
    """What every engine does alike is asked of each."""
    async with figures_in(request.param, make_database) as made:
        yield made


@pytest.fixture
async def analytics(figures: Migrated) -> AsyncIterator[Analytics]:
    database = Database(figures.dsn("audit"), "audit")
    found = Analytics(database)
    await found.upkeep.tables()
    yield found
    await database.close()


def plain(figures: pb.Figures) -> dict[str, int]:
    return {name: getattr(figures, name) for name in made.recount([])}


@given(data=st.data())
@SMALL
async def test_figures_equal_a_plain_recount_in_total_by_everything_and_filtered(
    analytics: Analytics, data: st.DataObject
) -> None:
    org_id = uuid7()
    records = data.draw(st.lists(made.records(org_id), min_size=1, max_size=25))
    await analytics.keep(records)
    for step in (pb.ANALYTICS_STEP_HOUR, pb.ANALYTICS_STEP_DAY):
        every = [one.number for one in pb.AnalyticsDimension.DESCRIPTOR.values if one.number]
        found = await analytics.dashboard(org_id, step=step, group_by=every)
        assert plain(found.total) == made.recount(records)
        assert sum(point.figures.requests for point in found.series) == len(records)
        for part in found.breakdowns:
            keys: dict[int, Callable[[record_pb2.RequestRecord], str]] = {
                **{number: lambda one, kind=number + 1: made.id_of(one, kind) for number in (1, 2, 3, 4)},  # type: ignore[misc]
                5: made.model_of,
                6: lambda one: one.attempts[-1].provider if one.attempts else "",
                7: lambda one: one.features.intent,
            }
            of = keys[part.dimension]
            assert {group.value: plain(group.figures) for group in part.groups} == {
                value: made.recount([one for one in records if of(one) == value])
                for value in {of(one) for one in records}
            }
    team, user, model = made.TEAMS[0], made.USERS[0], made.MODELS[0][0]
    for only in ({"team_id": team}, {"user_id": user, "model": model}, {"team_id": team, "intent": "qa_retrieval"}):
        found = await analytics.dashboard(org_id, **only)
        wanted = [
            one
            for one in records
            if all(
                {
                    "team_id": made.id_of(one, 2),
                    "user_id": made.id_of(one, 4),
                    "model": made.model_of(one),
                    "intent": one.features.intent,
                }[name]
                == value
                for name, value in only.items()
            )
        ]
        assert plain(found.total) == made.recount(wanted), only


@given(data=st.data())
@SMALL
async def test_order_batches_and_repeats_of_delivery_change_nothing(analytics: Analytics, data: st.DataObject) -> None:
    org_id = uuid7()
    records = data.draw(st.lists(made.records(org_id), min_size=2, max_size=12))
    await analytics.keep(records)
    await analytics.counting.everything()
    once = await analytics.rows(org_id)
    # Deliver the same to another organisation: shuffled, in batches, some of them again, counted now and then.
    other = uuid7()
    for one in records:
        one.org_id = other
    shuffled = data.draw(st.permutations([*records, *data.draw(st.lists(st.sampled_from(records), max_size=6))]))
    cut = data.draw(st.integers(0, len(shuffled)))
    for batch in (shuffled[:cut], shuffled[cut:]):
        unique = list({one.request_id: one for one in batch}.values())
        await analytics.keep(unique)
        await analytics.counting.some([other], data.draw(st.integers(1, 5)))
    await analytics.counting.everything()
    again = await analytics.rows(other)
    assert {table: sorted(row[1:] for row in rows) for table, rows in again.items()} == {
        table: sorted(row[1:] for row in rows) for table, rows in once.items()
    }


@given(data=st.data())
@SMALL
async def test_dropped_and_rebuilt_is_equal(analytics: Analytics, data: st.DataObject) -> None:
    org_id = uuid7()
    await analytics.keep(data.draw(st.lists(made.records(org_id), min_size=1, max_size=15)))
    await analytics.counting.everything()
    before = await analytics.rows(org_id)
    async with analytics.database.transaction(org_id) as connection:
        await connection.execute("DELETE FROM rollup_minutes")
        await connection.execute("DELETE FROM rollup_days")
        await connection.execute("UPDATE rollup_hours SET requests = 7")
    with as_caller(org_id, "admin"):
        told = [one async for one in analytics.server.RebuildAnalytics(pb.RebuildAnalyticsRequest(), None)]
    assert [one.date for one in told] == sorted((one.date for one in told), reverse=True)
    assert await analytics.rows(org_id) == before


def some_records(org_id: str, count: int, at: dt.datetime = made.DAY) -> list[record_pb2.RequestRecord]:
    found = []
    for number in range(count):
        one = record_pb2.RequestRecord(
            org_id=org_id, request_id=uuid7(), outcome="OUTCOME_OK", asked_model="m", cost_nano_usd=5
        )
        begun = at + dt.timedelta(seconds=number)
        one.started_at.FromDatetime(begun)
        one.ended_at.FromDatetime(begun + dt.timedelta(milliseconds=random.lognormvariate(6, 1)))
        found.append(one)
    return found


async def test_rebuilding_beside_running_traffic_counts_each_request_once(analytics: Analytics) -> None:
    org_id = uuid7()
    await analytics.keep(some_records(org_id, 50))

    async def traffic() -> None:
        for _ in range(15):
            await analytics.keep(some_records(org_id, 7))
            await analytics.counting.some([org_id], 5)

    async def rebuilding() -> None:
        for _ in range(6):
            await analytics.recounts.day(org_id, made.DAY.date())

    await asyncio.gather(traffic(), rebuilding(), traffic(), analytics.counting.everything())
    await analytics.counting.everything()
    assert (await analytics.dashboard(org_id)).total.requests == 50 + 2 * 15 * 7
    rows = await analytics.rows(org_id)
    await analytics.recounts.day(org_id, made.DAY.date())
    assert await analytics.rows(org_id) == rows


async def test_percentiles_are_within_the_sketch_s_error_of_exact_ones(analytics: Analytics) -> None:
    org_id = uuid7()
    records = some_records(org_id, 1500)
    for part in range(0, 1500, 300):
        await analytics.keep(records[part : part + 300])
        await analytics.counting.everything()
    latency = (await analytics.dashboard(org_id)).total.latency
    exact = [(one.ended_at.ToNanoseconds() - one.started_at.ToNanoseconds()) / 1e6 for one in records]
    for told, share in ((latency.p50_ms, 0.5), (latency.p95_ms, 0.95), (latency.p99_ms, 0.99)):
        wanted = float(np.quantile(exact, share, method="lower"))
        assert abs(told - wanted) <= 0.01 * wanted * 1.0001
    assert latency.count == 1500


async def test_nobody_sees_another_organisation_or_another_user(analytics: Analytics) -> None:
    mine, theirs = uuid7(), uuid7()
    user = made.USERS[0]
    own, other = some_records(mine, 3), some_records(mine, 4)
    for one in own:
        one.path.append(made.level(4, user))
        one.thread_id = "t"
    for one in other:
        one.path.append(made.level(4, made.USERS[1]))
    await analytics.keep([*own, *other, *some_records(theirs, 9)])
    assert (await analytics.dashboard(mine)).total.requests == 7
    assert (await analytics.dashboard(theirs)).total.requests == 9
    window = {"start_date": "2026-11-20", "end_date": "2026-11-21"}
    with as_caller(mine, "chat", user_id=user):
        found = await analytics.server.GetMyDashboard(pb.GetMyDashboardRequest(**window), None)  # type: ignore[arg-type]
        with pytest.raises(MeshError) as refused:
            await analytics.server.GetDashboard(pb.GetDashboardRequest(), None)
    assert refused.value.reason is Reason.PERMISSION_DENIED
    assert (found.total.requests, found.conversations.threads, found.conversations.turns) == (3, 1, 3)
    assert sum(found.conversations.requests_by_hour) == 3
    assert [(one.model, one.requests, one.share) for one in found.preferences] == [("m", 3, 1.0)]


async def test_parts_of_the_tables_show_no_other_organisation_either(analytics: Analytics) -> None:
    """Partitions or chunks, each named by itself; of a day and of years that have none yet."""
    mine, other = uuid7(), uuid7()
    for org_id in (mine, other):
        await analytics.keep([*some_records(org_id, 2), *some_records(org_id, 2, NOW - dt.timedelta(days=900))])
    await analytics.counting.everything()
    async with analytics.database.transaction(mine) as connection:
        parts = await connection.fetch(PARTS)
        seen: dict[str, set[str]] = {}
        for parent, part in parts:
            rows = await connection.fetch("SELECT DISTINCT org_id::text FROM {}".format(part))  # noqa: UP032
            seen.setdefault(parent, set()).update(row[0] for row in rows)
    assert set(seen) == set(TABLES[:3]) and all(found == {mine} for found in seen.values()), seen


async def test_rows_go_by_age_and_coarser_ones_still_hold_them(analytics: Analytics) -> None:
    org_id = uuid7()
    old = NOW - dt.timedelta(days=40)
    await analytics.keep([*some_records(org_id, 4, old), *some_records(org_id, 2, NOW - dt.timedelta(hours=1))])
    await analytics.counting.everything()
    rows = await analytics.rows(org_id)
    assert len({row[2] for row in rows["rollup_minutes"]}) == 1, "minutes of old records are not kept"
    assert (await analytics.dashboard(org_id, start_date="2026-10-01", end_date="2026-11-22")).total.requests == 6
    later = Analytics(analytics.database)
    later.upkeep._now = lambda: NOW + dt.timedelta(days=200)
    later.upkeep._rollups = Rollups(CONFIG, later.upkeep._now)
    await later.upkeep.tables()
    rows = await analytics.rows(org_id)
    assert not rows["rollup_minutes"] and not rows["rollup_hours"] and rows["rollup_days"]


async def test_what_was_recorded_before_there_were_figures_is_counted(analytics: Analytics) -> None:
    org_id = uuid7()
    await analytics.keep(some_records(org_id, 5))
    async with analytics.database.transaction(org_id) as connection:
        # As a migration finds it: records, and nothing that waits.
        await connection.execute("DELETE FROM uncounted")
        await connection.execute("DELETE FROM cursors WHERE consumer = 'recounts'")
    fresh = Analytics(analytics.database)
    await fresh.upkeep.tables()
    await fresh.upkeep.recount()
    assert (await fresh.dashboard(org_id)).total.requests == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"start_date": "2026-13-01"},
        {"start_date": "2026-11-22", "end_date": "2026-11-20"},
        {"start_date": "2020-01-01", "step": pb.ANALYTICS_STEP_MINUTE},
        {"team_id": "x"},
        {"group_by": [5, 5]},
        {"limit": -1},
        {"model": "a\x00"},
        {"step": 9},
    ],
)
async def test_a_wrong_question_says_which_field(analytics: Analytics, fields: dict[str, Any]) -> None:
    with pytest.raises(MeshError) as refused:
        await analytics.dashboard(uuid7(), **fields)
    assert refused.value.reason is Reason.INVALID_REQUEST and refused.value.metadata["field"]
