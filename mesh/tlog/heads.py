"""Heads: a leaf that says, for the entries before it, what the last number of every organisation is.

The leaf's target is a Merkle root (RFC 6962) over one line for each organisation, in the order of their ids. An
organisation is shown its own line and the path to the root, and nothing of the others: a line ends with a hash of the
leaf's salt, without which nobody can try numbers. What the lines are follows from the log itself and the salt, so
whoever reads the whole log needs no record of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from mesh.tlog import merkle
from mesh.tlog.leaves import DONE, HEADS, Leaf, commit

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The organisation of leaves that belong to the log itself; it has no line."""
ACTION, ACTOR, TARGET = "audit.heads", "audit", "heads:"


def heads_lines(org_seqs: Mapping[str, int], salt: bytes) -> list[bytes]:
    """A line for each organisation that has an entry, in the order of their ids."""
    return [
        b"%s %d %s" % (org_id.encode(), org_seqs[org_id], _blind(org_id, salt))
        for org_id in sorted(org_seqs)
        if org_id != NOBODY
    ]


def _blind(org_id: str, salt: bytes) -> bytes:
    return hashlib.sha256(b"h/v1" + salt + org_id.encode()).hexdigest()[:32].encode()


def root_of_lines(lines: Sequence[bytes]) -> bytes:
    """The Merkle root over lines."""
    return merkle.root_of([merkle.hash_leaf(line) for line in lines])


def heads_leaf(record_id: str, org_seq: int, time: str, org_seqs: Mapping[str, int], salt: bytes) -> Leaf:
    """The leaf behind entries with these numbers."""
    lines = heads_lines(org_seqs, salt)
    return Leaf(
        action=ACTION,
        actor=ACTOR,
        commitment=commit(salt, b"\n".join(lines)),
        cost_nano_usd="0",
        decision=DONE,
        id=record_id,
        kind=HEADS,
        org_id=NOBODY,
        org_seq=str(org_seq),
        target=f"{TARGET}{root_of_lines(lines).hex()}",
        time=time,
        trace_id="",
    )


def wrong_heads(leaf: Leaf, org_seqs: Mapping[str, int], salt: bytes) -> str:
    """What a heads leaf says otherwise than the entries before it; empty = nothing."""
    expected = heads_leaf(leaf.id, 0, leaf.time, org_seqs, salt)
    for name in ("org_id", "action", "actor", "target", "commitment", "decision", "cost_nano_usd", "trace_id"):
        if getattr(leaf, name) != getattr(expected, name):
            return f"its {name} is not what the entries before it give"
    return ""


def line_of(org_id: str, org_seqs: Mapping[str, int], salt: bytes) -> tuple[int, int, bytes, list[bytes]] | None:
    """An organisation's line: its place, how many lines there are, the line, and its path to the root; None = none."""
    org_ids = sorted(one for one in org_seqs if one != NOBODY)
    if org_id not in org_seqs or org_id == NOBODY:
        return None
    lines, place = heads_lines(org_seqs, salt), org_ids.index(org_id)
    ranges = merkle.inclusion_ranges(place, len(lines))
    path = merkle.prove(ranges, merkle.hashes_of([merkle.hash_leaf(line) for line in lines]))
    return place, len(lines), lines[place], path
