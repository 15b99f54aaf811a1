"""Edits of a stored log are found, every one; and each guard is needed: without it its own edit goes unnoticed."""

import io
import random
from collections.abc import Callable
from typing import Any

import pytest

from bench.audit import tamper
from bench.audit.tamper import SIGNER, StoredLog
from mesh.cli.audit_verify import followed
from mesh.tlog import merkle, stretches, verification
from mesh.tlog.frames import head_frame
from mesh.tlog.leaves import Leaf, read_leaf, write_leaf
from mesh.tlog.notes import Checkpoint
from mesh.tlog.stretches import BrokenStream, StretchCheck
from mesh.tlog.tiles import Edge
from mesh.tlog.verification import Verification

LOG = tamper.build(random.Random(1))
OUTSIDE = tamper.kept_checkpoint(LOG)


def test_every_random_edit_is_found() -> None:
    assert tamper.measure(320) == {"edits": 320, "detected": 320}


def test_an_unchanged_log_verifies_in_parts_of_any_size() -> None:
    stream = LOG.stream()
    for size in (1, 7, 4096):
        checked = Verification(SIGNER.verifier, OUTSIDE)
        part = stream if size > 1 else stream[:3000]
        for at in range(0, len(part), size):
            checked.feed(part[at : at + size])
        if size > 1:
            assert checked.finish() and checked.entries == tamper.SIZE and checked.checkpoint is not None
    with pytest.raises(BrokenStream, match="broke off"):
        checked = Verification(None, None)
        checked.feed(stream[:-1])
        checked.finish()
    with pytest.raises(BrokenStream, match="begins no frame"):
        Verification(None, None).feed(b"x")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_told_how_much_has_been_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = LOG.stream()
    parts = [stream[at : at + 9000] for at in range(0, len(stream), 9000)]
    for terminal in (Terminal(), io.StringIO()):
        checked = Verification(SIGNER.verifier, OUTSIDE)
        for part in followed(parts, checked, stream=terminal, every_s=0):
            checked.feed(part)
        assert checked.finish()
        told = terminal.getvalue()
        assert told == "" if type(terminal) is io.StringIO else f" of {tamper.SIZE} entries" in told
        assert "\n" not in told and (not told or told.endswith("\r\x1b[K"))


def unsigned(note: str, key: Any, origin: str | None = None) -> Checkpoint:
    return Checkpoint.parse(note.rpartition("\n\n")[0] + "\n")


def other_signature(log: StoredLog) -> None:
    log.note = log.rebuilt(tamper.THIEF).note


def other_leaf(log: StoredLog) -> None:
    """In the last, partial tile, and what the rows say of it stays true."""
    leaf = read_leaf(log.entries[-1].leaf)
    fields = {name: getattr(leaf, name) for name in leaf.__struct_fields__}
    log.entries[-1] = log.entries[-1]._replace(leaf=write_leaf(Leaf(**{**fields, "actor": "key:someone-else"})))


def other_record(log: StoredLog) -> None:
    entry = log.entries[7]
    log.entries[7] = entry._replace(record=(entry.record or b"") + b"\x1a\x00")


def other_cost(log: StoredLog) -> None:
    log.entries[7] = log.entries[7]._replace(cost_nano_usd=0)


def other_tile(log: StoredLog) -> None:
    log.tiles[0] = log.tiles[0]._replace(hashes=bytes(8192))


def a_row_without_leaf(log: StoredLog) -> None:
    log.counts = log.counts[0] + 1, 0


def a_gap_in_the_numbers(log: StoredLog) -> None:
    """Left out before it was signed: everything else fits."""
    entries = list(log.entries)
    log.entries = [entries[0], *entries[2:]]
    made = log.rebuilt()
    leaf = read_leaf(made.entries[-1].leaf)
    fields = {name: getattr(leaf, name) for name in leaf.__struct_fields__}
    skipped = write_leaf(Leaf(**{**fields, "org_seq": str(int(leaf.org_seq) + 1)}))
    made.entries[-1] = made.entries[-1]._replace(leaf=skipped)
    edge = Edge()
    edge.extend([merkle.hash_leaf(entry.leaf) for entry in made.entries])
    log.entries, log.tiles, log.counts = made.entries, made.tiles, made.counts
    log.note = SIGNER.sign(Checkpoint(SIGNER.verifier.name, edge.size, edge.root()).text())


def another_past(log: StoredLog) -> None:
    forked = tamper.re_sign(random.Random(4), log.copy())
    while forked.key != str(SIGNER.verifier):
        forked = tamper.re_sign(random.Random(5), log.copy())
    log.entries, log.tiles, log.note = forked.entries, forked.tiles, forked.note


class _Any(str):
    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


ANY = _Any()


def any_tile(self: StretchCheck, data: bytes, at: int) -> int:
    self._grow()
    self._full.clear()
    return at + 10 + 32 + 8192


GUARDS: dict[str, tuple[Any, str, Any, Callable[[StoredLog], None], bool]] = {
    "signature": (verification, "open_checkpoint", unsigned, other_signature, True),
    "root": (Verification, "_check_roots", lambda self: None, other_leaf, False),
    "commitment": (stretches, "commit", lambda salt, record: ANY, other_record, False),
    "columns": (stretches, "wrong_column", lambda *row: "", other_cost, False),
    "tiles": (StretchCheck, "_tile", any_tile, other_tile, False),
    "counts": (Verification, "_check_counts", lambda self: None, a_row_without_leaf, False),
    "numbers": (StretchCheck, "_check_number", lambda self, idx, leaf: None, a_gap_in_the_numbers, False),
    "outside": (Verification, "_check_outside", lambda self: None, another_past, True),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_is_needed(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, without, edit, has_outside = GUARDS[guard]
    log = LOG.copy()
    edit(log)
    outside = OUTSIDE if has_outside else None
    if guard == "signature":
        # Of a log of this very size and root, whose signature alone is wrong.
        outside = None
    assert tamper.is_found(log, outside)
    monkeypatch.setattr(owner, name, without)
    if guard == "numbers":
        monkeypatch.setattr(Verification, "_check_counts", lambda self: None)
    assert tamper.holds_as_stream(log, outside) and tamper.holds_in_stretches(log, outside)


def test_without_a_checkpoint_from_outside_a_rewritten_past_is_not_found() -> None:
    """The honest limit: who has database and key can rewrite everything, and only a kept checkpoint tells."""
    log = LOG.copy()
    another_past(log)
    assert tamper.holds_as_stream(log, None) and tamper.holds_in_stretches(log, None)
    assert tamper.is_found(log, OUTSIDE)


def test_a_key_that_is_not_the_pinned_one_is_told() -> None:
    checked = Verification(tamper.THIEF.verifier, None)
    checked.feed(head_frame(str(SIGNER.verifier), LOG.note))
    assert "not the one that was expected" in checked.findings[0].what
