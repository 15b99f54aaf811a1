"""The console's session: the API key, sealed into a cookie. Nothing is kept here, so every replica opens it alike."""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.keyring import Keyring

COOKIE = "dac_console"
LIFETIME_S = 12 * 3600
NONCE_BYTES = 12
LONGEST = 2048
"""A cookie that is longer was not made here."""
ANONYMOUS = "anonymous"
"""Stands for the session of a reader without a key (auth: off)."""
_BOUND = b"dac console session v1"


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """Who signed in."""

    key: str
    """The API key, checked anew with every request."""
    session_id: str
    """Random; what the CSRF token is bound to."""
    expires_at: float
    """Seconds since 1970."""


class Sessions:
    """Seals and opens sessions, and makes their CSRF tokens."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        clock: Callable[[], float] = time.time,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._cipher = AESGCM(keyring.subkey("console:session"))
        self._csrf_key = keyring.subkey("console:csrf")
        self._clock, self._token_bytes = clock, token_bytes

    def seal(self, key: str) -> str:
        """A new session of `key` as the cookie's value."""
        session = Session(key, self._token_bytes(16).hex(), self._clock() + LIFETIME_S)
        nonce = self._token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(session), _BOUND)
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def open(self, cookie: str) -> Session | None:
        """The session of a cookie; None when it was not made here, was changed, or has expired."""
        if not cookie or len(cookie) > LONGEST:
            return None
        try:
            raw = base64.b64decode(cookie + "=" * (-len(cookie) % 4), altchars=b"-_", validate=True)
            session = msgspec.json.decode(
                self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _BOUND), type=Session
            )
        except (InvalidTag, ValueError, binascii.Error, msgspec.DecodeError):
            return None
        return session if session.expires_at > self._clock() else None

    def csrf(self, session: Session | None) -> str:
        """The token that forms of this session carry."""
        about = session.session_id if session is not None else ANONYMOUS
        return hmac.digest(self._csrf_key, about.encode(), hashlib.sha256).hex()

    def csrf_holds(self, session: Session | None, given: str) -> bool:
        """Whether a form's token is this session's."""
        return hmac.compare_digest(self.csrf(session).encode(), given.encode("utf-8", "replace"))


def same_origin(header: Callable[[str], str]) -> bool:
    """Whether a page of this very host sent the request. `header` gives a request header, or nothing."""
    site = header("sec-fetch-site")
    if site and site != "same-origin":
        return False
    scheme, _, host = header("origin").partition("://")
    return scheme in ("http", "https") and bool(host) and host.lower() == header("host").lower()
