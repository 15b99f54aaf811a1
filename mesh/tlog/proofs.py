"""C2SP tlog-proof: one text with an index, a path and a checkpoint, checked without the log."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple

from mesh.tlog.merkle import HASH_BYTES, hash_leaf, is_included
from mesh.tlog.notes import Checkpoint, NoteError, VerifierKey, decoded, open_checkpoint

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63


class Proof(NamedTuple):
    """An offline proof that a leaf stands in a log."""

    leaf_index: int
    path: tuple[bytes, ...]
    checkpoint: str
    """The signed note, as the log gave it."""
    extra: bytes = b""
    """Not covered by the proof."""

    def text(self) -> str:
        """The proof's text."""
        extra = [f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else []
        path = [base64.b64encode(one).decode() for one in self.path]
        return "\n".join([HEADER, *extra, f"index {self.leaf_index}", *path, "", self.checkpoint])

    @classmethod
    def parse(cls, text: str) -> Proof:
        """The proof of a text. Raises NoteError."""
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if lines[0] != HEADER or not blank:
            raise NoteError(f"it is not a proof: its first line is not {HEADER}")
        extra = decoded(lines.pop(1)[6:], "the extra data") if len(lines) > 1 and lines[1].startswith("extra ") else b""
        word, _, digits = lines[1].partition(" ") if len(lines) > 1 else ("", "", "")
        if word != "index" or not (digits.isascii() and digits.isdigit()) or str(int(digits)) != digits:
            raise NoteError("the proof says no index")
        path = tuple(decoded(line, "a line of the proof") for line in lines[2:])
        if len(path) > MAX_PATH or any(len(one) != HASH_BYTES for one in path):
            raise NoteError("the proof's path is none")
        return cls(int(digits), path, checkpoint, extra)

    def check(self, leaf: bytes, key: VerifierKey, origin: str | None = None) -> Checkpoint:
        """The checkpoint, signed by `key`, whose tree has `leaf` at the proof's index. Raises NoteError."""
        checkpoint = open_checkpoint(self.checkpoint, key, origin)
        if not is_included(self.leaf_index, checkpoint.size, hash_leaf(leaf), self.path, checkpoint.root):
            raise NoteError(f"the log's tree of {checkpoint.size} does not have this leaf at index {self.leaf_index}")
        return checkpoint


def write_proof(index: int, path: Sequence[bytes], checkpoint: str) -> str:
    """The text of a proof."""
    return Proof(index, tuple(path), checkpoint).text()
