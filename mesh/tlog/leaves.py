"""The leaves of DAC's audit log: a line that names the form, and canonical JSON (RFC 8785) of plain texts.

A leaf says who did what to what, when, with which outcome and cost. What it is about in full, the record, it only
commits to: SHA-256 over a random salt and the record, so that the leaf tells nothing of what it commits to.
"""

from __future__ import annotations

import hashlib

import msgspec

HEADER = b"dac-audit/v1\n"
SALT_BYTES = 32
MAX_FIELD = 256
"""Longer texts are cut: the record that the leaf commits to has them whole."""
REQUEST, CHANGE, HEADS, START = "request", "change", "heads", "start"
KINDS = {1: REQUEST, 2: CHANGE, 3: HEADS, 4: START}
"""How tables write the kinds."""
NUMBERS = {kind: number for number, kind in KINDS.items()}
OF_THE_LOG = frozenset({HEADS, START})
"""Kinds that follow from the log itself: they have a salt and no record."""
DECISIONS = ("unknown", "ok", "client_gone", "refused", "failed", "indeterminate")
"""By the number of a request's outcome."""
DONE = "done"
"""The decision of a change, of heads (mesh/tlog/heads.py) and of starts (mesh/tlog/starts.py)."""


class Leaf(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """An entry. Its fields stand in the order of RFC 8785, and all are texts: there is one way to write them."""

    action: str
    """e.g. "chat", "key.create"."""
    actor: str
    """e.g. "key:0192…", "operator"."""
    commitment: str
    """Hexadecimal."""
    cost_nano_usd: str
    decision: str
    """How it ended: one of DECISIONS, or DONE."""
    id: str
    """The request's or the change's."""
    kind: str
    org_id: str
    org_seq: str
    """Its number among the organisation's entries, from 1, without gaps."""
    target: str
    """e.g. "model:openai/gpt-4o-mini"."""
    time: str
    """RFC 3339 in UTC with six digits behind the second."""
    trace_id: str


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Leaf).decode


def commit(salt: bytes, record: bytes) -> str:
    """The commitment to a record."""
    return hashlib.sha256(b"c/v1" + salt + record).hexdigest()


def commit_text(salt: bytes, text: bytes) -> bytes:
    """The commitment of a request's record to what was said in it."""
    return hashlib.sha256(b"t/v1" + salt + text).digest()


def write_leaf(leaf: Leaf) -> bytes:
    """The leaf's bytes."""
    return HEADER + _write(leaf)


def read_leaf(data: bytes) -> Leaf:
    """The leaf of some bytes. Raises ValueError for what is none, or is not written the one way."""
    if not data.startswith(HEADER):
        raise ValueError("it does not begin with dac-audit/v1")
    body = data[len(HEADER) :]
    leaf = _read(body)
    if _write(leaf) != body:
        raise ValueError("it is not canonical JSON")
    return leaf
