"""The master key: subkeys by purpose, files made once and for their owner only."""

from __future__ import annotations

import concurrent.futures
import stat

import pytest

from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring, open_keyring


def test_subkeys_differ_by_purpose_and_by_master_key_and_stay_the_same():
    one, same, other = Keyring(b"a" * 32), Keyring(b"a" * 32), Keyring(b"b" * 32)
    assert one.subkey("api-keys") == same.subkey("api-keys") != other.subkey("api-keys")
    assert one.subkey("api-keys") != one.subkey("vault") and len(one.subkey("vault")) == 32
    assert one.id == same.id != other.id and len(one.id) == 16


def test_subkeys_are_what_they_were_when_data_was_written():
    # A change here makes every stored key and ciphertext unreadable.
    assert Keyring(bytes(range(32))).id == "0144a239a4679856"
    assert Keyring(bytes(range(32))).subkey("api-keys").hex().startswith("b119c00a8d933999")


def test_neither_id_nor_repr_tells_the_master_key():
    master = bytes(range(32))
    keyring = Keyring(master)
    assert keyring.id not in master.hex() and master.hex() not in repr(keyring) and repr(master) not in repr(keyring)


def test_a_short_master_key_is_refused():
    with pytest.raises(MeshError, match="32 bytes") as caught:
        Keyring(b"a" * 31)
    assert caught.value.reason is Reason.FAILED_PRECONDITION


def test_the_file_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "secrets" / "master.key"
    made = open_keyring(path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["master.key"]
    assert open_keyring(path, create=True).id == open_keyring(path, create=False).id == made.id


def test_without_the_file_the_flag_that_names_it_is_said(tmp_path):
    with pytest.raises(MeshError, match="DAC_MASTER_KEY_FILE") as caught:
        open_keyring(tmp_path / "master.key", create=False)
    assert caught.value.reason is Reason.FAILED_PRECONDITION and not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"not hexadecimal", b"\xff\xfe", b"", b"abcd"])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "master.key"
    path.write_bytes(content)
    with pytest.raises(MeshError) as caught:
        open_keyring(path, create=True)
    assert caught.value.reason is Reason.FAILED_PRECONDITION
    assert path.read_bytes() == content and "hexadecimal it" not in caught.value.message


def _open(path):
    return open_keyring(path, create=True).id


def test_processes_that_start_together_agree_on_one_key(tmp_path):
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(_open, [tmp_path / "secrets" / "master.key"] * 8))) == 1
