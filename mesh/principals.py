"""Signing and checking principals: Ed25519 (RFC 8032), minted once per credential, verified once per token bytes."""

import pathlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError

from dac.type.v1.principal_pb2 import Principal, SignedPrincipal
from mesh.errors import MeshError, Reason
from mesh.keyring import read_secret_file

LIFETIME_S = 120
"""How long a principal proves identity for starting work; minted anew after half of it."""

LookUp = Callable[[str], Awaitable[tuple[str, bytes] | None]]
"""signing key id → (issuer, public key bytes), or None."""


class Signer:
    """Signs principals for one service with that service's own key."""

    def __init__(self, service: str, private_key: bytes) -> None:
        self.service = service
        self._key = Ed25519PrivateKey.from_private_bytes(private_key[:32])
        raw, form = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        self.public_key = self._key.public_key().public_bytes(raw, form)
        self.signing_key_id = f"{service}-{self.public_key.hex()[:16]}"

    @classmethod
    def from_file(cls, service: str, folder: pathlib.Path, *, create: bool) -> "Signer":
        """The signer whose key stands in `folder`/principal-<service>.key."""
        path = folder / f"principal-{service}.key"
        return cls(service, read_secret_file(path, create=create, what="signing key", flag="DAC_SECRETS_DIR"))

    def sign(self, principal: Principal) -> bytes:
        """Stamps issuer and lifetime on `principal` and returns the serialised SignedPrincipal."""
        now = int(time.time())
        principal.issuer = self.service
        principal.issued_at.FromSeconds(now)
        principal.expires_at.FromSeconds(now + LIFETIME_S)
        raw = principal.SerializeToString()
        signed = SignedPrincipal(principal=raw, signature=self._key.sign(raw), signing_key_id=self.signing_key_id)
        return signed.SerializeToString()


class Verifier:
    """Checks signed principals; remembers those it has checked until they expire."""

    def __init__(self, look_up: LookUp, *, capacity: int = 4096) -> None:
        self._look_up = look_up
        self._keys: dict[str, tuple[str, Ed25519PublicKey]] = {}
        self._seen: OrderedDict[bytes, Principal] = OrderedDict()
        self._capacity = capacity

    def known(self, token: bytes) -> Principal | None:
        """The principal of a token that was checked before and still holds."""
        principal = self._seen.get(token)
        return principal if principal is not None and principal.expires_at.seconds >= time.time() else None

    async def verify(self, token: bytes) -> Principal:
        """The principal that `token` proves. Raises INVALID_CREDENTIAL."""
        principal = self._seen.get(token)
        if principal is None:
            principal = await self._check(token)
            self._seen[token] = principal
            if len(self._seen) > self._capacity:
                self._seen.popitem(last=False)
        if principal.expires_at.seconds < time.time():
            raise MeshError(Reason.INVALID_CREDENTIAL, "The principal has expired.")
        return principal

    async def _check(self, token: bytes) -> Principal:
        refused = MeshError(Reason.INVALID_CREDENTIAL, "The principal's signature does not verify.")
        try:
            signed = SignedPrincipal.FromString(token)
            if signed.signing_key_id not in self._keys:
                found = await self._look_up(signed.signing_key_id)
                if found is None:
                    raise refused
                self._keys[signed.signing_key_id] = (found[0], Ed25519PublicKey.from_public_bytes(found[1]))
            issuer, key = self._keys[signed.signing_key_id]
            key.verify(signed.signature, signed.principal)
            principal = Principal.FromString(signed.principal)
        except (InvalidSignature, ValueError, DecodeError):
            raise refused from None
        # Only the gateway speaks for callers; every other service speaks for itself alone.
        own = principal.kind == Principal.KIND_SERVICE and principal.service == issuer
        if principal.issuer != issuer or not (own or (issuer == "gateway" and principal.service == "")):
            raise refused
        return principal
