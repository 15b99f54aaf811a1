"""C2SP signed notes with Ed25519, and the checkpoints of a log that are such notes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mesh.tlog.merkle import HASH_BYTES

ED25519 = b"\x01"
"""The byte of the kind of signature."""
KEY_ID_BYTES = 4
MAX_SIGNATURES = 64
MARK = "— "
"""What a signature line begins with."""


class NoteError(ValueError):
    """What is wrong with a note, a key or a checkpoint."""


def decoded(text: str, what: str) -> bytes:
    """The bytes of the one way to write them: bits that decode to nothing would let a note be changed unnoticed."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise NoteError(f"{what} is not written in base64's one way")
    return raw


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or ord(char) < 0x20 for char in name):
        raise NoteError(f"{name!r} cannot be a key's name: it is empty, or has a space or a plus")


def key_id(name: str, public_key: bytes, algorithm: bytes = ED25519) -> bytes:
    """The four bytes that name a key in signatures."""
    return hashlib.sha256(name.encode() + b"\n" + algorithm + public_key).digest()[:KEY_ID_BYTES]


class VerifierKey(NamedTuple):
    """A public key and its name, as it is handed to people: name+id+key."""

    name: str
    public_key: bytes
    algorithm: bytes = ED25519

    @property
    def key_id(self) -> bytes:
        """The four bytes that name it in signatures."""
        return key_id(self.name, self.public_key, self.algorithm)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.algorithm + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str, algorithm: bytes = ED25519) -> VerifierKey:
        """The key of a line name+id+key, of that kind of signature only. Raises NoteError."""
        name, plus, rest = text.strip().partition("+")
        shown, second, encoded = rest.partition("+")
        if not plus or not second:
            raise NoteError("a verifier key is NAME+ID+KEY")
        _check_name(name)
        raw = decoded(encoded, "the verifier key")
        if raw[:1] != algorithm or len(raw) != 33:
            raise NoteError(f"the verifier key is not one of Ed25519 of kind {algorithm.hex()}: {raw[:1].hex()}")
        key = cls(name, raw[1:], algorithm)
        if key.key_id.hex() != shown.lower():
            raise NoteError("the verifier key's id does not fit its name and key")
        return key


class NoteSigner:
    """Signs notes with one key."""

    def __init__(self, name: str, private_key: bytes) -> None:
        _check_name(name)
        self._key = Ed25519PrivateKey.from_private_bytes(private_key[:32])
        self.verifier = VerifierKey(name, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The note of a text that ends with a newline."""
        if not text.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in text):
            raise NoteError("a note's text ends with a newline and has no other control characters")
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n{MARK}{self.verifier.name} {signature}\n"


def split_note(note: str) -> tuple[str, list[str]]:
    """A note's text and its signature lines, each of them a name and base64. Raises NoteError."""
    text, blank, rest = note.rpartition("\n\n")
    if not blank or not rest.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in note):
        raise NoteError("it is not a signed note: text, an empty line, signatures")
    lines = rest[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"the note has {len(lines)} signatures")
    for line in lines:
        _, space, encoded = line.removeprefix(MARK).partition(" ")
        if not line.startswith(MARK) or not space:
            raise NoteError(f"{line[:60]!r} is not a signature line")
        if len(decoded(encoded, "a signature")) <= KEY_ID_BYTES:
            raise NoteError("a signature is too short")
    return f"{text}\n", lines


def open_note(note: str, key: VerifierKey) -> str:
    """The text of a note that `key` has signed. Raises NoteError; signatures of other keys are passed over."""
    text, lines = split_note(note)
    is_signed = False
    for line in lines:
        name, _, encoded = line.removeprefix(MARK).partition(" ")
        raw = decoded(encoded, "a signature")
        if name != key.name or raw[:KEY_ID_BYTES] != key.key_id:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(raw[KEY_ID_BYTES:], text.encode())
        except InvalidSignature:
            raise NoteError(f"the signature of {key.name} does not verify") from None
        is_signed = True
    if not is_signed:
        raise NoteError(f"the note has no signature of {key.name} ({key.key_id.hex()})")
    return text


class Checkpoint(NamedTuple):
    """What a log holds: its name, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint of a note's text; lines behind the third are passed over. Raises NoteError."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0]:
            raise NoteError("it is not a checkpoint: origin, size, root hash")
        digits = lines[1]
        if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and digits != "0"):
            raise NoteError(f"{digits[:30]!r} is not the size of a log")
        root = decoded(lines[2], "the root hash")
        if len(root) != HASH_BYTES:
            raise NoteError(f"the root hash has {len(root)} bytes")
        return cls(lines[0], int(digits), root)


def open_checkpoint(note: str, key: VerifierKey, origin: str | None = None) -> Checkpoint:
    """A checkpoint that `key` has signed, of the log `origin` (the key's name). Raises NoteError."""
    checkpoint = Checkpoint.parse(open_note(note, key))
    if checkpoint.origin != (origin or key.name):
        raise NoteError(f"the checkpoint is of {checkpoint.origin!r}, not of {origin or key.name!r}")
    return checkpoint
