"""A backup file opens whole with the right passphrase, and not at all otherwise."""

import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.backup import restoration, upgrade
from mesh.backup.dump import without_password
from mesh.backup.envelope import CHUNK_BYTES, Lock, Reader, Writer
from mesh.errors import MeshError
from mesh.keyring import Keyring

KEYRING = Keyring(b"k" * 32)
ABOUT = {"format": 1, "dac": "0.0.0", "schemas": {"budget": 2}}
MEMBERS = {"database": b"d" * (2 * CHUNK_BYTES + 5), "secrets/master.key": b"", "manifest": b"{}"}


def write(path: pathlib.Path, lock: Lock, members=MEMBERS, *, about=ABOUT, finish: bool = True) -> bytes:
    with path.open("wb") as out:
        writer = Writer(out, path, lock, about)
        for name, data in members.items():
            writer.member(name)
            writer.write(data)
        if finish:
            writer.finish()
    assert not finish or writer.written_bytes == path.stat().st_size
    return path.read_bytes()


def read(path: pathlib.Path, lock: Lock) -> dict[str, bytes]:
    reader = Reader(path)
    reader.unlock(lock)
    found: dict[str, bytes] = {}
    for name, data in reader.chunks():
        found[name] = found.get(name, b"") + data
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("envelope") / "small.dacbackup"
    return write(path, Lock(keyring=KEYRING), {"database": b"rows" * 500, "manifest": b"{}"})


@pytest.fixture(scope="module")
def altered_file(tmp_path_factory):
    return tmp_path_factory.mktemp("altered") / "altered.dacbackup"


def test_what_goes_in_comes_out(tmp_path):
    lock = Lock(passphrase="a long passphrase")
    raw = write(tmp_path / "a", lock)
    assert read(tmp_path / "a", Lock(passphrase="a long passphrase")) == MEMBERS
    assert Reader(tmp_path / "a").about == ABOUT
    assert b"dddd" not in raw and b"master.key" not in raw


def test_only_its_own_lock_opens_it(tmp_path):
    write(tmp_path / "p", Lock(passphrase="a long passphrase"))
    write(tmp_path / "k", Lock(keyring=KEYRING))
    for name, lock, said in (
        ("p", Lock(passphrase="another passphrase"), "the passphrase is wrong"),
        ("p", Lock(keyring=KEYRING), "--passphrase-file"),
        ("k", Lock(passphrase="a long passphrase"), "--master-key"),
        ("k", Lock(keyring=Keyring(b"o" * 32)), "another master key"),
    ):
        with pytest.raises(MeshError, match=said):
            read(tmp_path / name, lock)


def test_a_short_passphrase_is_refused():
    with pytest.raises(MeshError, match="12 or more"):
        Lock(passphrase="short")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_byte_can_be_lost_or_altered(whole, altered_file, data):
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans(), label="cut"):
        altered = whole[:at]
    else:
        altered = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
    altered_file.write_bytes(altered)
    with pytest.raises(MeshError, match=r"altered\.dacbackup: "):
        read(altered_file, Lock(keyring=KEYRING))


def test_chunks_cannot_be_dropped_doubled_swapped_or_added(whole, altered_file):
    path = altered_file
    head = whole.index(b"\n", 12) + 1
    chunks, at = [], head
    while at < len(whole):
        size = 4 + int.from_bytes(whole[at : at + 4], "big")
        chunks.append(whole[at : at + size])
        at += size
    orders = [
        chunks[1:],
        chunks[:-1],
        [chunks[0], *chunks],
        [chunks[1], chunks[0], *chunks[2:]],
        [*chunks, chunks[-1]],
        [*chunks, b"x"],
    ]
    for order in orders:
        path.write_bytes(whole[:head] + b"".join(order))
        with pytest.raises(MeshError, match=r"altered\.dacbackup: "):
            read(path, Lock(keyring=KEYRING))


def test_a_file_without_its_end_counts_as_cut(tmp_path):
    write(tmp_path / "open", Lock(keyring=KEYRING), finish=False)
    with pytest.raises(MeshError, match="it is cut"):
        read(tmp_path / "open", Lock(keyring=KEYRING))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is no backup"),
        (b"PK\x03\x04 something else", "it is no backup"),
        (b"DACBACKUP2\n{}\n", "made by a newer DAC"),
        (b"DACBACKUP1\n", "its header is damaged"),
        (b"DACBACKUP1\n[]\n", "its header is damaged"),
        (b"DACBACKUP1\n{}\n", "its header is damaged"),
        (b"DACBACKUP1\nnot json\n", "its header is damaged"),
        (b"DACBACKUP1\n" + b"{" * 100, "its header is damaged"),
    ],
)
def test_what_is_no_backup_is_named(tmp_path, content, said):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MeshError, match=said):
        Reader(tmp_path / "file")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MeshError, match="cannot be read"):
        Reader(tmp_path / "nothing")


def test_a_chunk_longer_than_any_is_refused_before_it_is_read(whole, altered_file):
    head = whole.index(b"\n", 12) + 1
    altered_file.write_bytes(whole[:head] + b"\x7f\xff\xff\xff" + whole[head + 4 :])
    with pytest.raises(MeshError, match=f"altered at byte {head}"):
        read(altered_file, Lock(keyring=KEYRING))


@pytest.mark.parametrize(
    "change",
    [
        {"about": {**ABOUT, "schemas": ["budget"]}},
        {"about": {**ABOUT, "schemas": {"budget": "two"}}},
        {"lock": {"by": "passphrase", "salt": "x", "n": 2**17, "r": 8, "p": 1}},
        {"lock": {"by": "passphrase", "salt": "A" * 24, "n": "many", "r": 8, "p": 1}},
        {"lock": {"by": "passphrase", "salt": "A" * 24, "n": 2**30, "r": 8, "p": 1}},
        {"lock": {"by": "passphrase", "salt": "A" * 24, "n": None, "r": [], "p": {}}},
        {"nonce_prefix": ""},
    ],
)
def test_an_altered_header_is_named(whole, altered_file, change):
    head = whole.index(b"\n", 12)
    header = json.loads(whole[whole.index(b"\n") : head])
    altered_file.write_bytes(whole[: whole.index(b"\n") + 1] + json.dumps({**header, **change}).encode() + whole[head:])
    with pytest.raises(MeshError, match="its header is damaged"):
        read(altered_file, Lock(passphrase="a long passphrase"))


@pytest.mark.parametrize(
    ("dsn", "safe"),
    [
        ("postgresql://me:s3cret@db:5432/dac?sslmode=require", "postgresql://me@db:5432/dac?sslmode=require"),
        ("postgresql:///dac?host=/run&user=me&password=s3cret", "postgresql:///dac?host=/run&user=me"),
        ("postgresql://me@db/dac?password=s3cret", "postgresql://me@db/dac"),
    ],
)
def test_a_password_goes_to_the_child_and_not_on_its_command_line(dsn, safe):
    shown, env = without_password(dsn, {"DAC_OPERATOR_TOKEN": "x", "PATH": "/bin"})
    assert shown == safe and env["PGPASSWORD"] == "s3cret"
    assert "DAC_OPERATOR_TOKEN" not in env


def test_an_upgrade_that_fails_at_every_start_keeps_the_backup_of_before_it(tmp_path):
    def made(number, **schemas):
        name = f"before-upgrade-2026010{number}T000000.dacbackup"
        write(tmp_path / name, Lock(keyring=KEYRING), {"manifest": b"{}"}, about={"format": 1, "schemas": schemas})
        return name

    first, second = made(1, budget=1), made(2, budget=2)
    before, *_, last = made(3, budget=2, audit=1), *(made(number, budget=2, audit=2) for number in range(4, 9))
    upgrade._forget_old(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [second, before, last]
    assert first not in (second, before, last)


def test_a_folder_that_cannot_be_put_in_place_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert restoration._empty(pathlib.Path()) == tmp_path.resolve()
    monkeypatch.setattr(pathlib.Path, "is_mount", lambda _: True)
    with pytest.raises(MeshError, match="a volume's root"):
        restoration._empty(tmp_path)
