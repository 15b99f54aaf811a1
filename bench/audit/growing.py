"""How fast the log grows: records are stored as the follower stores them while the sequencer takes them up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator

from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.app import TARGETS
from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.migrate import bootstrap, migrate, with_login
from mesh.postgres import Database
from services.audit.follower import Arrivals
from services.audit.log.sequencer import Sequencer
from services.audit.log.signing import signer_of
from services.audit.log.store import LogStore
from services.audit.server import request_row
from services.audit.store import PostgresAuditStore, RequestRow

SIGNER = signer_of(b"bench" * 8)
ORGANISATIONS = 100
TICK_S = 0.02
"""How often records arrive; budget hands them over in batches too."""


@contextlib.asynccontextmanager
async def audit_server() -> AsyncIterator[tuple[str, str]]:
    """PostgreSQL as it is shipped with audit's schema: the addresses of its administrator and of audit's login."""
    with tempfile.TemporaryDirectory(prefix="dac-bench-") as folder:
        server = EmbeddedPostgres(pathlib.Path(folder) / "postgres")
        server.start()
        try:
            owner = await bootstrap(server.superuser_dsn, secrets.token_hex(8))
            password = secrets.token_hex(8)
            await migrate(owner, {"audit": TARGETS["audit"].migrations}, {"audit": password})
            yield server.superuser_dsn, with_login(owner, "dac_audit", password)
        finally:
            server.stop()


@contextlib.asynccontextmanager
async def audit_database() -> AsyncIterator[tuple[str, Database]]:
    """Such a server: the address of audit's login, and an opened Database."""
    async with audit_server() as (_, dsn):
        database = Database(dsn, "audit", pool_max=6)
        await database.open()
        try:
            yield dsn, database
        finally:
            await database.close()


def record(org_id: str) -> record_pb2.RequestRecord:
    """A record of the size that a routed chat's has: about 1,000 bytes."""
    made = record_pb2.RequestRecord(
        org_id=org_id,
        request_id=uuid7(),
        asked_model="auto",
        outcome=record_pb2.OUTCOME_OK,
        cost_nano_usd=123_456,
        trace_id=secrets.token_hex(16),
        finish_reason="stop",
    )
    made.started_at.GetCurrentTime()
    made.ended_at.GetCurrentTime()
    for kind in Level.Kind.values()[1:]:
        made.path.add(kind=kind, id=uuid7())
    attempt = made.attempts.add(attempt_id=uuid7(), provider="openai", model="openai/gpt-4o-mini", status_code=200)
    attempt.started_at.GetCurrentTime()
    attempt.usage.input_tokens, attempt.usage.output_tokens = 1200, 240
    for bucket in ("input", "output"):
        attempt.price_lines.add(bucket=bucket, tokens=1200, nano_usd_per_mtok=150_000, cost_nano_usd=180_000)
    made.route.reason = "openai/gpt-4o-mini is the best of 12 by quality, cost and latency for a question."
    for number in range(6):
        made.route.candidates.add(model=f"provider/model-{number}", provider="provider", score=0.5, quality_score=0.4)
    for stage in ("context", "route", "reserve", "first_token", "generate", "save"):
        made.stage_ms[stage] = 1.5
    return made


def rows(count: int) -> list[RequestRow]:
    """Stored records of several organisations."""
    org_ids = [uuid7() for _ in range(ORGANISATIONS)]
    return [request_row(record(org_ids[number % ORGANISATIONS])) for number in range(count)]


class Stage:
    """A database with what writes to it."""

    def __init__(self, database: Database) -> None:
        self.records, self.store, self.arrivals = PostgresAuditStore(database), LogStore(database), Arrivals()
        self.sequencer = Sequencer(
            self.store, lambda: SIGNER, self.arrivals, batch=1000, poll_s=1.0, retry_s=1.0, random=os.urandom
        )

    async def fill(self, count: int) -> float:
        """Stores so many records and takes all of them up; the seconds that taking up took."""
        made = rows(min(count, 20_000))
        for start in range(0, count, 2000):
            fresh = [row._replace(request_id=uuid7()) for row in made[: min(2000, count - start)]]
            await self.records.insert_requests(fresh, str(start))
        await self.sequencer.lead()
        started = time.perf_counter()
        while await self.sequencer.step():
            pass
        return time.perf_counter() - started


async def append_figures(stage: Stage, rate: int, seconds: float) -> dict[str, float]:
    """Records arrive at a rate while the sequencer takes them up: events a second, and the time until inclusion."""
    per_tick = int(rate * TICK_S)
    batches = [rows(per_tick) for _ in range(int(seconds / TICK_S))]
    offered: list[tuple[int, float]] = []
    included: list[tuple[int, float]] = []
    await stage.sequencer.lead()
    total = per_tick * len(batches)

    async def store() -> None:
        due = time.perf_counter()
        for number, batch in enumerate(batches):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            # Counted from when they were due: a writer that falls behind hides no waiting.
            offered.append((per_tick * (number + 1), due))
            await stage.records.insert_requests(batch, f"a{number}")
            stage.arrivals.announce()
            due += TICK_S

    async def take_up() -> None:
        done = 0
        while done < total:
            news = stage.arrivals.next()
            if fresh := await stage.sequencer.step():
                done += fresh
                included.append((done, time.perf_counter()))
            else:
                await news.wait()

    started = time.perf_counter()
    await asyncio.gather(store(), take_up())
    took = time.perf_counter() - started
    waits: list[float] = []
    place = 0
    for upto, due in offered:
        while included[place][0] < upto:
            place += 1
        waits.append((included[place][1] - due) * 1000)
    waits.sort()
    return {
        "events_per_s": round(total / took),
        "p50_inclusion_ms": round(waits[len(waits) // 2], 1),
        "p99_inclusion_ms": round(waits[int(len(waits) * 0.99)], 1),
    }


async def drain_figures(stage: Stage, count: int) -> dict[str, float]:
    """A backlog taken up at once: events a second, and the CPU time of an event in the sequencer's process."""
    cpu = time.process_time()
    made = rows(count)
    for start in range(0, count, 2000):
        await stage.records.insert_requests(made[start : start + 2000], f"d{start}")
    await stage.sequencer.lead()
    cpu, started = time.process_time(), time.perf_counter()
    while await stage.sequencer.step():
        pass
    took = time.perf_counter() - started
    return {"backlog_events_per_s": round(count / took), "cpu_ms": round((time.process_time() - cpu) * 1000 / count, 4)}
