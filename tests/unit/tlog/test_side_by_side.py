"""A log is verified in stretches as it is as a whole, in processes beside each other, and none of them may be lost."""

from __future__ import annotations

import psutil
import pytest

from bench.audit import tamper
from bench.audit.tamper import SIGNER, StoredLog
from mesh.tlog import side_by_side
from mesh.tlog.leaves import Leaf, read_leaf, write_leaf
from mesh.tlog.merkle import hash_leaf
from mesh.tlog.notes import Checkpoint
from mesh.tlog.side_by_side import CheckerEnded, NoStretches, check_stretch, join_stretches
from mesh.tlog.stretches import BrokenStream
from mesh.tlog.tiles import Edge
from mesh.tlog.verification import Verification
from tests.unit.tlog.stretch_sources import SIZE, Whole, log

LOG = log()


@pytest.mark.parametrize("kept_size", [0, 1, 255, 256, 257, 600, 1280, 1281, SIZE])
@pytest.mark.parametrize("tiles", [1, 2, 5])
def test_a_kept_checkpoint_is_found_wherever_it_ends(kept_size: int, tiles: int) -> None:
    kept = tamper.kept_checkpoint(LOG, kept_size)
    assert tamper.holds_in_stretches(LOG, kept, tiles) and tamper.holds_as_stream(LOG, kept)
    forked = kept._replace(root=bytes(32))
    assert not tamper.holds_in_stretches(LOG, forked, tiles) and not tamper.holds_as_stream(LOG, forked)


def test_a_checkpoint_of_more_entries_than_there_are_is_a_finding() -> None:
    longer = Checkpoint(SIGNER.verifier.name, SIZE + 1, bytes(32))
    assert not tamper.holds_in_stretches(LOG, longer) and not tamper.holds_as_stream(LOG, longer)


def resigned(changed: StoredLog) -> StoredLog:
    """With tiles and checkpoint made to fit, and everything else as it is: what a forger with the key can do."""
    edge = Edge()
    changed.tiles = edge.extend([hash_leaf(entry.leaf) for entry in changed.entries])
    changed.note = SIGNER.sign(Checkpoint(SIGNER.verifier.name, edge.size, edge.root()).text())
    changed.counts = len(changed.entries), 0
    return changed


def test_a_number_that_is_left_out_between_two_stretches_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = LOG.copy()
    own = read_leaf(changed.entries[512].leaf).org_id
    for place, entry in enumerate(changed.entries):
        leaf = read_leaf(entry.leaf)
        if place >= 512 and leaf.org_id == own:
            fields = {name: getattr(leaf, name) for name in leaf.__struct_fields__}
            later = Leaf(**{**fields, "org_seq": str(int(leaf.org_seq) + 1)})
            changed.entries[place] = entry._replace(leaf=write_leaf(later))
    resigned(changed)
    assert not tamper.holds_in_stretches(changed, None, 2) and not tamper.holds_as_stream(changed, None)
    # The guard is needed: within the stretches every number follows the one before.
    monkeypatch.setattr(Verification, "_check_numbers", lambda self, stretch: {})
    assert tamper.holds_in_stretches(changed, None, 2)


def test_processes_beside_each_other_join_the_whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "STRETCH_ENTRIES", 256)
    checked = Verification(SIGNER.verifier, tamper.kept_checkpoint(LOG, 700))
    assert list(join_stretches(checked, Whole(), SIZE, 2)) == [256, 512, 768, 1024, 1280]
    for part in LOG.part(checked.due):
        checked.feed(part)
    assert checked.finish(), checked.findings
    whole = Verification(SIGNER.verifier, None)
    whole.feed(LOG.stream())
    assert whole.finish()
    assert (checked.entries, checked.org_seqs) == (whole.entries, whole.org_seqs)


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("killed", CheckerEnded),
        ("earlier version", NoStretches),
        ("whole log", NoStretches),
        ("cut off", BrokenStream),
        ("another stretch", BrokenStream),
    ],
)
def test_a_stretch_that_nobody_checked_is_never_passed_over(
    fault: str, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "STRETCH_ENTRIES", 256)
    checked, before = Verification(SIGNER.verifier, None), children()
    with pytest.raises(raised):
        list(join_stretches(checked, Whole(fault), SIZE, 2))
    assert checked.entries <= 512
    assert children() == before, "no process is left"


def children() -> set[str]:
    """The processes of this one; those that have ended and were not waited for, too."""
    return {str(process.pid) for process in psutil.Process().children()}


def test_a_process_that_is_killed_while_it_waits_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "STRETCH_ENTRIES", 256)
    asked = side_by_side._Asked(Whole(), 0)
    with side_by_side._Checkers(1, asked) as checkers:
        [checker] = checkers.idle
        checker.kill()
        checker.wait()
        with pytest.raises(CheckerEnded, match="status -9"):
            checkers.ask(0, 256)


def test_a_stretch_without_its_entries_is_a_finding() -> None:
    checked = Verification(SIGNER.verifier, None)
    checked.join(check_stretch(Whole(), 0, 512, 0), 512)
    checked.join(check_stretch(Whole("short"), 512, 768, 0), 768)
    checked.join(check_stretch(Whole(), 768, 1280, 0), 1280)
    for part in LOG.part(checked.due):
        checked.feed(part)
    assert not checked.finish()
    assert checked.findings[0].what == "of its entries 512 to 767 it has 0"


def test_stretches_that_are_not_there_yet_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gathered behind a slow stretch is bounded."""
    monkeypatch.setattr(side_by_side, "STRETCH_ENTRIES", 256)
    monkeypatch.setattr(side_by_side, "AHEAD", 1)
    asked: list[int] = []
    ask = side_by_side._Checkers.ask

    def noted(self: side_by_side._Checkers, first: int, end: int) -> None:
        asked.append(first)
        ask(self, first, end)

    monkeypatch.setattr(side_by_side._Checkers, "ask", noted)
    checked = Verification(SIGNER.verifier, None)
    for entries in join_stretches(checked, Whole(), SIZE, 2):
        assert asked[-1] <= entries + 256
    assert checked.entries == 1280
