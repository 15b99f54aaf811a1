"""Signed POSTs to addresses that the operator configured.

Where they lead the operator says, never a request. Names are resolved anew for every connection and lead to no private
address unless that is allowed; no redirect is followed, for it would lead where nobody allowed.
"""

from collections.abc import Callable

import aiohttp

from mesh.config import Secret
from mesh.public_resolver import PublicResolver
from mesh.signed_webhooks import Undelivered, signature, signing_key


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
