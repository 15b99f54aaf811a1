"""Starts: a leaf that says with which entry the log begins, and the last number of every organisation before it.

What is before is gone; its tiles above the lowest level stay, so the tree is the same. The leaf's target names the
entry and a Merkle root over one line for each organisation, as heads have them (mesh/tlog/heads.py): an organisation
is shown its own line, and so with which number its entries begin. Who has the log has the numbers, and makes the lines
anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.tlog.heads import ACTOR, NOBODY, heads_lines, root_of_lines
from mesh.tlog.leaves import DONE, START, Leaf, commit

ACTION, TARGET = "audit.start", "start:"
MOST_DIGITS = 18


def start_leaf(record_id: str, org_seq: int, time: str, start: int, org_seqs: Mapping[str, int], salt: bytes) -> Leaf:
    """The leaf that declares entries before `start` gone, the last of which have these numbers."""
    lines = heads_lines(org_seqs, salt)
    return Leaf(
        action=ACTION,
        actor=ACTOR,
        commitment=commit(salt, b"\n".join(lines)),
        cost_nano_usd="0",
        decision=DONE,
        id=record_id,
        kind=START,
        org_id=NOBODY,
        org_seq=str(org_seq),
        target=f"{TARGET}{start}:{root_of_lines(lines).hex()}",
        time=time,
        trace_id="",
    )


def named_start(leaf: Leaf) -> int:
    """The entry that a leaf of this kind names. Raises ValueError."""
    digits, _, _ = leaf.target.removeprefix(TARGET).partition(":")
    if not leaf.target.startswith(TARGET) or not digits.isdecimal() or len(digits) > MOST_DIGITS:
        raise ValueError(f"{leaf.target[:50]!r} names no entry")
    return int(digits)


def wrong_start(leaf: Leaf, start: int, org_seqs: Mapping[str, int], salt: bytes) -> str:
    """What a leaf says otherwise than that start with these numbers; empty = nothing."""
    expected = start_leaf(leaf.id, 0, leaf.time, start, org_seqs, salt)
    for name in ("org_id", "action", "actor", "target", "commitment", "decision", "cost_nano_usd", "trace_id"):
        if getattr(leaf, name) != getattr(expected, name):
            return f"its {name} is not what the log's start and its numbers give"
    return ""
