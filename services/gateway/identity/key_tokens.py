"""The form of API keys: dac_<env>_<12 id>_<secret>[_<crc>], or sk-… for keys taken over from another gateway.

Pure; randomness is passed in.
"""

import binascii
import dataclasses
import re
from collections.abc import Callable

from services.gateway import errors

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 12
SECRET_LENGTH = 43
"""43 base-62 characters carry 256 bits."""
MIN_SECRET_LENGTH = 32
MIN_DISTINCT = 12
CRC_LENGTH = 6
LONGEST = 256
_FORM = re.compile(r"dac_([a-z0-9]{1,16})_([A-Za-z0-9]{12})_([A-Za-z0-9]{16,160})(?:_([A-Za-z0-9]{6}))?")

FOREIGN = "sk-"
"""How keys of other gateways begin."""
FOREIGN_LENGTH = 25
"""The shortest of them: "sk-" and 128 random bits in base 64. Shorter ones were thought up by people."""
_FOREIGN_FORM = re.compile(r"sk-[!-~]+")


@dataclasses.dataclass(frozen=True, slots=True)
class KeyToken:
    """A token, taken apart."""

    environment: str
    lookup_id: str
    """Finds the row."""
    secret: str

    @property
    def prefix(self) -> str:
        """What may be shown of it."""
        return f"dac_{self.environment}_{self.lookup_id}"


def base62(number: int, length: int) -> str:
    """`number` in base 62, padded to `length`."""
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def checksum(text: str) -> str:
    """CRC-32 of what stands before it: finds typing mistakes, guards nothing."""
    return base62(binascii.crc32(text.encode()), CRC_LENGTH)


def new_token(choice: Callable[[str], str], environment: str = "live") -> str:
    """A fresh token; `choice` picks a random character (secrets.choice)."""
    lookup_id = "".join(choice(ALPHABET) for _ in range(ID_LENGTH))
    secret = "".join(choice(ALPHABET) for _ in range(SECRET_LENGTH))
    body = f"dac_{environment}_{lookup_id}_{secret}"
    return f"{body}_{checksum(body)}"


def parse(token: str) -> KeyToken:
    """Takes a token apart. Raises INVALID_CREDENTIAL; the token is never repeated in the message."""
    found = _FORM.fullmatch(token) if len(token) <= LONGEST else None
    if found is None:
        raise errors.malformed_key()
    environment, lookup_id, secret, crc = found.groups()
    if crc is not None and crc != checksum(token[: -CRC_LENGTH - 1]):
        raise errors.malformed_key()
    return KeyToken(environment, lookup_id, secret)


def is_foreign(token: str) -> bool:
    """Whether it has the form of another gateway's key. Raises INVALID_CREDENTIAL for one too short to be safe."""
    if not token.startswith(FOREIGN):
        return False
    if len(token) > LONGEST or not _FOREIGN_FORM.fullmatch(token):
        raise errors.malformed_key()
    if len(token) < FOREIGN_LENGTH:
        raise errors.short_foreign_key(FOREIGN_LENGTH)
    return True


def shown(token: str) -> str:
    """What may be shown of a whole token. Raises INVALID_CREDENTIAL."""
    return f"{FOREIGN}…{token[-4:]}" if is_foreign(token) else parse(token).prefix


def check_strength(token: str, variable: str) -> KeyToken:
    """A key from the environment that may be used. Raises FAILED_PRECONDITION with the reason when it is weak."""
    try:
        parsed = parse(token)
    except Exception:
        raise errors.weak_key(variable, "it has not the form of a key") from None
    if len(parsed.secret) < MIN_SECRET_LENGTH:
        raise errors.weak_key(
            variable, f"its secret has {len(parsed.secret)} characters, {MIN_SECRET_LENGTH} are needed"
        )
    distinct = len(set(parsed.secret))
    if distinct < MIN_DISTINCT:
        raise errors.weak_key(variable, f"its secret has {distinct} distinct characters, {MIN_DISTINCT} are needed")
    return parsed
