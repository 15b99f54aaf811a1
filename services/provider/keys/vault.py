"""Sealing provider keys: envelope encryption, bound to the row and to the address the key may be sent to."""

import dataclasses
import os
from collections.abc import Callable, Mapping

from mesh.envelope_keys import KEY_BYTES, CannotOpen, Wrapper, seal, unseal
from mesh.errors import MeshError, Reason

PURPOSE = "provider-keys"


@dataclasses.dataclass(frozen=True, slots=True)
class SealedKey:
    """What is stored of a key."""

    sealed_key: bytes
    sealed_data_key: bytes
    master_key_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed key stands; it opens nowhere else."""

    provider: str
    base_url: str
    table: str = "providers"
    org_id: str = ""
    key_id: str = ""

    def bound(self, master_key_id: str) -> bytes:
        """What a ciphertext belongs to: table, row, where the key is sent, key version."""
        row = (self.org_id, self.key_id) if self.table != "providers" else ()
        return "\0".join(("provider", self.table, *row, self.provider, self.base_url, master_key_id)).encode()


class Vault:
    """Seals keys with the subkey of the present master key; opens those of earlier ones, too."""

    def __init__(
        self,
        subkey: bytes,
        master_key_id: str,
        random: Callable[[int], bytes] = os.urandom,
        *,
        former: Mapping[str, bytes] | None = None,
    ) -> None:
        """`former`: the subkeys of earlier master keys by their ids."""
        self._wrapper, self.master_key_id = Wrapper(subkey, master_key_id, random, former=former), master_key_id

    def seal(self, place: Place, key: str) -> SealedKey:
        """The key sealed by a data key of its own."""
        data_key = self._wrapper.random(KEY_BYTES)
        bound = place.bound(self.master_key_id)
        return SealedKey(
            seal(data_key, key.encode(), b"api_key\0" + bound, self._wrapper.random),
            self._wrapper.wrap(data_key, b"data_key\0" + bound),
            self.master_key_id,
        )

    def open(self, place: Place, sealed: SealedKey) -> str:
        """The key. Raises FAILED_PRECONDITION when the row or the master key is another than at sealing."""
        bound = place.bound(sealed.master_key_id)
        try:
            data_key = self._wrapper.unwrap(sealed.sealed_data_key, sealed.master_key_id, b"data_key\0" + bound)
            return unseal(data_key, sealed.sealed_key, b"api_key\0" + bound).decode()
        except CannotOpen:
            which, again = (f"key {place.key_id}", "set the key") if place.key_id else ("key", "add the provider")
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f'The stored {which} of provider "{place.provider}" cannot be opened with master key '
                f"{self.master_key_id} (sealed with {sealed.master_key_id}): restore that master key, or {again} "
                "again.",
            ) from None
