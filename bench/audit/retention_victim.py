"""A process that stores, logs, erases and prunes at once, and says what it did, until somebody kills it.

Started once; for each line on standard input it begins such a life in a child of its own and says its process id, so
that a dozen lives do not import everything a dozen times.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import random
import sys
import traceback

import uvloop

from bench.audit.growing import Stage, record
from dac.type.v1.principal_pb2 import Level
from mesh.ids import uuid7
from mesh.postgres import Database
from services.audit.analytics.rollups import Counting, Rollups
from services.audit.config import AuditConfig
from services.audit.retention.keeper import Order
from services.audit.retention.server import Retention
from services.audit.retention.subjects import USER, Subject
from services.audit.server import request_row
from services.audit.store import RequestRow

CONFIG = AuditConfig(request_payload_kept_days=1, change_payload_kept_days=0, prune_every_s=0.05, upkeep_s=0.05)
OLD = dt.timedelta(days=3)
OF_EACH = 4
"""Requests that are stored at once: of a user who is erased, old ones, and of the held user, new and old."""
PAUSE_S = 0.02


def now() -> dt.datetime:
    """The clock."""
    return dt.datetime.now(dt.UTC)


def say(what: str, *words: object) -> None:
    """A line in one piece; whoever is killed behind it has said it."""
    os.write(1, " ".join((what, *map(str, words))).encode() + b"\n")


def asked_by(org_id: str, user: str, age: dt.timedelta) -> RequestRow:
    """A stored request of a user."""
    made = record(org_id)
    for level in made.path:
        if level.kind == Level.KIND_USER:
            level.id = user
    made.started_at.FromDatetime(now() - age)
    return request_row(made)


async def live(dsn: str, org_id: str, held: str, most_lag_s: float) -> None:
    """Never returns. `H id…`: stored of the held user; `S id…`: stored of others; `E id…`: erased."""
    database = Database(dsn, "audit", pool_max=6)
    await database.open()
    stage = Stage(database)
    counting = Counting(database, Rollups(CONFIG, now))
    retention = Retention(database, stage.store, counting, stage.arrivals, CONFIG, now)
    users: asyncio.Queue[tuple[str, list[str]]] = asyncio.Queue(3)

    async def store() -> None:
        while True:
            user = uuid7()
            theirs = [asked_by(org_id, user, dt.timedelta()) for _ in range(OF_EACH)]
            old = [asked_by(org_id, uuid7(), OLD) for _ in range(OF_EACH)]
            kept = [asked_by(org_id, held, age) for age in (dt.timedelta(), OLD)]
            await stage.records.insert_requests([*theirs, *old, *kept], user)
            say("H", *(row.request_id for row in kept))
            say("S", *(row.request_id for row in (*theirs, *old)))
            stage.arrivals.announce()
            await users.put((user, [row.request_id for row in theirs]))
            await asyncio.sleep(PAUSE_S)

    async def erase() -> None:
        while True:
            user, ids = await users.get()
            left = 1
            while left:
                done = await retention.keeper.erase(org_id, Subject(USER, user), Order("operator", "asked for"))
                left = done.waiting + done.pending
                await asyncio.sleep(PAUSE_S)
            say("E", *ids)

    async def take_up() -> None:
        await stage.sequencer.lead()
        while True:
            await asyncio.sleep(random.uniform(0, most_lag_s))
            while await stage.sequencer.step():
                pass

    async def count() -> None:
        while True:
            await counting.everything()
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(store(), erase(), take_up(), count(), retention.run())


def main(org_id: str, held: str, most_lag_s: str) -> None:
    """Begins a life for each line, and waits for its end; the log is taken up at most so late."""
    dsn = sys.stdin.readline().strip()
    gc.freeze()
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            try:
                uvloop.run(live(dsn, org_id, held, float(most_lag_s)))
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        say("P", child)
        os.waitpid(child, 0)
        say("X")


if __name__ == "__main__":
    main(*sys.argv[1:])
