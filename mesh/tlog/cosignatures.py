"""C2SP tlog-cosignature v1 with Ed25519: what a witness says of a checkpoint, and when."""

from __future__ import annotations

import base64
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mesh.tlog.notes import KEY_ID_BYTES, MARK, Checkpoint, NoteError, VerifierKey, decoded, split_note

ED25519_COSIGNATURE = b"\x04"
"""The byte of the kind of signature."""
TIME_BYTES = 8
SIGNATURE_BYTES = 64
MAX_TIME = 2**63 - 1


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def witness_key(line: str) -> VerifierKey:
    """The key of a witness. Raises NoteError, also for the key of a log."""
    return VerifierKey.parse(line, ED25519_COSIGNATURE)


class Cosigner:
    """Cosigns checkpoints with one key."""

    def __init__(self, name: str, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key[:32])
        self.verifier = VerifierKey(name, self._key.public_key().public_bytes_raw(), ED25519_COSIGNATURE)

    def cosign(self, text: str, time_s: int) -> str:
        """The signature line for a checkpoint's text; `time_s`: POSIX seconds."""
        signed = time_s.to_bytes(TIME_BYTES, "big") + self._key.sign(_message(text, time_s))
        return f"{MARK}{self.verifier.name} {base64.b64encode(self.verifier.key_id + signed).decode()}\n"


class Cosigned(NamedTuple):
    """A checkpoint that a witness has cosigned."""

    checkpoint: Checkpoint
    time_s: int
    """When, in POSIX seconds."""
    line: str
    """The signature line, with its end."""


def open_cosigned(note: str, key: VerifierKey) -> Cosigned:
    """What the witness of `key` has cosigned in a note. Raises NoteError; signatures of others are passed over."""
    text, lines = split_note(note)
    for line in lines:
        name, _, encoded = line.removeprefix(MARK).partition(" ")
        raw = decoded(encoded, "a signature")
        if name != key.name or raw[:KEY_ID_BYTES] != key.key_id:
            continue
        if len(raw) != KEY_ID_BYTES + TIME_BYTES + SIGNATURE_BYTES:
            raise NoteError(f"the cosignature of {key.name} has {len(raw)} bytes")
        time_s = int.from_bytes(raw[KEY_ID_BYTES : KEY_ID_BYTES + TIME_BYTES], "big")
        try:
            if time_s > MAX_TIME:
                raise InvalidSignature
            signature = raw[KEY_ID_BYTES + TIME_BYTES :]
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, _message(text, time_s))
        except InvalidSignature:
            raise NoteError(f"the cosignature of {key.name} does not verify") from None
        return Cosigned(Checkpoint.parse(text), time_s, f"{line}\n")
    raise NoteError(f"the note has no cosignature of {key.name} ({key.key_id.hex()})")
