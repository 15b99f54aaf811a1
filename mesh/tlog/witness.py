"""A C2SP tlog-witness: remembers how far each log has come, and cosigns only what goes on from there."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterable
from typing import IO, NamedTuple

from mesh.tlog.cosignatures import Cosigner
from mesh.tlog.merkle import EMPTY_ROOT, HASH_BYTES, is_consistent
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, decoded, open_note

KEY_FILE = "witness.key"
MAX_BODY = 64 * 1024
MAX_PROOF = 63
TEXT_TYPE = "text/plain; charset=utf-8"
SIZE_TYPE = "text/x.tlog.size"


class WitnessError(Exception):
    """Why the witness cannot serve: the sentence says what to do."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    text: str
    content_type: str = TEXT_TYPE


class Asked(NamedTuple):
    """A request to cosign."""

    old_size: int
    proof: list[bytes]
    note: str

    @classmethod
    def parse(cls, body: bytes) -> Asked:
        """The parts of a body. Raises NoteError."""
        try:
            head, blank, note = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise NoteError("the body is not UTF-8") from None
        first, *lines = head.split("\n")
        word, _, digits = first.partition(" ")
        is_number = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0") and len(digits) < 20
        if not blank or word != "old" or not is_number:
            raise NoteError("the body is not: old SIZE, a consistency proof, an empty line, a checkpoint")
        if len(lines) > MAX_PROOF:
            raise NoteError(f"the proof has {len(lines)} lines, more than {MAX_PROOF}")
        proof = [decoded(line, "a line of the proof") for line in lines]
        if any(len(one) != HASH_BYTES for one in proof):
            raise NoteError("a line of the proof is no hash")
        return cls(int(digits), proof, note)


def open_cosigner(folder: pathlib.Path, name: str = "") -> Cosigner:
    """The cosigner of the folder's key, which is made at the first start (0600). Raises WitnessError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / KEY_FILE
    if not path.exists():
        _write(path, f"{os.urandom(32).hex()}\n")
    try:
        private_key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise WitnessError(f"{path} cannot be read as a key: {error}; restore it from your backup") from None
    if len(private_key) != 32:
        raise WitnessError(f"{path} has {len(private_key)} bytes, not 32: restore it from your backup")
    if not name:
        name = f"dac/witness/{Cosigner('dac', private_key).verifier.public_key.hex()[:16]}"
    return Cosigner(name, private_key)


def _write(path: pathlib.Path, text: str) -> None:
    """Replaces a file, so that after a crash it is the old or the new one, and the new one once this returns."""
    draft = path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Witness:
    """Check and store, one at a time; the folder is this process's alone."""

    def __init__(
        self, folder: pathlib.Path, logs: Iterable[VerifierKey], cosigner: Cosigner, clock_s: Callable[[], float]
    ) -> None:
        """`logs`: whose checkpoints are cosigned; a log's name is its origin. Raises WitnessError."""
        self._folder, self._cosigner, self._clock_s = folder, cosigner, clock_s
        self._logs = {key.name: key for key in logs}
        self._lock = threading.Lock()
        self._held = self._hold()
        self._latest = {origin: self._stored(key) for origin, key in self._logs.items()}

    def _hold(self) -> IO[str]:
        held = (self._folder / "lock").open("w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.close()
            raise WitnessError(f"another witness runs on {self._folder}: two could cosign two pasts") from None
        return held

    def close(self) -> None:
        """Leaves the folder to another one."""
        with contextlib.suppress(OSError):
            self._held.close()

    def _path(self, origin: str) -> pathlib.Path:
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.checkpoint"

    def _stored(self, key: VerifierKey) -> Checkpoint | None:
        """The latest checkpoint that was cosigned; a file that does not open is never taken for a beginning."""
        path = self._path(key.name)
        if not path.exists():
            return None
        try:
            found = Checkpoint.parse(open_note(path.read_text(encoding="utf-8"), key))
        except (OSError, UnicodeDecodeError, NoteError) as error:
            raise WitnessError(f"{path} does not open: {error}; restore it, or cosign this log no more") from None
        if found.origin != key.name:
            raise WitnessError(f"{path} is of {found.origin!r}, not of {key.name!r}")
        return found

    def add(self, body: bytes) -> Answer:
        """What `POST /add-checkpoint` answers; 200 only once the checkpoint is on the disk."""
        try:
            asked = Asked.parse(body)
            origin = Checkpoint.parse(asked.note).origin
        except NoteError as error:
            return Answer(400, f"{error}\n")
        key = self._logs.get(origin)
        if key is None:
            return Answer(404, "this witness does not know the log\n")
        try:
            text = open_note(asked.note, key)
            checkpoint = Checkpoint.parse(text)
        except NoteError as error:
            return Answer(403, f"{error}\n")
        if asked.old_size > checkpoint.size:
            return Answer(400, f"old {asked.old_size} is more than the checkpoint's {checkpoint.size}\n")
        with self._lock:
            return self._check_and_store(asked, text, checkpoint)

    def _check_and_store(self, asked: Asked, text: str, checkpoint: Checkpoint) -> Answer:
        latest = self._latest[checkpoint.origin]
        known = latest.size if latest else 0
        if asked.old_size != known or (latest and checkpoint.size == known and checkpoint.root != latest.root):
            return Answer(409, f"{known}\n", SIZE_TYPE)
        if not _goes_on(latest, checkpoint, asked.proof):
            return Answer(422, "the proof does not show that the log only grew\n")
        if checkpoint != latest:
            _write(self._path(checkpoint.origin), asked.note)
            self._latest[checkpoint.origin] = checkpoint
        return Answer(200, self._cosigner.cosign(text, int(self._clock_s())))


def _goes_on(latest: Checkpoint | None, checkpoint: Checkpoint, proof: list[bytes]) -> bool:
    if latest is None or latest.size == 0:
        return not proof and (checkpoint.size > 0 or checkpoint.root == EMPTY_ROOT)
    return is_consistent(latest.size, checkpoint.size, proof, latest.root, checkpoint.root)


def write_asked(old_size: int, proof: Iterable[bytes], note: str) -> bytes:
    """The body of a request to cosign."""
    lines = [f"old {old_size}", *(base64.b64encode(one).decode() for one in proof)]
    return ("\n".join(lines) + f"\n\n{note}").encode()
