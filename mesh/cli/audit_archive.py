"""What `dac audit archive` and `dac audit verify --archive` do: a folder of the log's files, written and checked."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

from mesh.cli.client import USAGE, Client, Failure
from mesh.cli.output import counted, print_json

TELL_EVERY = 1000
"""Bundles between two words on how far it is."""


def write_archive(
    client: Client, folder: pathlib.Path, pinned: Any, tell: Callable[[str], None]
) -> dict[str, int | str]:
    """Writes or continues the folder; what was done. Raises Failure, and then the folder is what it was."""
    from mesh.tlog.archive import Archive, ArchiveError
    from mesh.tlog.notes import VerifierKey
    from mesh.tlog.tiles import Tile

    newest = client.call("GET", "/v1/audit/checkpoint")
    archive = Archive(folder)
    fetched = 0

    def fetch(tile: Tile) -> bytes:
        nonlocal fetched
        fetched += 1
        if fetched % TELL_EVERY == 0:
            tell(f"{(tile.number + 1) * 256} entries of {newest['size']}")
        return b"".join(client.download(f"/v1/audit/log/{tile.path}"))

    if folder.is_dir() and any(folder.iterdir()) and not (folder / "tile").is_dir():
        raise Failure(f"{folder} has other files in it and is no archive: name another folder")
    try:
        # A folder goes on under the key that it began with, whatever the log shows now.
        key = pinned or archive.key() or VerifierKey.parse(newest["verifier_key"])
        done = archive.extend(newest["checkpoint"], key, fetch, int(newest.get("start") or 0))
    except ArchiveError as error:
        raise Failure(str(error)) from None
    try:
        client.call("POST", "/v1/audit/archives", {"checkpoint": newest["checkpoint"]})
    except Failure as failure:
        tell(f"DAC was not told of the archive, so it drops no leaves for it: {failure.message}")
    return {"before": done.before, "entries": done.size, "bundles": fetched, "key": str(key), "folder": str(folder)}


def check_archive(folder: pathlib.Path, pinned: Any, kept: Any, unknown: list[str], as_json: bool) -> bool:
    """Checks the folder and says what it found; whether everything held. Raises Failure for no archive."""
    from mesh.tlog.archive import Archive, ArchiveError

    archive, started = Archive(folder), time.monotonic()
    try:
        key = pinned or archive.key()
        if key is None:
            raise Failure(f"{folder} has no verifier-key: give the key with --key", USAGE)
        checked = archive.check(key, kept)
    except ArchiveError as error:
        raise Failure(str(error)) from None
    holds = not checked.findings
    if as_json:
        about = {"entries": checked.entries, "organisations": checked.organisations, "key": str(key)}
        print_json({"holds": holds, "findings": checked.findings, **about, "not_known": unknown})
        return holds
    for one in checked.findings:
        print(f"WRONG: {one}")
    if holds:
        print(
            f"OK: {counted(checked.entries, 'entry')} of {counted(checked.organisations, 'organisation')} in "
            f"{time.monotonic() - started:.1f} s: no number is missing, every tile and the signed root are theirs."
        )
        print(f"    key {key}")
        if kept:
            print(f"OK: the archive begins with the {kept.size} entries of the kept checkpoint.")
    for line in unknown:
        print(line)
    return holds
