"""Brings the database to this build's shape: roles, one schema per service, numbered SQL files. Forward only.

Runs as `dac_owner` (directly, or by SET ROLE when the operator's own login migrates). Services never run this.
"""

import base64
import dataclasses
import hashlib
import hmac
import logging
import pathlib
import re
import secrets
import urllib.parse
from collections.abc import Iterable, Mapping

import asyncpg

from mesh.errors import MeshError, Reason

LOCK_ID = 0x0DAC_0001
"""The advisory lock under which one process at a time migrates."""
OWNER = "dac_owner"
SHARED = "mesh"
"""The schema of what belongs to no single service; it has no runtime role."""
MODELS_WRITER = "router"
"""The service that keeps the models of the API, which all may read."""
EXTENSIONS = "extensions"
EXTENSION_NAMES = ("vector", "pg_trgm", "btree_gist", "citext")
MESH_MIGRATIONS = pathlib.Path(__file__).parent / "migrations"
FILE_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
SERVICE_NAME = re.compile(r"^[a-z][a-z0-9_]{0,40}$")
SCRAM_ITERATIONS = 4096

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sha256: str
    sql: str


def role_of(service: str) -> str:
    """The runtime role of a service."""
    return f"dac_{service}"


def read_folder(folder: pathlib.Path) -> list[Migration]:
    """The migrations of one folder in order; refuses gaps, doubles and names that say no number."""
    found = []
    for path in sorted(folder.glob("*.sql")) if folder.is_dir() else []:
        match = FILE_NAME.match(path.name)
        if not match:
            raise _refused(f"{path} is not named NNNN_words.sql: rename it")
        text = path.read_text(encoding="utf-8")
        found.append(Migration(int(match[1]), match[2], hashlib.sha256(text.encode()).hexdigest(), text))
    for expected, migration in enumerate(found, 1):
        if migration.version != expected:
            raise _refused(f"{folder} has {migration.version:04d}_{migration.name}.sql where {expected:04d} is due")
    return found


async def bootstrap(superuser_dsn: str, owner_password: str, database: str = "dac") -> str:
    """Make dac_owner and its database on a server of our own; returns the owner's DSN. May be repeated."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        verifier = scram_verifier(owner_password)
        if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", OWNER) is None:
            await _execute(
                connection, "CREATE ROLE %I LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS PASSWORD %L", OWNER, verifier
            )
        else:
            await _execute(connection, "ALTER ROLE %I LOGIN CREATEROLE PASSWORD %L", OWNER, verifier)
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database) is None:
            await _execute(connection, "CREATE DATABASE %I OWNER %I", database, OWNER)
    finally:
        await connection.close()
    # Only a superuser may install vector, so it is done here and found there by the migrations.
    connection = await asyncpg.connect(_with_login(superuser_dsn, None, None, database))
    try:
        await _make_extensions(connection)
    finally:
        await connection.close()
    return _with_login(superuser_dsn, OWNER, owner_password, database)


async def migrate(
    owner_dsn: str,
    services: Mapping[str, pathlib.Path],
    passwords: Mapping[str, str] | None = None,
    *,
    runtime_login: str | None = None,
) -> list[tuple[str, int]]:
    """Bring every service's schema up to date; returns the (schema, version) pairs that were applied now.

    `services` maps a service to its migrations folder. With `passwords` each runtime role logs in by itself. Without,
    the roles cannot log in: the migrating login, and `runtime_login` if given, may SET ROLE to them.
    """
    for service in services:
        if not SERVICE_NAME.match(service) or service in (SHARED, EXTENSIONS, "owner", "public"):
            raise _refused(f"{service!r} cannot be a service's name: its schema would be taken or invalid")
    plans = {SHARED: read_folder(MESH_MIGRATIONS), **{name: read_folder(folder) for name, folder in services.items()}}
    try:
        connection = await asyncpg.connect(owner_dsn)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MeshError(Reason.UNAVAILABLE, f"the database cannot be reached to migrate it: {error}") from error
    try:
        # Session level: released by the connection's end, also when this process is killed.
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_ID)
        await _prepare_roles(connection, services, passwords, runtime_login)
        await connection.execute(f"SET ROLE {OWNER}")
        refuse_newer(await versions(connection), build_versions(services), "the database")
        await _prepare_database(connection)
        applied = []
        for schema, plan in plans.items():
            await _prepare_schema(connection, schema)
            applied += [(schema, version) for version in await _apply(connection, schema, plan)]
        await _share(connection, services)
        return applied
    except asyncpg.PostgresError as error:
        raise _refused(f"the database could not be prepared: {error}") from error
    finally:
        await connection.close(timeout=5)


async def prepare_roles(
    dsn: str,
    services: Iterable[str],
    passwords: Mapping[str, str] | None = None,
    *,
    runtime_login: str | None = None,
) -> None:
    """Only the roles: what a restored database refers to. Arguments as for `migrate`."""
    connection = await asyncpg.connect(dsn)
    try:
        await _prepare_roles(connection, services, passwords, runtime_login)
    except asyncpg.PostgresError as error:
        raise _refused(f"the roles could not be made: {error}") from error
    finally:
        await connection.close(timeout=5)


async def versions(connection: asyncpg.Connection) -> dict[str, int]:
    """schema → the version the database is at; empty for a new database."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{SHARED}.migrations") is None:
        return {}
    rows = await connection.fetch(f"SELECT schema, max(version) AS version FROM {SHARED}.migrations GROUP BY schema")  # noqa: S608
    return {row["schema"]: row["version"] for row in rows}


def build_versions(services: Mapping[str, pathlib.Path]) -> dict[str, int]:
    """schema → the version this build brings it to."""
    plans = {SHARED: read_folder(MESH_MIGRATIONS), **{name: read_folder(folder) for name, folder in services.items()}}
    return {schema: len(plan) for schema, plan in plans.items()}


def refuse_newer(found: Mapping[str, int], known: Mapping[str, int], what: str) -> None:
    """Raises FAILED_PRECONDITION when `found` holds a schema or version that this build does not know."""
    for schema, version in sorted(found.items()):
        if version > known.get(schema, 0):
            raise _refused(
                f"schema {schema} of {what} is at version {version} but this build knows {known.get(schema, 0)}: "
                "run the newer dac that migrated it (migrations go forward only)"
            )


async def _prepare_roles(
    connection: asyncpg.Connection,
    services: Iterable[str],
    passwords: Mapping[str, str] | None,
    runtime_login: str | None,
) -> None:
    login = await connection.fetchval("SELECT current_user")
    database = await connection.fetchval("SELECT current_database()")
    if login != OWNER:
        await _make_role(connection, OWNER)
        await _grant_role(connection, OWNER, login)
        await _execute(connection, "GRANT CREATE, CONNECT, TEMPORARY ON DATABASE %I TO %I", database, OWNER)
    for service in services:
        role = role_of(service)
        await _make_role(connection, role)
        if passwords is None:
            await _grant_role(connection, role, login)
            if runtime_login is not None and runtime_login != login:
                await _grant_role(connection, role, runtime_login)
        else:
            await _execute(connection, "ALTER ROLE %I LOGIN PASSWORD %L", role, scram_verifier(passwords[service]))
        await _execute(connection, "GRANT CONNECT ON DATABASE %I TO %I", database, role)
    if runtime_login is not None:
        await _execute(connection, "GRANT CONNECT ON DATABASE %I TO %I", database, runtime_login)
    if passwords is not None:
        # Only on a server of our own: elsewhere it would lock out logins that this program knows nothing of.
        await _attempt(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)
    await _attempt(connection, "REVOKE ALL ON SCHEMA public FROM PUBLIC")


async def _make_role(connection: asyncpg.Connection, role: str) -> None:
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role) is not None:
        return
    try:
        await _execute(connection, "CREATE ROLE %I NOLOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB", role)
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        # Roles belong to the whole server: a migration of another database made it just now.
        _log.debug("role %s was made by another migration", role)
    except asyncpg.InsufficientPrivilegeError as error:
        raise _refused(
            f"role {role} is missing and this login may not make it: let an administrator run "
            f"CREATE ROLE {role} NOLOGIN, or ALTER ROLE ... CREATEROLE for the login of DATABASE_OWNER_URL"
        ) from error


async def _grant_role(connection: asyncpg.Connection, role: str, login: str) -> None:
    """Let `login` SET ROLE to `role`, without having its rights before it does where PostgreSQL can say so (16)."""
    if await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = $1", login):
        return
    options = " WITH INHERIT FALSE, SET TRUE" if connection.get_server_version().major >= 16 else ""
    try:
        await _execute(connection, "GRANT %I TO %I" + options, role, login)
    except asyncpg.InsufficientPrivilegeError as error:
        # Roles belong to the whole server: another installation on it made this one.
        raise _refused(
            f"role {role} was made by another login of this server: migrate with that login, "
            f"or let an administrator run GRANT {role} TO {login} WITH ADMIN OPTION"
        ) from error


async def _prepare_database(connection: asyncpg.Connection) -> None:
    await _make_extensions(connection)
    # PUBLIC may execute every new function unless this is revoked for all schemas at once.
    await connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SHARED}")
    await connection.execute(f"""CREATE TABLE IF NOT EXISTS {SHARED}.migrations (
        schema text NOT NULL, version integer NOT NULL, name text NOT NULL, sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (schema, version))""")


async def _make_extensions(connection: asyncpg.Connection) -> None:
    """Those that are there and allowed; who needs a missing one says so in its own migration."""
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {EXTENSIONS}")
    await _attempt(connection, "GRANT USAGE ON SCHEMA %I TO PUBLIC", EXTENSIONS)
    for name in EXTENSION_NAMES:
        if await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = $1", name) is None:
            await _attempt(connection, "CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I", name, EXTENSIONS)


async def _prepare_schema(connection: asyncpg.Connection, schema: str) -> None:
    """Default privileges come before the first table, so that a migration may take some of them back for good."""
    await _execute(connection, "CREATE SCHEMA IF NOT EXISTS %I", schema)
    if schema == SHARED:
        return
    role = role_of(schema)
    await _execute(connection, "GRANT USAGE ON SCHEMA %I TO %I", schema, role)
    for rights in (
        "SELECT, INSERT, UPDATE, DELETE ON TABLES",
        "USAGE ON SEQUENCES",
        "EXECUTE ON FUNCTIONS",
    ):
        await _execute(connection, "ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT " + rights + " TO %I", schema, role)


async def _share(connection: asyncpg.Connection, services: Mapping[str, pathlib.Path]) -> None:
    for service in services:
        await _execute(connection, "GRANT USAGE ON SCHEMA %I TO %I", SHARED, role_of(service))
        await _execute(connection, "GRANT SELECT, INSERT ON %I.signing_keys TO %I", SHARED, role_of(service))
        for table in ("models", "model_changes"):
            await _execute(connection, "GRANT SELECT ON %I.%I TO %I", SHARED, table, role_of(service))
            if service == MODELS_WRITER:
                await _execute(
                    connection, "GRANT INSERT, UPDATE, DELETE ON %I.%I TO %I", SHARED, table, role_of(service)
                )


async def _apply(connection: asyncpg.Connection, schema: str, plan: list[Migration]) -> list[int]:
    rows = await connection.fetch(
        f"SELECT version, name, sha256 FROM {SHARED}.migrations WHERE schema = $1 ORDER BY version",  # noqa: S608
        schema,
    )
    for row, migration in zip(rows, plan, strict=False):
        if row["sha256"] != migration.sha256:
            raise _refused(
                f"migration {schema}/{migration.version:04d}_{migration.name}.sql was changed after it was applied: "
                "restore the file and put the change into a new one"
            )
    for migration in plan[len(rows) :]:
        await _apply_one(connection, schema, migration)
    return [migration.version for migration in plan[len(rows) :]]


async def _apply_one(connection: asyncpg.Connection, schema: str, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await _execute(connection, "SET LOCAL search_path = %I, %I", schema, EXTENSIONS)
            await connection.execute(migration.sql)
            await connection.execute(
                f"INSERT INTO {SHARED}.migrations (schema, version, name, sha256) VALUES ($1, $2, $3, $4)",  # noqa: S608
                schema,
                migration.version,
                migration.name,
                migration.sha256,
            )
    except asyncpg.PostgresError as error:
        name = f"{schema}/{migration.version:04d}_{migration.name}.sql"
        raise _refused(f"migration {name} failed and was rolled back: {error}") from error
    _log.debug("applied migration %s/%04d_%s", schema, migration.version, migration.name)


async def _execute(connection: asyncpg.Connection, statement: str, *values: str) -> None:
    """Statements about objects take no parameters: PostgreSQL itself quotes the names (%I) and literals (%L)."""
    if values:
        statement = await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, list(values))
    await connection.execute(statement)


async def _attempt(connection: asyncpg.Connection, statement: str, *values: str) -> None:
    """What only an administrator may do on some servers; DAC works without it."""
    try:
        async with connection.transaction():
            await _execute(connection, statement, *values)
    except asyncpg.PostgresError as error:
        said = str(error).splitlines()[0]
        _log.debug("not allowed, and not needed yet: %s with %s (%s)", statement, ", ".join(values), said)


def scram_verifier(password: str) -> str:
    """What PostgreSQL stores for a password, so that no statement or log ever holds the password itself."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt64}${stored64}:{server64}"


def with_login(dsn: str, user: str, password: str) -> str:
    """The same server and database for another login."""
    return _with_login(dsn, user, password, None)


def _with_login(dsn: str, user: str | None, password: str | None, database: str | None) -> str:
    parts = urllib.parse.urlsplit(dsn)
    login, at, host = parts.netloc.rpartition("@")
    if user is not None:
        login, at = f"{urllib.parse.quote(user, safe='')}:{urllib.parse.quote(password or '', safe='')}", "@"
    path = f"/{urllib.parse.quote(database, safe='')}" if database is not None else parts.path
    # Not urlunsplit: it drops the empty host of a unix socket's address.
    return f"{parts.scheme}://{login}{at}{host}{path}" + (f"?{parts.query}" if parts.query else "")


def _refused(message: str) -> MeshError:
    return MeshError(Reason.FAILED_PRECONDITION, message)
