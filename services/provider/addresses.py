"""Where an API-given base_url may point: https, and only addresses on the public internet."""

import ipaddress
import re
from urllib.parse import urlsplit

from mesh.errors import MeshError, invalid
from mesh.public_addresses import allowed

_LOCAL_NAMES = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".intranet",
    ".private",
    ".corp",
    ".home",
    ".home.arpa",
    ".lan",
    ".svc",
    ".default",
    ".onion",
)
_METADATA = ("metadata", "instance-data")
"""First labels of names under which clouds tell a machine its own secrets."""
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = frozenset(
    {
        *range(1, 443),  # what speaks HTTPS below is 443 alone
        *range(444, 1024),
        *(1433, 1521, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5672, 5900, 5984, 6000, 6379, 6443),
        *(6667, 7000, 7001, 8086, 8125, 8500, 8600, 9042, 9092, 9200, 9300, 10250, 10255, 11211, 15672, 27017, 50051),
    }
)
"""Ports of databases, queues, clusters and other services that are no model providers."""


def check_base_url(base_url: str) -> str:
    """The address without its trailing slash. Raises INVALID_REQUEST for what can never be allowed."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused(base_url, "it is not a valid URL") from None
    if not base_url.isascii():
        raise _refused(base_url, "it contains characters that are not ASCII")
    if parts.scheme != "https":
        raise _refused(base_url, "only https is allowed")
    if any(ord(char) <= 32 or ord(char) == 127 for char in base_url) or "\\" in base_url:
        raise _refused(base_url, "it contains spaces, control characters or a backslash")
    if "@" in parts.netloc:
        raise _refused(base_url, "it contains a user name or password")
    if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
        raise _refused(base_url, "it contains a query or a fragment")
    if not host or "%" in host:
        raise _refused(base_url, "its host is empty or escaped")
    if port == 0 or port in _PORTS:
        raise _refused(base_url, f"port {port} is no model provider's")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        literal = None
    if literal is not None and not allowed(literal):
        raise _refused(base_url, "it is a private, local or reserved address")
    if literal is None and "[" in parts.netloc:
        raise _refused(base_url, "what stands in brackets is no address")
    if literal is None:
        _check_name(base_url, host.lower().removesuffix("."))
    return base_url.rstrip("/")


def _check_name(base_url: str, name: str) -> None:
    """Raises INVALID_REQUEST for a host name that is none, or only means something in here."""
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # What C libraries read as an address: octal, hexadecimal, one number, three parts.
        raise _refused(base_url, "its host is a number: write an address as four decimal parts")
    if name in ("localhost", *_METADATA) or name.endswith(_LOCAL_NAMES) or labels[0] in _METADATA:
        raise _refused(base_url, "it is a local name")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise _refused(base_url, "its host is not a full name such as api.example.com")


def _refused(base_url: str, why: str) -> MeshError:
    shown = base_url.split("@")[-1][:200]
    return invalid(
        "base_url",
        f"base_url {shown!r} is refused: {why}. Providers on private addresses can be set in a configuration file "
        "with allow_private_address.",
    )
