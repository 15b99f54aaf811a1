"""A resolver for aiohttp that leads to no address but those on the public internet.

Names are resolved once per connection, every address is checked, and the connection goes to a checked address; the
certificate is still checked against the name.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from mesh.public_addresses import allowed

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
