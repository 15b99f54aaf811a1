"""Where an API-given base_url may point: https, and only addresses on the public internet.

The standard library's `is_global` is not a guard (it calls 6to4, NAT64 and others of private targets global), so the
table of what is refused stands here. Names are resolved once per connection, every address is checked, and the
connection goes to a checked address; the certificate is still checked against the name.
"""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from mesh.errors import MeshError, invalid

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_DENIED_V4 = [
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT; some clouds' metadata
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; some clouds' metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # Azure's host
    )
]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""Everything outside is refused: loopback, mapped, NAT64, link-local, site-local, unique local, multicast."""
_DENIED_V6 = [
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
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
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def allowed(address: IPAddress) -> bool:
    """Whether DAC may connect to this address for an API-given provider."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _DENIED_V4)
    if address in _NAT64:
        # IPv6-only networks reach the IPv4 internet this way: what counts is the address inside.
        return allowed(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in block for block in _DENIED_V6)


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


Resolve = Callable[[str, int, socket.AddressFamily], Awaitable[list[ResolveResult]]]


class PublicResolver(AbstractResolver):
    """Resolves names for aiohttp and refuses a name when any of its addresses is refused."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._inner = ThreadedResolver()
        self._resolve: Resolve = resolve or self._inner.resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See AbstractResolver. Raises OSError for a refused name."""
        found = await self._resolve(host, port, family)
        if not found:
            raise OSError(None, "its name has no address")
        for one in found:
            try:
                address = ipaddress.ip_address(one["host"].split("%")[0])
            except ValueError:
                raise OSError(None, "its name resolves to something that is no address") from None
            if "%" in one["host"] or not allowed(address):
                raise OSError(None, "its name resolves to a private, local or reserved address")
        return found

    async def close(self) -> None:
        """See AbstractResolver."""
        await self._inner.close()
