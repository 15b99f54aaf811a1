"""Backups that somebody made by hand, whose passphrase is right: each is refused by name before anything is written."""

import pathlib

import pytest

from mesh.backup.envelope import Lock, Reader, Writer
from mesh.backup.restoration import MOST_KEPT_BYTES, open_backup
from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring

LOCK = Lock(keyring=Keyring(b"k" * 32))
ABOUT = {"format": 1, "dac": "0.0.0", "made_at": "2026-01-01T00:00:00+00:00", "schemas": {}}
GOOD = {"database": b"d", "secrets/master.key": b"5a" * 32, "config/dac.yaml": b"", "manifest": b'{"rows": {"a.b": 1}}'}


def made(path: pathlib.Path, members: dict[str, bytes], **about: object) -> pathlib.Path:
    with path.open("wb") as out:
        writer = Writer(out, path, LOCK, {**ABOUT, **about})
        for name, data in members.items():
            writer._chunk(b"N" + name.encode("utf-8", "surrogateescape"))
            writer.write(data)
        writer.finish()
    return path


def test_a_good_one_opens(tmp_path):
    _, contents = open_backup(made(tmp_path / "x", GOOD), LOCK, {})
    assert contents.rows == {"a.b": 1} and set(contents.config) == {"dac.yaml"}


@pytest.mark.parametrize(
    "name",
    [
        "secrets/..",
        "secrets/.",
        "secrets/",
        "secrets/../../.ssh/authorized_keys",
        "config//etc/passwd",
        "config/a/b",
        "secrets/a/",
        "config/./a",
    ],
)
def test_no_file_leaves_its_folder(tmp_path, name):
    with pytest.raises(MeshError, match="outside its folder") as refused:
        open_backup(made(tmp_path / "x", {**GOOD, name: b"x"}), LOCK, {})
    assert refused.value.reason is Reason.FAILED_PRECONDITION


@pytest.mark.parametrize("name", ["config/a\x00b", "config/a\nb", "config/\x1b[2J", "secrets/" + "n" * 300])
def test_no_file_has_a_name_that_cannot_be_kept_or_shown(tmp_path, name):
    with pytest.raises(MeshError, match="no system can keep") as refused:
        open_backup(made(tmp_path / "x", {**GOOD, name: b"x"}), LOCK, {})
    assert refused.value.message.isprintable()


def test_a_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(MeshError, match="no text"):
        open_backup(made(tmp_path / "x", {**GOOD, "config/\udcff": b"x"}), LOCK, {})


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"rows": 5}',
        b'{"rows": {"a.b": "1"}}',
        b'{"rows": {"a": 1}}',
        b'{"rows": [1]}',
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, manifest):
    with pytest.raises(MeshError, match="manifest is damaged"):
        open_backup(made(tmp_path / "x", {**GOOD, "manifest": manifest}), LOCK, {})


@pytest.mark.parametrize("key", [b"", b"zz", b"5a" * 8, b"\xff" * 32])
def test_a_master_key_that_is_none_is_named_before_a_database_is_begun(tmp_path, key):
    with pytest.raises(MeshError, match="no master key"):
        open_backup(made(tmp_path / "x", {**GOOD, "secrets/master.key": key}), LOCK, {})


@pytest.mark.parametrize("about", [{"made_at": "\x1b]0;x\x07"}, {"dac": 5}, {"schemas": {"a": "1"}}, {"schemas": []}])
def test_a_header_that_could_not_be_shown_is_damaged(tmp_path, about):
    with pytest.raises(MeshError, match="header is damaged"):
        Reader(made(tmp_path / "x", GOOD, **about))


def test_more_than_keys_and_configuration_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("mesh.backup.restoration.MOST_KEPT_BYTES", 4096)
    assert MOST_KEPT_BYTES >= 1 << 20
    with pytest.raises(MeshError, match="larger than"):
        open_backup(made(tmp_path / "x", {**GOOD, "config/big.yaml": b"x" * 5000}), LOCK, {})
    many = {f"config/{number}": b"" for number in range(1000)}
    with pytest.raises(MeshError, match="larger than"):
        open_backup(made(tmp_path / "x", {**GOOD, **many}), LOCK, {})
