"""What sealing payloads costs: `python -m bench.audit.sealed` stores, appends, lists and verifies with and without.

Figures are CPU time of this process and of PostgreSQL, and bytes in the tables of records. Wall times on a shared
machine say little.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import asyncpg

from bench.audit.growing import Served, Stage, audit_database, payloads, record
from bench.processes import postgres_cpu_ms
from dac.type.v1.principal_pb2 import Level
from mesh.ids import uuid7
from services.audit.server import request_row
from services.audit.store import RequestRow

ORGANISATIONS, USERS = 20, 25
"""And so many users in each, with a key each."""
BATCH = 500
ROUNDS = 3
LISTED = 200
SIZES = "SELECT sum(pg_total_relation_size(to_regclass(t))) FROM unnest($1::text[]) AS t"
TABLES = ["requests", "payload_keys", "payload_org_keys"]


def _rows(count: int, people: list[tuple[str, str, str]]) -> list[RequestRow]:
    made = []
    for number in range(count):
        org_id, user, key = people[number % len(people)]
        one = record(org_id)
        for level in one.path:
            if level.kind == Level.KIND_USER:
                level.id = user
            elif level.kind == Level.KIND_KEY:
                level.id = key
        made.append(request_row(one))
    return made


class _Clock:
    """CPU milliseconds of an entry."""

    def __init__(self, served: Served, count: int) -> None:
        self._served, self._count = served, count
        self._wall, self._own, self._postgres = self._now()

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time() * 1000, postgres_cpu_ms(self._served.postmaster)

    def told(self) -> dict[str, float]:
        wall, own, postgres = self._now()
        return {
            "cpu_ms": round((own - self._own) / self._count, 4),
            "postgres_cpu_ms": round((postgres - self._postgres) / self._count, 4),
            "per_s": round(self._count / (wall - self._wall)),
        }


async def _round(served: Served, count: int, *, seals: bool) -> dict[str, Any]:
    stage = Stage(served.database, payloads(served.database, seals=seals))
    org_ids = [uuid7() for _ in range(ORGANISATIONS)]
    rows = _rows(count, [(org_id, uuid7(), uuid7()) for org_id in org_ids for _ in range(USERS)])
    # Who is new gets a key once: that is not what a request costs.
    await stage.records.insert_requests(rows[: ORGANISATIONS * USERS], "0")
    rest = rows[ORGANISATIONS * USERS :]
    found: dict[str, Any] = {}
    clock = _Clock(served, len(rest))
    for start in range(0, len(rest), BATCH):
        await stage.records.insert_requests(rest[start : start + BATCH], str(start))
    found["store"] = clock.told()
    await stage.sequencer.lead()
    clock = _Clock(served, count)
    while await stage.sequencer.step():
        pass
    found["append"] = clock.told()
    size = (await stage.store.head()).size
    clock = _Clock(served, count)
    for start in range(size - count, size, 2048):
        await stage.store.blocks(start, min(start + 2048, size))
    found["read_log"] = clock.told()
    clock = _Clock(served, LISTED * 20)
    for org_id in org_ids:
        await stage.records.arrived(org_id, 0, LISTED)
    found["list"] = clock.told()
    return found


async def measure(count: int) -> dict[str, Any]:
    """By what is done, plain and sealed, the medians of rounds that took turns; and bytes a request."""
    found: dict[str, list[dict[str, Any]]] = {"plain": [], "sealed": []}
    sizes: dict[str, list[float]] = {"plain": [], "sealed": []}
    async with audit_database() as served:
        connection = await asyncpg.connect(
            served.superuser_dsn, database="dac", server_settings={"search_path": "audit"}
        )
        for _ in range(ROUNDS):
            for name in found:
                before = await connection.fetchval(SIZES, TABLES)
                found[name].append(await _round(served, count, seals=name == "sealed"))
                sizes[name].append(round((await connection.fetchval(SIZES, TABLES) - before) / count))
        await connection.close()
    told: dict[str, Any] = {
        name: {
            what: {figure: sorted(one[what][figure] for one in rounds)[ROUNDS // 2] for figure in rounds[0][what]}
            for what in rounds[0]
        }
        for name, rounds in found.items()
    }
    return {**told, "bytes_per_request": {name: sorted(each)[ROUNDS // 2] for name, each in sizes.items()}}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)), indent=1))
