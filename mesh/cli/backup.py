"""`dac backup`, `dac restore`: everything DAC keeps, in one encrypted file."""

import asyncio
import dataclasses
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.client import USAGE, Failure
from mesh.cli.output import AsJson, command, note, print_json

if TYPE_CHECKING:
    from mesh.backup.envelope import Lock

Config = Annotated[pathlib.Path | None, typer.Option("--config", help="A YAML file or folder (also DAC_CONFIG).")]
DataDir = Annotated[pathlib.Path | None, typer.Option("--data-dir", help="Folder for all data (./data).")]
PassphraseFile = Annotated[
    pathlib.Path | None,
    typer.Option("--passphrase-file", help="Holds the passphrase (else DAC_BACKUP_PASSPHRASE, else you are asked)."),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    command(app, "backup")(backup)
    command(app, "restore")(restore)


def _settings(config: pathlib.Path | None, data_dir: pathlib.Path | None) -> Any:
    from mesh.app import load_settings
    from mesh.errors import MeshError

    try:
        return load_settings(config, flags={"mesh": {"data_dir": data_dir}})
    except MeshError as error:
        raise Failure(error.message, USAGE) from None


def _passphrase(file: pathlib.Path | None, *, twice: bool) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip("\r\n")
        except OSError as error:
            raise Failure(f"{file}: it cannot be read ({error.strerror})", USAGE) from None
        except ValueError:
            raise Failure(f"{file}: it is no text (UTF-8), so it holds no passphrase", USAGE) from None
    if os.environ.get("DAC_BACKUP_PASSPHRASE"):
        return os.environ["DAC_BACKUP_PASSPHRASE"]
    if not sys.stdin.isatty():
        raise Failure("a passphrase is needed: --passphrase-file FILE, or DAC_BACKUP_PASSPHRASE", USAGE)
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))


def backup(
    file: Annotated[pathlib.Path, typer.Argument(help="The file to write; it must not exist.")],
    passphrase_file: PassphraseFile = None,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the database, the keys and the configuration to one encrypted file, while DAC runs or not.

    Example: dac backup dac-monday.dacbackup --passphrase-file passphrase.txt
    """
    from mesh.backup.archive import back_up
    from mesh.backup.envelope import Lock

    settings = _settings(config, data_dir)
    lock = Lock(passphrase=_passphrase(passphrase_file, twice=True))
    source, server = _source(settings, config)
    try:
        summary = asyncio.run(back_up(file, source, lock, note))
    finally:
        if server is not None:
            server.stop()
    if as_json:
        print_json(dataclasses.asdict(summary))
        return
    print(
        f"{file}: {summary.bytes / 1e6:,.1f} MB, {summary.tables} tables with {summary.rows:,} rows, "
        f"{summary.secrets} keys, {summary.config_files} configuration files"
    )
    note("keep the passphrase apart from the file: without it the backup cannot be opened by anybody")


def _source(settings: Any, config: pathlib.Path | None) -> Any:
    """The source, and the server started for it when none was running."""
    from mesh.app import TARGETS
    from mesh.backup.archive import MASTER_KEY, Source
    from mesh.embedded import EmbeddedPostgres, running_dsn
    from mesh.errors import MeshError, Reason

    mesh, server = settings.mesh, None
    root = mesh.data_dir / "postgres"
    if mesh.database_url is not None:
        dsn = (mesh.database_backup_url or mesh.database_owner_url or mesh.database_url).reveal()
    elif not (root / "data" / "PG_VERSION").exists():
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            f"There is no database in {mesh.data_dir}: name the data folder with --data-dir, or set DATABASE_URL.",
        )
    else:
        found = running_dsn(root)
        if found is None:
            note("  DAC does not run: starting its database for the backup …")
            server = EmbeddedPostgres(root)
            server.start()
            found = server.superuser_dsn.replace("@/postgres?", "@/dac?")
        dsn = found
    given = config or (pathlib.Path(os.environ["DAC_CONFIG"]) if os.environ.get("DAC_CONFIG") else None)
    source = Source(
        dsn=dsn,
        embedded=mesh.database_url is None,
        services=tuple(TARGETS),
        secrets_dir=mesh.secrets_dir,
        master_key_file=mesh.master_key_file or mesh.secrets_dir / MASTER_KEY,
        config=given,
        env=os.environ,
    )
    return source, server


def restore(
    file: Annotated[pathlib.Path, typer.Argument(help="A file that `dac backup` wrote.")],
    passphrase_file: PassphraseFile = None,
    master_key: Annotated[
        pathlib.Path | None,
        typer.Option("--master-key", help="Opens a backup that an upgrade made: the folder's secrets/master.key."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only read the whole file; change nothing.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup back into an empty data folder, or into an empty database of yours (DATABASE_URL).

    Everything is checked before anything is written; a restore that fails leaves nothing behind.

    Example: dac restore dac-monday.dacbackup --data-dir restored
    """
    from mesh.app import TARGETS
    from mesh.backup.restoration import open_backup

    settings = _settings(config, data_dir)
    services = {name: target.migrations for name, target in TARGETS.items()}
    lock = _lock(passphrase_file, master_key)
    note("  reading and checking the whole backup …")
    reader, contents = open_backup(file, lock, services)
    if check:
        restored: Any = {
            "made_at": "",
            "dac": "",
            **contents.about,
            "file": str(file),
            "rows": sum(contents.rows.values()),
        }
    else:
        restored = dataclasses.asdict(asyncio.run(_restore(settings.mesh, reader, contents, services)))
    if as_json:
        print_json(restored)
    elif check:
        print(f"{file}: whole; made {restored['made_at']} by DAC {restored['dac']}, {restored['rows']:,} rows")
    else:
        print(f"restored {restored['rows']:,} rows in {restored['tables']} tables into {restored['data_dir']}")
        if restored["config"]:
            note(f"its configuration lies in {restored['config']}: start with --config {restored['config']}")


def _lock(passphrase_file: pathlib.Path | None, master_key: pathlib.Path | None) -> "Lock":
    from mesh.backup.envelope import MIN_PASSPHRASE, Lock
    from mesh.keyring import open_keyring

    if master_key is not None:
        return Lock(keyring=open_keyring(master_key, create=False))
    typed = _passphrase(passphrase_file, twice=False)
    if len(typed) < MIN_PASSPHRASE:
        raise Failure(f"the passphrase is wrong: that of a backup has {MIN_PASSPHRASE} characters or more")
    return Lock(passphrase=typed)


async def _restore(mesh: Any, reader: Any, contents: Any, services: Any) -> Any:
    from mesh.backup.restoration import restore_database, restore_folder
    from mesh.launcher import check_database_url, login_of

    _check_master_key(mesh, contents)
    if mesh.database_url is None:
        return await restore_folder(reader, contents, mesh.data_dir, services, os.environ, note)
    check_database_url(mesh.database_url)
    owner = (mesh.database_owner_url or mesh.database_url).reveal()
    login = login_of(mesh.database_url)
    return await restore_database(reader, contents, mesh.data_dir, owner, login, services, os.environ, note)


def _check_master_key(mesh: Any, contents: Any) -> None:
    """A DAC that is told to use another key could not read what is restored."""
    from mesh.backup.archive import MASTER_KEY
    from mesh.errors import MeshError, Reason
    from mesh.keyring import open_keyring

    held = mesh.master_key_file
    if held is None:
        return
    if not held.exists():
        note(f"DAC_MASTER_KEY_FILE names {held}, which is not there yet: put the restored secrets/{MASTER_KEY} there")
        return
    restored = contents.secrets[MASTER_KEY].decode("utf-8", "replace").strip()
    if open_keyring(held, create=False).id != _key_id(restored):
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            f"{held}: DAC_MASTER_KEY_FILE names another key than the one in the backup, with which nothing that is "
            "restored could be opened: unset it, or move that file away.",
        )


def _key_id(text: str) -> str:
    from mesh.keyring import Keyring

    try:
        return Keyring(bytes.fromhex(text)).id
    except ValueError:
        return ""
