"""Archives: continued only by what they are a prefix of, whole at any time, and every changed file is found."""

import functools
import pathlib
import shutil

import pytest

from mesh.tlog.archive import Archive, ArchiveError
from mesh.tlog.leaves import Leaf, write_leaf
from mesh.tlog.merkle import hash_leaf, root_of
from mesh.tlog.notes import Checkpoint, NoteSigner
from mesh.tlog.tiles import ENTRIES, WIDTH, Edge, Tile, pack_entries, tiles_of

SIGNER = NoteSigner("test.example/log", b"k" * 32)
KEY = SIGNER.verifier
SIZES = 1, 200, 256, 300, 513, 70_000


def leaf(number: int, word: str = "") -> bytes:
    """Leaf of one of three organisations."""
    told = dict.fromkeys(Leaf.__struct_fields__, word)
    return write_leaf(Leaf(**{**told, "org_id": f"org {number % 3}", "org_seq": str(number // 3 + 1)}))


@functools.cache
def all_leaves() -> list[bytes]:
    """Of the longest log. Made when a test asks for it: every test process reads this file."""
    return [leaf(number) for number in range(SIZES[-1])]


def note(leaves: list[bytes], signer: NoteSigner = SIGNER) -> str:
    """The signed checkpoint of a log."""
    root = root_of([hash_leaf(one) for one in leaves])
    return signer.sign(Checkpoint(signer.verifier.name, len(leaves), root).text())


class Log:
    """Where bundles come from; `asked` counts them."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves, self.asked = leaves, 0

    def __call__(self, tile: Tile) -> bytes:
        assert tile.level == ENTRIES
        self.asked += 1
        return pack_entries(self.leaves[tile.number * WIDTH :][: tile.width])


def files(folder: pathlib.Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def extend(folder: pathlib.Path, leaves: list[bytes]) -> Log:
    """Takes a folder to the log of some leaves."""
    log = Log(leaves)
    Archive(folder).extend(note(leaves), KEY, log)
    return log


def test_a_folder_grows_with_the_log_and_has_the_files_of_its_size(tmp_path: pathlib.Path) -> None:
    for size in SIZES:
        log = extend(tmp_path, all_leaves()[:size])
        checked = Archive(tmp_path).check(KEY)
        assert (checked.entries, checked.findings) == (size, [])
        wanted = {tile.path for tile in tiles_of(size)}
        wanted |= {tile._replace(level=ENTRIES).path for tile in tiles_of(size) if tile.level == 0}
        assert set(files(tmp_path)) == wanted | {"checkpoint", "verifier-key"}
    assert log.asked == -(-SIZES[-1] // WIDTH) - SIZES[-2] // WIDTH
    once = tmp_path / "once"
    extend(once, all_leaves())
    assert files(once) == {name: data for name, data in files(tmp_path).items() if not name.startswith("once/")}
    assert extend(once, all_leaves()).asked == 1


@pytest.mark.parametrize("kept", [199, 256, 299])
def test_a_log_with_another_past_is_refused_and_nothing_is_kept_of_it(tmp_path: pathlib.Path, kept: int) -> None:
    extend(tmp_path, all_leaves()[:300])
    before = files(tmp_path)
    other = [*all_leaves()[:kept], *(leaf(number, "x") for number in range(kept, 700))]
    with pytest.raises(ArchiveError, match=r"does not begin with|do not hash to the root"):
        extend(tmp_path, other)
    assert files(tmp_path) == before
    with pytest.raises(ArchiveError, match="the log has 299 entries, and the archive has 300"):
        extend(tmp_path, all_leaves()[:299])
    with pytest.raises(ArchiveError, match=r"does not verify|no signature"):
        Archive(tmp_path).extend(note(all_leaves(), NoteSigner("test.example/log", b"o" * 32)), KEY, Log(all_leaves()))
    assert files(tmp_path) == before
    extend(tmp_path, all_leaves()[:700])
    assert Archive(tmp_path).check(KEY).findings == []


def test_a_log_that_hands_out_what_it_did_not_sign_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ArchiveError, match="do not hash to the root"):
        Archive(tmp_path).extend(note(all_leaves()[:600]), KEY, Log([leaf(number, "x") for number in range(600)]))
    assert files(tmp_path) == {}
    for bundle in (b"", b"\x00\x05ab"):
        with pytest.raises(ArchiveError):
            Archive(tmp_path).extend(note(all_leaves()[:600]), KEY, lambda tile, data=bundle: data)  # type: ignore[misc]
    assert files(tmp_path) == {}


def test_a_log_that_hands_out_other_entries_for_those_that_are_here_is_refused(tmp_path: pathlib.Path) -> None:
    """The root would not tell: the hashes of what is here are those of the folder."""
    extend(tmp_path, all_leaves()[:300])
    before = files(tmp_path)
    other = [*all_leaves()[:280], leaf(280, "x"), *all_leaves()[281:700]]
    with pytest.raises(ArchiveError, match="tile/entries/001 does not begin with"):
        Archive(tmp_path).extend(note(all_leaves()[:700]), KEY, Log(other))
    assert files(tmp_path) == before


def test_an_interrupted_run_is_taken_up_where_it_stopped(tmp_path: pathlib.Path) -> None:
    extend(tmp_path, all_leaves()[:300])

    class Cut(Exception):
        """The network went away."""

    log = Log(all_leaves()[:5000])

    def breaks(tile: Tile) -> bytes:
        if tile.number == 9:
            raise Cut
        return log(tile)

    with pytest.raises(Cut):
        Archive(tmp_path).extend(note(all_leaves()[:5000]), KEY, breaks)
    # It is still the archive of its checkpoint.
    assert Archive(tmp_path).check(KEY)[::2] == (300, [])
    assert extend(tmp_path, all_leaves()[:5000]).asked == 20 - 9
    assert Archive(tmp_path).check(KEY)[::2] == (5000, [])


def test_every_changed_or_missing_file_is_found(tmp_path: pathlib.Path) -> None:
    whole = tmp_path / "whole"
    extend(whole, all_leaves()[:600])
    for number, name in enumerate(sorted(files(whole))):
        if name == "verifier-key":
            continue
        broken = tmp_path / str(number)
        shutil.copytree(whole, broken)
        data = bytearray((broken / name).read_bytes())
        data[len(data) // 2] ^= 1
        (broken / name).write_bytes(data)
        assert faulty(broken), name
        (broken / name).unlink()
        assert faulty(broken), name


def faulty(folder: pathlib.Path) -> bool:
    """Whether checking objects."""
    try:
        return bool(Archive(folder).check(KEY).findings)
    except ArchiveError:
        return True


def test_a_damaged_folder_is_not_gone_on_with(tmp_path: pathlib.Path) -> None:
    extend(tmp_path, all_leaves()[:300])
    tile = tmp_path / "tile/0/001.p/44"
    tile.write_bytes(bytes(44 * 32))
    with pytest.raises(ArchiveError, match="damaged"):
        extend(tmp_path, all_leaves()[:700])


def test_numbers_and_kept_checkpoints_are_checked(tmp_path: pathlib.Path) -> None:
    gap = [*all_leaves()[:10], *all_leaves()[13:400]]
    extend(tmp_path, gap)
    assert "where 4 is due" in Archive(tmp_path).check(KEY).findings[0]
    extend(tmp_path / "fine", all_leaves()[:400])
    fine = Archive(tmp_path / "fine")
    for size in (0, 1, 256, 300, 400):
        kept = Checkpoint(KEY.name, size, root_of([hash_leaf(one) for one in all_leaves()[:size]]))
        assert fine.check(KEY, kept).findings == []
        assert "not those that the saved" in fine.check(KEY, kept._replace(root=b"x" * 32)).findings[0]
    assert "here are 400" in fine.check(KEY, kept._replace(size=401)).findings[0]
    assert "another log" in fine.check(KEY, kept._replace(origin="other")).findings[0]


def test_an_archive_goes_on_from_a_log_whose_old_entries_it_has(tmp_path: pathlib.Path) -> None:
    extend(tmp_path, all_leaves()[:600])

    def later(tile: Tile) -> bytes:
        assert tile.number >= 512 // WIDTH, "what is gone is asked for"
        return Log(all_leaves())(tile)

    for start in (512, 600):
        done = Archive(tmp_path).extend(note(all_leaves()[:1000]), KEY, later, start)
        assert done.size == 1000 and Archive(tmp_path).check(KEY)[::2] == (1000, [])
    before = files(tmp_path)
    with pytest.raises(ArchiveError, match="begins with entry 1024, and the archive has 1000: what is between them"):
        Archive(tmp_path).extend(note(all_leaves()[:5000]), KEY, later, 1024)
    assert files(tmp_path) == before


START = 70_000 // WIDTH * WIDTH - WIDTH
"""Behind a full tile of level 1, and within the next one."""


def begun_later(tmp_path: pathlib.Path, *, declared: int = START) -> tuple[pathlib.Path, list[bytes]]:
    """An archive that was begun on a log without its old leaves, and all leaves of that log."""
    fields = dict.fromkeys(Leaf.__struct_fields__, "")
    says = Leaf(**{**fields, "org_id": "nobody", "org_seq": "9", "kind": "start", "target": f"start:{declared}:00"})
    leaves = [*all_leaves(), write_leaf(says)]
    edge, kept = Edge(), dict[str, bytes]()
    for full in edge.extend([hash_leaf(one) for one in leaves]):
        kept[Tile(full.level, full.number).path] = full.hashes

    def later(tile: Tile) -> bytes:
        assert tile.level >= 0 or tile.number >= START // WIDTH, "what is gone is asked for"
        assert tile.level != 0 or tile.number >= 256, "a tile that is gone is asked for"
        return Log(leaves)(tile) if tile.level == ENTRIES else kept[tile.path]

    done = Archive(tmp_path).extend(note(leaves), KEY, later, START)
    assert (done.before, done.size) == (0, len(leaves))
    return tmp_path, leaves


def test_an_archive_can_be_begun_when_old_leaves_are_gone(tmp_path: pathlib.Path) -> None:
    folder, leaves = begun_later(tmp_path)
    assert Archive(folder).check(KEY)[::2] == (len(leaves) - START, [])
    kept = Checkpoint(KEY.name, START + 300, root_of([hash_leaf(one) for one in leaves[: START + 300]]))
    assert Archive(folder).check(KEY, kept).findings == []
    assert "not those that" in Archive(folder).check(KEY, kept._replace(root=bytes(32))).findings[0]
    assert "does not have" in Archive(folder).check(KEY, kept._replace(size=300)).findings[0]
    more = [*leaves, *(leaf(number) for number in range(70_000, 70_500))]
    Archive(folder).extend(note(more), KEY, Log(more), START)
    assert Archive(folder).check(KEY)[::2] == (len(more) - START, [])
    for name in sorted(files(folder)):
        if name == "verifier-key":
            continue
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(
            data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        )
        assert faulty(folder), name
        (folder / name).write_bytes(data)
    assert not faulty(folder)
    (folder / "start").unlink()
    assert faulty(folder)


def test_an_archive_that_begins_where_no_entry_says_is_found(tmp_path: pathlib.Path) -> None:
    folder, _ = begun_later(tmp_path, declared=START - WIDTH)
    assert "no entry declares the ones before it gone" in Archive(folder).check(KEY).findings[0]


def test_tiles_that_do_not_lead_to_the_root_begin_no_archive(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ArchiveError, match="do not hash to the root"):
        Archive(tmp_path).extend(
            note(all_leaves()), KEY, lambda tile: bytes(8192) if tile.level >= 0 else Log(all_leaves())(tile), START
        )
    with pytest.raises(ArchiveError, match="is no tile"):
        Archive(tmp_path).extend(note(all_leaves()), KEY, lambda tile: b"", START)
    assert files(tmp_path) == {}
