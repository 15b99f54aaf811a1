"""Data folders of PostgreSQL, made once per run of the tests and copied: initdb and all migrations cost as much as all
else of a first start. What the tests start finds an ordinary folder that was used before.

First starts themselves are tested without: tests/integration/test_embedded.py, tests/edge/test_lifecycle.py, the pages.
"""

import asyncio
import atexit
import datetime as dt
import fcntl
import functools
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile

import asyncpg

from mesh.app import ROOT, TARGETS
from mesh.embedded import EmbeddedPostgres
from mesh.migrate import bootstrap, migrate
from services.audit.analytics.upkeep import partitions

EMPTY, MIGRATED = "empty", "migrated"
DRAFT, MADE = "draft", "made"
FOLDER = "TESTS_PREPARED"
"""The variable that names the folder of all test processes of one run."""
KEPT = ("data", "superuser.pw")


def share() -> None:
    """Says where all processes that this one starts keep what is made once; it goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="dac-prepared-")
    os.environ[FOLDER] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def put(root: pathlib.Path, *, migrated: bool) -> None:
    """Makes `root` the folder of a server as initdb leaves it, or with every service's schema and no rows in them."""
    _copy(_templates() / (MIGRATED if migrated else EMPTY), root)


def server_in(root: pathlib.Path, port: int = 0) -> EmbeddedPostgres:
    """An empty server to be started, without safety against power cuts."""
    put(root, migrated=False)
    return EmbeddedPostgres(root, port, durable=False)


def _copy(source: pathlib.Path, root: pathlib.Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    # Less than what Python takes for a thousand files.
    subprocess.run(["cp", "-R", *(source / name for name in KEPT), root], check=True)


@functools.cache
def _templates() -> pathlib.Path:
    if FOLDER not in os.environ:
        share()
    folder = pathlib.Path(os.environ[FOLDER])
    with (folder / "lock").open("w") as lock:
        # Test processes start together, and one makes them for all.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / MADE).exists():
            # In a process of its own: servers are started from main threads only, and tests ask from others, too.
            subprocess.run([sys.executable, "-m", "tests.prepared", str(folder / DRAFT)], cwd=ROOT, check=True)
            (folder / DRAFT).rename(folder / MADE)
    return folder / MADE


def _make(folder: pathlib.Path) -> None:
    server = EmbeddedPostgres(folder / EMPTY, durable=False)
    server.start()
    server.stop()
    _copy(folder / EMPTY, folder / MIGRATED)
    server = EmbeddedPostgres(folder / MIGRATED, durable=False)
    server.start()
    try:
        asyncio.run(_migrate(server.superuser_dsn))
    finally:
        server.stop()


async def _migrate(superuser_dsn: str) -> None:
    """With passwords that nobody keeps: a start of DAC sets its own."""
    owner = await bootstrap(superuser_dsn, secrets.token_hex(16))
    folders = {name: target.migrations for name, target in TARGETS.items()}
    await migrate(owner, folders, {name: secrets.token_hex(16) for name in TARGETS})
    connection = await asyncpg.connect(owner, server_settings={"search_path": "audit"})
    for grain, *partition in partitions(dt.datetime.now(dt.UTC)):
        # Every start looks for them, and a folder that was used today has them.
        await connection.execute("SELECT make_rollup_partition($1, $2, $3, $4)", grain.value, *partition)
    await connection.close()
    # A third of all files, which nothing reads again: new databases are made in empty servers only.
    connection = await asyncpg.connect(superuser_dsn)
    for template in ("template0", "template1"):
        await connection.execute(f"ALTER DATABASE {template} IS_TEMPLATE false")
        await connection.execute(f"DROP DATABASE {template}")
    await connection.close()


if __name__ == "__main__":
    _make(pathlib.Path(sys.argv[1]))
