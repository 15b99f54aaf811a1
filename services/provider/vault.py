"""Sealing provider keys: envelope encryption, bound to the row and to the address the key may be sent to."""

import dataclasses
import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.errors import MeshError, Reason

NONCE_BYTES = 12
PURPOSE = "provider-keys"


@dataclasses.dataclass(frozen=True, slots=True)
class SealedKey:
    """What is stored of a key."""

    sealed_key: bytes
    sealed_data_key: bytes
    master_key_id: str


class Vault:
    """Seals and opens keys with the subkey of one master key."""

    def __init__(self, subkey: bytes, master_key_id: str, random: Callable[[int], bytes] = os.urandom) -> None:
        self._subkey, self._master_key_id, self._random = subkey, master_key_id, random

    def seal(self, provider: str, base_url: str, key: str) -> SealedKey:
        """The key sealed by a data key of its own."""
        data_key = self._random(32)
        bound = _bound(provider, base_url, self._master_key_id)
        return SealedKey(
            self._encrypt(data_key, key.encode(), b"api_key\0" + bound),
            self._encrypt(self._subkey, data_key, b"data_key\0" + bound),
            self._master_key_id,
        )

    def open(self, provider: str, base_url: str, sealed: SealedKey) -> str:
        """The key. Raises FAILED_PRECONDITION when the row or the master key is another than at sealing."""
        bound = _bound(provider, base_url, sealed.master_key_id)
        try:
            data_key = _decrypt(self._subkey, sealed.sealed_data_key, b"data_key\0" + bound)
            return _decrypt(data_key, sealed.sealed_key, b"api_key\0" + bound).decode()
        except (InvalidTag, ValueError):
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f'The stored key of provider "{provider}" cannot be opened with master key {self._master_key_id} '
                f"(sealed with {sealed.master_key_id}): restore that master key, or add the provider again.",
            ) from None

    def _encrypt(self, key: bytes, text: bytes, bound: bytes) -> bytes:
        nonce = self._random(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, text, bound)


def _decrypt(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)


def _bound(provider: str, base_url: str, master_key_id: str) -> bytes:
    """What a ciphertext belongs to: table, row, where the key is sent, key version."""
    return "\0".join(("provider", "providers", provider, base_url, master_key_id)).encode()
