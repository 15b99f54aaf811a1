"""Webhooks as the Standard Webhooks specification has them: their addresses, secrets and signatures.

`mesh.signed_poster` sends them. It is imported where there is one to be sent: configuration is read at every start.
"""

import base64
import binascii
import hashlib
import hmac
from urllib.parse import urlsplit

from mesh.public_addresses import is_private_literal

SECRET_PREFIX = "whsec_"
SECRET_BYTES_MIN = 24
"""Shorter secrets can be guessed."""


class Undelivered(Exception):
    """A POST did not arrive, or its answer could not be read; the message says why, and names no secret."""


def check_address(url: str, name: str, *, allow_private: bool) -> None:
    """Refuses what cannot be an address. Raises ValueError; `name` is the setting's."""
    parts = urlsplit(url)
    allows = f"{name.removesuffix('_url')}_allow_private_address"
    if parts.scheme not in (("https", "http") if allow_private else ("https",)) or not parts.hostname:
        raise ValueError(
            f"{name} must be an https address such as https://alerts.example.com/dac; http only with {allows}"
        )
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{name} must hold no user name, no password and no fragment")
    if not allow_private and is_private_literal(parts.hostname):
        raise ValueError(f"{name} leads to a private, local or reserved address; set {allows} if it is meant")


def signing_key(secret: str) -> bytes:
    """The bytes of a webhook's secret: `whsec_` and Base64, or any other text as it is. Raises ValueError."""
    key = secret.encode()
    if secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"what follows {SECRET_PREFIX} is not Base64") from None
    if len(key) < SECRET_BYTES_MIN:
        raise ValueError(f"it has {len(key)} bytes; use at least {SECRET_BYTES_MIN} random ones")
    return key


def signature(key: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = hmac.digest(key, b".".join((event_id.encode(), str(timestamp).encode(), body)), hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"
