"""What a request takes in the database when it is old: `python -m bench.audit.storage` fills, ages, prunes and packs.

Records and salts are deleted here as retention deletes them. What is counted is every table that has something of a
request, with its indexes, after VACUUM FULL: free space in them is used again, and belongs to no old request.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from typing import Any

import asyncpg

from bench.audit.growing import Stage, audit_database
from services.audit.log.packer import Packer

TABLES = ("requests", "changes", "log_entries", "log_salts", "log_packs", "log_tiles")
DAYS = 90
PRUNE = "DELETE FROM requests; DELETE FROM changes; DELETE FROM log_salts"


async def _bytes(connection: Any) -> dict[str, int]:
    for table in TABLES:
        await connection.execute(f"VACUUM FULL {table}")
    size = "SELECT pg_total_relation_size(to_regclass($1))"
    return {table: await connection.fetchval(size, table) for table in TABLES}


async def measure(count: int) -> dict[str, Any]:
    """Bytes of a request, fresh and old, and where they are."""
    async with audit_database() as served:
        stage = Stage(served.database)
        await stage.fill(count)
        connection = await asyncpg.connect(
            served.superuser_dsn, database="dac", server_settings={"search_path": "audit"}
        )
        fresh = await _bytes(connection)
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(PRUNE)
        pruned = await _bytes(connection)
        await Packer(stage.store, DAYS, 3600).round(dt.datetime.now(dt.UTC) + dt.timedelta(days=DAYS + 1))
        packed = await _bytes(connection)
        await connection.close()
        return {
            "bytes_per_request": round(sum(packed.values()) / count, 1),
            "entries": count,
            "packed_entries": (await stage.store.packs.packed()).stop,
            "fresh_bytes_per_request": round(sum(fresh.values()) / count, 1),
            "pruned_bytes_per_request": round(sum(pruned.values()) / count, 1),
            "by_table": {table: round(size / count, 1) for table, size in packed.items()},
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 41_500))))
