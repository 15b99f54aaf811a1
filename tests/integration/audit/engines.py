"""The databases that figures are kept in: plain partitions always, TimescaleDB where DAC_TIMESCALE_URL names a server.

DAC_TIMESCALE_URL is an administrator's address on a PostgreSQL with TimescaleDB in `shared_preload_libraries`; each run
makes a database of its own there and drops it. Its roles get new passwords: run with -n0, never where a DAC runs.
"""

from __future__ import annotations

import os
import pathlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from mesh.migrate import bootstrap, migrate, with_login
from tests.conftest import Migrated

FOLDER = pathlib.Path(__file__).parents[3] / "services" / "audit" / "migrations"
URL = os.environ.get("DAC_TIMESCALE_URL", "")
ENGINES = ("partitions", "timescale") if URL else ("partitions",)
Make = Callable[..., Awaitable[Migrated]]


@asynccontextmanager
async def figures_in(engine: str, make_database: Make) -> AsyncIterator[Migrated]:
    """A database of its own with audit's tables."""
    if engine == "partitions":
        yield await make_database({"audit": FOLDER})
        return
    name, password = f"dac_figures_{secrets.token_hex(4)}", secrets.token_hex(16)
    try:
        owner = await bootstrap(URL, password, name)
        administrator = await asyncpg.connect(URL, database=name)
        await administrator.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await migrate(owner, {"audit": FOLDER}, {"audit": password})
        hypertables = await administrator.fetchval("SELECT count(*) FROM timescaledb_information.hypertables")
        await administrator.close()
        assert hypertables == 3, "the figures are not in hypertables"
        yield Migrated(with_login(owner, "postgres", ""), owner, {"audit": FOLDER}, {"audit": password})
    finally:
        administrator = await asyncpg.connect(URL)
        await administrator.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await administrator.close()
