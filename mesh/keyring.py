"""The master key and what is derived from it: one HKDF subkey per purpose (RFC 5869), never the key itself."""

import os
import pathlib
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.errors import MeshError, Reason


class Keyring:
    """Derives subkeys. `id` names the master key without telling it: stored beside what it protects."""

    def __init__(self, master: bytes, former: Sequence["Keyring"] = ()) -> None:
        """`former`: the keyrings of earlier master keys, which open what is not sealed anew yet."""
        if len(master) < 32:
            raise MeshError(Reason.FAILED_PRECONDITION, "The master key must have at least 32 bytes.")
        self._master, self.former = master, tuple(former)
        self._subkeys: dict[str, bytes] = {}
        self.id = self.subkey("key-id").hex()[:16]

    def subkey(self, purpose: str) -> bytes:
        """32 bytes for one purpose."""
        if purpose not in self._subkeys:
            kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=b"dac/v1", info=purpose.encode())
            self._subkeys[purpose] = kdf.derive(self._master)
        return self._subkeys[purpose]


def open_keyring(path: pathlib.Path, *, create: bool, old: pathlib.Path | None = None) -> Keyring:
    """Reads the master key file, making it (0600) when `create`; and the former one. Raises FAILED_PRECONDITION."""
    master = read_secret_file(path, create=create, what="master key", flag="DAC_MASTER_KEY_FILE")
    if old is None:
        return Keyring(master)
    former = read_secret_file(old, create=False, what="former master key", flag="DAC_MASTER_KEY_OLD_FILE")
    return Keyring(master, [Keyring(former)] if former != master else [])


def read_secret_file(path: pathlib.Path, *, create: bool, what: str, flag: str) -> bytes:
    """32 or more secret bytes from a file of hexadecimal digits, made atomically when `create`."""
    if not path.exists():
        if not create:
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f"There is no {what} at {path}. Point {flag} at the file, or restore it from your backup.",
            )
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.touch(0o600)
        draft.write_text(secrets.token_hex(32) + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return bytes.fromhex(path.read_text().strip())
    except ValueError:
        raise MeshError(
            Reason.FAILED_PRECONDITION, f"The {what} in {path} is not hexadecimal: restore it from your backup."
        ) from None
