"""Which addresses are on the public internet.

The standard library's `is_global` is not a guard (it calls 6to4, NAT64 and others of private targets global), so the
table of what is refused stands here.
"""

import ipaddress

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
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def allowed(address: IPAddress) -> bool:
    """Whether an address is on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _DENIED_V4)
    if address in _NAT64:
        # IPv6-only networks reach the IPv4 internet this way: what counts is the address inside.
        return allowed(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_V6 and not any(address in block for block in _DENIED_V6)


def is_private_literal(host: str) -> bool:
    """Whether a host is written as an address, and one that is not on the public internet. Such hosts are not resolved,
    so no resolver can refuse them."""
    try:
        return not allowed(ipaddress.ip_address(host.split("%")[0]))
    except ValueError:
        return False
