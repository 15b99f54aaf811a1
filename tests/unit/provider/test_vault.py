"""Sealed keys open only where they belong."""

import dataclasses

import pytest

from mesh.errors import MeshError
from services.provider.vault import Vault

KEY = "sk-0123456789"


def test_seal_and_open() -> None:
    vault = Vault(b"a" * 32, "m1")
    sealed = vault.seal("openai", "https://x", KEY)
    assert vault.open("openai", "https://x", sealed) == KEY
    assert (
        KEY.encode() not in sealed.sealed_key and sealed.sealed_key != vault.seal("openai", "https://x", KEY).sealed_key
    )


@pytest.mark.parametrize("what", ["provider", "base_url", "master", "key_id", "bits"])
def test_nothing_may_differ(what: str) -> None:
    sealed = Vault(b"a" * 32, "m1").seal("openai", "https://x", KEY)
    vault = Vault((b"b" if what == "master" else b"a") * 32, "m1")
    if what == "key_id":
        sealed = dataclasses.replace(sealed, master_key_id="m2")
    if what == "bits":
        sealed = dataclasses.replace(sealed, sealed_key=sealed.sealed_key[:-1] + b"\0")
    with pytest.raises(MeshError) as caught:
        vault.open("x" if what == "provider" else "openai", "y" if what == "base_url" else "https://x", sealed)
    assert KEY not in caught.value.message
