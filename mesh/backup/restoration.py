"""Putting a backup back, whole or not at all: everything is checked first, built beside, and moved into place last."""

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg

from mesh.backup import dump
from mesh.backup.archive import CONFIG, DATABASE, FORMAT, MANIFEST, MASTER_KEY, SECRETS, Say
from mesh.backup.envelope import Lock, Reader, wrong
from mesh.embedded import EmbeddedPostgres
from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring, open_keyring
from mesh.migrate import OWNER, SHARED, bootstrap, build_versions, prepare_roles, refuse_newer

MOST_KEPT_BYTES = 64 * 1024 * 1024
"""The most that a backup's keys and configuration may take: they are read into memory."""
MOST_NAME_BYTES = 200


@dataclasses.dataclass(frozen=True)
class Contents:
    """What an opened and checked backup holds beside the database."""

    about: Mapping[str, Any]
    rows: Mapping[str, int]
    secrets: Mapping[str, bytes]
    config: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class Restored:
    """What was put back."""

    data_dir: str
    made_at: str
    dac: str
    tables: int
    rows: int
    config: str
    """Where the configuration of the backup lies now; empty when it held none."""


def open_backup(path: pathlib.Path, lock: Lock, services: Mapping[str, pathlib.Path]) -> tuple[Reader, Contents]:
    """Opens a backup and reads all of it, so that nothing is begun with a wrong, old, newer or cut file.

    Raises FAILED_PRECONDITION with what is wrong and where.
    """
    reader = Reader(path)
    if reader.about.get("format") != FORMAT:
        raise wrong(path, f"its format is {reader.about.get('format')!r}, and this DAC reads format {FORMAT}")
    refuse_newer(dict(reader.about.get("schemas") or {}), build_versions(services), str(path))
    reader.unlock(lock)
    kept: dict[str, bytearray] = {}
    seen, size = set(), 0
    for name, data in reader.chunks():
        seen.add(name)
        if name != DATABASE:
            kept.setdefault(name, bytearray()).extend(data)
            size += len(name) + len(data)
            if size > MOST_KEPT_BYTES:
                raise wrong(path, f"its keys and configuration are larger than {MOST_KEPT_BYTES >> 20} MiB: it is none")
    for needed in (DATABASE, MANIFEST, SECRETS + MASTER_KEY):
        if needed not in seen:
            raise wrong(path, f'it holds no "{needed}"')
    for name in seen:
        inside = name.split("/", 1)[-1]
        if name.startswith((SECRETS, CONFIG)) and (inside == ".." or pathlib.PurePath(name).name != inside):
            raise wrong(path, f'it holds a file "{name[:80]!r}" outside its folder')
        if not name.isprintable() or len(inside.encode()) > MOST_NAME_BYTES:
            raise wrong(path, f'it holds a file "{name[:80]!r}", which no system can keep under that name')
    _key_of(path, bytes(kept[SECRETS + MASTER_KEY]))
    return reader, Contents(
        about=reader.about,
        rows=_rows(path, bytes(kept[MANIFEST])),
        secrets={name.removeprefix(SECRETS): bytes(data) for name, data in kept.items() if name.startswith(SECRETS)},
        config={name.removeprefix(CONFIG): bytes(data) for name, data in kept.items() if name.startswith(CONFIG)},
    )


def _key_of(path: pathlib.Path, data: bytes) -> None:
    try:
        Keyring(bytes.fromhex(data.decode("ascii").strip()))
    except (ValueError, MeshError):
        raise wrong(path, f"its {MASTER_KEY} is no master key") from None


def _rows(path: pathlib.Path, manifest: bytes) -> dict[str, int]:
    try:
        rows = dict(json.loads(manifest)["rows"])
        if not all(type(count) is int and "." in table for table, count in rows.items()):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise wrong(path, "its manifest is damaged") from None
    return rows


def _database(reader: Reader) -> Iterator[bytes]:
    return (data for name, data in reader.chunks() if name == DATABASE and data)


async def restore_folder(
    reader: Reader,
    contents: Contents,
    data_dir: pathlib.Path,
    services: Mapping[str, pathlib.Path],
    env: Mapping[str, str],
    say: Say,
) -> Restored:
    """Makes `data_dir` of a backup, with the embedded database in it. Raises FAILED_PRECONDITION; then nothing is left.

    Call from the main thread: PostgreSQL dies with the thread that started it.
    """
    with _disk_failures(data_dir):
        data_dir = _empty(data_dir)
        draft = data_dir.with_name(f"{data_dir.name}.restoring-{secrets.token_hex(4)}")
        try:
            _write_files(draft, contents)
            say("  restoring the database …")
            await _fill_embedded(reader, contents, draft, services, env)
            _publish(draft, data_dir)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return _restored(contents, data_dir)


@contextlib.contextmanager
def _disk_failures(data_dir: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise wrong(data_dir, f"it cannot be restored there ({error})") from error


def _empty(data_dir: pathlib.Path) -> pathlib.Path:
    """The folder's own address, when it can be put in place as a whole."""
    data_dir = data_dir.resolve()
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise wrong(data_dir, "it is not empty: move it away, or restore into another folder with --data-dir")
    if data_dir.is_mount():
        inside = data_dir / "data"
        raise wrong(data_dir, f"a volume's root cannot be put in place whole: restore into --data-dir {inside}")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    return data_dir


def _publish(draft: pathlib.Path, data_dir: pathlib.Path) -> None:
    if data_dir.exists():
        data_dir.rmdir()
    draft.rename(data_dir)


async def _fill_embedded(
    reader: Reader,
    contents: Contents,
    draft: pathlib.Path,
    services: Mapping[str, pathlib.Path],
    env: Mapping[str, str],
) -> None:
    keyring = open_keyring(draft / "secrets" / MASTER_KEY, create=False)
    postgres = EmbeddedPostgres(draft / "postgres")
    try:
        postgres.start()
        owner = await bootstrap(postgres.superuser_dsn, keyring.subkey("postgres:owner").hex())
        passwords = {name: keyring.subkey(f"postgres:{name}").hex() for name in services}
        await prepare_roles(owner, services, passwords)
        administrator = postgres.superuser_dsn.replace("@/postgres?", "@/dac?")
        # Never as the superuser: a dump may hold any statement, also one that runs programs.
        await _fill(reader, contents, owner, administrator, env, embedded=True)
    finally:
        postgres.stop()


async def restore_database(
    reader: Reader,
    contents: Contents,
    data_dir: pathlib.Path,
    owner_dsn: str,
    runtime_login: str | None,
    services: Mapping[str, pathlib.Path],
    env: Mapping[str, str],
    say: Say,
) -> Restored:
    """Puts the keys into `data_dir` and fills an empty database of yours, in one transaction.

    The keys come first: killed in between, it can be done again, and no database is there without its key.
    """
    _refuse_other_files(data_dir, contents)
    connection = await _connect(owner_dsn)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", SHARED):
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                "This database already holds DAC's tables: restore into a new, empty database.",
            )
    finally:
        await connection.close(timeout=5)
    with _disk_failures(data_dir), _taken_back(data_dir, contents):
        _write_files(data_dir, contents)
        await prepare_roles(owner_dsn, services, None, runtime_login=runtime_login)
        say("  restoring the database …")
        await _fill(reader, contents, owner_dsn, owner_dsn, env, embedded=False)
    return _restored(contents, data_dir)


async def _fill(
    reader: Reader, contents: Contents, owner_dsn: str, counting_dsn: str, env: Mapping[str, str], *, embedded: bool
) -> None:
    connection = await _connect(counting_dsn)
    try:
        binary = dump.program("pg_restore", connection.get_server_version().major, env, embedded=embedded)
        await dump.restore(owner_dsn, binary, _database(reader), OWNER, env)
        if await dump.sees_everything(connection):
            schemas = sorted({table.split(".")[0] for table in contents.rows})
            await connection.execute("ANALYZE")
            found = await dump.count_rows(connection, schemas)
            wrong_ones = [table for table, rows in contents.rows.items() if found.get(table) != rows]
            if wrong_ones:
                raise wrong(reader.path, f"the restored tables {', '.join(wrong_ones)} have other rows than it says")
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MeshError(Reason.FAILED_PRECONDITION, f"The database refused the restore: {error}") from error
    finally:
        await connection.close(timeout=5)


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MeshError(Reason.UNAVAILABLE, f"The database cannot be reached to restore it: {error}") from error


def _files(folder: pathlib.Path, contents: Contents) -> dict[pathlib.Path, bytes]:
    """Where keys and configuration lie in a data folder."""
    return {
        **{folder / "secrets" / name: data for name, data in contents.secrets.items()},
        **{folder / "config" / name: data for name, data in contents.config.items()},
    }


def _refuse_other_files(data_dir: pathlib.Path, contents: Contents) -> None:
    for held, data in _files(data_dir, contents).items():
        if held.exists() and held.read_bytes() != data:
            raise wrong(held, "it differs from the one in the backup: move it away, or use another --data-dir")


@contextlib.contextmanager
def _taken_back(data_dir: pathlib.Path, contents: Contents) -> Iterator[None]:
    """When what is done inside fails, the files that were not there before go again."""
    new = [path for path in _files(data_dir, contents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise


def _write_files(folder: pathlib.Path, contents: Contents) -> None:
    """Keys and configuration (which may hold keys), for their owner only. What is there already is the same."""
    kept = folder / "secrets"
    kept.mkdir(parents=True, exist_ok=True)
    kept.chmod(0o700)
    if contents.config:
        (folder / "config").mkdir(exist_ok=True)
    for path, data in _files(folder, contents).items():
        if not path.exists():
            _write_private(path, data)


def _write_private(path: pathlib.Path, data: bytes) -> None:
    """A file as it was, byte for byte, there whole or not at all."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _restored(contents: Contents, data_dir: pathlib.Path) -> Restored:
    return Restored(
        data_dir=str(data_dir),
        made_at=str(contents.about.get("made_at", "")),
        dac=str(contents.about.get("dac", "")),
        tables=len(contents.rows),
        rows=sum(contents.rows.values()),
        config=str(data_dir / "config") if contents.config else "",
    )
