"""Signed POSTs to addresses that the operator configured, as the Standard Webhooks specification has them.

Where they lead the operator says, never a request. Names are resolved anew for every connection and lead to no private
address unless that is allowed; no redirect is followed, for it would lead where nobody allowed.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp

from mesh.config import Secret
from mesh.public_addresses import PublicResolver, is_private_literal

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


class SignedPoster:
    """POSTs signed JSON. Its connections are not kept: the next event may be hours away."""

    def __init__(self, secret: Secret, *, allow_private: bool, timeout_s: float, now: Callable[[], float]) -> None:
        self._key, self._now = signing_key(secret.reveal()), now
        self._allow_private, self._timeout_s = allow_private, timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, event_id: str, body: bytes, *, answer_bytes: int = 0) -> bytes:
        """Sends it; the answer's first `answer_bytes`. Raises Undelivered unless it is answered with 2xx."""
        timestamp = int(self._now())
        headers = {
            "content-type": "application/json",
            "user-agent": "dac",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, event_id, timestamp, body),
        }
        try:
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
                # One read may bring less than there is: the whole is gathered, up to what is taken.
                parts, size = list[bytes](), 0
                while answer_bytes and size < answer_bytes and (part := await answer.content.read(answer_bytes - size)):
                    parts.append(part)
                    size += len(part)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Undelivered(f"the webhook failed: {type(error).__name__}") from error
        if not 200 <= status < 300:
            raise Undelivered(f"the webhook answered {status}")
        return b"".join(parts)

    async def close(self) -> None:
        """Ends its connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._allow_private else PublicResolver()
            connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True, limit=16)
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False)
        return self._session
