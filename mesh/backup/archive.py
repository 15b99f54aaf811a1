"""What belongs into a backup, and taking one: a consistent snapshot of the database, the keys, the configuration."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from mesh.backup import dump
from mesh.backup.envelope import Lock, Writer, wrong
from mesh.errors import MeshError, Reason
from mesh.migrate import LOCK_ID, SHARED, versions

FORMAT = 1
DATABASE, MANIFEST, SECRETS, CONFIG = "database", "manifest", "secrets/", "config/"
MASTER_KEY = "master.key"
SAY_EVERY_S = 2.0
NO_TIME_LIMITS = """SELECT set_config(name, '0', true) FROM pg_settings
  WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"""
"""A server's limits are for queries; the snapshot is held as long as the dump takes."""
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Source:
    """A DAC to be backed up."""

    dsn: str
    """A login that sees every organisation's rows."""
    embedded: bool
    """Whether the server is the one `dac up` brings."""
    services: tuple[str, ...]
    """The services, each with a schema of its name."""
    secrets_dir: pathlib.Path
    master_key_file: pathlib.Path
    config: pathlib.Path | None
    """The operator's file or folder, when there is one."""
    env: Mapping[str, str]
    """Where client programs are looked for (PATH)."""

    @property
    def schemas(self) -> tuple[str, ...]:
        """What of the database is DAC's."""
        return (SHARED, *self.services)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a backup holds."""

    file: str
    bytes: int
    made_at: str
    dac: str
    schemas: Mapping[str, int]
    tables: int
    rows: int
    secrets: int
    config_files: int


async def back_up(target: pathlib.Path, source: Source, lock: Lock, say: Say) -> Summary:
    """Writes `target`, whole or not at all, while DAC runs. Raises FAILED_PRECONDITION with what is wrong."""
    _check_target(target)
    files = {**_secrets(source), **_config(source.config)}
    try:
        connection = await asyncpg.connect(source.dsn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MeshError(Reason.UNAVAILABLE, f"The database cannot be reached to back it up: {error}") from error
    # A name of its own: two backups to one name must not write into one file.
    draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        summary = await _write(draft, connection, source, files, lock, say)
        _publish(draft, target)
    except OSError as error:
        raise wrong(target, f"it cannot be written ({error.strerror})") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MeshError(Reason.FAILED_PRECONDITION, f"The database refused the backup: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
        await connection.close(timeout=5)
    return dataclasses.replace(summary, file=str(target))


async def _write(
    draft: pathlib.Path,
    connection: asyncpg.Connection,
    source: Source,
    files: Mapping[str, bytes],
    lock: Lock,
    say: Say,
) -> Summary:
    if not await dump.sees_everything(connection):
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            "This login does not see every organisation's rows: set DATABASE_BACKUP_URL to one with BYPASSRLS "
            "(or a superuser) that may read DAC's schemas.",
        )
    binary = dump.program("pg_dump", connection.get_server_version().major, source.env, embedded=source.embedded)
    await _keep_migrations_out(connection, say)
    progress = _Progress(say)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.fetch(NO_TIME_LIMITS)
        snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
        found = await versions(connection)
        _refuse_unknown(found, source)
        if elsewhere := await dump.parts_elsewhere(connection, source.schemas):
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f"Rows of {', '.join(elsewhere)} stand in tables outside DAC's schemas (TimescaleDB), which this "
                "backup does not take: back the whole database up as TimescaleDB's manual says, and the keys beside.",
            )
        rows = await dump.count_rows(connection, source.schemas)
        about = _about(found, connection.get_server_version().major)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            writer = Writer(out, draft, lock, about)
            writer.member(DATABASE)
            parts = dump.dump(source.dsn, binary, source.schemas, snapshot, source.env)
            # Closed at once when the file cannot be written: pg_dump must not outlive this.
            async with contextlib.aclosing(parts):
                async for data in parts:
                    writer.write(data)
                    progress.at(writer.written_bytes)
            kept = _add_files(writer, files)
            writer.member(MANIFEST)
            writer.write(json.dumps({"rows": rows, **kept}).encode())
            writer.finish()
            out.flush()
            os.fsync(out.fileno())
    return Summary(
        file=str(draft),
        bytes=writer.written_bytes,
        made_at=about["made_at"],
        dac=about["dac"],
        schemas=found,
        tables=len(rows),
        rows=sum(rows.values()),
        secrets=len(kept["secrets"]),
        config_files=len(kept["config"]),
    )


async def _keep_migrations_out(connection: asyncpg.Connection, say: Say) -> None:
    """A migration waits for the backup here, where it does not yet hold up anybody's queries; and the other way."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock_shared($1)", LOCK_ID):
        say("  the database is being migrated: waiting until that is done …")
        await connection.execute("SELECT pg_advisory_lock_shared($1)", LOCK_ID)


def _refuse_unknown(found: Mapping[str, int], source: Source) -> None:
    if not found:
        raise MeshError(Reason.FAILED_PRECONDITION, "This database has never been used by DAC: nothing to back up.")
    unknown = sorted(set(found) - set(source.schemas))
    if unknown:
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            f"The database holds schemas that this DAC does not know ({', '.join(unknown)}) and would leave out: "
            "back it up with the newer DAC that made them.",
        )


def _about(found: Mapping[str, int], postgres: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dac": importlib.metadata.version("dac"),
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "schemas": dict(found),
        "postgres": postgres,
    }


def _secrets(source: Source) -> dict[str, bytes]:
    """Signing keys, the operator's token, and the master key wherever it lies."""
    files = {file.name: file for file in sorted(source.secrets_dir.glob("[!.]*")) if file.is_file()}
    files[MASTER_KEY] = source.master_key_file
    return {SECRETS + name: _read(file) for name, file in files.items()}


def _config(config: pathlib.Path | None) -> dict[str, bytes]:
    if config is None:
        return {}
    files = sorted(config.glob("*.y*ml")) if config.is_dir() else [config]
    return {CONFIG + file.name: _read(file) for file in files}


def _read(file: pathlib.Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise wrong(file, f"it belongs into the backup and cannot be read ({error.strerror})") from None


def _add_files(writer: Writer, files: Mapping[str, bytes]) -> dict[str, list[str]]:
    for name, data in files.items():
        writer.member(name)
        writer.write(data)
    return {
        prefix.rstrip("/"): [name.removeprefix(prefix) for name in files if name.startswith(prefix)]
        for prefix in (SECRETS, CONFIG)
    }


def _check_target(target: pathlib.Path) -> None:
    if target.exists():
        raise wrong(target, "it exists already: choose another name, or move it away")
    if not target.absolute().parent.is_dir():
        raise wrong(target, "its folder does not exist: make it first")


def _publish(draft: pathlib.Path, target: pathlib.Path) -> None:
    # Once more: another backup to this name may have ended since.
    _check_target(target)
    draft.replace(target)
    handle = os.open(target.absolute().parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


class _Progress:
    """Says now and then how far it is."""

    def __init__(self, say: Say) -> None:
        self._say, self._next = say, time.monotonic() + SAY_EVERY_S

    def at(self, written_bytes: int) -> None:
        """So many bytes are written."""
        if time.monotonic() >= self._next:
            self._say(f"  {written_bytes / 1e6:,.0f} MB written …")
            self._next = time.monotonic() + SAY_EVERY_S
