"""The form of a backup file: one line that says what it is, then named members in authenticated, encrypted chunks.

    DACBACKUP1\\n  {header as JSON}\\n  (4-byte length, ciphertext)*

The data key is random and wrapped by a key that scrypt (RFC 7914) makes of the passphrase, or by the master key.
Chunks are AES-256-GCM in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015): the nonce holds the
chunk's number and whether it is the last, so that a cut, reordered or altered file does not open. The header is
authenticated with every chunk.
"""

import base64
import json
import pathlib
import secrets
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring

MAGIC = b"DACBACKUP1\n"
CHUNK_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
MAX_SEALED_BYTES = 1 + CHUNK_BYTES + 16
"""The kind, a chunk and its tag: a longer one was not written here, and would be read into memory whole."""
SCRYPT = {"n": 2**17, "r": 8, "p": 1}
PREFIX_BYTES = 7
PURPOSE = "backup"
MIN_PASSPHRASE = 12
SAID = ("made_at", "dac")
"""What a header says to people."""
_NAME, _DATA, _END = b"N", b"D", b"E"


def wrong(path: pathlib.Path, what: str) -> MeshError:
    """A backup that cannot be used."""
    return MeshError(Reason.FAILED_PRECONDITION, f"{path}: {what}", metadata={"file": path.name})


class Lock:
    """What wraps the data key: a passphrase, or the master key of the data folder itself."""

    def __init__(self, *, passphrase: str | None = None, keyring: Keyring | None = None) -> None:
        if (passphrase is None) == (keyring is None):
            raise ValueError("a passphrase or a keyring")
        if passphrase is not None and len(passphrase) < MIN_PASSPHRASE:
            raise MeshError(
                Reason.INVALID_REQUEST,
                f"The passphrase has {len(passphrase)} characters; take {MIN_PASSPHRASE} or more: "
                "whoever has the file can try as many as he likes.",
            )
        self._passphrase, self._keyring = passphrase, keyring

    def new(self) -> dict[str, Any]:
        """What a header must say so that `key` finds the same key again."""
        if self._keyring is not None:
            return {"by": "master_key", "master_key_id": self._keyring.id}
        return {"by": "passphrase", "salt": base64.b64encode(secrets.token_bytes(16)).decode(), **SCRYPT}

    def key(self, path: pathlib.Path, how: dict[str, Any]) -> bytes:
        """The wrapping key. Raises FAILED_PRECONDITION when the file is locked by something else."""
        if how.get("by") == "master_key":
            if self._keyring is None:
                raise wrong(path, "it is locked by the master key of its data folder: give --master-key FILE")
            if how.get("master_key_id") != self._keyring.id:
                raise wrong(path, "it is locked by another master key than the one given")
            return self._keyring.subkey(PURPOSE)
        if how.get("by") != "passphrase":
            raise wrong(path, f"it is locked in a way this DAC does not know ({str(how.get('by'))[:40]})")
        if self._passphrase is None:
            raise wrong(path, "it is locked by a passphrase: give --passphrase-file FILE or DAC_BACKUP_PASSPHRASE")
        try:
            salt = base64.b64decode(str(how.get("salt", "")))
        except ValueError:
            salt = b""
        if len(salt) < 16 or {name: how.get(name) for name in SCRYPT} != SCRYPT:
            raise wrong(path, "its header is damaged")
        return Scrypt(salt=salt, length=32, **SCRYPT).derive(self._passphrase.encode())


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + struct.pack(">IB", number, last)


class Writer:
    """Writes one backup. `member` begins a member, `write` adds to it, `finish` makes the file whole."""

    def __init__(self, out: BinaryIO, path: pathlib.Path, lock: Lock, about: dict[str, Any]) -> None:
        self._out, self._number, self._prefix = out, 0, secrets.token_bytes(PREFIX_BYTES)
        data_key, how = AESGCM.generate_key(256), lock.new()
        wrap_nonce = secrets.token_bytes(12)
        wrapped = AESGCM(lock.key(path, how)).encrypt(wrap_nonce, data_key, json.dumps(about).encode())
        header = {
            "about": about,
            "lock": how,
            "wrapped_key": base64.b64encode(wrap_nonce + wrapped).decode(),
            "nonce_prefix": base64.b64encode(self._prefix).decode(),
        }
        self._header = json.dumps(header).encode()
        self._cipher = AESGCM(data_key)
        self.written_bytes = out.write(MAGIC + self._header + b"\n")

    def member(self, name: str) -> None:
        """Begins a member."""
        self._chunk(_NAME + name.encode())

    def write(self, data: bytes) -> None:
        """Adds to the member."""
        for start in range(0, len(data), CHUNK_BYTES):
            self._chunk(_DATA + data[start : start + CHUNK_BYTES])

    def finish(self) -> None:
        """The last chunk: without it the file counts as cut."""
        self._emit(_END, last=True)

    def _chunk(self, plain: bytes) -> None:
        self._emit(plain, last=False)

    def _emit(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._prefix, self._number, last), plain, self._header)
        self._number += 1
        self.written_bytes += self._out.write(struct.pack(">I", len(sealed)) + sealed)


class Reader:
    """Opens one backup. `about` is known before the lock is opened; `chunks` raises at the first wrong byte."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                start = file.read(len(MAGIC))
                self._header = file.readline(MAX_HEADER_BYTES)
                self._offset = file.tell()
        except OSError as error:
            raise wrong(path, f"it cannot be read ({error.strerror})") from None
        if start != MAGIC:
            older = start[:9] == MAGIC[:9]
            raise wrong(path, "it was made by a newer DAC: restore it with that one" if older else "it is no backup")
        try:
            if not self._header.endswith(b"\n"):
                raise ValueError
            header = json.loads(self._header)
            self.about: dict[str, Any] = dict(header["about"])
            self.lock: dict[str, Any] = dict(header["lock"])
            self._wrapped = base64.b64decode(header["wrapped_key"])
            self._prefix = base64.b64decode(header["nonce_prefix"])
            schemas = self.about.get("schemas", {})
            if not isinstance(schemas, dict) or not all(isinstance(one, int) for one in schemas.values()):
                raise ValueError
            if not all(isinstance(one := self.about.get(name, ""), str) and one.isprintable() for name in SAID):
                raise ValueError
            if len(self._prefix) != PREFIX_BYTES:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise wrong(path, "its header is damaged") from None
        self._cipher: AESGCM | None = None

    def unlock(self, lock: Lock) -> None:
        """Opens the data key. Raises FAILED_PRECONDITION for a wrong passphrase or a damaged header."""
        key = lock.key(self.path, self.lock)
        try:
            opened = AESGCM(key).decrypt(self._wrapped[:12], self._wrapped[12:], json.dumps(self.about).encode())
        except (InvalidTag, ValueError):
            raise wrong(self.path, "the passphrase is wrong, or the header was altered") from None
        self._cipher = AESGCM(opened)

    def chunks(self) -> Iterator[tuple[str, bytes]]:
        """(member, data) pairs in order. Raises FAILED_PRECONDITION at the first altered or missing byte."""
        assert self._cipher is not None
        name, number = "", 0
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while True:
                plain, last = self._open(file, number)
                number += 1
                if last:
                    if file.read(1):
                        raise wrong(self.path, "something follows its end: it was altered")
                    return
                if plain[:1] == _NAME:
                    try:
                        name = plain[1:].decode()
                    except UnicodeDecodeError:
                        raise wrong(self.path, "the name of one of its parts is no text") from None
                    yield name, b""
                else:
                    yield name, plain[1:]

    def _open(self, file: BinaryIO, number: int) -> tuple[bytes, bool]:
        assert self._cipher is not None
        at = file.tell()
        size = file.read(4)
        expected = struct.unpack(">I", size)[0] if len(size) == 4 else 0
        if expected > MAX_SEALED_BYTES:
            raise wrong(self.path, f"it is damaged or was altered at byte {at}")
        sealed = file.read(expected)
        if len(size) < 4 or len(sealed) < expected:
            raise wrong(self.path, f"it is cut: it ends at byte {at + len(size) + len(sealed)} in the middle")
        for last in (False, True):
            try:
                plain = self._cipher.decrypt(_nonce(self._prefix, number, last), sealed, self._header[:-1])
            except InvalidTag:
                continue
            return plain, last
        raise wrong(self.path, f"it is damaged or was altered at byte {at}")

    def check(self) -> int:
        """Reads everything; returns the bytes of content. Raises FAILED_PRECONDITION when a byte is wrong."""
        return sum(len(data) for _, data in self.chunks())
