"""A data folder that an older DAC made is backed up before its database changes shape."""

import datetime
import pathlib
from collections.abc import Mapping

import asyncpg

from mesh.backup.archive import MASTER_KEY, Say, Source, back_up
from mesh.backup.envelope import Lock, Reader
from mesh.errors import MeshError
from mesh.keyring import Keyring
from mesh.migrate import build_versions, refuse_newer, versions

KEPT = 3
"""So many backups of upgrades stay, each of another shape of the database."""


async def back_up_before_upgrade(
    dsn: str,
    services: Mapping[str, pathlib.Path],
    data_dir: pathlib.Path,
    keyring: Keyring,
    env: Mapping[str, str],
    say: Say,
) -> pathlib.Path | None:
    """Backs the embedded database up when a migration is due; None for a new or current one.

    The file is locked by the folder's own master key: it protects against a bad upgrade, not against a lost folder.
    Raises FAILED_PRECONDITION when a newer DAC has used the database, before anything is changed.
    """
    connection = await asyncpg.connect(dsn)
    try:
        found = await versions(connection)
    finally:
        await connection.close(timeout=5)
    wanted = build_versions(services)
    refuse_newer(found, wanted, f"the data folder {data_dir}")
    due = {name: version for name, version in wanted.items() if version > found.get(name, 0)}
    if not found or not due:
        return None
    folder = data_dir / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.glob("before-upgrade-*.partial"):
        # Of a start that was killed; this folder is ours alone.
        left.unlink()
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
    target = folder / f"before-upgrade-{stamp}.dacbackup"
    steps = ", ".join(f"{name} {found.get(name, 0)} → {version}" for name, version in sorted(due.items()))
    say(f"  this data folder is of an older DAC ({steps}): backing it up first …")
    source = Source(
        dsn=dsn,
        embedded=True,
        services=tuple(services),
        secrets_dir=data_dir / "secrets",
        master_key_file=data_dir / "secrets" / MASTER_KEY,
        config=None,
        env=env,
    )
    await back_up(target, source, Lock(keyring=keyring), say)
    _forget_old(folder)
    say(f"✓ backed up to {target}")
    return target


def _forget_old(folder: pathlib.Path) -> None:
    """Keeps the newest backup of each of the last shapes.

    Counted by shape and not by file: a migration that fails at every start would push out the one good backup.
    """
    shapes: list[dict[str, int]] = []
    for path in sorted(folder.glob("before-upgrade-*.dacbackup"), reverse=True):
        try:
            shape = dict(Reader(path).about["schemas"])
        except (MeshError, KeyError):
            continue
        if shape in shapes or len(shapes) == KEPT:
            path.unlink()
        else:
            shapes.append(shape)
