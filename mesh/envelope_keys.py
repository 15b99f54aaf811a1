"""Envelope encryption: text sealed by data keys, data keys wrapped by a subkey of the master key (AES-256-GCM)."""

import os
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.keyring import Keyring

KEY_BYTES = 32
NONCE_BYTES = 12
Random = Callable[[int], bytes]


class CannotOpen(Exception):
    """The key, the text or what the text is bound to is another than at sealing."""


def seal(key: bytes, text: bytes, bound: bytes, random: Random = os.urandom) -> bytes:
    """`text` sealed so that it opens only with `key` and the same `bound`; the nonce comes first."""
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """What `seal` was given. Raises CannotOpen."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise CannotOpen from None


class Wrapper:
    """Wraps data keys with the subkey of the present master key; unwraps those of earlier ones, too."""

    def __init__(
        self,
        subkey: bytes,
        master_key_id: str,
        random: Random = os.urandom,
        *,
        former: Mapping[str, bytes] | None = None,
    ) -> None:
        """`former`: the subkeys of earlier master keys by their ids."""
        self._subkeys = {**(former or {}), master_key_id: subkey}
        self.random, self.master_key_id = random, master_key_id

    @classmethod
    def of(cls, keyring: Keyring, purpose: str) -> "Wrapper":
        """With the subkeys of a keyring for one purpose."""
        former = {one.id: one.subkey(purpose) for one in keyring.former}
        return cls(keyring.subkey(purpose), keyring.id, former=former)

    def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        """The data key, sealed by the present master key's subkey."""
        return seal(self._subkeys[self.master_key_id], data_key, bound, self.random)

    def unwrap(self, wrapped: bytes, master_key_id: str, bound: bytes) -> bytes:
        """The data key. Raises CannotOpen, also when the master key it names is not at hand."""
        # With an unknown master key the present one is tried: it fails as it must, at the seal.
        return unseal(self._subkeys.get(master_key_id, self._subkeys[self.master_key_id]), wrapped, bound)
