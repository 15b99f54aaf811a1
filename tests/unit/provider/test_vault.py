"""Sealed keys open only where they belong."""

import dataclasses

import pytest

from mesh.errors import MeshError
from services.provider.keys.vault import Place, Vault

KEY = "sk-0123456789"
HERE = Place("openai", "https://x")
OWN = Place("openai", "https://x", "provider_keys", "org", "key")


def test_seal_and_open() -> None:
    vault = Vault(b"a" * 32, "m1")
    sealed = vault.seal(HERE, KEY)
    assert vault.open(HERE, sealed) == KEY
    assert KEY.encode() not in sealed.sealed_key and sealed.sealed_key != vault.seal(HERE, KEY).sealed_key


@pytest.mark.parametrize("what", ["provider", "base_url", "master", "key_id", "bits"])
def test_nothing_may_differ(what: str) -> None:
    sealed = Vault(b"a" * 32, "m1").seal(HERE, KEY)
    vault = Vault((b"b" if what == "master" else b"a") * 32, "m1")
    if what == "key_id":
        sealed = dataclasses.replace(sealed, master_key_id="m2")
    if what == "bits":
        sealed = dataclasses.replace(sealed, sealed_key=sealed.sealed_key[:-1] + b"\0")
    with pytest.raises(MeshError) as caught:
        place = Place("x" if what == "provider" else "openai", "y" if what == "base_url" else "https://x")
        vault.open(place, sealed)
    assert KEY not in caught.value.message


@pytest.mark.parametrize("field", ["provider", "base_url", "table", "org_id", "key_id"])
def test_an_own_key_opens_in_its_row_alone(field: str) -> None:
    vault = Vault(b"a" * 32, "m1")
    sealed = vault.seal(OWN, KEY)
    assert vault.open(OWN, sealed) == KEY
    for place in (dataclasses.replace(OWN, **{field: "global_keys" if field == "table" else "other"}), HERE):
        with pytest.raises(MeshError):
            vault.open(place, sealed)


def test_a_former_master_key_opens_and_the_present_one_seals() -> None:
    old = Vault(b"a" * 32, "m1")
    both = Vault(b"b" * 32, "m2", former={"m1": b"a" * 32})
    sealed = old.seal(OWN, KEY)
    assert both.open(OWN, sealed) == KEY
    again = both.seal(OWN, KEY)
    assert again.master_key_id == "m2" and Vault(b"b" * 32, "m2").open(OWN, again) == KEY
    with pytest.raises(MeshError):
        old.open(OWN, again)


def test_what_was_sealed_before_there_were_several_keys_still_opens() -> None:
    """The binding of the table providers is part of what is stored: it must never change."""
    assert HERE.bound("m1") == b"provider\0providers\0openai\0https://x\0m1"
