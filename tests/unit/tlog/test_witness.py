"""The witness's rules, one by one: what it cosigns, what it refuses and how, and what stays after a crash."""

from __future__ import annotations

import base64
import os
import pathlib
import stat

import pytest

from mesh.tlog import standalone
from mesh.tlog.cosignatures import Cosigner, open_cosigned, witness_key
from mesh.tlog.merkle import consistency_ranges, hash_leaf, hashes_of, prove, root_of
from mesh.tlog.notes import Checkpoint, NoteError, NoteSigner, VerifierKey
from mesh.tlog.witness import Witness, WitnessError, open_cosigner, write_asked

LOG = NoteSigner("example.org/log", b"l" * 32)
LEAVES = [hash_leaf(b"leaf %d" % n) for n in range(40)]
OTHER = [hash_leaf(b"other %d" % n) for n in range(40)]
NOW = 1_679_315_147.9


def note(size: int, leaves: list[bytes] = LEAVES, signer: NoteSigner = LOG, origin: str = LOG.verifier.name) -> str:
    return signer.sign(Checkpoint(origin, size, root_of(leaves[:size])).text())


def proof(old: int, size: int, leaves: list[bytes] = LEAVES) -> list[bytes]:
    return prove(consistency_ranges(old, size), hashes_of(leaves)) if 0 < old < size else []


def asked(old: int, size: int, leaves: list[bytes] = LEAVES) -> bytes:
    return write_asked(old, proof(old, size, leaves), note(size, leaves))


def make(folder: pathlib.Path) -> Witness:
    return Witness(folder, [LOG.verifier], open_cosigner(folder), lambda: NOW)


@pytest.fixture
def witness(tmp_path: pathlib.Path) -> Witness:
    return make(tmp_path)


def test_a_log_that_grows_is_cosigned(witness: Witness, tmp_path: pathlib.Path) -> None:
    key = open_cosigner(tmp_path).verifier
    for old, size in ((0, 3), (3, 8), (8, 8), (8, 40)):
        answer = witness.add(asked(old, size))
        assert answer.status == 200, answer
        found = open_cosigned(note(size) + answer.text, key)
        assert (found.checkpoint.size, found.time_s, found.line) == (size, int(NOW), answer.text)
        assert witness_key(str(key)) == key


def test_other_sizes_get_the_known_one(witness: Witness) -> None:
    assert witness.add(asked(0, 8)).status == 200
    for old, size in ((0, 9), (3, 9), (0, 8), (7, 7)):
        answer = witness.add(asked(old, size))
        assert (answer.status, answer.text, answer.content_type) == (409, "8\n", "text/x.tlog.size"), (old, size)
    assert witness.add(asked(8, 9)).status == 200, "nothing of it was stored"


def test_another_past_is_refused(witness: Witness) -> None:
    assert witness.add(asked(0, 8)).status == 200
    same_size = witness.add(asked(8, 8, OTHER))
    assert (same_size.status, same_size.text) == (409, "8\n")
    assert witness.add(asked(8, 16, OTHER)).status == 422
    assert witness.add(write_asked(8, [], note(16))).status == 422
    assert witness.add(write_asked(8, proof(8, 16)[:-1], note(16))).status == 422
    assert witness.add(write_asked(8, proof(8, 16), note(8))).status == 422
    assert witness.add(asked(8, 16)).status == 200


def test_what_is_no_request_is_refused(witness: Witness) -> None:
    stranger = NoteSigner("example.org/log", b"s" * 32)
    unknown = NoteSigner("example.org/else", b"l" * 32)
    line = base64.b64encode(bytes(32)).decode()
    for status, body in (
        (404, write_asked(0, [], note(3, signer=unknown, origin="example.org/else"))),
        (403, write_asked(0, [], note(3, signer=stranger))),
        (403, write_asked(0, [], note(3).replace("\n3\n", "\n4\n"))),
        (400, asked(9, 3)),
        (422, write_asked(0, proof(3, 8), note(8))),
        (400, write_asked(0, [bytes(32)] * 64, note(3))),
        (400, write_asked(0, [b"short"], note(3))),
        (400, b"old 00\n\n" + note(3).encode()),
        (400, b"old -1\n\n" + note(3).encode()),
        (400, b"old \xb2\n\n" + note(3).encode()),
        (400, f"{line}\n\n{note(3)}".encode()),
        (400, b"old 0\n" + note(3).encode()),
        (400, b"old 0\n\n"),
        (400, b""),
    ):
        assert witness.add(body).status == status, body
    assert witness.add(asked(0, 3)).status == 200, "nothing of it was stored"


def test_a_log_without_entries_has_one_root(witness: Witness) -> None:
    wrong = LOG.sign(Checkpoint(LOG.verifier.name, 0, bytes(32)).text())
    assert witness.add(write_asked(0, [], wrong)).status == 422
    empty = LOG.sign(Checkpoint(LOG.verifier.name, 0, root_of([])).text())
    assert witness.add(write_asked(0, [], empty)).status == 200
    assert witness.add(asked(0, 5)).status == 200


def test_what_was_cosigned_is_known_after_a_restart(tmp_path: pathlib.Path) -> None:
    first = make(tmp_path)
    assert first.add(asked(0, 8)).status == 200
    assert stat.S_IMODE((tmp_path / "witness.key").stat().st_mode) == 0o600
    with pytest.raises(WitnessError, match="another witness runs"):
        make(tmp_path)
    key = open_cosigner(tmp_path).verifier
    first.close()
    # A draft that a crash left behind is nothing.
    state = next(tmp_path.glob("*.checkpoint"))
    state.with_suffix(".draft").write_text("half")
    second = make(tmp_path)
    assert second.add(asked(0, 8, OTHER)).text == "8\n" and second.add(asked(8, 9)).status == 200
    assert open_cosigner(tmp_path).verifier == key
    second.close()
    for damage in (state.read_text().replace("\n9\n", "\n2\n"), "", note(3, signer=NoteSigner("x", b"x" * 32))):
        state.write_text(damage)
        with pytest.raises(WitnessError, match="does not open"):
            make(tmp_path)
    (tmp_path / "witness.key").write_text("00")
    with pytest.raises(WitnessError, match="not 32"):
        open_cosigner(tmp_path)


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_what_cannot_be_stored_is_not_cosigned(
    witness: Witness, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    assert witness.add(asked(0, 8)).status == 200

    def full(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) is is_folder:
            raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr("mesh.tlog.witness.os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            witness.add(asked(8, 16))
    assert witness.add(asked(8, 9)).status == 200, "the witness still knows 8"


def test_a_cosignature_is_of_its_key_time_and_text() -> None:
    one, other = Cosigner("w.example/1", b"1" * 32), Cosigner("w.example/1", b"2" * 32)
    text = Checkpoint("example.org/log", 8, bytes(32)).text()
    line = one.cosign(text, 12)
    assert open_cosigned(LOG.sign(text) + line, one.verifier).time_s == 12
    assert standalone.cosigned_at(LOG.sign(text) + line, str(one.verifier)) == 12
    for bad, key in (
        (LOG.sign(text), one.verifier),
        (LOG.sign(text) + line, other.verifier),
        (LOG.sign(text.replace("8", "9")) + line, one.verifier),
        (LOG.sign(text) + later(line), one.verifier),
        (LOG.sign(text) + line, one.verifier._replace(name="w.example/2")),
    ):
        with pytest.raises(NoteError):
            open_cosigned(bad, key)
        with pytest.raises(standalone.Wrong):
            standalone.cosigned_at(bad, str(key))
    with pytest.raises(standalone.Wrong, match="not one"):
        standalone.cosigned_at(LOG.sign(text) + line, str(LOG.verifier))
    with pytest.raises(NoteError, match="not one of Ed25519"):
        witness_key(str(LOG.verifier))
    with pytest.raises(NoteError, match="not one of Ed25519"):
        VerifierKey.parse(str(one.verifier))


def later(line: str) -> str:
    """The same signature with another time."""
    head, _, encoded = line.rstrip("\n").rpartition(" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[11] += 1
    return f"{head} {base64.b64encode(bytes(raw)).decode()}\n"
