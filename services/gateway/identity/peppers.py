"""What API keys are hashed with. A hash cannot be made anew without its key, so the peppers outlive a master key.

At first they are derived from the master key. When another master key takes over, they are sealed by it and kept in
the database, and every API key goes on as before.
"""

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.keyring import Keyring
from services.gateway import errors

API_KEYS, FOREIGN_KEYS = "api-keys", "foreign-keys"
PURPOSES = (API_KEYS, FOREIGN_KEYS)
"""The subkeys that hashes are made with. New ones come behind: what is sealed holds them in this order."""
_BYTES, _NONCE_BYTES = 32, 12


def derived(keyring: Keyring) -> dict[str, bytes]:
    """The peppers of a database that was set up with this master key."""
    return {purpose: keyring.subkey(purpose) for purpose in PURPOSES}


def seal(keyring: Keyring, peppers: Mapping[str, bytes]) -> bytes:
    """The peppers, to be kept in the database under the present master key."""
    nonce = os.urandom(_NONCE_BYTES)
    text = b"".join(peppers[purpose] for purpose in PURPOSES)
    return nonce + AESGCM(keyring.subkey("peppers")).encrypt(nonce, text, _bound(keyring.id))


def opened(keyring: Keyring, master_key_id: str, sealed: bytes) -> dict[str, bytes]:
    """The peppers of a database that is bound to this master key. Raises FAILED_PRECONDITION without that key."""
    ring = next((one for one in (keyring, *keyring.former) if one.id == master_key_id), None)
    if ring is None:
        raise errors.other_master_key()
    if not sealed:
        return derived(ring)
    nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        text = AESGCM(ring.subkey("peppers")).decrypt(nonce, rest, _bound(master_key_id))
    except InvalidTag:
        raise errors.other_master_key() from None
    return {purpose: text[at * _BYTES : (at + 1) * _BYTES] for at, purpose in enumerate(PURPOSES)}


def _bound(master_key_id: str) -> bytes:
    return "\0".join(("gateway", "key_check", "peppers", master_key_id)).encode()
