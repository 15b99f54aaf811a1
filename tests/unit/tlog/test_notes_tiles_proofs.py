"""Signed notes, checkpoints, names of tiles, entry bundles and proof texts are those of their standards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.tlog import merkle
from mesh.tlog.notes import Checkpoint, NoteError, NoteSigner, VerifierKey, open_checkpoint, open_note
from mesh.tlog.proofs import Proof
from mesh.tlog.tiles import ENTRIES, Tile, pack_entries, tiles_of, unpack_entries

FOREIGN_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
FOREIGN_NOTE = """example.com/log/testdata
0
47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=

— example.com/log/testdata M9e0lhxJACzE1KoUdqKuPa+9p6R7dSW8BlEvrg/noo8FkGg6PbJoRNOcdjqjOq89wVvTA60eubCc4oufo5BvIVEgtQc=
"""
SIGNER = NoteSigner("dac.example/log", b"k" * 32)
KEY = SIGNER.verifier


def test_a_checkpoint_of_another_maker_opens() -> None:
    key = VerifierKey.parse(FOREIGN_KEY)
    assert open_checkpoint(FOREIGN_NOTE, key) == Checkpoint("example.com/log/testdata", 0, merkle.EMPTY_ROOT)
    assert str(key) == FOREIGN_KEY


def test_what_is_signed_opens_with_the_key_alone() -> None:
    checkpoint = Checkpoint(KEY.name, 3, b"r" * 32)
    note = SIGNER.sign(checkpoint.text())
    assert open_checkpoint(note, VerifierKey.parse(str(KEY))) == checkpoint
    twice = note + NoteSigner("witness", b"w" * 32).sign("x\n").partition("\n\n")[2]
    assert open_checkpoint(twice, KEY) == checkpoint
    for other in (NoteSigner(KEY.name, b"o" * 32), NoteSigner("dac.example/other", b"k" * 32)):
        with pytest.raises(NoteError, match="has no signature of"):
            open_note(note, other.verifier)
    with pytest.raises(NoteError, match=r"not of 'dac\.example/log'"):
        open_checkpoint(SIGNER.sign(checkpoint._replace(origin="elsewhere").text()), KEY)


@given(st.integers(0, 200), st.integers(0, 7))
def test_no_changed_note_opens(place: int, bit: int) -> None:
    note = SIGNER.sign(Checkpoint(KEY.name, 7, b"r" * 32).text()).encode()
    changed = bytearray(note)
    changed[place % len(note)] ^= 1 << bit
    with pytest.raises((NoteError, UnicodeDecodeError)):
        open_checkpoint(changed.decode(), KEY)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("dac.example/log", "NAME"),
        ("dac.example/log+00000000+AAAA", "not one of Ed25519"),
        (str(KEY).replace(KEY.key_id.hex(), "00000000"), "id does not fit"),
        ("a b" + str(KEY)[15:], "cannot be a key's name"),
        ("x+00000000+*", "not base64"),
    ],
)
def test_a_wrong_verifier_key_says_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(NoteError, match=wrong):
        VerifierKey.parse(text)


@pytest.mark.parametrize("text", ["x\n1\n", "x\n01\nAAAA\n", "x\n-1\nAAAA\n", "x\n1\nAAAA\n", "\n1\nAAAA\n"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "note", ["", "text\n", "text\n\n", "text\n\nno mark\n", "text\n\n— name !\n", "a\tb\n\n— n AA==\n"]
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteError):
        open_note(note, KEY)


def test_tiles_are_named_as_the_standard_names_them() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Tile(ENTRIES, 0, 3).path == "tile/entries/000.p/3"
    of_70_000 = [(tile.level, tile.width) for tile in tiles_of(70_000)]
    assert of_70_000.count((0, 256)) == 273
    assert [one for one in of_70_000 if one != (0, 256)] == [(0, 112), (1, 256), (1, 17), (2, 1)]
    assert [tile.path for tile in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]


@given(st.integers(-1, 63), st.integers(0, 10**9), st.integers(1, 256))
def test_a_tile_is_found_by_its_name(level: int, index: int, width: int) -> None:
    assert Tile.parse(Tile(level, index, width).path) == Tile(level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/64/000",
        "tile/00/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/../000",
    ],
)
def test_other_paths_name_no_tile(path: str) -> None:
    assert Tile.parse(path) is None


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_bundles_hold_their_entries(entries: list[bytes]) -> None:
    bundle = pack_entries(entries)
    assert unpack_entries(bundle) == entries
    if bundle:
        with pytest.raises(ValueError, match="breaks off"):
            unpack_entries(bundle + b"\x00")
    with pytest.raises(ValueError, match="does not fit"):
        pack_entries([b"x" * 65_536])


def test_a_proof_is_one_text_that_is_checked_alone() -> None:
    leaves = [b"one", b"two", b"three"]
    hashes = [merkle.hash_leaf(leaf) for leaf in leaves]
    note = SIGNER.sign(Checkpoint(KEY.name, 3, merkle.root_of(hashes)).text())
    path = merkle.prove(merkle.inclusion_ranges(1, 3), merkle.hashes_of(hashes))
    text = Proof(1, tuple(path), note, b"more").text()
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 1\n")
    assert text.endswith("\n\n" + note)
    proof = Proof.parse(text)
    assert proof.check(b"two", KEY).size == 3
    with pytest.raises(NoteError, match="does not have this leaf at index 1"):
        proof.check(b"three", KEY)
    for wrong in (
        text.replace("index 1", "index 01"),
        text[3:],
        text.replace("index 1\n", ""),
        text.replace("=\n", "\n"),
    ):
        with pytest.raises(NoteError):
            Proof.parse(wrong).check(b"two", KEY)
