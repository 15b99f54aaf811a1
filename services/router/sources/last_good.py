"""The last good copy of what a source said: one file for each, replaced whole, checked when it is read.

The same form serves the copies in the data folder and the snapshot that is shipped. A file that was cut, changed, or
written in another version's form is not read: what lies below it counts then.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import pathlib
import zlib

import msgspec

from services.router.sources import VERSION, SourceRecord

MAX_FILE_BYTES = 64 << 20
MAX_BYTES = 256 << 20
SUFFIX = ".dacsource"
_MAGIC = b"DAC source"


class Unreadable(Exception):
    """The file cannot be used; the text says why."""


class Copy(msgspec.Struct, frozen=True):
    """What a source said, and when."""

    source: str
    fetched_at_s: float
    """Unix time of the answer; of a shipped snapshot: of the day that its source had."""
    records: list[SourceRecord]
    dropped: int = 0
    etag: str = ""


class Heading(msgspec.Struct, frozen=True):
    """The first line of a file."""

    version: int
    sha256: str
    source: str
    fetched_at_s: float
    rows: int


def path_of(folder: pathlib.Path, source: str) -> pathlib.Path:
    """Where a source's copy is kept."""
    return folder / f"{source}{SUFFIX}"


def write(folder: pathlib.Path, copy: Copy) -> None:
    """Replaces the copy; another process that reads it sees the old one or the new one. Raises OSError."""
    body = gzip.compress(msgspec.json.encode(copy), compresslevel=6, mtime=0)
    heading = Heading(VERSION, hashlib.sha256(body).hexdigest(), copy.source, copy.fetched_at_s, len(copy.records))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path_of(folder, copy.source)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(_MAGIC + b" " + msgspec.json.encode(heading) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


def heading_of(path: pathlib.Path) -> Heading:
    """What the first line says, unchecked. Raises FileNotFoundError or Unreadable."""
    try:
        with path.open("rb") as file:
            return _heading(file.readline(4096))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror})") from None


def read(path: pathlib.Path) -> Copy:
    """The copy in a file. Raises FileNotFoundError when there is none and Unreadable when it is of no use."""
    try:
        with path.open("rb") as file:
            heading = _heading(file.readline(4096))
            body = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror})") from None
    if len(body) > MAX_FILE_BYTES or hashlib.sha256(body).hexdigest() != heading.sha256:
        raise Unreadable("its content was cut or changed: the checksum does not match")
    try:
        opened = zlib.decompressobj(wbits=31)
        text = opened.decompress(body, MAX_BYTES)
        copy = msgspec.json.decode(text, type=Copy)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unreadable("its content is not in the form of this version") from None
    return copy


def _heading(line: bytes) -> Heading:
    if not line.startswith(_MAGIC) or not line.endswith(b"\n"):
        raise Unreadable("it is no copy of a source")
    try:
        heading = msgspec.json.decode(line[len(_MAGIC) :], type=Heading)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unreadable("it is no copy of a source") from None
    if heading.version != VERSION:
        raise Unreadable(f"it was written in form {heading.version}, and this version reads form {VERSION}")
    return heading
