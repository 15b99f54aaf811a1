"""`python -m bench.audit_dashboard [--json] [--requests N]`: how long dashboards take over many requests.

Rollup rows of one organisation are made by SQL as its requests would have left them: 30 days, 20 teams, 60 projects,
200 users and 300 keys, each with nine pairs of model and intent of 12 models (5 providers) and 6 intents. Days hold all
30, hours of single keys the last 4 days (half of them with requests in an hour), minutes the last 6 hours. Then the
questions of dashboards are asked in turn through the service's own contract, without HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import pathlib
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import asyncpg

from dac.audit.v1 import analytics_pb2 as pb
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.app import ROOT
from mesh.call import Call, serving
from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.migrate import bootstrap, migrate, with_login
from mesh.postgres import Database
from services.audit.analytics import sketch
from services.audit.analytics.cells import KINDS, Grain, Kind
from services.audit.analytics.facts import MEASURES
from services.audit.analytics.rollups import Counting, Recounts, Rollups
from services.audit.analytics.server import AnalyticsServicer
from services.audit.analytics.upkeep import Upkeep
from services.audit.config import AuditConfig

REQUESTS = 10_000_000
DAYS, HOUR_DAYS, MINUTE_HOURS = 30, 4, 6
ROUNDS = 20
EXTRA = "month_by_everything"
"""All seven breakdowns in one question: told beside the others, which ask for one or three."""
NOW = dt.datetime(2026, 11, 22, 11, 59, 30, tzinfo=dt.UTC)
POOL = 50
"""Sketches of one size; rows take one of them."""
TUPLES = """CREATE TEMP TABLE tuples ON COMMIT DROP AS
  SELECT md5('t' || k % 20)::uuid AS team_id, md5('p' || k % 60)::uuid AS project_id,
    md5('u' || k % 200)::uuid AS user_id, md5('k' || k)::uuid AS key_id, md5('u' || k % 200)::uuid AS owner,
    'model-' || (k + j) % 12 AS model, 'provider-' || (k + j) % 12 % 5 AS provider,
    'intent-' || (k + j / 3) % 6 AS intent,
    j % 3 + 1 AS complexity
  FROM generate_series(1, 300) AS k, generate_series(1, 9) AS j"""
POOLS = """CREATE TEMP TABLE pool ON COMMIT DROP AS
  SELECT * FROM unnest($1::int[], $2::int[], $3::bytea[]) AS p (size, n, bins)"""
COUNT = """SELECT (SELECT count(*) FROM rollup_minutes) AS rollup_minutes,
  (SELECT count(*) FROM rollup_hours) AS rollup_hours, (SELECT count(*) FROM rollup_days) AS rollup_days"""
COLUMNS = ("team_id", "project_id", "user_id", "key_id", "owner", "model", "provider", "intent", "complexity")
OF_KIND: Mapping[Kind, tuple[str, ...]] = {
    Kind.TOTAL: (),
    Kind.WHAT: ("model", "provider", "intent"),
    Kind.WHO: ("team_id", "project_id", "user_id", "key_id", "owner"),
    Kind.FULL: ("team_id", "project_id", "user_id", "key_id", "owner", "model", "provider", "intent"),
    Kind.EVIDENCE: ("team_id", "model", "provider", "intent", "complexity"),
    Kind.TRIED: ("model", "provider"),
    Kind.TEAM: ("team_id",),
    Kind.PROJECT: ("project_id",),
}
FILL = """INSERT INTO {table} (org_id, kind, bucket, cell, {columns}, {measures}, clean_squared, latency, first_token)
  SELECT $1, {kind}, b, md5(concat_ws('|', b, {key}))::uuid, {values}, {sums}, 1e12,
    (SELECT bins FROM pool WHERE size = s AND n = (r * {pool})::int),
    (SELECT bins FROM pool WHERE size = s AND n = (r * {pool})::int)
  FROM (SELECT b, {group} {each} * count(*) AS amount, random() AS r,
      CASE WHEN {each} * count(*) < 10 THEN 5 WHEN {each} * count(*) < 500 THEN 100 ELSE 5000 END AS s
    FROM tuples, generate_series($2::timestamptz, $3::timestamptz, $4::interval) AS b
    WHERE random() < {share} GROUP BY b {by}) AS cells"""
"""Of this file's words and numbers only."""


def _statement(grain: Grain, kind: Kind, each: float, share: float) -> str:
    used = OF_KIND[kind]
    missing = {"model": "''", "provider": "''", "intent": "''", "complexity": "0"}
    weights = {"requests": 1.0, "ok": 0.97, "failed": 0.03, "input_tokens": 800.0, "output_tokens": 200.0}
    weights |= {"cost_nano_usd": 500_000.0, "reserved_nano_usd": 2e6, "quality_count": 0.2, "quality_points": 1800.0}
    weights |= {"cache_lookups": 0.5, "cache_hits": 0.1, "attempts": 1.02, "clean": 0.9, "clean_nano_usd": 450_000.0}
    weights |= {"clean_input_tokens": 720.0, "clean_output_tokens": 180.0, "quality_squared": 1.7e7}
    return FILL.format(
        table=grain.value,
        kind=int(kind),
        columns=", ".join(COLUMNS),
        measures=", ".join(MEASURES),
        key=", ".join(used) or "''",
        values=", ".join(one if one in used else missing.get(one, "NULL") for one in COLUMNS),
        sums=", ".join(f"(amount * {weights.get(name, 0.0)})::bigint" for name in MEASURES),
        pool=POOL - 1,
        each=max(each, 1.0),
        share=share,
        group="".join(f"{one}, " for one in used),
        by="".join(f", {one}" for one in used),
    )


async def fill(superuser_dsn: str, org_id: str, requests: int) -> dict[str, int]:
    """Makes the rows; how many of each table."""
    cells = 300 * 9
    day = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    spans = {
        Grain.DAY: (day - dt.timedelta(days=DAYS - 1), day, dt.timedelta(days=1), requests / DAYS / cells, 1.0),
        Grain.HOUR: (
            hour - dt.timedelta(days=HOUR_DAYS),
            hour,
            dt.timedelta(hours=1),
            requests / DAYS / 24 / cells,
            0.5,
        ),
        Grain.MINUTE: (
            hour - dt.timedelta(hours=MINUTE_HOURS - 1),
            NOW,
            dt.timedelta(minutes=1),
            1.0,
            min(1.0, requests / DAYS / 1440 / cells),
        ),
    }
    made = random.Random(9)
    rows = [
        (size, n, sketch.added(b"", (sketch.key_of(made.lognormvariate(6.5, 0.8)) for _ in range(size))))
        for size in (5, 100, 5000)
        for n in range(POOL)
    ]
    connection = await asyncpg.connect(superuser_dsn, database="dac", server_settings={"search_path": "audit"})
    async with connection.transaction():
        await connection.execute(TUPLES)
        await connection.execute(POOLS, *map(list, zip(*rows, strict=True)))
        for grain, (start, end, step, each, share) in spans.items():
            for kind in KINDS[grain]:
                # Two requests an hour of each cell that has any: half of the cells have none.
                amount = each / share if grain is Grain.HOUR else each
                await connection.execute(_statement(grain, kind, amount, share), org_id, start, end, step, timeout=600)
    found = dict(await connection.fetchrow(COUNT))
    # What autovacuum does within a minute.
    await connection.execute("VACUUM ANALYZE", timeout=600)
    await connection.close()
    return found


def questions(user: str) -> dict[str, Any]:
    """What is asked, by name."""
    model, who = pb.ANALYTICS_DIMENSION_MODEL, pb.ANALYTICS_DIMENSION_KEY
    month: dict[str, Any] = {"start_date": "2026-10-24", "end_date": "2026-11-22"}
    everything: list[Any] = [one.number for one in pb.AnalyticsDimension.DESCRIPTOR.values if one.number]
    hours = pb.GetDashboardRequest(group_by=[model], step=pb.ANALYTICS_STEP_MINUTE)
    hours.start_at.FromDatetime(NOW - dt.timedelta(hours=3))
    team = pb.GetDashboardRequest(team_id=_id("t1"), step=pb.ANALYTICS_STEP_MINUTE)
    team.start_at.FromDatetime(NOW - dt.timedelta(hours=3))
    days = pb.GetDashboardRequest(group_by=[pb.ANALYTICS_DIMENSION_USER])
    days.start_at.FromDatetime(NOW - dt.timedelta(days=2))
    return {
        "day_by_model": pb.GetDashboardRequest(),
        "month_by_model": pb.GetDashboardRequest(**month),
        EXTRA: pb.GetDashboardRequest(group_by=everything, **month),
        "month_by_model_team_intent": pb.GetDashboardRequest(
            group_by=[model, pb.ANALYTICS_DIMENSION_TEAM, pb.ANALYTICS_DIMENSION_INTENT], **month
        ),
        "month_by_key": pb.GetDashboardRequest(group_by=[who], limit=200, **month),
        "month_of_team": pb.GetDashboardRequest(team_id=_id("t1"), **month),
        "month_of_user_by_model": pb.GetDashboardRequest(user_id=user, group_by=[model], **month),
        "month_of_key_by_model": pb.GetDashboardRequest(key_id=_id("k7"), group_by=[model], **month),
        "two_days_by_hour_by_user": days,
        "three_hours_by_minute": hours,
        "three_hours_of_team": team,
        "mine_month": pb.GetMyDashboardRequest(**month),
        "recommendations": pb.ListRecommendationsRequest(**month),
    }


def _id(word: str) -> str:
    import hashlib
    import uuid

    return str(uuid.UUID(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest()))


async def _asked(server: AnalyticsServicer, org_id: str, rounds: int) -> dict[str, list[float]]:
    user = _id("u3")
    caller = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, user_id=user, scopes=["read"])
    caller.path.append(Level(kind=Level.KIND_USER, id=user))
    asked = questions(user)
    took: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, question in random.Random(len(took["day_by_model"])).sample(sorted(asked.items()), len(asked)):
            begun = time.perf_counter()
            with serving(Call(uuid7(), caller)):
                if isinstance(question, pb.GetMyDashboardRequest):
                    answer: Any = await server.GetMyDashboard(question, None)
                elif isinstance(question, pb.ListRecommendationsRequest):
                    answer = await server.ListRecommendations(question, None)
                else:
                    answer = await server.GetDashboard(question, None)
            answer.SerializeToString()
            took[name].append((time.perf_counter() - begun) * 1000)
    return took


async def _measured(folder: pathlib.Path, requests: int, rounds: int) -> dict[str, Any]:
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres.start()
    try:
        password = secrets.token_hex(16)
        owner = await bootstrap(postgres.superuser_dsn, secrets.token_hex(16))
        await migrate(owner, {"audit": ROOT / "services" / "audit" / "migrations"}, {"audit": password})
        database = Database(with_login(owner, "dac_audit", password), "audit", command_timeout_s=600)
        config = AuditConfig()
        rollups = Rollups(config, lambda: NOW)
        counting, recounts = Counting(database, rollups), Recounts(database, rollups)
        await Upkeep(database, rollups, counting, recounts, lambda: NOW, config).tables()
        server = AnalyticsServicer(database, rollups, counting, recounts, config, lambda: NOW)
        org_id = uuid7()
        rows = await fill(postgres.superuser_dsn, org_id, requests)
        await _asked(server, org_id, 2)
        took = await _asked(server, org_id, rounds)
        await database.close()
    finally:
        postgres.stop()
    every = sorted(one for name, times in took.items() for one in times if name != EXTRA)
    return {
        "requests": requests,
        "rows": rows,
        "asked": len(every),
        "p50_ms": round(statistics.median(every), 1),
        "p95_ms": round(every[int(len(every) * 0.95)], 1),
        "worst_ms": round(every[-1], 1),
        "median_ms_by_question": {name: round(statistics.median(times), 1) for name, times in took.items()},
    }


def measure(requests: int = REQUESTS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Figures of dashboards over so many requests; `p95_ms` over all questions."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measured(pathlib.Path(folder), requests, rounds))


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_dashboard", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests of the month (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often every question is asked (%(default)s)")
    options = parser.parse_args(arguments)
    found = measure(options.requests, max(1, options.rounds))
    if options.json:
        print(json.dumps({"dashboard": found}))
        return 0
    for name, value in found.items():
        print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
