"""How fast the log grows: records are stored as the follower stores them while the sequencer takes them up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pathlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from bench.processes import postgres_cpu_ms
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.app import TARGETS
from mesh.embedded import EmbeddedPostgres
from mesh.envelope_keys import Wrapper
from mesh.ids import uuid7
from mesh.keyring import Keyring
from mesh.migrate import bootstrap, migrate, with_login
from mesh.postgres import Database
from services.audit.follower import Arrivals
from services.audit.log.sequencer import Sequencer
from services.audit.log.signing import signer_of
from services.audit.log.store import LogStore
from services.audit.sealing.keys import PURPOSE, PayloadKeys
from services.audit.sealing.payloads import PLAIN, Payloads
from services.audit.server import request_row
from services.audit.store import PostgresAuditStore, RequestRow

SIGNER = signer_of(b"bench" * 8)
ORGANISATIONS = 100
FILL_BATCH = 2000
TICK_S = 0.02
"""How often records arrive; budget hands them over in batches too."""


class Served(NamedTuple):
    """A running PostgreSQL."""

    dsn: str
    """Of audit's login."""
    database: Database
    postmaster: int
    """Its process."""
    owner_dsn: str
    superuser_dsn: str


@contextlib.asynccontextmanager
async def audit_database(postgres: pathlib.Path | None = None) -> AsyncIterator[Served]:
    """PostgreSQL as it is shipped, with audit's schema. `postgres`: the folder of a server, else a new one."""
    with tempfile.TemporaryDirectory(prefix="dac-bench-") as folder:
        server = EmbeddedPostgres(postgres or pathlib.Path(folder) / "postgres")
        server.start()
        try:
            owner = await bootstrap(server.superuser_dsn, secrets.token_hex(8))
            password = secrets.token_hex(8)
            await migrate(owner, {"audit": TARGETS["audit"].migrations}, {"audit": password})
            dsn = with_login(owner, "dac_audit", password)
            database = Database(dsn, "audit", pool_max=6)
            await database.open()
            try:
                assert server.process is not None
                yield Served(dsn, database, server.process.pid, owner, server.superuser_dsn)
            finally:
                await database.close()
        finally:
            server.stop()


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


def payloads(database: Database, *, seals: bool) -> Payloads:
    """What seals and opens, as a replica of its own has it."""
    wrapper = Wrapper.of(Keyring(b"bench" * 8), PURPOSE)
    return Payloads(PayloadKeys(database, wrapper), seals=seals)


class Stage:
    """A database with what writes to it."""

    def __init__(self, database: Database, payloads: Payloads = PLAIN) -> None:
        self.records, self.store = PostgresAuditStore(database, payloads), LogStore(database, payloads)
        self.arrivals = Arrivals()
        self.sequencer = Sequencer(
            self.store, lambda: SIGNER, self.arrivals, batch=1000, poll_s=1.0, retry_s=1.0, random=os.urandom
        )

    async def sealed(self) -> bool:
        """Whether anything is sealed in its database."""
        keys = self.store.payloads.keys
        return keys is not None and await keys.begun()

    async def fill(self, count: int) -> None:
        """Stores so many records and takes all of them up meanwhile."""
        made, starts = rows(min(count, 20_000)), iter(range(0, count, FILL_BATCH))
        await self.sequencer.lead()

        async def store() -> None:
            for start in starts:
                fresh = [row._replace(request_id=uuid7()) for row in made[: min(FILL_BATCH, count - start)]]
                await self.records.insert_requests(fresh, str(start))
                self.arrivals.announce()

        await asyncio.gather(store(), store(), self.take_up(count))

    async def take_up(self, count: int, then: Callable[[int], None] = lambda done: None) -> None:
        """Lets the sequencer work until it has taken up so many; `then` hears after each batch how many those are."""
        done = 0
        while done < count:
            news = self.arrivals.next()
            if fresh := await self.sequencer.step():
                done += fresh
                then(done)
            else:
                await news.wait()


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

    def note(done: int) -> None:
        included.append((done, time.perf_counter()))

    # What was made for the bench is no garbage to look through while it runs.
    gc.collect()
    gc.freeze()
    started = time.perf_counter()
    await asyncio.gather(store(), stage.take_up(total, note))
    took = time.perf_counter() - started
    gc.unfreeze()
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


async def drain_figures(stage: Stage, count: int, postmaster: int) -> dict[str, float]:
    """A backlog taken up at once: events a second, and the CPU time of an event here and in PostgreSQL."""
    made = rows(count)
    for start in range(0, count, FILL_BATCH):
        await stage.records.insert_requests(made[start : start + FILL_BATCH], f"d{start}")
    await stage.sequencer.lead()
    postgres, cpu, started = postgres_cpu_ms(postmaster), time.process_time(), time.perf_counter()
    while await stage.sequencer.step():
        pass
    took = time.perf_counter() - started
    return {
        "backlog_events_per_s": round(count / took),
        "cpu_ms": round((time.process_time() - cpu) * 1000 / count, 4),
        "postgres_cpu_ms": round((postgres_cpu_ms(postmaster) - postgres) / count, 4),
    }
