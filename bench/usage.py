"""How long the sums of a large ledger take, read line by line and from the sums kept aside.

`python -m bench.usage [--lines 1000000] [--rounds 5] [--json]`. One embedded PostgreSQL with its shipped settings; the
ledger is filled by SQL with the last 30 days of one organisation: 300 keys of 20 teams, few of which do most, eight
models of three providers, days busier than nights, budgets of organisation, teams and keys. Each question is asked
through the store as the service asks it: first of the lines alone, then, after folding, of the sums; both answers must
be equal. Medians over the rounds; CPU is of PostgreSQL and all of its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import pathlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.migrate import bootstrap, migrate, role_of, with_login
from mesh.postgres import Database
from services.budget.ledger.row_columns import PLAN_BY_KEY, PLAN_ONCE
from services.budget.ledger.windows import EPOCH, Window
from services.budget.usage.folding import Folder
from services.budget.usage.store import PostgresUsageStore
from services.budget.usage.usage import Dimension, Query

ROOT = pathlib.Path(__file__).resolve().parent.parent
DAYS = 30
KEYS, TEAMS = 300, 20
CHUNK = 50_000
"""Lines in one INSERT."""
FILL = """
INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, at, provider,
                    model, operation, path, tags, tokens)
SELECT $1::uuid, gen_random_uuid(), '0:' || gen_random_uuid(), 'commit', 1000 + g % 977, 1, gen_random_uuid(),
  ARRAY['00000001-0000-7000-8000-000000000000@0', format('00000002-0000-7000-8000-%s@0', lpad(team::text, 12, '0')),
        format('00000003-0000-7000-8000-%s@0', lpad(key::text, 12, '0'))],
  -- Two thirds of a day's requests come in half of it.
  $2::timestamptz + make_interval(secs => day * 86400 + 86400 * CASE WHEN share < 0.66 THEN 0.3 + share / 1.32
    ELSE (share - 0.66) * 0.882 + CASE WHEN share > 0.83 THEN 0.65 ELSE 0 END END),
  'p' || model % 3, 'p' || model % 3 || '/m' || model, CASE WHEN g % 20 = 0 THEN 'embeddings' ELSE 'chat' END,
  ARRAY['org:' || $1::uuid::text, format('team:00000000-0000-7000-8000-%s', lpad(team::text, 12, '0')),
        format('user:00000000-0000-7000-8001-%s', lpad((key / 2)::text, 12, '0')),
        format('key:00000000-0000-7000-8002-%s', lpad(key::text, 12, '0'))],
  ARRAY['app=a' || key % 12, 'env=prod'], ARRAY[g % 1000, 1, 2, 3, 4]::bigint[]
FROM (SELECT g, day, share, key, key % $6::integer AS team,
             (key + floor(2.4 * power(random(), 3)))::integer % 8 AS model
  FROM (SELECT g, floor(g * 30.0 / $5)::integer AS day, g * 30.0 / $5 - floor(g * 30.0 / $5) AS share,
               floor($7::integer * power(random(), 3))::integer AS key
        FROM generate_series($3::bigint, $4::bigint - 1) AS g) AS a) AS b"""


@dataclass(frozen=True)
class Question:
    """One thing that is asked."""

    name: str
    ask: Callable[[PostgresUsageStore], Awaitable[Any]]


def questions(org_id: str, start: dt.datetime, end: dt.datetime) -> list[Question]:
    """What the status, the usage page and a caller's own usage ask."""

    def page(name: str, *dimensions: Dimension, step: Window | None = None, **fields: Any) -> Question:
        query = Query(org_id, fields.pop("start", start), end, dimensions, step, **fields)
        return Question(name, lambda store: store.page(query, query.steps, None, 1000))

    day = end.replace(hour=0, minute=0, second=0, microsecond=0)
    budgets = [(1, 0), *((2, team) for team in range(TEAMS)), *((3, key) for key in range(100))]
    counters = [(f"0000000{kind}-0000-7000-8000-{number:012}", EPOCH) for kind, number in budgets]
    team = "team:00000000-0000-7000-8000-000000000003"
    key = "key:00000000-0000-7000-8002-000000000123"
    model, by_day = Dimension.MODEL, Window.DAY
    return [
        Question("status: today, this month", lambda store: store.charged_since(org_id, day, start)),
        Question(
            "status: last 24 h of 121 budgets",
            lambda store: store.spent_recently(org_id, counters, end - dt.timedelta(days=1)),
        ),
        page("month, by model and day", model, step=by_day),
        page("month, by model and day of Berlin", model, step=by_day, zone="Europe/Berlin"),
        page("month, one model, by hour", step=Window.HOUR, model="p1/m1"),
        page("month, by team and model", Dimension.TEAM, model),
        page("month, by key and day", Dimension.KEY, step=by_day),
        page("month, by tag", Dimension.TAG, tag_key="app"),
        page("one team's month, by key and model", Dimension.KEY, model, level=team),
        page("a caller's own month, by model", model, level=key),
        page("last 24 h, by hour and provider", Dimension.PROVIDER, step=Window.HOUR, start=end - dt.timedelta(days=1)),
    ]


async def _fill(database: Database, org_id: str, lines: int, start: dt.datetime, console: Console) -> None:
    for first in range(0, lines, CHUNK):
        async with database.transaction(org_id) as connection:
            last = min(lines, first + CHUNK)
            await connection.execute(FILL, org_id, start, first, last, lines, TEAMS, KEYS, timeout=300)
        console.print(f"  {min(lines, first + CHUNK)} lines", end="\r")


async def _measured(
    store: PostgresUsageStore, server: EmbeddedPostgres, asked: Question, rounds: int
) -> tuple[dict[str, float], Any]:
    walls, cpus = [], []
    answer = None
    for _ in range(rounds):
        began, cpu_ms = time.perf_counter(), _cpu_ms(server)
        answer = await asked.ask(store)
        walls.append((time.perf_counter() - began) * 1000)
        cpus.append(_cpu_ms(server) - cpu_ms)
    return {"ms": round(statistics.median(walls), 1), "cpu_ms": round(statistics.median(cpus), 1)}, answer


def _cpu_ms(server: EmbeddedPostgres) -> float:
    """Of the postmaster, its children, and those that have ended: the workers of parallel queries."""
    assert server.process is not None
    postmaster = psutil.Process(server.process.pid)
    times = postmaster.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in postmaster.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return float(total) * 1000


async def measure(server: EmbeddedPostgres, lines: int, rounds: int, console: Console) -> dict[str, Any]:
    """The figures of every question."""
    owner = await bootstrap(server.superuser_dsn, secrets.token_hex(16))
    await migrate(owner, {"budget": ROOT / "services" / "budget" / "migrations"}, {"budget": "pw"})
    # One connection: its process is the one that answers.
    database = Database(with_login(owner, role_of("budget"), "pw"), "budget", pool_max=1, command_timeout_s=300)
    database.prefer(*PLAN_BY_KEY)
    database.prefer(*PLAN_ONCE)
    await database.open()
    org_id, end = uuid7(), dt.datetime.now(dt.UTC)
    begin = end - dt.timedelta(days=DAYS)
    start = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    await _fill(database, org_id, lines, begin, console)
    administrator = await asyncpg.connect(server.superuser_dsn.replace("@/postgres?", "@/dac?"))
    # As autovacuum does a minute later.
    await administrator.execute("VACUUM ANALYZE budget.ledger")
    store, found = PostgresUsageStore(database), {}
    asked = questions(org_id, start, end)
    for one in asked:
        figures, answer = await _measured(store, server, one, rounds)
        found[one.name] = {"lines": figures, "answer": answer}
        console.print(f"  {one.name}: {figures}")
    began, cpu_ms = time.perf_counter(), _cpu_ms(server)
    await Folder(database).fold()
    fold_s, fold_cpu_s = time.perf_counter() - began, (_cpu_ms(server) - cpu_ms) / 1000
    await administrator.execute("VACUUM ANALYZE budget.usage_cells, budget.usage_sums, budget.counter_sums")
    sizes = await administrator.fetch(
        """SELECT relname, pg_total_relation_size(oid) / 1e6, (SELECT count(*) FROM budget.usage_sums) FROM pg_class
        WHERE oid = ANY ('{budget.ledger,budget.usage_cells,budget.usage_sums,budget.counter_sums}'::regclass[])"""
    )
    for one in asked:
        figures, answer = await _measured(store, server, one, rounds)
        assert answer == found[one.name].pop("answer"), f"{one.name}: the sums say something else than the lines"
        found[one.name]["sums"] = figures
    await administrator.close()
    await database.close()
    return {
        "lines": lines,
        "questions": found,
        "fold": {"s": round(fold_s, 2), "cpu_s": round(fold_cpu_s, 2)},
        "mb": {row[0]: round(float(row[1]), 1) for row in sizes},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="dac-usage-") as folder:
        server = EmbeddedPostgres(pathlib.Path(folder) / "postgres")
        server.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(measure(server, options.lines, options.rounds, console))
        finally:
            server.stop()
    if options.json:
        print(json.dumps(found, indent=2))
        return
    table = Table(title=f"{options.lines} lines of the ledger, ms (CPU-ms)")
    for column in ("question", "from the lines", "from the sums"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for name, ways in found["questions"].items():
        table.add_row(name, *(f"{ways[way]['ms']:.1f} ({ways[way]['cpu_ms']:.0f})" for way in ("lines", "sums")))
    Console().print(table)
    print(f"folded in {found['fold']['s']} s, {found['fold']['cpu_s']} CPU-s; MB: {found['mb']}")


if __name__ == "__main__":
    main()
