"""pg_dump and pg_restore as child processes: passwords by the environment, never on a command line."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

import asyncpg

from mesh.embedded import postgres_bin
from mesh.errors import MeshError, Reason

READ_BYTES = 1 << 20


def without_password(dsn: str, env: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """A database address that may stand on a command line, and the environment that completes it."""
    parts = urllib.parse.urlsplit(dsn)
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    fields = [one.partition("=") for one in parts.query.split("&") if one]
    password = password or next((value for name, _, value in fields if name == "password"), "")
    query = "&".join("".join(field) for field in fields if field[0] != "password")
    safe = f"{parts.scheme}://{user}{at}{host}{parts.path}" + (f"?{query}" if query else "")
    # Only what a client program needs: no key of ours may reach a child.
    kept = {name: env[name] for name in ("PATH", "HOME", "TMPDIR", "PGSSLROOTCERT") if name in env}
    return safe, {**kept, "PGPASSWORD": urllib.parse.unquote(password), "PGCONNECT_TIMEOUT": "10"}


def program(name: str, server_major: int, env: Mapping[str, str], *, embedded: bool) -> str:
    """The path of pg_dump or pg_restore that knows this server: the system's for a server of yours, else the wheel's.

    Raises FAILED_PRECONDITION when both are older than the server.
    """
    shipped = postgres_bin() / name
    system = None if embedded else shutil.which(name, path=env.get("PATH"))
    for candidate in (system, str(shipped)):
        if candidate and _major(candidate) >= server_major:
            return candidate
    raise MeshError(
        Reason.FAILED_PRECONDITION,
        f"The server is PostgreSQL {server_major}, and no {name} here is that new: install postgresql-client-"
        f"{server_major}.",
    )


def _major(path: str) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


async def dump(
    dsn: str, binary: str, schemas: Sequence[str], snapshot: str, env: Mapping[str, str]
) -> AsyncGenerator[bytes, None]:
    """The database as pg_dump's custom format, as of an exported snapshot. Raises FAILED_PRECONDITION."""
    safe, given = without_password(dsn, env)
    # Without row-level security's filter, or not at all: a silent half would be no backup.
    command = [binary, "--format=custom", "--compress=6", "--no-comments", "--no-password", f"--snapshot={snapshot}"]
    command += [f"--schema={schema}" for schema in schemas] + [safe]
    child = await asyncio.create_subprocess_exec(
        *command, env=given, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stderr is not None
    complaints = asyncio.create_task(child.stderr.read())
    try:
        while data := await child.stdout.read(READ_BYTES):
            yield data
        if await child.wait():
            raise _refused("backed up", (await complaints).decode("utf-8", "replace"))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        await complaints


async def restore(dsn: str, binary: str, data: Iterator[bytes], role: str, env: Mapping[str, str]) -> None:
    """Feeds a dump to pg_restore as `role`, in one transaction: all or nothing. Raises FAILED_PRECONDITION."""
    safe, given = without_password(dsn, env)
    command = [binary, "--single-transaction", "--exit-on-error", "--no-comments", "--no-password", "--no-owner"]
    command += [f"--role={role}", f"--dbname={safe}"]
    with tempfile.TemporaryFile() as complaints:
        child = await asyncio.create_subprocess_exec(
            *command, env=given, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints
        )
        assert child.stdin is not None
        try:
            for part in data:
                child.stdin.write(part)
                await child.stdin.drain()
            child.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BaseException:
            child.kill()
            await child.wait()
            raise
        if await child.wait():
            complaints.seek(0)
            raise _refused("restored", complaints.read().decode("utf-8", "replace"))


def _refused(done: str, said: str) -> MeshError:
    line = next((line for line in said.splitlines() if "error" in line.lower()), said.strip()[:300])
    return MeshError(Reason.FAILED_PRECONDITION, f"The database could not be {done}: {line.strip()}")


PARTS_ELSEWHERE = """SELECT DISTINCT p.oid::regclass::text FROM pg_inherits i
  JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
  WHERE p.relnamespace::regnamespace::text = ANY($1) AND c.relnamespace::regnamespace::text <> ALL($1) ORDER BY 1"""


async def sees_everything(connection: asyncpg.Connection) -> bool:
    """Whether this login reads every organisation's rows."""
    return bool(await connection.fetchval("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = session_user"))


async def parts_elsewhere(connection: asyncpg.Connection, schemas: Sequence[str]) -> list[str]:
    """Tables of these schemas whose rows stand in tables of other ones, as TimescaleDB keeps them."""
    return [row[0] for row in await connection.fetch(PARTS_ELSEWHERE, list(schemas))]


async def count_rows(connection: asyncpg.Connection, schemas: Sequence[str]) -> dict[str, int]:
    """schema.table → rows, exact, as this transaction sees them."""
    tables = await connection.fetch(
        "SELECT schemaname, relname FROM pg_stat_user_tables WHERE schemaname = ANY($1) ORDER BY 1, 2", list(schemas)
    )
    counts = {}
    for schema, table in tables:
        statement = await connection.fetchval(
            "SELECT format('SELECT count(*) FROM %I.%I', $1::text, $2::text)", schema, table
        )
        counts[f"{schema}.{table}"] = int(await connection.fetchval(statement))
    return counts
