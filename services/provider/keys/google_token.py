"""Access tokens of a Google service account: fetched with a signed assertion, kept, and fetched anew before they end.

They come from one address that the configuration fixes: neither a request nor the account's own JSON names another.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mesh.errors import Reason
from services.provider.adapters import Outgoing
from services.provider.calling.bulkhead import Bulkhead
from services.provider.calling.calls import Endpoint, Limits, posting
from services.provider.errors import ProviderFault, not_configured, timed_out

AUDIENCE = "https://oauth2.googleapis.com/token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFETIME_S = 3600
EARLY_S = 300.0
"""How long before its end a token is fetched anew; while that fails, the old one is used as long as it is good."""
MARGIN_S = 10.0
"""A token this near its end may be over when it arrives."""
FETCH_S = 10.0
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class ServiceAccount(msgspec.Struct):
    """What is needed of a service account's JSON."""

    client_email: str
    private_key: str
    private_key_id: str = ""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int


class GoogleToken:
    """The token of one service account. See kinds.Credentials."""

    def __init__(
        self,
        provider: str,
        account_json: str,
        *,
        url: str = AUDIENCE,
        now: Callable[[], float] = time.time,
        fetch_s: float = FETCH_S,
    ) -> None:
        self._provider, self._json, self._now, self._fetch_s = provider, account_json, now, fetch_s
        limits = Limits(fetch_s, fetch_s, fetch_s, fetch_s)
        self._endpoint = Endpoint(f"{provider}'s token", url, limits=limits, bulkhead=Bulkhead(provider, 1, 0))
        self._lock = asyncio.Lock()
        self._token, self._ends_at_s = "", 0.0

    async def current(self, wait_s: float) -> str:
        """A token that is still good. Raises ProviderFault."""
        if self._now() < self._ends_at_s - EARLY_S:
            return self._token
        try:
            async with asyncio.timeout(min(wait_s, self._fetch_s)), self._lock:
                # Somebody else may have fetched it meanwhile.
                if self._now() >= self._ends_at_s - EARLY_S:
                    await self._fetch()
        except (ProviderFault, TimeoutError) as error:
            if self._now() >= self._ends_at_s - MARGIN_S:
                if isinstance(error, ProviderFault):
                    raise
                raise timed_out(self._provider, "its access token", min(wait_s, self._fetch_s)) from None
        return self._token

    async def close(self) -> None:
        """Drops connections."""
        await self._endpoint.close()

    async def _fetch(self) -> None:
        asked_at_s = self._now()
        said = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion()}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        outgoing = Outgoing("", headers, urlencode(said).encode())
        try:
            async with posting(self._endpoint, outgoing, self._endpoint.limits, stream=False) as reply:
                made = _decode(await reply.whole(), type=_Token)
                reply.keep_connection()
        except ProviderFault as fault:
            told = f"{self._provider}: no access token for its service account: {fault.message}"
            # Never the caller's fault, whatever the status is: another candidate may do better.
            raise ProviderFault(Reason.PROVIDER_FAILED, told, retry=fault.retry) from None
        except (msgspec.MsgspecError, ValueError):
            told = f"{self._provider}: no access token for its service account: the answer is none"
            raise ProviderFault(Reason.PROVIDER_FAILED, told) from None
        self._token = made.access_token
        self._ends_at_s = asked_at_s + max(0, min(made.expires_in, LIFETIME_S))

    def _assertion(self) -> str:
        """The signed request for a token. Raises ProviderFault for a key that is no service account."""
        try:
            account = _decode(self._json, type=ServiceAccount)
            key = load_pem_private_key(account.private_key.encode(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise not_configured(self._provider, "its api_key is not the JSON of a service account") from None
        if not isinstance(key, RSAPrivateKey):
            raise not_configured(self._provider, "its service account's private_key is not an RSA key")
        now_s = int(self._now())
        head = {"typ": "JWT", "alg": "RS256", **({"kid": account.private_key_id} if account.private_key_id else {})}
        claims = {"iat": now_s, "exp": now_s + LIFETIME_S, "iss": account.client_email, "aud": AUDIENCE, "scope": SCOPE}
        signed = f"{_base64(_encode(head))}.{_base64(_encode(claims))}"
        return f"{signed}.{_base64(key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
