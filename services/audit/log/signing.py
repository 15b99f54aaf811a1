"""The key that signs checkpoints: a file of its own, for nothing else."""

from __future__ import annotations

import contextlib
import os
import pathlib

from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring, read_secret_file
from mesh.tlog.notes import NoteSigner

FILE = "audit-log.key"
PURPOSE = "audit log checkpoints"


def signer_of(private_key: bytes) -> NoteSigner:
    """The signer of a key, under the name that the log has by it: it is its origin too."""
    public_key = NoteSigner("dac", private_key).verifier.public_key
    return NoteSigner(f"dac/audit/{public_key.hex()[:16]}", private_key)


def open_signer(named: pathlib.Path | None, secrets_dir: pathlib.Path, keyring: Keyring) -> NoteSigner:
    """The signer of the file that the operator named, or of the one in the secrets' folder.

    That one is made at first from the master key, so that replicas that share no folder sign alike. Raises MeshError.
    """
    if named is not None:
        return signer_of(_read(named))
    path = secrets_dir / FILE
    if path.exists():
        return signer_of(_read(path))
    private_key = keyring.subkey(PURPOSE)
    # A folder that cannot be written to is no reason not to sign: the same key is derived again.
    with contextlib.suppress(OSError):
        _keep(path, private_key)
    return signer_of(private_key)


def _read(path: pathlib.Path) -> bytes:
    key = read_secret_file(path, create=False, what="key of the audit log", flag="DAC_AUDIT_LOG_KEY_FILE")
    if len(key) < 32:
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            f"The key of the audit log in {path} has {len(key)} bytes, not 32: restore it from your backup.",
        )
    return key


def _keep(path: pathlib.Path, private_key: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.touch(0o600)
    try:
        draft.write_text(private_key.hex() + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
