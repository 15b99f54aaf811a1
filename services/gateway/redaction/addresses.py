"""Addresses of persons: IP, and wallets of crypto-currencies. Those of e-mail are found in mesh.mail_addresses."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator

from mesh.secret_shapes import Tries, shape
from services.gateway.redaction.kinds import CRYPTO, IP

_IPV4 = shape(
    rb"\b(?:[1-9]|1[1-9]|[2-9][0-9]|1[01][0-9]|12[0-689]|1[3-9][0-9]|2[01][0-9]|22[0-3])\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}\b"
)
"""Not of the networks 0, 10 and 127, nor from 224 on: logs are full of them."""
_IPV6 = shape(rb"(?i)[23][0-9a-f]{3}(?::[0-9a-f]{0,4}){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3})?")
_OCTETS = re.compile(rb"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!\Z)|\Z)){4}")
_PARTLY_PUBLIC = frozenset((100, 169, 172, 192, 198, 203))
"""First octets of which some networks are public and some are not."""
_VERSION = re.compile(rb"(?i)(?:\bv|ver(?:sion|\.)?|release|build|firmware|rev|[=<>~^]=?|/|@)[ \t:=\"']{0,3}\Z")
"""Looked for in a few bytes, which takes RE2 longer than Python's own."""
_BASE58 = shape(rb"\b[13][1-9A-HJ-NP-Za-km-z]{25,34}\b")
_BECH32 = shape(rb"(?i)\bbc1[ac-hj-np-z02-9]{11,71}\b")
_ETHER = shape(rb"\b0x[0-9a-fA-F]{40}\b")
_ALPHABET58 = {one: index for index, one in enumerate(b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_ALPHABET32 = {one: index for index, one in enumerate(b"qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def ip_addresses(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """Public addresses: those of private networks and of documentation name nobody."""
    for match in tries.of(_IPV4, data):
        start, end = match.span()
        around = data[start - 1 : start] in (b".", b"-", b"_") or (
            data[end : end + 1] in (b".", b"-", b"_") and data[end + 1 : end + 2].isalnum()
        )
        if not around and data[end - 2 : end] != b".0" and _is_public_v4(match.group()):
            before = data[max(0, start - 16) : start]
            if before.endswith(b"://") or _VERSION.search(before) is None:
                yield IP, start, end
    if b":" not in data:
        return
    for match in tries.of(_IPV6, data, 3):
        found = match.group()
        start, end = match.span()
        outside = not data[start - 1 : start].isalnum() and not data[end : end + 1].isalnum()
        if outside and found.count(b":") >= 2 and len(found) >= 6 and _is_public(found.rstrip(b":") or found):
            yield IP, start, start + len(found.rstrip(b":"))


def _is_public_v4(found: bytes) -> bool:
    first = int(found[: found.index(b".")])
    if first in _PARTLY_PUBLIC:
        return _is_public(found)
    # As the address module has it: no octet over 255, none with a zero in front.
    return _OCTETS.fullmatch(found) is not None


def _is_public(found: bytes) -> bool:
    try:
        address = ipaddress.ip_address(found.decode("ascii"))
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def wallets(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """Wallets of Bitcoin, by their checksums, and of Ethereum, by their shape."""
    for match in tries.of(_BASE58, data, 2):
        if is_base58(match.group()):
            yield CRYPTO, *match.span()
    for match in tries.of(_BECH32, data, 9):
        if is_bech32(match.group()):
            yield CRYPTO, *match.span()
    for match in tries.of(_ETHER, data):
        if len(set(match.group()[2:].lower())) > 4:
            yield CRYPTO, *match.span()


def is_base58(found: bytes) -> bool:
    """Whether the four last bytes prove the others."""
    number = 0
    for one in found:
        number = number * 58 + _ALPHABET58[one]
    if number >> 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def is_bech32(found: bytes) -> bool:
    """Whether the six last characters prove the others (BIP 173 and 350)."""
    if found not in (found.lower(), found.upper()):
        return False
    check = 1
    human = b"bc"
    values = [one >> 5 for one in human] + [0] + [one & 31 for one in human]
    for value in [*values, *(_ALPHABET32[one] for one in found.lower()[3:])]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            if top >> bit & 1:
                check ^= generator
    return check in (1, 0x2BC830A3)
