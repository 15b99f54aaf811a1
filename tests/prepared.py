"""Data folders of PostgreSQL, made once per run of the tests and copied: initdb and all migrations cost as much as all
else of a first start. What the tests start finds an ordinary folder that was used before.

Where there is memory to spare the copies lie in it: a thousand small files cost several times as much on a disk, and
servers then wait for none. Only `data` does; logs and passwords stay in the test's folder.

First starts themselves are tested without: tests/integration/test_embedded.py, tests/edge/test_lifecycle.py, the pages.
"""

import asyncio
import atexit
import contextlib
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
DATA, PASSWORD = "data", "superuser.pw"
PREFIX = "dac-prepared-"
MEMORY = pathlib.Path("/dev/shm")
SPARE_BYTES = 8 << 30
"""What must stay free; a whole run takes less than half of it."""


def share() -> None:
    """Says where all processes that this one starts keep what is made once; it goes when this process ends."""
    spare = _memory_to_spare()
    if spare:
        _sweep()
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=MEMORY if spare else None)
    # Locked as long as this process lives, however it ends.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    os.environ[FOLDER] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def put(root: pathlib.Path, *, migrated: bool) -> None:
    """Makes `root` the folder of a server as initdb leaves it, or with every service's schema and no rows in them."""
    template = _templates() / (MIGRATED if migrated else EMPTY)
    if template.is_relative_to(MEMORY) and _memory_to_spare():
        root.mkdir(parents=True, exist_ok=True)
        copy = pathlib.Path(tempfile.mkdtemp(dir=os.environ[FOLDER]))
        _copy(template, copy)
        (root / DATA).symlink_to(copy / DATA)
        shutil.move(copy / PASSWORD, root)
    else:
        _copy(template, root)


def server_in(root: pathlib.Path, port: int = 0) -> EmbeddedPostgres:
    """An empty server to be started, without safety against power cuts."""
    put(root, migrated=False)
    return EmbeddedPostgres(root, port, durable=False)


def _copy(source: pathlib.Path, root: pathlib.Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    # Less than what Python takes for a thousand files.
    subprocess.run(["cp", "-R", source / DATA, source / PASSWORD, root], check=True)


def _memory_to_spare() -> bool:
    """Whether the file system in memory can take the folders of a whole run, and the machine has that memory."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
        return os.access(MEMORY, os.W_OK) and min(available, shutil.disk_usage(MEMORY).free) > SPARE_BYTES
    except (OSError, StopIteration):
        return False


def _sweep() -> None:
    """Gives back the memory of runs that were killed."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            held = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


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
